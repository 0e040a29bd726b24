package identity

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"
	"time"
)

// The ways in which an OAuth client proves itself at a tenant's token endpoint. There is no default and no probing: a wrong guess
// is a failed logon, and some token servers lock the client after a few.
const (
	AuthBody          = "body"            // client_id and client_secret as form fields (RFC 6749, 2.3.1)
	AuthBasic         = "basic"           // HTTP Basic, both parts form-encoded first (RFC 6749, 2.3.1)
	AuthBasicRaw      = "basic_raw"       // HTTP Basic as RFC 7617 has it, nothing encoded
	AuthMTLS          = "mtls"            // a client certificate (RFC 8705)
	AuthPrivateKeyJWT = "private_key_jwt" // an assertion that the client's key has signed (RFC 7523, 2.2)
)

// What a tenant is shown on every connection, in [Tenant.ClientCertificate].
const (
	ShowNone       = ""           // nothing
	ShowCredential = "credential" // the certificate of the calling identity's credential, which then must be of KindCertificate
)

// What is spoken with a tenant, in [Tenant.Protocol]. It is never guessed: which of the two a tenant would rather have is not known before it is called, and what
// a request may count on (trailers, streams in both directions, an upgrade) should not depend on it.
const (
	ProtocolHTTP1 = ""   // HTTP/1.1
	ProtocolHTTP2 = "h2" // HTTP/2, which gRPC needs: over TLS by ALPN, without TLS with prior knowledge (RFC 9113, section 3)
)

// DefaultTenantTimeout bounds a call to a tenant, from the request's start to the response's header, when the tenant names no bound.
const DefaultTenantTimeout = 60 * time.Second

// Tenant is a remote system: where it is, where its tokens come from and how to authenticate there.
type Tenant struct {
	// Name is the tenant's key, written like an identity's name.
	Name string `json:"name"`
	// Description is free text of at most 1024 bytes.
	Description string `json:"description,omitempty"`
	// BaseURL is the scheme, host and optional path under which the tenant's paths lie. It is https unless the host is loopback.
	BaseURL string `json:"base_url"`
	// TokenURL is the OAuth token endpoint for credentials that name none; "" when each credential names its own.
	TokenURL string `json:"token_url,omitempty"`
	// Issuer is the authorization server whose metadata (RFC 8414, OpenID Connect Discovery) name the token endpoint, in place of TokenURL.
	Issuer string `json:"issuer,omitempty"`
	// AuthStyle is one of the styles above, for credentials that name none.
	AuthStyle string `json:"auth_style"`
	// Scope is the OAuth scope to ask for when neither route nor credential names one: tokens with one space between.
	Scope string `json:"scope,omitempty"`
	// TokenParameters are further fields of token requests; those of credentials and routes go before them, by name.
	TokenParameters TokenParameters `json:"token_parameters,omitempty"`
	// CABundle holds the PEM certificates that the tenant's and its token endpoint's chains must lead to; "" means the system's roots.
	CABundle string `json:"ca_bundle,omitempty"`
	// CaseSensitive says that the tenant tells /A from /a. False is the safe side: /A and /a are then one path for the routes.
	CaseSensitive bool `json:"case_sensitive"`
	// Timeout bounds a call, from the request's start to the response's header; 0 means DefaultTenantTimeout.
	Timeout Duration `json:"timeout,omitempty"`
	// HTTPProxy is the URL, http or https with a port, of the proxy through which (CONNECT) the tenant and its token endpoint are called; ""
	// means directly. A proxy that asks for a password is not supported.
	HTTPProxy string `json:"http_proxy,omitempty"`
	// ClientCertificate is ShowNone or ShowCredential: the client certificate that a connection to the tenant shows. (Its token endpoint is
	// shown one by AuthMTLS.)
	ClientCertificate string `json:"client_certificate,omitempty"`
	// Protocol is ProtocolHTTP1 or ProtocolHTTP2. "http1" is another way to write the former. A tenant of HTTP/2 takes no upgrades (WebSocket).
	Protocol string `json:"protocol,omitempty"`
	// Concurrency is how many requests to the tenant may be in flight, on each node; 0 is no limit but the share that any tenant has of all
	// requests.
	Concurrency int `json:"concurrency,omitempty"`
	// BreakerFailures is how many connections in a row must fail before the tenant is left alone for a while; 0 means
	// DefaultBreakerFailures, NoBreaker never.
	BreakerFailures int `json:"breaker_failures,omitempty"`
	// BreakerCooldown is for how long it is left alone at first; that doubles with each further failure, up to five times as long. 0 means
	// DefaultBreakerCooldown.
	BreakerCooldown Duration `json:"breaker_cooldown,omitempty"`
	// Created is when the tenant was added. The registry sets it.
	Created time.Time `json:"created,omitzero"`
	// Updated is when the tenant was last changed. The registry sets it.
	Updated time.Time `json:"updated,omitzero"`
}

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil.
func (t Tenant) Validate() error {
	v := validation{object: ObjectTenant, name: t.Name}
	v.key("name", t.Name)
	v.text("description", t.Description)
	v.url("base_url", t.BaseURL)
	v.whereTokens(t.TokenURL, t.Issuer)
	v.authStyle("auth_style", t.AuthStyle)
	v.scope("scope", t.Scope)
	v.parameters("token_parameters", t.TokenParameters)
	v.caBundle("ca_bundle", t.CABundle)
	v.timeout("timeout", t.Timeout)
	v.httpProxy("http_proxy", t)
	if t.ClientCertificate != ShowNone && t.ClientCertificate != ShowCredential {
		v.fail("client_certificate", quoted(t.ClientCertificate)+" is not one to show", "give credential, or nothing for none")
	}
	if p := t.normal().Protocol; p != ProtocolHTTP1 && p != ProtocolHTTP2 {
		v.fail("protocol", quoted(t.Protocol)+" is not one that is spoken with tenants", "give http1 (default) or h2")
	}
	v.tenantLimits(&t)
	return v.err()
}

