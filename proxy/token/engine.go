package token

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Engine holds the sources of a process. The zero value works; set the fields before the first call and not after. All its
// methods are safe for concurrent use. An Engine must not be copied.
type Engine struct {
	// Timeout bounds one fetch, from connecting to the last byte of the answer. 0 means 10 s.
	Timeout time.Duration
	// MaxBody bounds the token endpoint's answer in bytes. 0 means 1 MiB.
	MaxBody int64
	// DefaultLifetime is taken when the server tells none: expires_in missing, zero, negative or unreadable. 0 means 5 min.
	DefaultLifetime time.Duration
	// MaxLifetime caps what a server tells. 0 means 7 days.
	MaxLifetime time.Duration
	// ExpiryMargin is how long before its end a token is no longer handed out, at most a tenth of its lifetime. 0 means 10 s.
	ExpiryMargin time.Duration
	// RefreshAt is the part of a token's lifetime after which it is refreshed, between 0 and 1. 0 means 0.5.
	RefreshAt float64
	// MaxAge caps the age at which a token in use is refreshed, because a tenant may rotate its signing keys (TENANTS.md
	// 2.4). An older token is still served while nothing better exists. 0 means 2 h.
	MaxAge time.Duration
	// Jitter is the part of the delay by which a refresh may come earlier, at random, so that tokens that were fetched
	// together are not refreshed together. 0 means 0.1; negative means none.
	Jitter float64
	// KeepWarm is how long after its last use a token is still refreshed without being asked for. 0 means 2 h.
	KeepWarm time.Duration
	// BackoffMin is the pause after a first failure; it doubles with each further one up to BackoffMax, and half of it is
	// random. 0 means 1 s and 1 min.
	BackoffMin, BackoffMax time.Duration
	// RetryAfterMax bounds what a server may ask for with Retry-After. 0 means 15 min.
	RetryAfterMax time.Duration
	// RefusedTries is how often a client that the server refuses is tried before it is held. 0 means 2.
	RefusedTries int
	// RefusedHold is how long such a client is held; it doubles with each further refusal, four times RefusedHold at most.
	// It counts for all scopes of the credential together. 0 means 15 min.
	RefusedHold time.Duration
	// Rate is how many requests a second begin at one token server (host and port), of all credentials together. 0 means 50: XSUAA answers 60 a second and
	// IAS 50 (TENANTS.md 2.4). A tenth of it may come ahead of its time where callers wait.
	Rate float64
	// InFlight bounds the requests under way at one token server. 0 means 50. Half of them are left to those for which a caller waits.
	InFlight int
	// RejectCooldown is how long after an eviction by [Source.Reject] no other token is evicted. 0 means 30 s.
	RejectCooldown time.Duration
	// DiscoveryAge is after what time an issuer's metadata are read again, in the background; what was read last serves until
	// something better is there. 0 means 1 h.
	DiscoveryAge time.Duration

	// Dial connects to the token endpoint. nil means a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy chooses an outbound HTTP proxy. nil means none; the environment is not read.
	Proxy func(*http.Request) (*url.URL, error)
	// Observe is called after each fetch that was begun, outside of all locks, from the fetch's goroutine: it must be safe for
	// concurrent use. nil means not.
	Observe func(Fetch)
	// Logger gets a line for each failure and each recovery. nil means none.
	Logger *slog.Logger
	// Store keeps tokens over a restart, from [Engine.Restore] on. nil means that they are kept in memory only.
	Store *Store

	lastID      atomic.Uint64
	discoveries discoveries
	warmUp      warmUpProgress

	mu      sync.RWMutex // guards what follows; held for map operations only
	base    time.Time    // the zero of all instants kept as durations; set with the first source
	sources map[sourceKey]*Source
	clients map[clientKey]*client
	pacers  map[string]*pacer // by token server
	closed  bool

	store    *Store            // nil until Restore
	restored map[sourceKey]row // stored before the restart, and not asked for yet
	refusals map[string][]byte // stored before the restart, sealed, by credential ID
}

// sourceKey is a struct and not a joined string, so that no two pairs can meet.
type sourceKey struct{ id, scope, parameters string }

// clientKey is a credential at one token server.
type clientKey struct{ id, host string }

// Fetch describes one request to a token endpoint, for metrics. It carries no secret.
type Fetch struct {
	CredentialID string
	Scope        string
	Host         string        // host and port of the token endpoint, of the issuer where it is discovered
	Background   bool          // no caller waited for it when it began
	Duration     time.Duration // of the exchange
	Lifetime     time.Duration // of the token as taken over, 0 on error
	LifetimeTold bool          // false when DefaultLifetime had to be taken
	Err          *Error        // nil if there is a token
}

