package proxy

import (
	"strconv"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// peek returns the quota of an identity that has called, nil when it has not.
func (qs *quotas) peek(name string) *quota {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	return qs.all[name]
}

// ready is how long it takes until a request would be let through, 0 for at once: what take decides, without taking anything.
func (q *quota) ready(now time.Duration, rate float64, burst int) time.Duration {
	each := time.Duration(float64(time.Second) / rate)
	size := each * time.Duration(burst)
	ahead := max(time.Duration(q.full.Load())-now, 0) + each
	if ahead > size+each { // another rate's, which take would replace
		return each
	}
	return max(ahead-size, 0)
}

// limits looks at what the identity has left on this node, now.
func (e *explainer) limits() {
	if cause := e.s.Overloaded(); cause != "" {
		e.fail("capacity", record.Overloaded, "", "%s", cause)
	} else {
		e.pass("capacity", "this node has room")
	}
	q := e.s.quotas.peek(e.id.Name)
	if q == nil {
		q = &quota{identity: e.id.Name}
	}
	set := "tenantgate identity set " + e.id.Name
	switch n := q.inFlight.Load(); {
	case e.id.Concurrency == 0:
		e.pass("concurrency", "any number may be in flight")
	case n >= int64(e.id.Concurrency):
		e.fail("concurrency", record.Limited, set+" --concurrency N", "%d of %d are in flight", n, e.id.Concurrency)
	default:
		e.pass("concurrency", "%d of %d are in flight", n, e.id.Concurrency)
	}
	if e.id.Rate == 0 {
		e.pass("rate", "any number may come in a second")
	} else if wait := q.ready(time.Since(e.s.made), e.id.Rate, e.id.EffectiveBurst()); wait > 0 {
		e.fail("rate", record.Limited, set+" --rate N", "%g a second are used up: the next one in %v", e.id.Rate, wait.Round(time.Millisecond))
	} else {
		e.pass("rate", "within %g a second", e.id.Rate)
	}
	e.quota(q, set)
}

// quota looks at the day's quota: of today, as far as this node knows; of another day nothing is known.
func (e *explainer) quota(q *quota, set string) {
	day := identity.Day(e.at)
	switch {
	case !e.id.HasDailyQuota():
		e.pass("quota", "there is none")
		return
	case day != identity.Day(e.s.cfg.Now()):
		e.skip("quota", "what will have been used on another day is not known")
		return
	}
	u := q.today.Load()
	if u == nil || u.day != day {
		u = &dayUse{day: day}
	}
	requests, octets := u.requests.Load(), u.octets.Load()
	used := func(n, limit int64, what string) string {
		if limit == 0 {
			return strconv.FormatInt(n, 10) + " " + what
		}
		return strconv.FormatInt(n, 10) + " of " + strconv.FormatInt(limit, 10) + " " + what
	}
	text := used(requests, e.id.DailyRequests, "requests") + ", " + used(octets, e.id.DailyOctets, "octets")
	if cause := u.exhausted(e.id, requests+1); cause != "" {
		e.fail("quota", record.QuotaExhausted, set+" --daily-requests N --daily-octets N", "%s are used, until %s", text,
			identity.EndOfDay(day).Format("2006-01-02 15:04Z"))
		return
	}
	e.pass("quota", "%s are used", text)
}

// tenant looks at what stands between an allowed request and its tenant: the gate, the credential, the protection against forgery.
func (e *explainer) tenant() {
	route := e.path.Route
	if route == nil {
		e.skip("tenant", "there is no route")
		return
	}
	tenant := route.Tenant
	e.gate(tenant)
	credentials := e.snap.Credentials(e.id.Name, tenant.Name)
	if len(credentials) == 0 {
		e.fail("credential", record.NoToken, "tenantgate credential add "+e.id.Name+" "+tenant.Name+" --service-key FILE",
			"the identity has no credential for tenant %s", tenant.Name)
	} else {
		e.credential(credentials, tenant)
	}
	switch {
	case !changes(e.q.Method):
		e.pass("csrf", "%s changes nothing", e.q.Method)
	case route.Route.CSRF == identity.CSRFOff:
		e.pass("csrf", "the route fetches no token: a tenant that asks for one refuses")
	default:
		e.pass("csrf", "a token is fetched for it (%s)", route.Route.CSRF)
	}
}

func (e *explainer) gate(tenant *identity.Tenant) {
	limits := e.s.currentEngine().limits
	share := limits.tenantShare()
	if tenant.Concurrency > 0 {
		share = min(share, int64(tenant.Concurrency))
	}
	var g gate
	if m := e.s.gates.all.Load(); m != nil && (*m)[tenant.Name] != nil {
		one := (*m)[tenant.Name]
		g.until.Store(one.until.Load())
		g.inFlight.Store(one.inFlight.Load())
	}
	switch {
	case g.until.Load() > time.Now().UnixNano():
		e.fail("tenant", record.TenantUnavailable, "tenantgate tenant check "+tenant.Name, "connections to %s fail: it is left alone until %s", tenant.Name,
			time.Unix(0, g.until.Load()).UTC().Format(time.TimeOnly))
	case g.inFlight.Load() >= share:
		e.fail("tenant", record.TenantUnavailable, "tenantgate tenant set "+tenant.Name+" --concurrency N",
			"%s has all the requests that it may have", tenant.Name)
	default:
		e.pass("tenant", "%s is called", tenant.Name)
	}
}

// credential says how the credential stands with which the request would be sent. One that is refused now fails, because no token is to be had with it.
func (e *explainer) credential(credentials []*identity.Credential, tenant *identity.Tenant) {
	states := e.s.CredentialStates(credentials)
	at := 0
	for i := range states {
		if states[i].InUse {
			at = i
		}
	}
	c, st := credentials[at], states[at]
	detail := "client " + c.ClientID + " is " + st.State
	if st.Error != "" {
		detail += ": " + st.Error
	}
	if st.State == "refused" || st.State == "expired" {
		e.fail("credential", record.NoToken, "tenantgate credential rotate "+e.id.Name+" "+tenant.Name+" --service-key FILE", "%s", detail)
		return
	}
	e.pass("credential", "%s", detail)
}