// normal returns the tenant as it is stored.
func (t Tenant) normal() Tenant {
	t.TokenURL = bareTokenURL(t.TokenURL)
	t.BaseURL, t.HTTPProxy = strings.TrimRight(t.BaseURL, "/"), strings.TrimRight(t.HTTPProxy, "/")
	if t.Protocol == "http1" {
		t.Protocol = ProtocolHTTP1
	}
	return t
}

// effectiveTimeout returns Timeout with its default applied.
func (t *Tenant) effectiveTimeout() time.Duration {
	if t.Timeout > 0 {
		return time.Duration(t.Timeout)
	}
	return DefaultTenantTimeout
}

func (v *validation) authStyle(field, style string) {
	switch style {
	case AuthBody, AuthBasic, AuthBasicRaw, AuthMTLS, AuthPrivateKeyJWT:
	case "":
		v.fail(field, "missing", "give body (SAP XSUAA), basic, basic_raw (SAP Neo), mtls or private_key_jwt: it is never guessed, "+
			"because a wrong guess counts as a failed logon")
	default:
		v.fail(field, quoted(style)+" is not a style", "give body, basic, basic_raw, mtls or private_key_jwt")
	}
}

// httpProxy checks the address of a proxy. What passes through it is TLS, so it may itself be spoken with in the clear.
func (v *validation) httpProxy(field string, t Tenant) {
	if t.HTTPProxy == "" {
		return
	}
	const form = "write it like http://proxy.example.com:3128"
	u, err := url.Parse(t.HTTPProxy)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || len(t.HTTPProxy) > 2048 || !printable(t.HTTPProxy):
		v.fail(field, "not an absolute URL", form) // the text may hold a password, so it is not quoted
	case u.User != nil:
		v.fail(field, "holds a user name or password", "remove what stands before the '@': only a proxy that asks for no password can be used")
	case u.Scheme != "http" && u.Scheme != "https":
		v.fail(field, "neither https nor http", form)
	case u.Port() == "" || !validPort(u.Port()):
		v.fail(field, "has no port between 1 and 65535", form)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(t.HTTPProxy, "#"):
		v.fail(field, "holds more than an address", form)
	case !strings.HasPrefix(t.BaseURL, "https:") || strings.HasPrefix(t.TokenURL, "http:") || strings.HasPrefix(t.Issuer, "http:"):
		v.fail(field, "given for a tenant that is not called by https", "the proxy would see tokens and secrets: use https, or no proxy")
	}
}

// caBundle takes a bundle only when every byte of it is understood: a bundle that is half read would trust less, or, once taken for
// an empty one, more than its author meant.
func (v *validation) caBundle(field, bundle string) {
	if bundle == "" {
		return
	}
	const hint = "give PEM blocks of type CERTIFICATE and nothing else, or nothing for the system's roots"
	rest, n := []byte(bundle), 0
	for {
		before, _, _ := strings.Cut(string(rest), "-----BEGIN ")
		if strings.Contains(before, "-----") {
			v.fail(field, "broken PEM block", hint)
			return
		}
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		n++
		if block.Type != "CERTIFICATE" {
			v.fail(field, "holds a block of type "+quoted(block.Type), hint)
			return
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			v.fail(field, "holds a certificate that cannot be read: "+err.Error(), hint)
			return
		}
	}
	switch {
	case n == 0:
		v.fail(field, "holds no certificate", hint)
	case strings.Contains(string(rest), "-----"):
		v.fail(field, "broken PEM block", hint)
	}
}
