package token

import (
	"net/url"
	"strings"
)

func hostname(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// hostPlan tells which of a tenant's two hosts it is, "" when its name does not say (TENANTS.md 3.1).
func hostPlan(host string) string {
	name, zone, _ := strings.Cut(host, ".")
	label, _, _ := strings.Cut(zone, ".")
	switch {
	case strings.HasPrefix(label, "it-cpi") && strings.HasSuffix(label, "-rt"), strings.HasPrefix(label, "hcisbp") && strings.HasSuffix(name, "-iflmap"):
		return PlanIntegrationFlow
	case strings.HasPrefix(label, "it-cpi"), label == "hci" && strings.HasSuffix(name, "-tmn"):
		return PlanAPI
	}
	return ""
}

// planNames say what a plan's host serves.
var planNames = map[string]string{
	PlanIntegrationFlow: "the runtime (flows under /http and /cxf)",
	PlanAPI:             "the OData API (/api/v1)",
}

// HostMismatch says why the client of a service key cannot call a tenant at baseURL, "" when nothing speaks against it. A client and a host of
// another plan are mistaken for each other often: the hosts differ by "-rt". It compares addresses only; a host of the operator's own before the
// tenant is none that it knows.
func (k ServiceKey) HostMismatch(baseURL string) string {
	theirs, ours := hostname(k.URL), hostname(baseURL)
	if theirs != "" && theirs == ours {
		return ""
	}
	if mismatch := PlanMismatch(k.ClientID, baseURL); mismatch != "" {
		return mismatch
	}
	plan := hostPlan(ours)
	if theirs == "" || plan == "" && hostPlan(theirs) == "" {
		return ""
	}
	if p := hostPlan(theirs); p != "" && plan != "" && p != plan {
		return "the key is for " + planNames[p] + " at " + theirs + ", and the tenant's base URL is " + planNames[plan] + " at " + ours
	}
	return "the key is for " + theirs + ", and the tenant's base URL is at " + ours
}

// EndpointMismatch says that the key's tokens come from another server than the tenant's, as those of another subaccount do; "" when they do not, or when
// the tenant names none. The hosts for secrets and for certificates are one server.
func (k ServiceKey) EndpointMismatch(tokenURL string) string {
	theirs, ours := hostname(k.TokenURL), hostname(tokenURL)
	if ours == "" || strings.Replace(theirs, certificateLabel, ".authentication.", 1) == strings.Replace(ours, certificateLabel, ".authentication.", 1) {
		return ""
	}
	return "the key's tokens come from " + theirs + ", and the tenant's from " + ours
}

// PlanMismatch says why a client of this id cannot call a tenant at baseURL, as far as the names alone tell; "" when nothing speaks against it.
func PlanMismatch(clientID, baseURL string) string {
	client, host := planOf(clientID, ""), hostPlan(hostname(baseURL))
	if clientID == "" || client == "" || host == "" || client == host {
		return ""
	}
	return "the client is one of plan " + client + ", for " + planNames[client] + ", and the tenant's base URL is " + planNames[host]
}

// PathMismatch says why a path is not served at baseURL, as far as the names alone tell; "" when nothing speaks against it (TENANTS.md 3.1).
func PathMismatch(baseURL, path string) string {
	plan, first := hostPlan(hostname(baseURL)), strings.ToLower(path)
	switch {
	case plan == PlanIntegrationFlow && strings.HasPrefix(first, "/api/v1/"):
		return planNames[PlanAPI] + " is on another host, the one without -rt"
	case plan == PlanAPI && (strings.HasPrefix(first, "/http/") || strings.HasPrefix(first, "/cxf/")):
		return planNames[PlanIntegrationFlow] + " is on another host, the one with -rt"
	}
	return ""
}
