package main

import (
	"github.com/tenantgate/tenantgate/identity"
	tenantcheck "github.com/tenantgate/tenantgate/proxy/check"
)

// way is how callers' requests reach a tenant: the data plane knows it, and a check goes it.
func (n *node) way(t *identity.Tenant, c *identity.Credential, route *identity.Route) (tenantcheck.Way, error) {
	w, err := n.proxy.Way(t, c, route)
	return tenantcheck.Way(w), err
}
