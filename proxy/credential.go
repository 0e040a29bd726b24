package proxy

import (
	"fmt"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// tokenCredential is a credential as the token engine knows it: how the client proves itself, and where. What is asked for and over which
// way is the pool's.
func tokenCredential(t *identity.Tenant, c *identity.Credential) (token.Credential, error) {
	tc := token.Credential{ID: c.ID, Style: token.Style(c.Style(t)), ClientID: c.ClientID, AssertionAudience: c.AssertionAudience}
	tc.TokenURL, tc.Issuer = c.TokenEndpoint(t)
	var err error
	switch c.Kind {
	case identity.KindCertificate:
		tc.Certificate, err = keyPair(c)
	case identity.KindAssertion:
		tc.Assertion, err = assertionKey(c)
	default:
		tc.Secret = token.NewSecret(c.Secret.Reveal())
	}
	return tc, err
}

func assertionKey(c *identity.Credential) (*token.AssertionKey, error) {
	key, err := c.PrivateKey()
	if err != nil {
		return nil, fmt.Errorf("reading key of credential %s: %w", c.ID, err)
	}
	leaf, err := c.Leaf()
	if err != nil {
		return nil, err
	}
	return token.NewAssertionKey(key, token.AssertionOptions{KeyID: c.KeyID, Algorithm: c.AssertionAlgorithm, Certificate: leaf})
}
