package proxy

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// gate stands before one tenant, whoever calls it: a tenant that is dead or slow must take nothing else down. It has two reasons not to let a request
// through. Its breaker is open: connections to the tenant failed, one after the other, and it is tried again only now and then, by one request at a time. Or
// the tenant already holds its share of all requests that may be in flight. Its methods take no lock.
type gate struct {
	inFlight atomic.Int64
	failures atomic.Int32 // connections that failed since one was made
	until    atomic.Int64 // the breaker is open until then, in nanoseconds since 1970; 0 when it is closed
}

const (
	breakerFailures = 5               // failures in a row that open the breaker
	breakerPause    = time.Second     // how long it is open at first; it doubles with each further failure
	breakerMaxPause = 5 * time.Second // and how long at most
)

// enter lets a request through, or says why not and when to try again. Whoever was let through must leave.
func (g *gate) enter(now time.Time, share int64) (cause string, retry time.Duration) {
	if until := g.until.Load(); until != 0 {
		// Open. When the pause is over, the one who moves its end is the probe.
		if rest := until - now.UnixNano(); rest > 0 {
			return "connections to the tenant fail: it is left alone for a while", time.Duration(rest)
		}
		if !g.until.CompareAndSwap(until, now.UnixNano()+int64(g.pause())) {
			return "connections to the tenant fail: another request is trying it", breakerPause
		}
	}
	if g.inFlight.Add(1) > share {
		g.inFlight.Add(-1)
		return "the tenant holds its share of all requests in flight", breakerPause
	}
	return "", 0
}

func (g *gate) leave() { g.inFlight.Add(-1) }

// connected closes the breaker.
func (g *gate) connected() {
	if g.failures.Load() != 0 {
		g.failures.Store(0)
		g.until.Store(0)
	}
}

// failed counts a connection that could not be made.
func (g *gate) failed(now time.Time) {
	if g.failures.Add(1) >= breakerFailures {
		g.until.Store(now.UnixNano() + int64(g.pause()))
	}
}

// pause is how long the breaker stays open after so many failures.
func (g *gate) pause() time.Duration {
	over := max(g.failures.Load()-breakerFailures, 0)
	return min(breakerPause<<min(over, 10), breakerMaxPause)
}

// gates are those of all tenants, by name. A tenant that was changed keeps its gate, but its breaker is closed: the change may be the remedy. A reader takes
// no lock.
type gates struct {
	mu  sync.Mutex // held while all is replaced
	all atomic.Pointer[map[string]*gate]
}

// changed closes the breakers of tenants that an operator has changed.
func (g *gates) changed(tenants []string) {
	if m := g.all.Load(); m != nil {
		for _, name := range tenants {
			if one := (*m)[name]; one != nil {
				one.connected()
			}
		}
	}
}

func (g *gates) of(tenant string) *gate {
	if m := g.all.Load(); m != nil {
		if one := (*m)[tenant]; one != nil {
			return one
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	next := make(map[string]*gate)
	if m := g.all.Load(); m != nil {
		if one := (*m)[tenant]; one != nil {
			return one
		}
		next = maps.Clone(*m)
	}
	next[tenant] = new(gate)
	g.all.Store(&next)
	return next[tenant]
}
