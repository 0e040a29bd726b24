package token

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// endpoint fills in the token endpoint.
func (c keyClient) endpoint(k *ServiceKey, t keyText, p proof, o KeyOptions) error {
	if o.TokenURL != "" {
		k.TokenURL, k.From.TokenURL = o.TokenURL, "as given"
		return nil
	}
	field, address := c.tokenURL(k, t, p)
	fail := func(problem, hint string) error {
		return &KeyError{Shape: k.Shape, Field: c.at(field), Problem: problem, Hint: hint, Mends: "TokenURL"}
	}
	if address == "" {
		hint := "give the token URL yourself"
		if likely := certificateHost(t.url); field == "certurl" && likely != t.url && plainHTTPS(likely) {
			hint += ", probably " + strings.TrimRight(likely, "/") + "/oauth/token"
		}
		return fail("it is missing: no token endpoint", hint)
	}
	if !plainHTTPS(address) {
		return fail("it is no plain https address", "")
	}
	if p == proofSecret && strings.Contains(address, certificateLabel) {
		return fail("that host takes certificates only, and the client has a secret", "give the token URL on the host without .cert")
	}
	k.TokenURL = address
	return nil
}

func plainHTTPS(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Opaque == "" &&
		!strings.ContainsAny(address, "#\\") && !strings.ContainsFunc(address, control)
}

// certificateLabel is in the host on which XSUAA takes certificates, and takes nothing else (TENANTS.md 1.3, 2.2).
const certificateLabel = ".authentication.cert."

// certificateHost moves an address to that host; others stay.
func certificateHost(address string) string {
	if strings.Contains(address, certificateLabel) {
		return address
	}
	return strings.Replace(address, ".authentication.", certificateLabel, 1)
}

// tokenURL returns the token endpoint and the member that it comes from, and notes how.
func (c keyClient) tokenURL(k *ServiceKey, t keyText, p proof) (field, address string) {
	with := func(field, base, path string) (string, string) {
		k.From.TokenURL = c.at(field) + " with " + path
		if base == "" {
			return field, ""
		}
		return field, strings.TrimRight(base, "/") + path
	}
	switch k.Shape.family() {
	case ShapeIAS:
		return with("url", t.url, "/oauth2/token")
	case ShapeXSUAA:
		if p == proofCertificate {
			return with("certurl", t.certURL, "/oauth/token")
		}
		return with("url", t.url, "/oauth/token")
	}
	k.From.TokenURL = c.at("tokenurl")
	if moved := certificateHost(t.tokenURL); p == proofCertificate && moved != t.tokenURL {
		k.From.TokenURL += ", moved to the host for certificates"
		k.Notes = append(k.Notes, "the key names the token endpoint for secrets; certificates are taken on its .cert host only")
		return "tokenurl", moved
	}
	return "tokenurl", t.tokenURL
}

// service fills in where the service itself is, and which plan of it.
func (c keyClient) service(k *ServiceKey, t keyText) error {
	k.Plan = planOf(k.ClientID, "")
	if k.Shape.family() == ShapeIntegration {
		k.URL, k.From.URL = t.url, c.at("url")
	} else if address := c.outer.textOr("url"); address != "" {
		k.URL, k.From.URL = address, c.outer.at("url")
	} else if address := c.textOr("uri"); address != "" {
		k.URL, k.From.URL = address, c.at("uri")
	}
	if k.URL == "" {
		k.From.URL = ""
		if names := c.outer.endpointNames(); names != "" {
			k.Notes = append(k.Notes, "the service has several addresses, of which the key prefers none: "+names)
		}
		return nil
	}
	if !plainHTTPS(k.URL) {
		return &KeyError{Shape: k.Shape, Field: k.From.URL, Problem: "it is no plain https address"}
	}
	if byURL := planOf("", k.URL); k.Plan != "" && byURL != "" && byURL != k.Plan {
		k.Notes = append(k.Notes, "the client id is one of plan "+k.Plan+", the address is one of plan "+byURL)
	}
	if k.Plan == "" {
		k.Plan = planOf("", k.URL)
	}
	return nil
}

// endpointNames lists the members of "endpoints", where services such as cis put their addresses.
func (m member) endpointNames() string {
	endpoints, _ := m.fields["endpoints"].(map[string]any)
	names := slices.Sorted(maps.Keys(endpoints))
	names = slices.DeleteFunc(names, func(name string) bool { return !word(name) })
	if len(names) == 0 {
		return ""
	}
	return m.at("endpoints") + " has " + strings.Join(names, ", ")
}

// planOf tells the plan by the client id ("...|it-rt-acme!b55215", "...|it!b55215") or by the host (TENANTS.md 1.1, 1.2).
func planOf(clientID, address string) string {
	_, app, _ := strings.Cut(clientID, "|")
	switch {
	case strings.HasPrefix(app, "it-rt-"):
		return PlanIntegrationFlow
	case strings.HasPrefix(app, "it!"):
		return PlanAPI
	case clientID != "":
		return ""
	}
	return hostPlan(hostname(address))
}
