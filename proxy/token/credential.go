package token

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	// changes anything, X-CF-ENCODED-CREDENTIALS: true goes with it, without which XSUAA does not decode.
	Basic Style = "basic"
	// BasicRaw sends them in HTTP Basic as they are (RFC 7617), as Neo and older servers want it. The client id must not
	// contain a colon.
	BasicRaw Style = "basic_raw"
	// MTLS sends client_id and no secret, and shows the client certificate in the handshake (RFC 8705), also when it chains
	// to none of the authorities that the server names.
	MTLS Style = "mtls"
)

// Credential is an OAuth client: what is needed to fetch a token. Its Secret redacts; the private key in Certificate is
// never printed by this package.
type Credential struct {
	// ID names the stored version of the credential: another secret has another ID.
	ID string
	// TokenURL is the token endpoint: https, or http on a loopback host.
	TokenURL string
	// Style is how the client authenticates.
	Style Style
	// ClientID is the OAuth client's id.
	ClientID string
	// Secret is the client secret; not used by MTLS.
	Secret Secret
	// Certificate is the client certificate with its key, leaf first; used by MTLS only.
	Certificate *tls.Certificate
	// Scope is a space-separated list of scopes to ask for; empty asks for none and takes what comes.
	Scope string
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
		return fmt.Errorf("checking credential: no client id")
	}
	switch c.Style {
	case Body, Basic, BasicRaw:
		if c.Secret.Empty() {
			return fmt.Errorf("checking credential: style %s needs a client secret", c.Style)
		}
		if c.Style == BasicRaw && bytes.ContainsRune([]byte(c.ClientID), ':') {
			return fmt.Errorf("checking credential: style basic_raw cannot carry a colon in the client id (RFC 7617)")
		}
	case MTLS:
		if c.Certificate == nil || len(c.Certificate.Certificate) == 0 || c.Certificate.PrivateKey == nil {
			return fmt.Errorf("checking credential: style mtls needs a certificate and its key")
		}
	default:
		return fmt.Errorf("checking credential: style %q is none of body, basic, basic_raw, mtls", c.Style)
	}
	u, err := url.Parse(c.TokenURL)
	if err != nil {
		return fmt.Errorf("checking credential: token URL cannot be parsed")
	}
	switch {
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("checking credential: token URL must name a host, without user or fragment")
	case u.Scheme == "https":
	case u.Scheme == "http" && c.Dial != nil:
		return fmt.Errorf("checking credential: token URL must be https: a secret goes there by way of others")
	case u.Scheme == "http" && loopback(u.Hostname()):
	default:
		return fmt.Errorf("checking credential: token URL must be https: a secret goes there")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// same reports whether other would fetch the same token in the same way.
func (c Credential) same(other Credential) bool {
	return c.TokenURL == other.TokenURL && c.Via == other.Via && c.Style == other.Style && c.ClientID == other.ClientID &&
		c.Secret.Equal(other.Secret) && sameCertificate(c.Certificate, other.Certificate) && samePool(c.RootCAs, other.RootCAs)
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
