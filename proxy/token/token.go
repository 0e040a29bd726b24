// Package token holds the bearer tokens with which tenantgate calls tenants: it fetches them with OAuth 2.0 client
// credentials (RFC 6749 section 4.4), keeps them while they live, refreshes them before they end and remembers failures.
//
// One [Engine] serves a process. [Engine.Source] gives the [Source] of one credential and scope; [Source.Token] is the call
// on the path of a request: one atomic load and one look at the clock while a token is valid. No caller waits while a valid
// token exists, at most one request per source is under way, and a token server that fails is asked again only after a
// back-off, however many callers ask.
//
// The package knows keys, not identities: it does not know who calls, which route is asked for, where credentials are stored
// or what a tenant is. It never probes for an authentication style, follows no redirect and reads no proxy settings from the
// environment. Tokens outlive the process in a [Store], sealed, where there is one.
package token

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Token is a bearer token as handed to a caller. It is a small value; copies are cheap and safe for concurrent use.
// It prints as [redacted] in every format, JSON and slog included. The zero Token is no token: its Header is empty.
type Token struct {
	// Value is the access token itself.
	Value Secret
	// ID tells this fetch from every other of the same Engine. It is no secret, starts at 1 and carries no meaning.
	ID uint64

	header Secret
}

const bearer = "Bearer "

func newToken(value string, id uint64) Token {
	header := bearer + value
	return Token{Value: NewSecret(header[len(bearer):]), ID: id, header: NewSecret(header)}
}

// Header returns the value of the Authorization header field, "Bearer ..." (RFC 6750 section 2.1). It does not allocate.
func (t Token) Header() string { return t.header.Reveal() }

// Format implements [fmt.Formatter]; the token itself is never written.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "token %d %s", t.ID, redacted) }

// MarshalJSON implements [json.Marshaler]; the token itself is never written.
func (t Token) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// LogValue implements [slog.LogValuer]; the token itself is never written.
func (t Token) LogValue() slog.Value { return slog.StringValue(redacted) }
