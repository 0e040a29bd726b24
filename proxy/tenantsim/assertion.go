package tenantsim

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// asserted finds the client of a request with an assertion: signed by the client's key, of the client about itself, for this server, not
// over, not for long, and never seen before. client_id may be left out (TENANTS.md 2.3). s.mu is held.
func (s *Sim) asserted(r *http.Request, now time.Time) (*registered, *oauthProblem) {
	if r.PostForm.Get("client_assertion_type") != assertionType {
		return nil, unauthorized("client_assertion_type is not supported")
	}
	signed, err := jose.ParseSignedCompact(r.PostForm.Get("client_assertion"),
		[]jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA})
	if err != nil {
		return nil, unauthorized("client_assertion is no signed JWT")
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
		ID       string `json:"jti"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}
	if json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &claims) != nil {
		return nil, unauthorized("client_assertion has no claims")
	}
	c := s.clients[claims.Subject]
	switch id := r.PostForm.Get("client_id"); {
	case c == nil || c.Key == nil || id != "" && id != claims.Subject:
		return nil, unauthorized("Client authentication failed")
	case !s.names(claims.Audience):
		return nil, unauthorized("client_assertion is for somebody else")
	case claims.Issuer != claims.Subject || claims.ID == "" || now.Unix() >= claims.Expires || claims.Issued > now.Unix() || claims.Expires-claims.Issued > 300:
		return nil, unauthorized("client_assertion is not acceptable")
	}
	if _, err := signed.Verify(c.Key); err != nil {
		return nil, unauthorized("client_assertion is signed by somebody else")
	}
	if s.asserts[claims.ID] {
		return nil, unauthorized("client_assertion was used before")
	}
	s.asserts[claims.ID] = true
	return c, nil
}

// names reports whether an audience is this server.
func (s *Sim) names(audience string) bool {
	return slices.Contains([]string{s.IssuerURL(), s.TokenURL(), s.MTLSTokenURL(), s.url(Token) + "/oauth2/token"}, audience)
}

// shown reports whether a client may use a certificate, and takes note of a newer one: pinned, exactly the one that was registered;
// unpinned, one of the same subject and issuer that was issued no earlier than the last one (TENANTS.md 1.5). s.mu is held.
func (c *registered) shown(leaf *x509.Certificate) bool {
	if c.Certificate == nil || c.Certificate.Leaf == nil {
		return false
	}
	known := c.Certificate.Leaf
	if c.newest != nil {
		known = c.newest
	}
	if known.Equal(leaf) {
		return true
	}
	if !c.Unpinned || known.Subject.String() != leaf.Subject.String() || known.Issuer.String() != leaf.Issuer.String() || leaf.NotBefore.Before(known.NotBefore) {
		return false
	}
	c.newest = leaf
	return true
}
