package proxy

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/http"
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
	mu     sync.Mutex // held while pools is replaced
	pools  atomic.Pointer[map[poolKey]*pool]
}

// poolKey is a struct and not a joined string, so that no two pairs can meet.
type poolKey struct{ identity, tenant string }

// pool is how one identity reaches one tenant.
type pool struct {
	tenant    *identity.Tenant // the version that the pool was made for
	transport *http.Transport
	roots     *x509.CertPool // nil: the system's

	mu      sync.Mutex // held while sources is replaced
	sources atomic.Pointer[map[sourceKey]*token.Source]
}

type sourceKey struct{ credential, scope string }

// get returns the pool of an identity and a tenant as it is now.
func (u *upstreams) get(identityName string, t *identity.Tenant) (*pool, error) {
	key := poolKey{identityName, t.Name}
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
	p, err := newPool(t)
	if err != nil {
		return nil, err
	}
	if old := next[key]; old != nil {
		old.transport.CloseIdleConnections()
	}
	next[key] = p
	u.pools.Store(&next)
	return p, nil
}

// forget drops the pools of identities that are gone or disabled and the tokens of credentials that are gone or whose identity is.
func (u *upstreams) forget(now *identity.Snapshot, changed identity.Changed) {
	if !changed.All && len(changed.Identities) == 0 && len(changed.Tenants) == 0 && len(changed.Credentials) == 0 {
		return
	}
	gone := func(name string) bool {
		i, ok := now.Identity(name)
		return !ok || i.Disabled
	}
	for _, s := range u.tokens.States() {
		if c, ok := now.Credential(s.CredentialID); !ok || gone(c.Identity) {
			u.tokens.Drop(s.CredentialID)
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	m := u.pools.Load()
	if m == nil {
		return
	}
	next := make(map[poolKey]*pool, len(*m))
	for key, p := range *m {
		t, ok := now.Tenant(key.tenant)
		if !ok || t != p.tenant || gone(key.identity) {
			p.transport.CloseIdleConnections()
			continue
		}
		p.forgetSources(now)
		next[key] = p
	}
	u.pools.Store(&next)
}

func (u *upstreams) closeAll() {
	if m := u.pools.Load(); m != nil {
		for _, p := range *m {
			p.transport.CloseIdleConnections()
		}
	}
}

func newPool(t *identity.Tenant) (*pool, error) {
	p := &pool{tenant: t}
	if t.CABundle != "" {
		p.roots = x509.NewCertPool()
		if !p.roots.AppendCertsFromPEM([]byte(t.CABundle)) {
			return nil, fmt.Errorf("reading CA bundle of tenant %s: no certificate in it", t.Name)
		}
	}
	p.transport = &http.Transport{
		// No Proxy: nothing in the environment decides where a token goes.
		DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            p.roots,
			ClientSessionCache: tls.NewLRUClientSessionCache(32),
		},
		TLSHandshakeTimeout:    10 * time.Second,
		DisableCompression:     true, // the bytes are the caller's business
		MaxIdleConns:           0,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        50 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 128 << 10,
		Protocols:              new(http.Protocols),
		ReadBufferSize:         8 << 10,
		WriteBufferSize:        8 << 10,
	}
	p.transport.Protocols.SetHTTP1(true) // HTTP/2 is documented nowhere for SAP Cloud Integration
	return p, nil
}

// source returns the token source of the identity's newest credential for this tenant.
func (p *pool) source(tokens *token.Engine, c *identity.Credential, routeScope string) (*token.Source, error) {
	key := sourceKey{c.ID, cmp.Or(routeScope, c.Scope, p.tenant.Scope)}
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
	tc := token.Credential{
		ID: c.ID, TokenURL: cmp.Or(c.TokenURL, p.tenant.TokenURL), Style: token.Style(cmp.Or(c.AuthStyle, p.tenant.AuthStyle)),
		ClientID: c.ClientID, Scope: key.scope, RootCAs: p.roots,
	}
	if c.Kind == identity.KindCertificate {
		pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Secret.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("reading certificate of credential %s: %w", c.ID, err)
		}
		tc.Certificate = &pair
	} else {
		tc.Secret = token.NewSecret(c.Secret.Reveal())
	}
	s := tokens.Source(tc)
	next[key] = s
	p.sources.Store(&next)
	return s, nil
}

// forgetSources lets go of sources whose credential is gone.
func (p *pool) forgetSources(now *identity.Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.sources.Load()
	if m == nil {
		return
	}
	next := maps.Clone(*m)
	maps.DeleteFunc(next, func(k sourceKey, _ *token.Source) bool {
		_, ok := now.Credential(k.credential)
		return !ok
	})
	p.sources.Store(&next)
}
