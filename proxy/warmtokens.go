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

// asks is what tokens are asked for with a credential.
type asks struct{ scope, parameters string }

// wanted tells for what tokens requests may ask as the registry now is.
func wanted(now *identity.Snapshot) func(credentialID, scope, parameters string) bool {
	routes := map[string][]*identity.Route{}
	for _, r := range now.Routes() {
		routes[r.Tenant] = append(routes[r.Tenant], r)
	}
	type kind struct { // credentials that agree in this ask for the same
		tenant string
		own    asks
	}
	known := map[kind]map[asks]bool{}
	return func(credentialID, scope, parameters string) bool {
		c, ok := now.Credential(credentialID)
		if !ok {
			return false
		}
		k := kind{c.Tenant, asks{c.Scope, string(c.TokenParameters)}}
		all := known[k]
		if all == nil {
			t, ok := now.Tenant(c.Tenant)
			if !ok {
				return false
			}
			all = map[asks]bool{}
			p := &pool{tenant: t}
			for _, r := range append([]*identity.Route{{}}, routes[c.Tenant]...) { // a check, and a first try, may be for no route
				all[asks{p.scope(c, r.Scope), string(p.parameters(c, r.TokenParameters))}] = true
			}
			known[k] = all
		}
		return all[asks{scope, parameters}]
	}
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
