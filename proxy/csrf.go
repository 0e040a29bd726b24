package proxy

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// Some tenants take a change only with a CSRF token, which belongs to a session (TENANTS.md, 3.2). Where a route says so, the token is fetched with GET and
// "X-CSRF-Token: Fetch", and goes with every change, together with the cookies of the session and no others. A tenant that answers 403 with
// "X-CSRF-Token: required" has executed nothing: then another token is fetched, and the request sent once more if its body can be.
//
// A session at the tenant outlives tokens, roles and clients, and where it is shown nothing else is looked at (TENANTS.md, 3.3). So ours lives exactly as
// long as the token under which it was opened: it is used only beside that very token, and belongs to the pool of one identity and tenant, with which it
// goes when the identity is disabled or the tenant changed (laws 4 and 5).

// session is one HTTP session at the tenant with its CSRF token.
type session struct {
	token  uint64       // ID of the bearer token under which it was opened
	csrf   token.Secret // value of X-CSRF-Token
	jar    jar
	proved atomic.Int64 // when the tenant last showed that it knows it, in nanoseconds since 1970
}

// freshFor is how long a session is believed to be known to the tenant without another proof, where a refusal could not be mended because the body is gone
// by then. Tomcat forgets sessions after 30 min without a request; one that is moved or restarted, at once.
const freshFor = time.Minute

func (s *session) fresh(now time.Time) bool { return now.UnixNano()-s.proved.Load() < int64(freshFor) }

// guard is what is known of the protection of one route for one credential of an identity.
type guard struct {
	mu      sync.Mutex // guards what follows; never held across the network
	asked   bool       // the tenant has asked for a token
	session *session   // nil: none
	flight  *csrfFetch // the fetch under way, nil if none
}

// guardKey names a guard within a pool. A route that is changed is another entry.
type guardKey struct {
	credential string
	route      *identity.RouteEntry
}

// guards are those of one pool.
type guards struct {
	mu  sync.Mutex // held for map operations only
	all map[guardKey]*guard
}

func (g *guards) of(key guardKey) *guard {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[key] == nil {
		if g.all == nil {
			g.all = make(map[guardKey]*guard)
		}
		g.all[key] = new(guard)
	}
	return g.all[key]
}

// forget lets go of the guards whose credential or route is gone or changed.
func (g *guards) forget(now *identity.Snapshot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key := range g.all {
		_, held := now.Credential(key.credential)
		if route, ok := now.Route(key.route.Route.Name); !held || !ok || route != key.route {
			delete(g.all, key)
		}
	}
}

// changes reports whether a method may change something at the tenant: only then it asks for a CSRF token.
func changes(method string) bool { return !idempotent(method) }

// guarded reports whether the exchange needs a CSRF token, or may come to need one. What is known about that belongs to the credential in use.
func (x *exchange) guarded() bool {
	x.guard, x.session = nil, nil
	if route := x.decision.Route; route.Route.CSRF != identity.CSRFOff && changes(x.req.Method) {
		x.guard = x.means.pool.guards.of(guardKey{x.means.credential.ID, route})
	}
	return x.guard != nil
}

// protect has a session ready that was opened under the token.
func (x *exchange) protect(tok token.Token) *csrfError {
	g, begun := x.guard, time.Now()
	now := x.server.at(begun)
	g.mu.Lock()
	if x.decision.Route.Route.CSRF == identity.CSRFAuto && !g.asked {
		g.mu.Unlock()
		return nil
	}
	path, _, _ := splitTarget(x.decision.Target)
	if s := g.session; s != nil && s.token == tok.ID && s.jar.covers(path) && (x.mayReplay() || s.fresh(now)) {
		g.mu.Unlock()
		x.session = s
		return nil
	}
	f := g.flight
	if f == nil || f.token.ID != tok.ID {
		f = x.newFetch(x.means.pool, tok)
		g.flight = f
		go f.run()
	}
	g.mu.Unlock()
	ctx, done := x.patience()
	defer done()
	select {
	case <-f.done:
	case <-ctx.Done():
		return &csrfError{outcome: record.CallerGone, cause: "waiting for a CSRF token: " + ctx.Err().Error()}
	}
	x.now = time.Now()
	x.access.CSRFDuration += x.now.Sub(begun)
	x.session = f.session
	if f.err != nil && f.err.result == record.CSRFDropped && !enabled(x.server.core.Registry.Snapshot(), x.access.Identity) {
		// The fetch may learn of that before the exchange does.
		return &csrfError{outcome: record.RevokedInFlight, cause: "identity is disabled"}
	}
	return f.err
}

// mayReplay reports whether the body is known to be one that can be sent again.
func (x *exchange) mayReplay() bool { return x.req.Length >= 0 && x.req.Length <= x.limits.ReplayBytes }

// csrfRequired reports whether the tenant refused for want of a CSRF token. A 403 for want of a role has no such field, whatever its body.
func csrfRequired(r *wire.Response) bool {
	return r.Status == http.StatusForbidden && strings.EqualFold(r.Fields.Get("X-CSRF-Token"), "required")
}

// judge learns from the tenant's answer, and reports whether the request is to be sent once more.
func (x *exchange) judge(r *wire.Response) (again bool) {
	g, s := x.guard, x.session
	if csrfRequired(r) {
		g.mu.Lock()
		g.asked = true
		if g.session == s {
			g.session = nil
		}
		g.mu.Unlock()
		switch {
		case x.reguarded:
			x.access.Cause = "the tenant did not accept the CSRF token that it had just given"
		case !x.upload.halt() || !x.upload.replayable():
			x.access.Cause = "the tenant requires a CSRF token, and the body could not be sent again"
		default:
			x.reguarded, x.access.CSRFRetried = true, true
			return true
		}
		return false
	}
	if s == nil || r.Status == http.StatusUnauthorized {
		return false
	}
	path, _, _ := splitTarget(x.decision.Target)
	for i := range r.Fields {
		if f := &r.Fields[i]; strings.EqualFold(f.Name, "Set-Cookie") {
			s.jar.set(f.Value, path, x.now)
		}
	}
	switch now := x.server.at(x.now); {
	case r.Status < http.StatusInternalServerError:
		s.proved.Store(now.UnixNano())
	case !s.fresh(now):
		// Some say 500 for want of a token, too. That may as well be the flow's own, so nothing is sent again: the next change has another session.
		g.drop(s)
	}
	return false
}

// forgetSession forgets what was opened under a token that the tenant has refused.
func (x *exchange) forgetSession() {
	if x.session != nil {
		x.guard.drop(x.session)
	}
}

// drop forgets a session, if it is still the one in use.
func (g *guard) drop(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.session == s {
		g.session = nil
	}
}

// addSession adds the token and the cookies of the session.
func (x *exchange) addSession(add func(name, value string)) {
	path, _, _ := splitTarget(x.decision.Target)
	add(csrfField, x.session.csrf.Reveal())
	if cookies := x.session.jar.value(path, x.now); cookies != "" {
		add("Cookie", cookies)
	}
}

const csrfField = "X-CSRF-Token"
