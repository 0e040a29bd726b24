package identity

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"time"
)

// What a credential proves itself with, in [Credential.Kind].
const (
	KindSecret      = "secret"      // a client secret
	KindCertificate = "certificate" // a client certificate and its private key
	KindAssertion   = "assertion"   // a private key that signs assertions (RFC 7523)
)

// The audiences of assertions in [Credential.AssertionAudience] that are not spelled out.
const (
	AudienceTokenEndpoint = "token_endpoint" // the token endpoint's URL, as RFC 7523 section 3 suggests; "" is the same
	AudienceIssuer        = "issuer"         // the issuer's own name
)

// Credential is the OAuth client with which one identity calls one tenant. There may be two while one replaces the other, and no more ([MaxCredentials]).
// A credential is never changed, but for the note of when it ends: a new one is added and the old one removed, so its ID names one secret for ever.
type Credential struct {
	// ID is random and set by the registry.
	ID string `json:"id"`
	// Identity and Tenant are the names of the two that the credential connects.
	Identity string `json:"identity"`
	Tenant   string `json:"tenant"`
	// ClientID is the OAuth client's identifier.
	ClientID string `json:"client_id"`
	// AuthStyle is how the client proves itself; "" means the tenant's style.
	AuthStyle string `json:"auth_style,omitempty"`
	// TokenURL is the token endpoint; "" means the tenant's.
	TokenURL string `json:"token_url,omitempty"`
	// Issuer is the authorization server whose metadata (RFC 8414) name the token endpoint, in place of TokenURL; "" means none.
	Issuer string `json:"issuer,omitempty"`
	// Scope is the OAuth scope to ask for; "" means the tenant's.
	Scope string `json:"scope,omitempty"`
	// TokenParameters are further fields of its token requests; those of a route go before them and they before the tenant's, by name.
	TokenParameters TokenParameters `json:"token_parameters,omitempty"`
	// Kind is KindSecret, KindCertificate or KindAssertion.
	Kind string `json:"kind"`
	// Certificate is the PEM chain, leaf first, of a credential of KindCertificate; for one of KindAssertion it may be the certificate
	// that assertions name (x5t#S256). It is public.
	Certificate string `json:"certificate,omitempty"`
	// KeyID is the kid in the head of assertions, by which the server finds the key; "" sends none. KindAssertion only.
	KeyID string `json:"key_id,omitempty"`
	// AssertionAlgorithm is RS256, PS256, ES256, ES384 or EdDSA, as fits the key; "" means the one of its type. KindAssertion only.
	AssertionAlgorithm string `json:"assertion_algorithm,omitempty"`
	// AssertionAudience is whom assertions are for: AudienceTokenEndpoint, AudienceIssuer or, in its own words, anything else that the
	// server wants; "" means AudienceTokenEndpoint. KindAssertion only.
	AssertionAudience string `json:"assertion_audience,omitempty"`
	// Keyless says that the private key was made by tenantgate and never leaves it. A certificate of such a credential renews itself: a
	// new credential with the same key takes the place of the old one, which stays until it ends.
	Keyless bool `json:"keyless,omitempty"`
	// Lifetime is how long each certificate of such a credential lives; 0 means the CA's default.
	Lifetime Duration `json:"lifetime,omitempty"`
	// NotAfter is when the secret or certificate ends; zero when that is not known. For a certificate the registry fills it in.
	NotAfter time.Time `json:"not_after,omitzero"`
	// Created is when the credential was added. The registry sets it.
	Created time.Time `json:"created,omitzero"`
	// Secret is the client secret, or the PEM private key. It is stored sealed and never written out.
	Secret SecretMaterial `json:"-"`
}

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil. Whether the credential fits
// its tenant only the registry can say.
func (c Credential) Validate() error {
	v := validation{object: ObjectCredential, name: c.ClientID}
	v.key("identity", c.Identity)
	v.key("tenant", c.Tenant)
	v.clientID("client_id", c.ClientID)
	if c.AuthStyle != "" {
		v.authStyle("auth_style", c.AuthStyle)
	}
	v.whereTokens(c.TokenURL, c.Issuer)
	v.scope("scope", c.Scope)
	v.parameters("token_parameters", c.TokenParameters)
	switch c.Kind {
	case KindSecret:
		v.secret(c)
	case KindCertificate:
		v.keyPair(c)
	case KindAssertion:
		v.signingKey(c)
	default:
		v.fail("kind", quoted(c.Kind)+" is not a kind", "give secret, certificate or assertion")
	}
	v.assertion(c)
	return v.err()
}

// normal returns the credential as it is stored.
func (c Credential) normal() Credential {
	c.TokenURL = bareTokenURL(c.TokenURL)
	if c.AssertionAudience == AudienceTokenEndpoint {
		c.AssertionAudience = ""
	}
	return c
}

