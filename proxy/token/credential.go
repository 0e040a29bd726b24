package token

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
)

// Style says how a client authenticates at its token endpoint. There is no default and no probing: a wrong guess is a failed
// log-on, and some servers lock a client after five (TENANTS.md 2.3).
type Style string

const (
	// Body sends client_id and client_secret as form fields (client_secret_post, RFC 6749 section 2.3.1).
	Body Style = "body"
	// Basic sends them form-urlencoded in HTTP Basic (client_secret_basic, RFC 6749 section 2.3.1). Where the encoding
	// changes anything, X-CF-ENCODED-CREDENTIALS: true goes with it, without which XSUAA does not decode. There is no style
	// without it: a server that does not know a header field ignores it (RFC 9110 section 5.1).
	Basic Style = "basic"
	// BasicRaw sends them in HTTP Basic as they are (RFC 7617), as Neo and older servers want it. The client id must not
	// contain a colon.
	BasicRaw Style = "basic_raw"
	// MTLS sends client_id and no secret, and shows the client certificate in the handshake, also when it chains to none of the
	// authorities that the server names. It is tls_client_auth and self_signed_tls_client_auth (RFC 8705 sections 2.1 and 2.2),
	// which differ in what the server compares and not on the wire.
	MTLS Style = "mtls"
	// PrivateKeyJWT sends client_id and an assertion that the client's key has signed (RFC 7523 section 2.2, OpenID Connect Core
	// 1.0 section 9), a new one with each request.
	PrivateKeyJWT Style = "private_key_jwt"
)

// IssuerAudience in [Credential.AssertionAudience] means the issuer's own name.
const IssuerAudience = "issuer"

// Credential is an OAuth client: what is needed to fetch a token. Its Secret redacts; the private key in Certificate is
// never printed by this package.
type Credential struct {
	// ID names the stored version of the credential: another secret has another ID.
	ID string
	// TokenURL is the token endpoint: https, or http on a loopback host. "" has it discovered from Issuer.
	TokenURL string
	// Issuer is the authorization server whose metadata names the token endpoint when TokenURL is "" (RFC 8414, OpenID Connect
	// Discovery 1.0): https, or http on a loopback host. It is compared with the issuer that the metadata name.
	Issuer string
	// Style is how the client authenticates.
	Style Style
	// ClientID is the OAuth client's id.
	ClientID string
	// Secret is the client secret; not used by MTLS.
	Secret Secret
	// Certificate is the client certificate with its key, leaf first; used by MTLS only.
	Certificate *tls.Certificate
	// Assertion signs what proves the client; used by PrivateKeyJWT only.
	Assertion *AssertionKey
	// AssertionAudience is whom assertions are for: "" the token endpoint, IssuerAudience the issuer, anything else itself.
	AssertionAudience string
	// Scope is a space-separated list of scopes to ask for; empty asks for none and takes what comes.
	Scope string
	// Parameters are further form fields of the token request, such as resource (RFC 8707) and audience, form-urlencoded and
	// sorted by name as [url.Values.Encode] writes them; "" is none. What the style sends itself is not among them.
	Parameters string
	// RootCAs are the only authorities trusted for the token endpoint; nil means the system's.
	RootCAs *x509.CertPool
	// Dial connects to the token endpoint; nil means as the [Engine] does. It is called for https only.
	Dial func(ctx context.Context, network, address string) (net.Conn, error) `json:"-"`
	// Via names what Dial does: credentials that differ in nothing else are the same when it is the same.
	Via string
}

// Validate reports what is missing or contradictory. Its error carries no secret.
func (c Credential) Validate() error {
	if c.ClientID == "" {
		return errors.New("checking credential: no client id")
	}
	switch c.Style {
	case Body, Basic, BasicRaw:
		if c.Secret.Empty() {
			return fmt.Errorf("checking credential: style %s needs a client secret", c.Style)
		}
		if c.Style == BasicRaw && bytes.ContainsRune([]byte(c.ClientID), ':') {
			return errors.New("checking credential: style basic_raw cannot carry a colon in the client id (RFC 7617)")
		}
	case MTLS:
		if c.Certificate == nil || len(c.Certificate.Certificate) == 0 || c.Certificate.PrivateKey == nil {
			return errors.New("checking credential: style mtls needs a certificate and its key")
		}
	case PrivateKeyJWT:
		if c.Assertion == nil {
			return errors.New("checking credential: style private_key_jwt needs a key to sign with")
		}
		if c.AssertionAudience == IssuerAudience && !c.discovers() {
			return errors.New("checking credential: the issuer is to be the assertion's audience, and none is known where the token URL is given")
		}
	default:
		return fmt.Errorf("checking credential: style %q is none of body, basic, basic_raw, mtls, private_key_jwt", c.Style)
	}
	if err := c.checkParameters(); err != nil {
		return err
	}
	if c.discovers() {
		return c.checkURL("issuer", c.Issuer)
	}
	return c.checkURL("token URL", c.TokenURL)
}

// checkParameters refuses what would take the place of what the request says anyway.
func (c Credential) checkParameters() error {
	if c.Parameters == "" {
		return nil
	}
	form, err := url.ParseQuery(c.Parameters)
	if err != nil {
		return errors.New("checking credential: the parameters are not form-urlencoded")
	}
	for _, own := range []string{"grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type"} {
		if _, given := form[own]; given {
			return fmt.Errorf("checking credential: parameter %s is none of the further ones", own)
		}
	}
	return nil
}

// checkURL says whether a secret or a token may depend on what is at the address.
func (c Credential) checkURL(what, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("checking credential: %s cannot be parsed", what)
	}
	switch {
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("checking credential: %s must name a host, without user or fragment", what)
	case u.Scheme == "https":
	case u.Scheme == "http" && c.Dial != nil:
		return fmt.Errorf("checking credential: %s must be https: a secret goes there by way of others", what)
	case u.Scheme == "http" && loopback(u.Hostname()):
	default:
		return fmt.Errorf("checking credential: %s must be https: a secret goes there", what)
	}
	return nil
}

// discovers reports whether the token endpoint comes from the issuer's metadata.
func (c Credential) discovers() bool { return c.TokenURL == "" && c.Issuer != "" }

// host is where the way to a token begins: host and port of the token endpoint or of the issuer.
func (c Credential) host() string { return hostOf(cmp.Or(c.TokenURL, c.Issuer)) }

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// same reports whether other would fetch the same token in the same way.
func (c Credential) same(other Credential) bool {
	return c.TokenURL == other.TokenURL && c.Issuer == other.Issuer && c.Via == other.Via && c.Style == other.Style &&
		c.ClientID == other.ClientID && c.Secret.Equal(other.Secret) && c.Parameters == other.Parameters &&
		c.AssertionAudience == other.AssertionAudience && c.Assertion.same(other.Assertion) &&
		sameCertificate(c.Certificate, other.Certificate) && samePool(c.RootCAs, other.RootCAs)
}

func sameCertificate(a, b *tls.Certificate) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil || len(a.Certificate) == 0 || len(b.Certificate) == 0 {
		return false
	}
	return bytes.Equal(a.Certificate[0], b.Certificate[0])
}

func samePool(a, b *x509.CertPool) bool { return a == b || (a != nil && b != nil && a.Equal(b)) }
