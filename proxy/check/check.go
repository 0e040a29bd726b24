// Package check tries the way to a tenant step by step, and says of each step whether it works and what to do when it does not: name, connection, TLS, token
// request, token, scopes, and the tenant itself, which is reached without calling anything that could execute (a handshake, unless the operator
// names a path).
//
// It hammers nobody: one token request for each credential that it is asked about, none for one that is held. No step holds a secret or a token.
//
// It does not know identities, routes as the registry stores them, or who asks; it is handed plain values and the way that requests of callers take.
package check

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// State is what came of a step, or of several: the worst of them.
type State string

const (
	OK      State = "ok"
	Warn    State = "warn"    // it works now; something should be looked at
	Fail    State = "fail"    // calls fail, or will
	Skipped State = "skipped" // not tried, and the detail says why
)

// The steps, in the order in which they are tried. Those of the token endpoint begin with "token", those of the tenant with "tenant".
const (
	StepCredential    = "credential"     // what it is, and when it ends
	StepIssuer        = "issuer"         // what its metadata name, where the token endpoint is discovered
	StepTokenDNS      = "token_dns"      // the token endpoint's name, or that of the HTTP proxy
	StepTokenTCP      = "token_tcp"      // connecting there
	StepTokenTLS      = "token_tls"      // handshake, chain, names, expiry
	StepTokenRequest  = "token_request"  // the answer to the client authentication
	StepTokenLifetime = "token_lifetime" // how long the token lives
	StepTokenFormat   = "token_format"   // what can be read in it
	StepTokenBinding  = "token_binding"  // whether it is bound to a certificate (RFC 8705, section 3)
	StepTokenScope    = "token_scope"    // granted and asked for
	StepRoute         = "route"          // a route of the tenant that would fail
	StepClock         = "clock"          // ours beside theirs
	StepTenantHost    = "tenant_host"    // whether the base URL is the host that the client is for
	StepTenantDNS     = "tenant_dns"
	StepTenantTCP     = "tenant_tcp"
	StepTenantTLS     = "tenant_tls"
	StepTenantProbe   = "tenant_probe" // the answer to the path that the operator named
)

// Step is one step and what came of it.
type Step struct {
	// Name is one of the Step constants.
	Name string `json:"step"`
	// State is what came of it.
	State State `json:"state"`
	// Detail says what was seen, Hint what to do.
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
	// Milliseconds is how long it took; 0 where that is not told.
	Milliseconds int64 `json:"milliseconds,omitempty"`
}

// Claims are what a token says of itself, where it is a JWT (RFC 7519) that can be read. Its signature is the tenant's to check, and is not.
type Claims struct {
	Algorithm string    `json:"alg,omitempty"`
	Issuer    string    `json:"iss,omitempty"`
	Audience  []string  `json:"aud,omitempty"`
	Client    string    `json:"client_id,omitempty"`
	Zone      string    `json:"zid,omitempty"`
	Scopes    []string  `json:"scope,omitempty"`
	Issued    time.Time `json:"iat,omitzero"`
	Expires   time.Time `json:"exp,omitzero"`
	// Bound is the thumbprint of the certificate that the token is bound to, "" for none (cnf, RFC 8705, section 3.1).
	Bound string `json:"cnf,omitempty"`
}

// Way is how calls with a credential reach a tenant.
type Way struct {
	// Address is the tenant's host and port.
	Address string
	// TLS is how the tenant is spoken with; nil is in the clear, on loopback.
	TLS *tls.Config
	// HTTP2 says that calls speak HTTP/2, and fail where the tenant does not.
	HTTP2 bool
	// Dial connects to the tenant.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Via is the URL of the HTTP proxy in between, "" for none.
	Via string
	// Credential is what tokens are fetched with.
	Credential token.Credential
}

// Route is what matters here of a route.
type Route struct {
	Name  string
	Path  string // at the tenant
	Scope string // that it asks for; "" when it asks for none of its own
}

// Worst is the state of all steps together. A skipped step counts as ok.
func Worst(lists ...[]Step) State {
	state := OK
	for _, steps := range lists {
		for _, s := range steps {
			switch {
			case s.State == Fail:
				return Fail
			case s.State == Warn:
				state = Warn
			}
		}
	}
	return state
}