// assertion checks what only a key that signs assertions has a use for.
func (v *validation) assertion(c Credential) {
	if c.Keyless && c.Kind == KindSecret {
		v.fail("keyless", "given for a credential of kind secret", "a secret is made by the vendor: use kind certificate or assertion")
	}
	if c.Lifetime != 0 && (!c.Keyless || c.Kind != KindCertificate) {
		v.fail("lifetime", "given for a credential whose certificate is not made here", "leave it out, or use keyless with the style mtls")
	}
	given := map[string]string{"key_id": c.KeyID, "assertion_algorithm": c.AssertionAlgorithm, "assertion_audience": c.AssertionAudience}
	for _, field := range []string{"key_id", "assertion_algorithm", "assertion_audience"} {
		switch value := given[field]; {
		case value != "" && c.Kind != KindAssertion:
			v.fail(field, "given for a credential of kind "+c.Kind, "leave it out, or use kind assertion")
		case len(value) > 1024 || !printable(value):
			v.fail(field, "longer than 1024 bytes or with control characters", "give it as the vendor shows it")
		}
	}
}

// kindFor returns the kind of credential that has a use for a style.
func kindFor(style string) string {
	switch style {
	case AuthMTLS:
		return KindCertificate
	case AuthPrivateKeyJWT:
		return KindAssertion
	}
	return KindSecret
}

func (v *validation) clientID(field, id string) {
	switch {
	case id == "":
		v.fail(field, "missing", "give the OAuth client id; in a service key it is called clientid")
	case len(id) > 1024 || !printable(id):
		v.fail(field, "longer than 1024 bytes or with control characters", "give the OAuth client id as the tenant shows it")
	}
}

func (v *validation) secret(c Credential) {
	switch {
	case c.Secret.IsZero():
		v.fail("secret", "missing", "give the OAuth client secret; in a service key it is called clientsecret")
	case !printable(c.Secret.Reveal()):
		v.fail("secret", "holds a control character", "look for a line end that was read with the secret")
	case c.Certificate != "":
		v.fail("certificate", "given for a credential of kind secret", "leave it out, or use kind certificate")
	case c.AuthStyle == AuthMTLS:
		v.fail("auth_style", "mtls needs a certificate", "use kind certificate, or the style body, basic or basic_raw")
	case c.AuthStyle == AuthPrivateKeyJWT:
		v.fail("auth_style", "private_key_jwt needs a private key", "use kind assertion, or the style body, basic or basic_raw")
	}
}

func (v *validation) keyPair(c Credential) {
	if c.AuthStyle != "" && c.AuthStyle != AuthMTLS {
		v.fail("auth_style", c.AuthStyle+" shows no certificate", "use kind "+kindFor(c.AuthStyle)+", or the style mtls")
		return
	}
	if _, err := c.leaf(); err != nil {
		// The error of tls.X509KeyPair speaks of block types and key types and never quotes the key.
		v.fail("certificate", "certificate and private key cannot be used: "+err.Error(),
			"give the PEM certificate chain, leaf first, and the unencrypted PEM key that belongs to the leaf")
	}
}

// leaf returns the first certificate of the chain once the private key was found to belong to it.
func (c Credential) leaf() (*x509.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Secret.Reveal()))
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(pair.Certificate[0])
}

// fits reports, by an error on the credential, whether it can be used at the tenant: some token endpoint, and a style that has a use
// for what the credential holds.
func (c *Credential) fits(t *Tenant) error {
	v := validation{object: ObjectCredential, name: c.ID}
	if c.ID == "" {
		v.name = c.ClientID
	}
	tokenURL, issuer := c.TokenEndpoint(t)
	if tokenURL == "" && issuer == "" {
		v.fail("token_url", "neither the credential nor tenant "+quoted(t.Name)+" names a token endpoint",
			"give the credential a token URL or an issuer, or set the tenant's")
	}
	if t.HTTPProxy != "" && (strings.HasPrefix(tokenURL, "http:") || strings.HasPrefix(issuer, "http:")) {
		v.fail("token_url", "not https, and tenant "+quoted(t.Name)+" is called through a proxy", "the proxy would see the secret: use https")
	}
	if c.AssertionAudience == AudienceIssuer && issuer == "" {
		v.fail("assertion_audience", "is the issuer, and none is known where a token URL is given",
			"give the issuer in place of the token URL, or its name as the audience")
	}
	if t.ClientCertificate == ShowCredential && c.Kind != KindCertificate {
		v.fail("kind", "connections to tenant "+quoted(t.Name)+" show the credential's certificate, and a credential of kind "+c.Kind+" has none",
			"use kind certificate, or set the tenant's client_certificate to nothing")
	}
	if style := c.Style(t); kindFor(style) != c.Kind {
		v.fail("auth_style", "tenant "+quoted(t.Name)+" authenticates by "+style+", which a credential of kind "+c.Kind+" cannot",
			"give the credential an auth style of its own, or use kind "+kindFor(style))
	}
	return v.err()
}
