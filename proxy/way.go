package proxy

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// Way is how an identity's credential reaches a tenant and its token endpoint, as requests of callers go. It is for checks.
type Way struct {
	// Address is the tenant's host and port.
	Address string
	// TLS is how the tenant is spoken with; nil means a tenant on loopback that is spoken with in the clear.
	TLS *tls.Config
	// HTTP2 says that the tenant is spoken with by HTTP/2 and nothing else.
	HTTP2 bool
	// Dial connects to the tenant, through the HTTP proxy where it has one.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Via is the URL of that proxy, "" for none.
	Via string
	// Credential is what its tokens are fetched with; the zero one when none was asked for.
	Credential token.Credential
}

// Way makes the way of a credential, or of nobody when c is nil, for a route or, when that is nil, for none in particular. Nothing of it is shared with
// the connections of callers.
func (s *Server) Way(t *identity.Tenant, c *identity.Credential, route *identity.Route) (Way, error) {
	p, err := newPool(t, &s.upstreams.keep)
	if err != nil {
		return Way{}, err
	}
	defer p.shut()
	w := Way{Address: p.address, HTTP2: p.http2(), Dial: p.reach, Via: t.HTTPProxy}
	if c != nil {
		if shownCertificate(t, c) != "" {
			if err := p.show(c); err != nil {
				return Way{}, err
			}
		}
		if route == nil {
			route = &identity.Route{}
		}
		if w.Credential, err = p.credential(c, p.scope(c, route.Scope), route.TokenParameters); err != nil {
			return Way{}, err
		}
	}
	w.TLS = p.tls
	return w, nil
}
