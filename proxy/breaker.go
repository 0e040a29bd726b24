package proxy

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// gate stands before one tenant, whoever calls it: a tenant that is dead or slow must take nothing else down. It has two reasons not to let a request
// through. Its breaker is open: connections to the tenant failed, one after the other, and it is tried again only now and then, by one request at a time. Or
// the tenant already holds its share of all requests that may be in flight, or as many as it is given. Its methods take no lock.
type gate struct {
	inFlight atomic.Int64
	failures atomic.Int32 // connections that failed since one was made
	until    atomic.Int64 // the breaker is open until then, in nanoseconds since 1970; 0 when it is closed
}

// breakerMost is how often the first pause fits into the longest one.
const breakerMost = 5

// fullPause is when a request is worth trying again that found the tenant with all the requests it may have.
const fullPause = time.Second

// enter lets a request through, or says why not and when to try again. Whoever was let through must leave.
func (g *gate) enter(now time.Time, share int64, t *identity.Tenant) (cause string, retry time.Duration) {
	if until := g.until.Load(); until != 0 {
		// Open. When the pause is over, the one who moves its end is the probe.
		if rest := until - now.UnixNano(); rest > 0 {
			return "connections to the tenant fail: it is left alone for a while", time.Duration(rest)
		}
		if !g.until.CompareAndSwap(until, now.UnixNano()+int64(g.pause(t))) {
			_, cooldown := t.Breaker()
			return "connections to the tenant fail: another request is trying it", cooldown
		}
	}
	switch n := g.inFlight.Add(1); {
	case n > share:
		g.inFlight.Add(-1)
		return "the tenant holds its share of all requests in flight", fullPause
	case t.Concurrency > 0 && n > int64(t.Concurrency):
		g.inFlight.Add(-1)
		return "the tenant has as many requests in flight as it may", fullPause
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
func (g *gate) failed(now time.Time, t *identity.Tenant) {
	failures, _ := t.Breaker()
	if n := g.failures.Add(1); failures > 0 && int(n) >= failures {
		g.until.Store(now.UnixNano() + int64(g.pause(t)))
	}
}

// pause is how long the breaker stays open after so many failures: it doubles with each further one.
func (g *gate) pause(t *identity.Tenant) time.Duration {
	failures, cooldown := t.Breaker()
	over := min(max(int(g.failures.Load())-failures, 0), 10)
	return min(cooldown<<over, breakerMost*cooldown)
}

// gates are those of all tenants, by name. A tenant that was changed keeps its gate, but its breaker is closed: the change may be the remedy. A reader takes
// no lock.
type gates struct {
	mu  sync.Mutex // held while all is replaced
	all atomic.Pointer[map[string]*gate]
}

// changed closes the breakers of tenants that an operator has changed, and forgets those of tenants that are gone.
func (g *gates) changed(now *identity.Snapshot, changed identity.Changed) {
	if !changed.All && len(changed.Tenants) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.all.Load()
	if m == nil {
		return
	}
	next := maps.Clone(*m)
	for name, one := range next {
		if _, ok := now.Tenant(name); !ok {
			delete(next, name)
		} else if changed.All || slices.Contains(changed.Tenants, name) {
			one.connected()
		}
	}
	g.all.Store(&next)
}

// TenantStates says how all tenants stand that were called, by name.
func (s *Server) TenantStates() []record.TenantState {
	var all []record.TenantState
	if m := s.gates.all.Load(); m != nil {
		for name, g := range *m {
			all = append(all, record.TenantState{Tenant: name, BreakerOpen: g.until.Load() != 0, InFlight: int(g.inFlight.Load())})
		}
	}
	slices.SortFunc(all, func(a, b record.TenantState) int { return strings.Compare(a.Tenant, b.Tenant) })
	return all
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
