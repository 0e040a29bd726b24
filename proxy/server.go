package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// Config is what a [Server] needs. All fields without a stated zero value are required.
type Config struct {
	// Registry says who is bound to which certificate, and what routes, roles and credentials there are.
	Registry *identity.Registry
	// Trust is the bundle that client certificates must chain to, now. When it returns another bundle than before, TLS tickets of the old one die.
	Trust func() *pki.Trust
	// External judges certificates of the registry's authorities; nil judges none, and nobody but our own CA's callers is let in.
	External *external.Verifier
	// GetCertificate chooses the listener's own certificate; it must have one for callers that send no server name.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Challenge answers handshakes that are nothing but a tls-alpn-01 challenge of an ACME server (RFC 8737): they offer the protocol acme-tls/1 alone, show no
	// certificate, and are closed when they have ended. It must not wait. Where it returns nil the handshake is refused; nil answers none.
	Challenge func(*tls.ClientHelloInfo) *tls.Certificate
	// Tokens fetches and keeps the tokens of outbound credentials.
	Tokens *token.Engine
	// Log takes the access records. A request that cannot be recorded is refused.
	Log *record.Log
	// Metrics counts connections and handshakes; nil counts nothing. (Requests are counted by Log.)
	Metrics *record.Metrics
	// Usage counts who uses what, for as long as it is open; nil counts nothing.
	Usage *usage.Recorder
	// Logger takes what operators of the process should see; nil discards it.
	Logger *slog.Logger
	// Limits bounds what a caller may cost; zero fields have the defaults of [DefaultLimits].
	Limits Limits
	// Bridge is for listeners on which logins are accepted; its zero value is good.
	Bridge Bridge
	// Switched is told when another credential of an identity comes into use for a tenant. It is called on the way of requests and must not wait; nil is told
	// nothing.
	Switched func(CredentialSwitch)
	// Now is the clock of decisions; nil is time.Now.
	Now func() time.Time

	keep keeping // of connections to tenants
}

// Server is the data plane of one process: any number of listeners, one decision core, one set of upstream pools. Its methods are safe for
// concurrent use.
type Server struct {
	cfg         Config
	clock       func() time.Time // of decisions; nil is the real one
	core        Core
	log         *slog.Logger
	upstreams   upstreams
	observed    observedPools
	logins      logins
	preferences preferences
	gates       gates
	quotas      quotas
	daily       daily
	memory      memory
	turnstile   turnstile
	made        time.Time
	inFlight    atomic.Int64
	strangers   atomic.Int64 // connections on which nothing has said who calls
	accepting   atomic.Int64 // Serve under way, and handshakes
	shaken      atomic.Int64 // handshakes that have ended well
	certs       interned
	probation   probation
	dated       atomic.Pointer[datestamp]
	draining    atomic.Bool
	refusals    *rate.Limiter // bounds the records of refused handshakes: whoever reaches the port can cause one

	tlsMu     sync.Mutex // held while tlsConfig is replaced
	tlsConfig atomic.Pointer[listenerTLS]
	bridgeTLS atomic.Pointer[listenerTLS] // of listeners that accept logins

	mu        sync.Mutex // guards what follows
	engine    *engine
	engines   []*engine // engine and those of earlier limits that still have connections
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	sources   sources
	stopped   chan struct{} // closed by Shutdown
}

// New makes a server and has it follow the registry's changes from now on.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	clock := cfg.Now
	if clock == nil {
		cfg.Now = time.Now
	}
	cfg.Limits = cfg.Limits.withDefaults()
	s := &Server{
		cfg:       cfg,
		clock:     clock,
		core:      Core{Registry: cfg.Registry, Trust: cfg.Trust, Now: cfg.Now},
		log:       cfg.Logger,
		refusals:  rate.NewLimiter(100, 200),
		made:      time.Now(),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
		sources:   newSources(),
		stopped:   make(chan struct{}),
	}
	s.upstreams.tokens, s.upstreams.now, s.upstreams.keep = cfg.Tokens, cfg.Registry.Snapshot, cfg.keep.withDefaults()
	s.observed.keep = &s.upstreams.keep
	s.logins.begin(s)
	s.preferences.server = s
	s.memory.setLimit(cfg.Limits.MaxMemory)
	s.turnstile.resize(cfg.Limits.Handshakes)
	s.engine = newEngine(s, cfg.Limits)
	s.engines = []*engine{s.engine}
	cfg.Registry.OnChange(s.registryChanged)
	if cfg.External != nil {
		cfg.External.OnRevocation(s.recheck)
	}
	go s.tend()
	go s.keepDaily()
	return s
}

