package proxy

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/login"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// A login in stage observe is not ours to judge: its requests go to the tenant with the caller's own Authorization, and the tenant says whether the password is
// right. Nothing of an identity goes along: no token, no connection, no session, no name. What would have become of the request with the identity is found out
// beside it, and recorded.

// observation is one observed request.
type observation struct {
	value string       // of Authorization, as it came
	key   login.Digest // of the user name and password
	token token.Token  // the same in the place of a token, so that the tenant's answer cannot reflect it
	would *token.Source
}

// newObservation keeps nothing of the request's buffer: a fetch of a CSRF token outlives it.
func newObservation(value string, key login.Digest) *observation {
	value = strings.Clone(value)
	return &observation{value: value, key: key, token: token.Token{Value: token.NewSecret(value), ID: 1}}
}

// observe finds the connections of an observed request. When it returns false, the request was refused.
func (x *exchange) observe() bool {
	o, route := x.basic.observed, x.decision.Route
	p, err := x.server.observed.get(observedKey{x.decision.Login.User, route.Tenant.Name, o.key}, route.Tenant)
	if err != nil {
		x.refuse(record.Internal, err.Error())
		return false
	}
	x.means = means{credential: &x.server.observed.nobody, pool: p}
	x.foresee()
	return true
}

// foresee finds out by what token the request would have gone, and has it fetched in the background when there is none. It is never sent.
func (x *exchange) foresee() {
	d := &x.decision
	if d.Would != record.Served {
		return
	}
	credentials := x.server.core.Registry.Snapshot().Credentials(d.Binding.Identity.Name, d.Route.Tenant.Name)
	if len(credentials) == 0 {
		d.Would, d.WouldCause = record.NoToken, "the identity has no credential for the tenant"
		return
	}
	for _, c := range credentials {
		m, err := x.server.upstreams.means(c, d.Route.Tenant, d.Route.Route)
		if err != nil {
			d.Would, d.WouldCause = record.NoToken, err.Error()
			continue
		}
		d.Would, d.WouldCause = record.Internal, "the token is still being fetched"
		x.basic.observed.would = m.source
		if !holds(m.source) {
			x.server.logins.fetch(m.source)
		}
		return
	}
}

// fetch has a token fetched in the background, if not too many are. It outlives the exchange that asks for it.
func (g *logins) fetch(source *token.Source) {
	select {
	case g.warming <- struct{}{}:
		go func() {
			defer func() { <-g.warming }()
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_, _ = source.Token(ctx) // its state says what came of it
		}()
	default:
	}
}

// endLogin notes what became of a request with a login.
func (x *exchange) endLogin() {
	o, d, a := x.basic.observed, &x.decision, &x.access
	x.bound.Store(nil)
	if o == nil || d.Route == nil || d.Binding == nil || a.Outcome != record.Served && a.TenantStatus == 0 {
		return // it did not go to the tenant
	}
	if o.would != nil {
		state := o.would.State()
		switch {
		case state.Valid:
			d.Would, d.WouldCause = record.Served, ""
		case state.LastError != nil:
			d.Would, d.WouldCause = record.NoToken, state.LastError.Error()
		}
	}
	d.foreseeBody(a.BytesIn) // of which the length was not known before
	a.Would, a.WouldCause = d.Would, d.WouldCause
	x.server.logins.findings.add(identity.Finding{User: d.Login.User, Route: a.Route, Would: would(d.Would), Cause: d.WouldCause, First: a.Time, Last: a.Time, Count: 1})
}

// would is what a finding is called.
func would(o record.Outcome) string {
	if o == record.Internal {
		return "unknown"
	}
	return o.String()
}

// findings are what was found out about observed logins and not fetched yet: added up, and a bounded number.
type findings struct {
	mu  sync.Mutex // guards all
	all map[identity.FindingKey]identity.Finding
}

// maxFindings bounds the findings that wait to be fetched. Beyond it causes are not told apart.
const maxFindings = 4096

func (f *findings) add(one identity.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[identity.FindingKey]identity.Finding)
	}
	if _, ok := f.all[one.Key()]; !ok && len(f.all) >= maxFindings {
		one.Cause = "other"
		if _, ok := f.all[one.Key()]; !ok && len(f.all) >= 2*maxFindings {
			return
		}
	}
	f.all[one.Key()] = f.all[one.Key()].Plus(one)
}

// LoginFindings returns what was found out about observed logins here since it was asked last.
func (s *Server) LoginFindings() []identity.Finding {
	f := &s.logins.findings
	f.mu.Lock()
	all := f.all
	f.all = nil
	f.mu.Unlock()
	return slices.Collect(maps.Values(all))
}

// observedPools are the connections of observed logins: those of one user name and password to one tenant are never used for anybody else (law 5), also because
// a tenant's session may be worth more than the password beside it.
type observedPools struct {
	keep   *keeping
	nobody identity.Credential // stands where a credential's ID is asked for

	mu  sync.Mutex // guards all
	all map[observedKey]*observedPool
}

type observedKey struct {
	user, tenant string
	password     login.Digest
}

type observedPool struct {
	pool *pool
	used time.Time
}

// maxObserved bounds the pools: whoever tries passwords through an observed login has each make one. The one that was used least lately goes.
const maxObserved = 128

func (o *observedPools) get(key observedKey, t *identity.Tenant) (*pool, error) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.all[key]; p != nil && p.pool.tenant == t {
		p.used = now
		return p.pool, nil
	}
	// It is shown no certificate: that would be the identity's.
	p, err := newPool(t, o.keep)
	if err != nil {
		return nil, err
	}
	p.current = func() bool { return false } // nothing is kept warm for it
	if o.all == nil {
		o.all = make(map[observedKey]*observedPool)
	}
	o.drop(key)
	if len(o.all) >= maxObserved {
		o.drop(slices.MinFunc(slices.Collect(maps.Keys(o.all)), func(a, b observedKey) int { return cmp.Compare(o.all[a].used.UnixNano(), o.all[b].used.UnixNano()) }))
	}
	o.all[key] = &observedPool{p, now}
	return p, nil
}

// drop closes one pool. The lock is held.
func (o *observedPools) drop(key observedKey) {
	if p := o.all[key]; p != nil {
		p.pool.close()
		delete(o.all, key)
	}
}

// forget drops the pools of logins that are not observed any more and of tenants that have changed.
func (o *observedPools) forget(now *identity.Snapshot, changed identity.Changed) {
	if !changed.All && len(changed.Logins) == 0 && len(changed.Tenants) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, p := range o.all {
		b, ok := now.Login(key.user)
		if t, known := now.Tenant(key.tenant); !ok || !known || t != p.pool.tenant || b.Login.Stage != identity.StageObserve {
			o.drop(key)
		}
	}
}

func (o *observedPools) prune(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.all {
		p.pool.prune(now)
	}
}

func (o *observedPools) closeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key := range o.all {
		o.drop(key)
	}
}
