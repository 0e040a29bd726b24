package proxy

import (
	"context"
	"slices"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// WarmUp lets go of stored tokens whose credential or identity is gone or disabled, and has those fetched or refreshed that were in use before the process was
// started. Requests are served meanwhile, and do not wait behind it. It returns when all is done, or ctx is.
func (s *Server) WarmUp(ctx context.Context) {
	s.upstreams.retain(s.cfg.Registry.Snapshot())
	s.cfg.Tokens.WarmUp(ctx, s.upstreams.find)
}

// retain drops the tokens of credentials that are gone or whose identity is gone or disabled.
func (u *upstreams) retain(now *identity.Snapshot) {
	u.tokens.Retain(func(id string) bool {
		c, ok := now.Credential(id)
		return ok && enabled(now, c.Identity)
	})
}

// find returns the source of a credential as a request with that scope and those parameters would use it, nil if none would.
func (u *upstreams) find(credentialID, scope, parameters string) *token.Source {
	now := u.now()
	c, ok := now.Credential(credentialID)
	if !ok || !enabled(now, c.Identity) {
		return nil
	}
	t, ok := now.Tenant(c.Tenant)
	if !ok {
		return nil
	}
	p, err := u.get(c.Identity, t, c)
	if err != nil {
		return nil
	}
	holder, _ := now.Identity(c.Identity)
	for _, r := range now.Routes() {
		if r.Tenant != t.Name || !slices.Contains(holder.Roles, r.Role) || p.scope(c, r.Scope) != scope || string(p.parameters(c, r.TokenParameters)) != parameters {
			continue
		}
		if s, err := p.source(u.tokens, c, r); err == nil {
			return s
		}
	}
	return nil
}
