package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Step is where getting a token ended.
type Step string

const (
	StepDiscover Step = "discover" // finding the token endpoint in the issuer's metadata, whatever went wrong there
	StepDial     Step = "dial"     // name resolution or connecting
	StepTLS      Step = "tls"      // handshake, trust, or an alert such as certificate_required
	StepRequest  Step = "request"  // building the request, sending it, or waiting for and reading the answer
	StepStatus   Step = "status"   // an answer other than 200 that refuses nobody: 429, 500, a redirect
	StepParse    Step = "parse"    // a 200 whose body is no usable token
	StepRefused  Step = "refused"  // the server does not accept this client (invalid_client and its kin, 401, 403)
	StepScope    Step = "scope"    // a token that lacks a scope that was asked for; an answer that names none grants all (RFC 6749 section 5.1)
	StepWait     Step = "wait"     // the caller's own context ended first; the fetch goes on for others
	StepDropped  Step = "dropped"  // the credential was changed, disabled or removed, or the engine closed
)

// ErrDropped is what errors.Is finds in the error of a Source whose credential was dropped. Ask [Engine.Source] again with
// the credential as it is now.
var ErrDropped = errors.New("credential dropped")

// Error says why there is no token. It carries no secret, no token and no raw body; it is immutable and may be shared
// between callers: within a back-off each caller gets the same one.
type Error struct {
	Step        Step
	Host        string        // host and port of the token endpoint
	Status      int           // HTTP status, 0 if there was none
	Code        string        // OAuth error code (RFC 6749 section 5.2), at most 64 characters, "" if there was none
	Description string        // what the server or the system said, sanitised, secret masked, at most 200 characters
	RetryAfter  time.Duration // as the server asked, before bounding; 0 if it did not
	Until       time.Time     // no request is made before; zero if the next call may make one

	cause error // ErrDropped or a context's error, nothing that could hold a secret
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("getting token")
	if e.Host != "" {
		b.WriteString(" from ")
		b.WriteString(e.Host)
	}
	b.WriteString(": ")
	b.WriteString(string(e.Step))
	if e.Status != 0 {
		b.WriteString(": status ")
		b.WriteString(strconv.Itoa(e.Status))
	}
	if e.Code != "" {
		b.WriteString(": ")
		b.WriteString(e.Code)
	}
	if e.Description != "" {
		b.WriteString(": ")
		b.WriteString(e.Description)
	}
	if !e.Until.IsZero() {
		b.WriteString(" (next try at ")
		b.WriteString(e.Until.UTC().Format(time.RFC3339))
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns ErrDropped or the context's error that ended the wait or the fetch, else nil.
func (e *Error) Unwrap() error { return e.cause }

const (
	maxCode        = 64
	maxDescription = 200
)

// leastMasked is the length from which on a secret is masked in a text. A shorter one stands in ordinary words, and which of their letters are missing
// would tell it.
const leastMasked = 4

// clean makes text of the server's or the system's fit for a log: the credential's secret masked in every form in which it
// travelled, control and non-ASCII characters replaced, bounded.
func (c Credential) clean(text string, limit int) string {
	if secret := c.Secret.Reveal(); secret != "" {
		pair := c.ClientID + ":" + secret
		encoded := url.QueryEscape(c.ClientID) + ":" + url.QueryEscape(secret)
		quoted, _ := json.Marshal(secret)
		for _, form := range []string{
			base64.StdEncoding.EncodeToString([]byte(pair)),
			base64.StdEncoding.EncodeToString([]byte(encoded)),
			url.QueryEscape(secret), url.PathEscape(secret), string(quoted[1 : len(quoted)-1]), secret,
		} {
			if len(form) >= leastMasked {
				text = strings.ReplaceAll(text, form, redacted)
			}
		}
	}
	var b strings.Builder
	for _, r := range text {
		if b.Len() >= limit {
			b.WriteString("...")
			break
		}
		if r < 0x20 || r > 0x7e || r == utf8.RuneError {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