// State is what is known of one source, for metrics, readiness and checks. It carries no secret.
type State struct {
	CredentialID string
	Scope        string
	Parameters   string    // as in Credential
	Host         string    // host and port of the token endpoint, of the issuer where it is discovered
	Valid        bool      // a token is at hand
	Obtained     time.Time // when the token at hand was asked for, zero if there is none
	Expires      time.Time // when it ends, zero if there is none
	Fetching     bool      // a request is under way
	Fetches      uint64    // requests that were begun
	Failures     uint64    // of these, how many gave no token
	LastUsed     time.Time // when a token was last asked for, to the minute; zero if never
	LastError    *Error    // of the last fetch, nil if it succeeded
}

// Source returns the source of the credential, its scope and its parameters, making it if need be. A credential with the same
// three but another content replaces the old source, which refuses from then on. The credential is not checked here: an impossible
// one gives an error at [Source.Token].
func (e *Engine) Source(c Credential) *Source {
	key := sourceKey{c.ID, c.Scope, c.Parameters}
	e.mu.RLock()
	s := e.sources[key]
	e.mu.RUnlock()
	if s != nil && s.cred.same(c) {
		return s
	}
	saved := e.recall(key, c)
	e.mu.Lock()
	s, replaced := e.sourceLocked(key, c, saved)
	e.mu.Unlock()
	if replaced != nil {
		replaced.drop()
	}
	return s
}

func (e *Engine) sourceLocked(key sourceKey, c Credential, saved recalled) (s, replaced *Source) {
	e.initLocked()
	if old := e.sources[key]; old != nil {
		if old.cred.same(c) {
			return old, nil
		}
		replaced = old
		if own := (clientKey{c.ID, old.host}); e.clients[own] == old.client {
			e.forgetClient(own) // what was refused was another client
			delete(e.refusals, c.ID)
			if e.store != nil {
				e.store.refusal(c.ID, nil)
			}
		}
		if e.store != nil {
			e.store.row(key, rowChange{kind: removeRow, until: time.Now()})
		}
	}
	s = newSource(e, c, e.clientLocked(c, saved.refusal))
	if e.closed {
		s.drop()
		return s, replaced
	}
	e.sources[key] = s
	delete(e.restored, key)
	s.adopt(saved)
	return s, replaced
}

// initLocked makes the maps, and the zero of all instants.
func (e *Engine) initLocked() {
	if e.sources != nil {
		return
	}
	e.sources = make(map[sourceKey]*Source)
	e.clients = make(map[clientKey]*client)
	e.pacers = make(map[string]*pacer)
	e.restored = make(map[sourceKey]row)
	e.base = time.Now()
}

// clientLocked returns what the credential's sources share, making it if need be.
func (e *Engine) clientLocked(c Credential, refusal *savedRefusal) *client {
	host := c.host()
	key := clientKey{c.ID, host}
	cl := e.clients[key]
	if cl == nil {
		p := e.pacers[host]
		if p == nil {
			p = newPacer(e, host)
			e.pacers[host] = p
		}
		p.users++
		cl = &client{pacer: p}
		cl.restore(e, host, refusal)
		e.clients[key] = cl
	}
	return cl
}

// forgetClient lets go of a client, and of its token server when it was the last one there. e.mu is held.
func (e *Engine) forgetClient(key clientKey) {
	cl := e.clients[key]
	delete(e.clients, key)
	if cl.pacer.users--; cl.pacer.users == 0 {
		delete(e.pacers, key.host)
	}
}

// States returns the state of every source, ordered by credential ID, scope and parameters.
func (e *Engine) States() []State {
	e.mu.RLock()
	sources := make([]*Source, 0, len(e.sources))
	for _, s := range e.sources {
		sources = append(sources, s)
	}
	e.mu.RUnlock()
	states := make([]State, len(sources))
	for i, s := range sources {
		states[i] = s.State()
	}
	slices.SortFunc(states, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.CredentialID, b.CredentialID), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Parameters, b.Parameters))
	})
	return states
}

func orDuration(d, zero time.Duration) time.Duration {
	if d == 0 {
		return zero
	}
	return d
}

func (e *Engine) timeout() time.Duration         { return orDuration(e.Timeout, 10*time.Second) }
func (e *Engine) defaultLifetime() time.Duration { return orDuration(e.DefaultLifetime, 5*time.Minute) }
func (e *Engine) maxLifetime() time.Duration     { return orDuration(e.MaxLifetime, 7*24*time.Hour) }
func (e *Engine) keepWarm() time.Duration        { return orDuration(e.KeepWarm, 2*time.Hour) }
func (e *Engine) retryAfterMax() time.Duration   { return orDuration(e.RetryAfterMax, 15*time.Minute) }
func (e *Engine) rejectCooldown() time.Duration  { return orDuration(e.RejectCooldown, 30*time.Second) }
func (e *Engine) rate() float64                  { return cmp.Or(e.Rate, 50) }
func (e *Engine) inFlight() int                  { return cmp.Or(e.InFlight, 50) }
func (e *Engine) maxBody() int64                 { return cmp.Or(e.MaxBody, 1<<20) }
