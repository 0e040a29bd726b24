package identity

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// How a token endpoint is known: a URL, or the URL of an issuer whose metadata name it. An object has one of them or neither; a
// credential's goes before its tenant's, whichever they are.

// bareTokenURL takes the one query off a token endpoint that some vendors print with it and that every request says in its form.
func bareTokenURL(s string) string { return strings.TrimSuffix(s, "?grant_type=client_credentials") }

// tokenURL checks the address of a token endpoint.
func (v *validation) tokenURL(field, s string) {
	if u, err := url.Parse(s); err == nil && u.RawQuery != "" && v.failed == nil {
		var names []string
		for name := range u.Query() {
			if name != "grant_type" {
				names = append(names, name+"=...")
			}
		}
		slices.Sort(names)
		hint := "remove everything from the '?' on: the grant type is always client_credentials"
		if len(names) > 0 {
			hint = "remove everything from the '?' on, and give the rest as token parameters: " + strings.Join(names, ", ")
		}
		v.fail(field, "holds a query", hint)
		return
	}
	v.url(field, s)
}

// whereTokens checks the two ways of an object to name its token endpoint.
func (v *validation) whereTokens(tokenURL, issuer string) {
	if tokenURL != "" {
		v.tokenURL("token_url", tokenURL)
	}
	if issuer == "" {
		return
	}
	v.url("issuer", issuer)
	if tokenURL != "" {
		v.fail("issuer", "given beside a token URL", "leave out one of them: the issuer's metadata name the token endpoint")
	}
	if strings.Contains(issuer, "/.well-known/") {
		v.fail("issuer", "is the address of metadata", "give the issuer: what stands before /.well-known/")
	}
}

// TokenEndpoint returns where the credential's tokens come from at the tenant: a token URL, or the issuer that names it. The other is "".
func (c *Credential) TokenEndpoint(t *Tenant) (tokenURL, issuer string) {
	if c.TokenURL != "" || c.Issuer != "" {
		return c.TokenURL, c.Issuer
	}
	return t.TokenURL, t.Issuer
}

// Style returns how the credential proves itself at the tenant: its own style, or the tenant's.
func (c *Credential) Style(t *Tenant) string { return cmp.Or(c.AuthStyle, t.AuthStyle) }
