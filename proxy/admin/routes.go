package admin

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/tenantgate/tenantgate/identity"
)

// openAPI describes the API (OpenAPI 3.1). A test holds it and the table below together.
//
//go:embed openapi.json
var openAPI []byte

// endpoint is one method at one address.
type endpoint struct {
	method string
	path   string // below /v1/; {name}, {id} or {serial} stands for one segment
	status int    // when it was done
	query  []string
	serve  func(*Server, *call) (any, error)
}

// endpoints are all requests of /v1. openapi.json describes them.
var endpoints = []endpoint{
	{"GET", "tenants", 200, paging, all((*identity.Snapshot).Tenants, tenantName)},
	{"POST", "tenants", 201, nil, add("tenant", "tenants", (*identity.Tx).AddTenant, tenantName)},
	{"GET", "tenants/{name}", 200, nil, one(identity.ObjectTenant, (*identity.Snapshot).Tenant)},
	{"PATCH", "tenants/{name}", 200, nil, set("tenant", (*identity.Tx).Tenant, (*identity.Tx).SetTenant)},
	{"DELETE", "tenants/{name}", 204, nil, remove("tenant", (*identity.Tx).RemoveTenant)},
	{"POST", "tenants/{name}/check", 200, nil, checkTenant},

	{"GET", "routes", 200, paging, all((*identity.Snapshot).Routes, routeName)},
	{"POST", "routes", 201, nil, add("route", "routes", (*identity.Tx).AddRoute, routeName)},
	{"GET", "routes/{name}", 200, nil, one(identity.ObjectRoute, storedRoute)},
	{"PATCH", "routes/{name}", 200, nil, set("route", (*identity.Tx).Route, (*identity.Tx).SetRoute)},
	{"DELETE", "routes/{name}", 204, nil, remove("route", (*identity.Tx).RemoveRoute)},

	{"GET", "identities", 200, paging, all((*identity.Snapshot).Identities, identityName)},
	{"POST", "identities", 201, nil, add("identity", "identities", (*identity.Tx).AddIdentity, identityName)},
	{"GET", "identities/{name}", 200, nil, one(identity.ObjectIdentity, (*identity.Snapshot).Identity)},
	{"PATCH", "identities/{name}", 200, nil, set("identity", (*identity.Tx).Identity, (*identity.Tx).SetIdentity)},
	{"DELETE", "identities/{name}", 204, []string{"cascade"}, removeIdentity},
	{"POST", "identities/{name}/disable", 200, nil, switchIdentity("disable", (*identity.Tx).DisableIdentity)},
	{"POST", "identities/{name}/enable", 200, nil, switchIdentity("enable", (*identity.Tx).EnableIdentity)},

	{"GET", "identities/{name}/credentials", 200, nil, listCredentials},
	{"POST", "identities/{name}/credentials", 201, nil, addCredential},
	{"GET", "credentials", 200, append([]string{"expiring"}, paging...), listAllCredentials},
	{"GET", "credentials/{id}", 200, nil, showCredential},
	{"PATCH", "credentials/{id}", 200, nil, setCredential},
	{"DELETE", "credentials/{id}", 204, nil, removeCredential},
	{"GET", "credentials/{id}/registration", 200, nil, showRegistration},

	{"POST", "identities/{name}/certificates", 201, nil, issueCertificate},
	{"GET", "certificates", 200, append([]string{"identity", "state"}, paging...), listCertificates},
	{"GET", "certificates/{serial}", 200, nil, showCertificate},
	{"POST", "certificates/{serial}/revoke", 200, nil, revokeCertificate},
	{"GET", "administrators", 200, nil, listAdministrators},
	{"POST", "administrators/{name}/certificates", 201, nil, issueToAdministrator},

	{"POST", "identities/{name}/revoke", 200, nil, revokeIdentity},
	{"POST", "ca/revoke", 200, nil, revokeAll},
	{"GET", "ca/crl", 200, nil, showCRL},
	{"GET", "ca/status", 200, nil, showCAStatus},
	{"GET", "ca/certificates", 200, nil, listCACertificates},
	{"POST", "ca/certificates", 201, nil, requestCACertificate},
	{"GET", "ca/certificates/{id}", 200, nil, showCACertificate},
	{"POST", "ca/install", 200, nil, installCACertificate},
	{"POST", "ca/certificates/{id}/activate", 200, nil, activateCACertificate},
	{"POST", "ca/certificates/{id}/retire", 200, nil, retireCACertificate},
	{"POST", "identities/{name}/enrolment-tokens", 201, nil, addEnrolmentToken},
	{"GET", "enrolment-tokens", 200, append([]string{"identity", "state"}, paging...), listEnrolmentTokens},
	{"GET", "enrolment-tokens/{id}", 200, nil, showEnrolmentToken},
	{"POST", "enrolment-tokens/{id}/withdraw", 200, nil, withdrawEnrolmentToken},
	{"POST", "identities/{name}/acme-keys", 201, nil, addACMEKey},
	{"GET", "acme-keys", 200, append([]string{"identity", "state"}, paging...), listACMEKeys},
	{"GET", "acme-keys/{id}", 200, nil, showACMEKey},
	{"DELETE", "acme-keys/{id}", 204, nil, removeACMEKey},

	{"POST", "explain", 200, nil, explainRequest},
	{"POST", "backup", 200, nil, makeBackup},
	{"GET", "expiry", 200, append([]string{"within", "kind"}, paging...), listExpiry},
	{"GET", "policy", 200, nil, showPolicy},
	{"PATCH", "policy", 200, nil, set(identity.ObjectPolicy, storedPolicy, (*identity.Tx).SetPolicy)},
	{"GET", "reviews", 200, append([]string{"within"}, paging...), listReviews},
	{"POST", "identities/{name}/reviewed", 200, nil, reviewIdentity},
	{"GET", "identities/{name}/uses", 200, nil, showUses},
	{"GET", "inactive", 200, append([]string{"for"}, paging...), listInactive},

	{"GET", "notifications", 200, append([]string{"state"}, paging...), listNotifications},
	{"GET", "notify", 200, nil, showNotify},
	{"POST", "notify/test", 200, nil, testNotify},

	{"GET", "callers", 200, append([]string{"login", "identity", "since"}, paging...), listCallers},
	{"GET", "callers/{id}", 200, nil, showCaller},
	{"POST", "callers/{id}/name", 200, nil, nameCaller},
	{"POST", "callers/{id}/merge", 200, nil, mergeCaller},
	{"POST", "callers/{id}/split", 200, nil, splitCaller},
	{"POST", "callers/{id}/move", 201, nil, moveCaller},
	{"POST", "callers/{id}/undo", 200, nil, undoMove},
	{"GET", "migration", 200, []string{"login", "silent"}, showMigration},
	{"GET", "migration/plan", 200, []string{"login", "silent"}, showPlan},
	{"GET", "migration/page", 200, []string{"login", "silent"}, showPage},
	{"GET", "networks", 200, nil, listNetworks},
	{"POST", "networks", 200, nil, setNetworks},
	{"GET", "usage", 200, nil, showUsage},
	{"POST", "usage/pseudonymise", 200, nil, pseudonymise},
	{"POST", "usage/forget", 200, nil, forgetUsage},

	{"GET", "logins", 200, append([]string{"identity", "stage"}, paging...), listLogins},
	{"POST", "logins", 201, nil, addLogin},
	{"GET", "logins/{id}", 200, nil, showLogin},
	{"PATCH", "logins/{id}", 200, nil, setLogin},
	{"DELETE", "logins/{id}", 204, nil, removeLogin},
	{"POST", "logins/{id}/close", 200, nil, actOnLogin("close", (*identity.Tx).CloseLogin)},
	{"POST", "logins/{id}/back", 200, nil, backLogin},
	{"POST", "logins/{id}/observe", 200, nil, actOnLogin("observe", observeLogin)},
	{"GET", "logins/{id}/findings", 200, nil, listFindings},
	{"POST", "login-imports", 200, nil, importLogins},
	{"GET", "login-policy", 200, nil, showLoginPolicy},
	{"PATCH", "login-policy", 200, nil, setLoginPolicy},

	{"GET", "authorities", 200, paging, listAuthorities},
	{"POST", "authorities", 201, nil, addAuthority},
	{"GET", "authorities/{name}", 200, nil, showAuthority},
	{"PATCH", "authorities/{name}", 200, nil, setAuthority},
	{"DELETE", "authorities/{name}", 204, []string{"cascade"}, removeAuthority},
	{"POST", "authorities/{name}/map", 200, nil, mapAuthority},
	{"POST", "authorities/{name}/unmap", 200, nil, unmapAuthority},
	{"POST", "authorities/{name}/block", 200, nil, blockCertificate},
	{"POST", "authorities/{name}/unblock", 200, nil, unblockCertificate},
	{"POST", "authorities/{name}/crl", 200, nil, putList},
	{"POST", "authorities/{name}/crl/remove", 204, nil, removeList},
	{"POST", "authorities/{name}/check", 200, nil, checkAuthority},
	{"POST", "verify", 200, nil, verifyChain},

	{"GET", "changes", 200, paging, listChanges},
	{"GET", "changes/verify", 200, []string{"head"}, verifyChanges},
	{"GET", "status", 200, nil, showStatus},
	{"GET", "openapi.json", 200, nil, func(*Server, *call) (any, error) { return json.RawMessage(openAPI), nil }},
}

