package servercert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/tenantgate/tenantgate/pki"
)

// ACMEOptions says from where to have certificates, for what, and how to prove that the names are ours.
type ACMEOptions struct {
	// Names get a certificate each, the default first. At least one.
	Names []string
	// Directory is the ACME server's (RFC 8555 section 7.1.1), an https address. There is no default.
	Directory string
	// Email is told to the ACME server for what it has to say about the account; "" is none.
	Email string
	// AgreeTerms is the operator's agreement with the terms of the ACME server's operator. It must be true.
	AgreeTerms bool
	// Challenges are TLSALPN01, HTTP01 or both. At least one.
	Challenges []string
	// Profile is one of the certificate profiles that the directory names; "" is the server's default.
	Profile string
	// EABKeyID and EABKey bind the account to one that exists outside of ACME (RFC 8555 section 7.3.4); "" binds it to none. The key is a secret and is
	// never logged.
	EABKeyID string
	EABKey   []byte
	// TrustedRoots verify the ACME server itself; nil is the system's.
	TrustedRoots *x509.CertPool
	// Roots are what the certificates must lead to; empty is not asked.
	Roots []*x509.Certificate
	// KeyType is P-256, P-384, RSA-2048 or RSA-4096; "" is P-256. It holds for certificates that are ordered from then on.
	KeyType string
	// Storage keeps account, certificates and open challenges. Required. Close does not close it.
	Storage pki.Storage
	// Shared says that other nodes use the storage: each answers challenges of all.
	Shared bool
	// Pause is the least time between two orders of one certificate that succeed; 0 means 30 s.
	Pause time.Duration
	// Stapler attaches OCSP answers; nil attaches none.
	Stapler *Stapler
	// Logger gets what happens; nil discards it.
	Logger *slog.Logger
}

// ACME has certificates from an ACME CA, one a name, ordered and renewed in the background: nothing waits for the ACME server. Safe for concurrent use.
type ACME struct {
	options    ACMEOptions
	config     *certmagic.Config
	cache      *certmagic.Cache // empty: what is served is held below
	issuer     *issuer
	challenges *challenges
	stop       context.CancelFunc
	running    sync.WaitGroup
	closing    sync.Once
	kick       chan struct{} // Look

	serving atomic.Pointer[map[string]*tls.Certificate] // by name, with OCSP answers

	mu    sync.Mutex // guards what follows; not held across storage or network
	names map[string]*ordered
}

// ordered is a name and what is known of its certificate.
type ordered struct {
	bare     *tls.Certificate // nil while there is none
	failures int              // in a row
	advice   advice           // of the ACME server
	trouble
}

const (
	renewalWindow = 1.0 / 3 // of the lifetime, in which a certificate is renewed
	acmeLook      = time.Minute
)

// OpenACME takes the certificates that are stored, and has those that are missing ordered in the background. It does not wait for the ACME server.
func OpenACME(ctx context.Context, o ACMEOptions) (*ACME, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Pause <= 0 {
		o.Pause = 30 * time.Second
	}
	if !o.AgreeTerms {
		return nil, errors.New("the terms of the ACME server's operator are not agreed to")
	}
	if o.Directory == "" || len(o.Names) == 0 || len(o.Challenges) == 0 || o.Storage == nil {
		return nil, errors.New("an ACME source needs a directory, names, challenges and a storage")
	}
	o.Names = normal(o.Names)
	a := &ACME{options: o, kick: make(chan struct{}, 1), names: make(map[string]*ordered)}
	storage := newLeased(o.Storage, o.Logger)
	a.issuer = &issuer{ACMEOptions: &a.options, storage: storage, http: newHTTPClient(o.TrustedRoots), logger: o.Logger.With("component", "acme")}
	a.challenges = newChallenges(o.Storage, a.issuer.prefix(), o.Shared, o.Logger)
	a.issuer.challenges = a.challenges
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		RenewCheckInterval: idle, OCSPCheckInterval: idle,
		Logger: pki.ZapLogger(o.Logger),
	})
	config := settings(storage, o.Logger, a.issuer)
	config.KeySource = certmagic.StandardKeyGenerator{KeyType: keyTypes[o.KeyType]}
	a.config = certmagic.New(a.cache, config)
	for _, name := range o.Names {
		w := &ordered{}
		a.names[name] = w
		c, err := a.load(ctx, name)
		if err == nil {
			w.bare = c
		} else if !errors.Is(err, errNone) && !errors.Is(err, errUnusable) {
			a.cache.Stop()
			return nil, fmt.Errorf("loading the certificate of %s: %w", name, err)
		}
		if w.bare == nil {
			w.set("there is no certificate yet", time.Time{})
		}
	}
	a.publish()
	life, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.running.Go(func() { a.keep(life) })
	a.running.Go(func() { a.challenges.follow(life) })
	a.running.Go(func() { a.options.Stapler.keep(life, a.certificates, a.publish) })
	return a, nil
}

