package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// upstreams holds one pool for each identity and tenant: connections, TLS sessions and tokens of one identity are never used for another (law 5). A
// reader takes no lock.
type upstreams struct {
	tokens *token.Engine
	now    func() *identity.Snapshot
	mu     sync.Mutex // held while pools is replaced
	pools  atomic.Pointer[map[poolKey]*pool]
	keep   keeping
}

// poolKey is a struct and not a joined string, so that no two can meet. A tenant that is shown a certificate has a pool for each that the identity has.
type poolKey struct {
	identity, tenant string
	shows            string // the credential whose certificate the pool's connections show, "" for none
}

// pool is how one identity reaches one tenant.
type pool struct {
	tenant  *identity.Tenant // the version that the pool was made for
	current func() bool      // it is still what the identity uses
	address string           // host and port to connect to
	via     *connectProxy    // nil: directly
	tls     *tls.Config      // nil: the tenant is on loopback and speaks without TLS
	roots   *x509.CertPool   // nil: the system's
	keep    *keeping
	open    context.Context // done when the pool is closed
	shut    context.CancelFunc

	idleMu sync.Mutex // guards what follows; held for a few instructions
	idle   []*link    // the one used last is at the end
	conns  []*h2conn  // of HTTP/2, in use or not; the newest is at the end
	next   *dialling  // one of HTTP/2 that is on its way, nil while none is
	closed bool       // nothing is kept any more
	spares spares

	guards guards

	mu      sync.Mutex // held while sources is replaced
	sources atomic.Pointer[map[sourceKey]*token.Source]
}

// sourceKey is what a route's tokens differ by. The parameters of credential and tenant are the same for the credential's life and the pool's.
type sourceKey struct {
	credential, scope string
	parameters        identity.TokenParameters // the route's
}