func tenantName(t *identity.Tenant) string     { return t.Name }
func routeName(r *identity.Route) string       { return r.Name }
func identityName(i *identity.Identity) string { return i.Name }

// find returns the endpoint of exactly this path and method, and what stands for the variable segment. The path begins with /v1/. HEAD is
// served as GET; net/http leaves the body out.
func find(method, path string) (*endpoint, string, error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	segments := strings.Split(strings.TrimPrefix(path, "/v1/"), "/")
	var allow []string
	for i := range endpoints {
		e := &endpoints[i]
		name, ok := match(e.path, segments)
		if ok && e.method == method {
			return e, name, nil
		}
		if ok {
			allow = append(allow, e.method)
		}
	}
	if len(allow) == 0 {
		return nil, "", errNoAddress
	}
	slices.Sort(allow)
	return nil, "", &problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", allow: strings.Join(allow, ", "),
		Detail: "the address does not take " + method, Hint: "it takes " + strings.Join(allow, ", ")}
}

// match compares segment by segment. No pattern of the table matches what another one matches.
func match(pattern string, segments []string) (name string, ok bool) {
	i := 0
	for want := range strings.SplitSeq(pattern, "/") {
		switch {
		case i >= len(segments):
			return "", false
		case want[0] == '{':
			name = segments[i]
		case want != segments[i]:
			return "", false
		}
		i++
	}
	return name, i == len(segments)
}
