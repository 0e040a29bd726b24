package admin

import (
	"net/http"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// handler answers one kind of request: with what is written as JSON, or an error that problemOf knows.
type handler func(*Server, *call) (any, error)

// handlers are all requests of /v1, by method and path; "*" stands for one segment. docs/api.md lists them.
func handlers() map[string]handler {
	tenantName := func(t identity.Tenant) string { return t.Name }
	routeName := func(r identity.Route) string { return r.Name }
	identityName := func(i identity.Identity) string { return i.Name }
	return map[string]handler{
		"GET tenants":      all((*identity.Snapshot).Tenants),
		"POST tenants":     add("tenant", (*identity.Tx).AddTenant, tenantName),
		"GET tenants/*":    one("tenant", (*identity.Snapshot).Tenant),
		"PATCH tenants/*":  set("tenant", (*identity.Tx).Tenant, (*identity.Tx).SetTenant, func(t *identity.Tenant) *string { return &t.Name }),
		"DELETE tenants/*": remove("tenant", (*identity.Tx).RemoveTenant),

		"GET routes":      all((*identity.Snapshot).Routes),
		"POST routes":     add("route", (*identity.Tx).AddRoute, routeName),
		"GET routes/*":    one("route", storedRoute),
		"PATCH routes/*":  set("route", (*identity.Tx).Route, (*identity.Tx).SetRoute, func(r *identity.Route) *string { return &r.Name }),
		"DELETE routes/*": remove("route", (*identity.Tx).RemoveRoute),

		"GET identities":            all((*identity.Snapshot).Identities),
		"POST identities":           add("identity", (*identity.Tx).AddIdentity, identityName),
		"GET identities/*":          one("identity", (*identity.Snapshot).Identity),
		"PATCH identities/*":        set("identity", (*identity.Tx).Identity, (*identity.Tx).SetIdentity, func(i *identity.Identity) *string { return &i.Name }),
		"DELETE identities/*":       removeIdentity,
		"POST identities/*/disable": switchIdentity("disable", (*identity.Tx).DisableIdentity),
		"POST identities/*/enable":  switchIdentity("enable", (*identity.Tx).EnableIdentity),

		"GET identities/*/credentials":  listCredentials,
		"POST identities/*/credentials": addCredential,
		"GET credentials/*":             one("credential", (*identity.Snapshot).Credential),
		"DELETE credentials/*":          remove("credential", (*identity.Tx).RemoveCredential),

		"POST identities/*/certificates": issue,
		"GET certificates":               listCertificates,
		"GET certificates/*":             one("certificate", (*identity.Snapshot).CertificateBySerial),
		"POST certificates/*/revoke":     revoke,

		"GET changes": changes,
		"GET verify":  func(s *Server, c *call) (any, error) { return record.Verify(c.Context(), s.DB) },
		"GET status":  func(s *Server, c *call) (any, error) { return s.status(c.Request), nil },
	}
}

func (s *Server) status(r *http.Request) Status {
	st := Status{Ready: true, Checks: []Check{}, Revision: s.Registry.Snapshot().Revision(), Counts: s.Registry.Snapshot().Counts()}
	if s.Ready != nil {
		st.Checks = s.Ready(r.Context())
	}
	for _, c := range st.Checks {
		st.Ready = st.Ready && c.OK
	}
	return st
}