// tend does what is due once in a while, until Shutdown: it closes connections to tenants that are of no use any more, and notices callers that have gone
// while their tenant is thinking.
func (s *Server) tend() {
	tick := time.NewTicker(s.upstreams.keep.tend)
	defer tick.Stop()
	var seen, burst int64
	for {
		select {
		case <-s.stopped:
			return
		case now := <-tick.C:
			s.upstreams.prune(now)
			s.observed.prune(now)
			s.preferences.tendAll()
			s.noticeGone(now)
			s.noticeSlowHeads(now)
			s.recheck()
			s.probation.prune(now)
			s.memory.relieve()
			s.mu.Lock()
			s.sources.forget(now.Sub(s.made))
			s.mu.Unlock()
			// Handshakes leave much garbage. Behind a burst of them the heap may not be collected for minutes, because requests leave none.
			delta := s.shaken.Load() - seen
			seen += delta
			if burst += delta; burst >= burstHandshakes && delta < burstHandshakes/50 {
				debug.FreeOSMemory()
				burst = 0
			}
		}
	}
}

// burstHandshakes is how many handshakes make a burst.
const burstHandshakes = 500

// halfClosed is how long a caller that has closed its sending half is believed to wait for its answer. It may have hung up just as well: TCP does not
// tell, until something is sent.
const halfClosed = 5 * time.Second

// noticeGone interrupts the exchanges of callers on HTTP/1.1 that have hung up. (Of HTTP/2, net/http tells.)
func (s *Server) noticeGone(now time.Time) {
	for _, c := range s.connections() {
		if c.h1.Load() == nil || !c.busy() {
			continue
		}
		switch c.raw.state() {
		case socketClosed:
			c.interrupt(errCallerGone)
		case socketHalf:
			if c.half.IsZero() {
				c.half = now
			}
			if now.Sub(c.half) > halfClosed {
				c.interrupt(errCallerGone)
			}
		}
	}
}

// at is the instant now, just looked at, on the clock of decisions.
func (s *Server) at(now time.Time) time.Time {
	if s.clock != nil {
		return s.clock()
	}
	return now
}

// datestamp is a Date, made once a second.
type datestamp struct {
	second int64
	value  string
}

// date is the time now as RFC 9110, section 5.6.7 writes it.
func (s *Server) date() string {
	now := time.Now()
	d := s.dated.Load()
	if d == nil || d.second != now.Unix() {
		d = &datestamp{now.Unix(), now.UTC().Format(http.TimeFormat)}
		s.dated.Store(d)
	}
	return d.value
}

// Reload gives connections that are made from now on other limits. Open connections keep theirs, but for memory and for handshakes that
// compute.
func (s *Server) Reload(l Limits) {
	s.memory.setLimit(l.MaxMemory)
	s.turnstile.resize(l.Handshakes)
	next := newEngine(s, l.withDefaults())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engine.stopAccepting()
	s.engine = next
	s.engines = append(s.engines, next)
}

func (s *Server) currentEngine() *engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine
}

// Shutdown stops accepting, lets requests in flight end until ctx is done, and then cuts what is left. It returns ctx's error in that case.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	s.mu.Lock()
	select {
	case <-s.stopped:
	default:
		close(s.stopped)
	}
	for l := range s.listeners {
		l.Close()
	}
	engines := s.engines
	s.mu.Unlock()
	// What was turned over to another protocol would go on for as long as its two sides like.
	s.endUpgraded()
	// Connections that were accepted before are served, too: each gets the answer to its first request.
	for s.accepting.Load() > 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}

	var wg sync.WaitGroup
	for _, e := range engines {
		wg.Go(func() { e.shutdown(ctx) })
	}
	wg.Wait()
	err := ctx.Err()
	s.cutAll()
	s.upstreams.closeAll()
	s.storeDaily()
	s.observed.closeAll()
	return err
}

// cutAll ends what is in flight, in good order as far as that goes quickly.
func (s *Server) cutAll() {
	for _, c := range s.connections() {
		c.cut(errStopping)
	}
	for end := time.Now().Add(2 * cutGrace); s.inFlight.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	for _, c := range s.connections() {
		c.close()
	}
}

// Connections is the number of open connections, those in a handshake included.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) connections() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

// identified are the connections whose handshake has ended. One that ends it later is judged by the registry as it then is.
func (s *Server) identified() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		if c.peer != nil {
			all = append(all, c)
		}
	}
	return all
}

// registryChanged acts on requests in flight (law 3) and lets go of what belongs to identities, tenants and credentials that are no more.
func (s *Server) registryChanged(_, now *identity.Snapshot, changed identity.Changed) {
	s.upstreams.forget(now, changed)
	s.preferences.forget(now, changed)
	s.gates.changed(now, changed)
	s.quotas.forget(now, changed)
	s.observed.forget(now, changed)
	s.cutLogins(now, changed)
	if !changed.All && len(changed.Identities) == 0 && len(changed.Certificates) == 0 && len(changed.Authorities) == 0 {
		return
	}
	for _, c := range s.identified() {
		if c.peer.anonymous() {
			continue // see cutLogins
		}
		b, err := identify(now, s.cfg.Trust(), c.peer, s.cfg.Now())
		switch {
		case err != nil:
			c.cut(&cutError{err.Error()})
		case b.Identity.Disabled:
			c.cut(&cutError{"identity is disabled"})
		}
	}
}