var keyTypes = map[string]certmagic.KeyType{
	"": certmagic.P256, pki.P256: certmagic.P256, pki.P384: certmagic.P384, pki.RSA2048: certmagic.RSA2048, pki.RSA4096: certmagic.RSA4096,
}

// Close ends what is under way and everything in the background. What is held is served on. The storage stays open. Closing again does nothing.
func (a *ACME) Close() {
	a.closing.Do(func() {
		a.stop()
		a.running.Wait()
		a.issuer.storage.release()
		a.cache.Stop()
		a.issuer.http.CloseIdleConnections()
	})
}

// Look has certificates that are missing or due ordered now, whatever the pause that was kept. It does not wait for them.
func (a *ACME) Look() error {
	select {
	case a.kick <- struct{}{}:
	default:
	}
	return nil
}

// Certificate returns the certificate of a name, nil when there is none that is valid now.
func (a *ACME) Certificate(name string, _ *tls.ClientHelloInfo) *tls.Certificate {
	if c := (*a.serving.Load())[name]; leafValid(c, time.Now()) {
		return c
	}
	return nil
}

// Covers reports whether a certificate of this name is had from the CA.
func (a *ACME) Covers(name string) bool { return slices.Contains(a.options.Names, name) }

// Names returns the names, the default first.
func (a *ACME) Names() []string { return slices.Clone(a.options.Names) }

// States returns how the certificate of each name stands.
func (a *ACME) States() []State {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []State
	for _, name := range a.options.Names {
		w := a.names[name]
		s := State{Name: name, Source: "acme", Names: []string{name}, Problem: w.problem, Since: w.since, Next: w.next}
		if w.bare != nil {
			s.Serial, s.NotBefore, s.NotAfter = pki.FormatSerial(w.bare.Leaf.SerialNumber), w.bare.Leaf.NotBefore, w.bare.Leaf.NotAfter
			if warning := a.options.Stapler.warning(w.bare); warning != "" {
				s.Warnings = append(s.Warnings, warning)
			}
		}
		all = append(all, s)
	}
	return all
}

// Challenge answers a tls-alpn-01 challenge, of whichever node (RFC 8737). It returns nil for a name that nobody has to prove now. The certificate says
// nothing but that; nothing must be served on its connection.
func (a *ACME) Challenge(hello *tls.ClientHelloInfo) *tls.Certificate {
	return a.challenges.certificate(hello)
}

// ServeHTTP answers http-01 challenges, of whichever node (RFC 8555 section 8.3), below [HTTPPath], and nothing else.
func (a *ACME) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, HTTPPath)
	authorization := ""
	if ok && r.Method == http.MethodGet {
		authorization = a.challenges.authorization(token)
	}
	if authorization == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(authorization)) // a connection that is gone is the ACME server's to notice
}

// certificates are those that are held.
func (a *ACME) certificates() []*tls.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*tls.Certificate
	for _, w := range a.names {
		if w.bare != nil {
			all = append(all, w.bare)
		}
	}
	return all
}

// publish puts what is held in front of clients, with its OCSP answers.
func (a *ACME) publish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	serving := make(map[string]*tls.Certificate, len(a.names))
	for name, w := range a.names {
		if w.bare != nil {
			serving[name] = a.options.Stapler.with(w.bare)
		}
	}
	a.serving.Store(&serving)
}