// get returns the pool of an identity and a tenant as it is now, for calls with the credential.
func (u *upstreams) get(identityName string, t *identity.Tenant, c *identity.Credential) (*pool, error) {
	key := poolKey{identityName, t.Name, shownCertificate(t, c)}
	if m := u.pools.Load(); m != nil {
		if p := (*m)[key]; p != nil && p.tenant == t {
			return p, nil
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	next := make(map[poolKey]*pool)
	if m := u.pools.Load(); m != nil {
		if p := (*m)[key]; p != nil && p.tenant == t {
			return p, nil
		}
		next = maps.Clone(*m)
	}
	p, err := newPool(t, &u.keep)
	if err != nil {
		return nil, err
	}
	if key.shows != "" {
		if err := p.show(c); err != nil {
			return nil, err
		}
	}
	p.current = func() bool { return u.stillUsed(u.now(), key, p) }
	if old := next[key]; old != nil {
		old.close()
	}
	next[key] = p
	u.pools.Store(&next)
	return p, nil
}

// forget drops the pools of identities that are gone or disabled and the tokens of credentials that are gone or whose identity is.
func (u *upstreams) forget(now *identity.Snapshot, changed identity.Changed) {
	if !changed.All && len(changed.Identities) == 0 && len(changed.Tenants) == 0 && len(changed.Credentials) == 0 && len(changed.Routes) == 0 {
		return
	}
	u.retain(now)
	asked := func(string, string, string) bool { return true }
	if changed.All || len(changed.Tenants) > 0 || len(changed.Routes) > 0 {
		asked = wanted(now)
		defer func() { u.tokens.Retire(asked) }() // behind the pools, which hand them out
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	m := u.pools.Load()
	if m == nil {
		return
	}
	next := make(map[poolKey]*pool, len(*m))
	for key, p := range *m {
		if !u.stillUsed(now, key, p) {
			p.close()
			continue
		}
		p.forgetSources(now, asked)
		p.guards.forget(now)
		next[key] = p
	}
	u.pools.Store(&next)
}

func enabled(now *identity.Snapshot, name string) bool {
	i, ok := now.Identity(name)
	return ok && !i.Disabled
}

// stillUsed reports whether a pool is what the identity uses for the tenant.
func (u *upstreams) stillUsed(now *identity.Snapshot, key poolKey, p *pool) bool {
	if t, ok := now.Tenant(key.tenant); !ok || t != p.tenant || !enabled(now, key.identity) {
		return false
	}
	if key.shows == "" {
		return true
	}
	shown := func(c *identity.Credential) bool { return c.ID == key.shows }
	return slices.ContainsFunc(now.Credentials(key.identity, key.tenant), shown)
}

func (u *upstreams) closeAll() {
	if m := u.pools.Load(); m != nil {
		for _, p := range *m {
			p.close()
		}
	}
}

func newPool(t *identity.Tenant, keep *keeping) (*pool, error) {
	p := &pool{tenant: t, keep: keep}
	p.open, p.shut = context.WithCancel(context.Background())
	base, err := url.Parse(t.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("reading base URL of tenant %s: %w", t.Name, err)
	}
	// Nothing in the environment (HTTPS_PROXY) decides where a token goes.
	port := "443"
	if base.Scheme == "http" { // only loopback, says the registry
		port = "80"
	}
	p.address = net.JoinHostPort(base.Hostname(), cmp.Or(base.Port(), port))
	if t.CABundle != "" {
		p.roots = x509.NewCertPool()
		if !p.roots.AppendCertsFromPEM([]byte(t.CABundle)) {
			return nil, fmt.Errorf("reading CA bundle of tenant %s: no certificate in it", t.Name)
		}
	}
	if t.HTTPProxy != "" {
		if p.via, err = newConnectProxy(t, p.dialer()); err != nil {
			return nil, err
		}
	}
	if base.Scheme == "http" {
		return p, nil
	}
	p.tls = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         base.Hostname(),
		RootCAs:            p.roots,
		ClientSessionCache: tls.NewLRUClientSessionCache(32),
		NextProtos:         []string{"http/1.1"},
		// Small first records help browsers to render early; here they would be one system call for each 1.4 kB.
		DynamicRecordSizingDisabled: true,
	}
	if p.http2() {
		p.tls.NextProtos = []string{alpnHTTP2}
	}
	return p, nil
}

// maxIdleLinks are kept in one pool.
const maxIdleLinks = 256

// take returns a kept connection that still works, the one used last, or nil.
func (p *pool) take(now time.Time) *link {
	for {
		p.idleMu.Lock()
		p.spares.taken = true
		n := len(p.idle)
		if n == 0 {
			p.idleMu.Unlock()
			return nil
		}
		l := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.idleMu.Unlock()
		if l.alive(now) {
			return l
		}
		l.close()
	}
}

// put keeps a connection for the next exchange.
func (p *pool) put(l *link, now time.Time) {
	l.reused, l.since = true, now
	l.in.Release()
	p.idleMu.Lock()
	p.spares.good()
	if p.closed || len(p.idle) >= maxIdleLinks || p.keep.spent(&l.ageing, now) {
		p.idleMu.Unlock()
		l.retire()
		return
	}
	p.idle = append(p.idle, l)
	p.idleMu.Unlock()
}

// prune closes what has idled too long or was closed by the tenant.
func (p *pool) prune(now time.Time) {
	var old []*link
	p.idleMu.Lock()
	p.idle = slices.DeleteFunc(p.idle, func(l *link) bool {
		gone := p.keep.spent(&l.ageing, now)
		if !gone && l.raw.state() != socketOpen {
			gone = true
			p.spares.lost(&l.ageing, now)
		}
		if gone {
			old = append(old, l)
		}
		return gone
	})
	done := p.pruneConns(now)
	p.idleMu.Unlock()
	for _, l := range old {
		l.retire()
	}
	for _, c := range done {
		c.close()
	}
}

// close closes what idles, and has what is in use closed when it comes back.
func (p *pool) close() {
	p.idleMu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	done := p.pruneConns(time.Now())
	p.idleMu.Unlock()
	p.shut()
	for _, l := range idle {
		l.retire()
	}
	for _, c := range done {
		c.close()
	}
}

// prune keeps the pools tidy, and those in use warm.
func (u *upstreams) prune(now time.Time) {
	if m := u.pools.Load(); m != nil {
		begun := 0
		for _, p := range *m {
			p.prune(now)
			if begun < maxSparesAtOnce && p.warm(now) {
				begun++
			}
		}
	}
}

// source returns the token source of the credential for a route of this tenant.
func (p *pool) source(tokens *token.Engine, c *identity.Credential, route *identity.Route) (*token.Source, error) {
	key := sourceKey{c.ID, p.scope(c, route.Scope), route.TokenParameters}
	if m := p.sources.Load(); m != nil {
		if s := (*m)[key]; s != nil {
			return s, nil
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[sourceKey]*token.Source)
	if m := p.sources.Load(); m != nil {
		if s := (*m)[key]; s != nil {
			return s, nil
		}
		next = maps.Clone(*m)
	}
	tc, err := p.credential(c, key.scope, key.parameters)
	if err != nil {
		return nil, err
	}
	s := tokens.Source(tc)
	next[key] = s
	p.sources.Store(&next)
	return s, nil
}

// scope is what is asked for: the nearest of those that name any.
func (p *pool) scope(c *identity.Credential, routeScope string) string {
	return cmp.Or(routeScope, c.Scope, p.tenant.Scope)
}

// parameters are what is asked for besides: those of the route before the credential's before the tenant's.
func (p *pool) parameters(c *identity.Credential, route identity.TokenParameters) identity.TokenParameters {
	return p.tenant.TokenParameters.With(c.TokenParameters).With(route)
}

// credential is a stored credential in the form in which tokens are fetched with it, for a scope and for what a route adds to the requests.
func (p *pool) credential(c *identity.Credential, scope string, parameters identity.TokenParameters) (token.Credential, error) {
	tc, err := tokenCredential(p.tenant, c)
	if err != nil {
		return tc, err
	}
	tc.Scope, tc.RootCAs = scope, p.roots
	tc.Parameters = string(p.parameters(c, parameters))
	if p.via != nil {
		tc.Via, tc.Dial = p.tenant.HTTPProxy, p.via.dial
	}
	return tc, nil
}

// forgetSources lets go of sources whose credential is gone, or of which no request asks any more.
func (p *pool) forgetSources(now *identity.Snapshot, asked func(credentialID, scope, parameters string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.sources.Load()
	if m == nil {
		return
	}
	next := maps.Clone(*m)
	maps.DeleteFunc(next, func(k sourceKey, _ *token.Source) bool {
		c, ok := now.Credential(k.credential)
		return !ok || !asked(c.ID, k.scope, string(p.parameters(c, k.parameters)))
	})
	p.sources.Store(&next)
}
