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
	// Scope is the OAuth scope to ask for; "" means the tenant's.
	Scope string `json:"scope,omitempty"`
	// Kind is KindSecret or KindCertificate.
	Kind string `json:"kind"`
	// Certificate is the PEM chain, leaf first, of a credential of KindCertificate. It is public.
	Certificate string `json:"certificate,omitempty"`
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
	if c.TokenURL != "" {
		v.url("token_url", c.TokenURL)
	}
	v.scope("scope", c.Scope)
	switch c.Kind {
	case KindSecret:
		v.secret(c)
	case KindCertificate:
		v.keyPair(c)
	default:
		v.fail("kind", quoted(c.Kind)+" is not a kind", "give secret or certificate")
	}
	return v.err()
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
	}
}

func (v *validation) keyPair(c Credential) {
	if c.AuthStyle != "" && c.AuthStyle != AuthMTLS {
		v.fail("auth_style", c.AuthStyle+" needs a secret", "use kind secret, or the style mtls")
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
	if c.TokenURL == "" && t.TokenURL == "" {
		v.fail("token_url", "neither the credential nor tenant "+quoted(t.Name)+" names a token endpoint",
			"give the credential a token URL, or set the tenant's")
	}
	if t.HTTPProxy != "" && strings.HasPrefix(c.TokenURL, "http:") {
		v.fail("token_url", "not https, and tenant "+quoted(t.Name)+" is called through a proxy", "the proxy would see the secret: use https")
	}
	if t.ClientCertificate == ShowCredential && c.Kind != KindCertificate {
		v.fail("kind", "connections to tenant "+quoted(t.Name)+" show the credential's certificate, and a credential of kind "+c.Kind+" has none",
			"use kind certificate, or set the tenant's client_certificate to nothing")
	}
	style := c.AuthStyle
	if style == "" {
		style = t.AuthStyle
	}
	if (style == AuthMTLS) != (c.Kind == KindCertificate) {
		v.fail("auth_style", "tenant "+quoted(t.Name)+" authenticates by "+style+", which a credential of kind "+c.Kind+" cannot",
			"give the credential an auth style of its own, or use another kind")
	}
	return v.err()
}
