package tenantsim

import (
	"maps"
	"net/http"
	"time"
)

// Vendor is whose token server is simulated.
type Vendor string

const (
	XSUAA Vendor = ""    // Basic raw, or encoded with X-CF-ENCODED-CREDENTIALS; body; certificate
	IAS   Vendor = "ias" // Basic must be form-urlencoded; a client is locked for 60 min after 5 failed log-ons
	Neo   Vendor = "neo" // Basic only, raw; expires_in 0 and "scopes"
)

// Switches are the quirks. The zero value is what a tenant of today does.
type Switches struct {
	// Vendor chooses the token server's manners.
	Vendor Vendor
	// TokenFault spoils the token endpoint while it is not nil.
	TokenFault *TokenFault
	// TokenLifetime is how long tokens live. 0 means 1 h (TENANTS.md 2.1: the reply then says 3599).
	TokenLifetime time.Duration
	// ExpiresIn replaces the value of expires_in in replies by this JSON text; "omit" leaves the member out, "" changes nothing.
	ExpiresIn string
	// TokenType replaces the token_type, "bearer".
	TokenType string
	// NarrowScope drops scopes that a client asks for and does not have, silently and with status 200.
	NarrowScope bool
	// TokenRate is how many token requests a second are served at once, on each listener together; more are queued for up
	// to a second, then answered 429 with an HTML page and Retry-After. 0 means no limit.
	TokenRate int

	// NoCookies sets no cookies. NoSessionLeak lets Authorization decide also where a session cookie comes along; a real
	// tenant goes by the session.
	NoCookies, NoSessionLeak bool
	// CSRF protects every flow and the API, as the HTTPS sender does by default.
	CSRF bool
	// CSRFStatus is the answer to a change without a CSRF token that its session knows. 0 means 403; some were seen to say 500, without
	// the header field that tells why.
	CSRFStatus int
	// ExpiredStatus is the answer to an expired or revoked token. 0 means 401; older releases said 500.
	ExpiredStatus int
	// RoleDelay is how long a change of roles takes to act; up to 1 h on a real tenant.
	RoleDelay time.Duration
	// FlowDelay is slept before each answer of a flow or the API.
	FlowDelay time.Duration
	// FlowStatus is the status of flows without one of their own. 0 means 200. 204 sends no body, 500 the text with the
	// message processing log id.
	FlowStatus int
	// BodyGap cuts a request whose body pauses for longer. 0 means 20 s.
	BodyGap time.Duration
	// MaxBody refuses longer request bodies, in bytes, with the adapter's text. 0 means no limit.
	MaxBody int64
}

// TokenFault is what goes wrong at the token endpoint. Several of its fields may be set.
type TokenFault struct {
	// Delay is slept first. Hang then never answers, until the client goes away or the Sim is closed.
	Delay time.Duration
	Hang  bool
	// Truncate closes the connection in the middle of the answer.
	Truncate bool
	// Status, Header and Body make the answer; Status 0 means 200 if there is a Body, and no fault if there is none.
	Status int
	Header http.Header
	Body   string
	// Size pads the Body with spaces to so many bytes.
	Size int64
	// Redirect answers 307 to this address.
	Redirect string
}

// Switch changes the quirks; it acts on requests that arrive afterwards.
func (s *Sim) Switch(change func(*Switches)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.switches.Load()
	if f := next.TokenFault; f != nil { // requests under way hold the old one
		c := *f
		c.Header = maps.Clone(f.Header)
		next.TokenFault = &c
	}
	change(&next)
	s.switches.Store(&next)
}

// RejectNext answers the next n requests to flows or the API with 401, whatever their token: a flow that says so of its own.
func (s *Sim) RejectNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reject = n
}

// RevokeTokens makes a new signing key and with it every token issued so far invalid: a forced key rotation.
func (s *Sim) RevokeTokens() error {
	next, err := newIssuer()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issuer = next
	return nil
}
