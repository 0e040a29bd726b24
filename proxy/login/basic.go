// Package login verifies user names and passwords of HTTP Basic at the rate at which requests come: each password is hashed once and then known by a keyed
// digest for a while; hashing has bounded memory and a fair line; guessing is slowed down without keeping out who knows the password.
//
// It knows the header field, sources and digests. It does not know the registry, identities, stages or HTTP: whoever asks says what a password is compared
// with, and what an answer means.
package login

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// MaxField bounds the value of an Authorization field, in octets.
const MaxField = 2048

// Credentials are a user name and a password as a caller sent them, in UTF-8. They are not printed.
type Credentials struct {
	User     string
	Password string
}

// String returns [redacted]: users type passwords in the place of user names, too.
func (Credentials) String() string { return "[redacted]" }

// GoString returns [redacted].
func (Credentials) GoString() string { return "[redacted]" }

// Basic returns the base64 part of an Authorization value of scheme Basic, which is compared without regard to case (RFC 9110, 11.1). There is one space
// behind the scheme and nothing behind the base64 part. basic is false for any other scheme, and token "" when the value is of scheme Basic and malformed.
func Basic(value string) (token string, basic bool) {
	const scheme = "basic"
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	rest := value[len(scheme):]
	switch {
	case rest != "" && rest[0] != ' ' && rest[0] != '\t': // another scheme that begins alike
		return "", false
	case len(value) > MaxField || len(rest) < 2 || rest[0] != ' ':
		return "", true
	}
	for _, c := range []byte(rest[1:]) {
		if c <= ' ' || c >= 0x7f {
			return "", true
		}
	}
	return rest[1:], true
}

// Parse decodes the base64 part: strictly, with its padding (RFC 4648, 3.2 and 3.5), and one encoding for one text. The text is UTF-8 or, when it is not valid
// as that, ISO-8859-1, which older clients use (RFC 7617, 2). The user name ends at the first ':'. Control characters are refused in both parts, as is an empty
// user name.
func Parse(token string) (c Credentials, ok bool) {
	if len(token) > MaxField || token == "" || strings.ContainsAny(token, "\r\n") { // the decoder would pass over line ends
		return c, false
	}
	var buf [MaxField]byte
	n, err := strict.Decode(buf[:], []byte(token))
	if err != nil {
		return c, false
	}
	text := toUTF8(buf[:n])
	user, password, found := strings.Cut(text, ":")
	if !found || user == "" || hasControl(text) {
		return c, false
	}
	return Credentials{user, password}, true
}

var strict = base64.StdEncoding.Strict()

// toUTF8 returns the text, read as ISO-8859-1 when it is no UTF-8.
func toUTF8(text []byte) string {
	if utf8.Valid(text) {
		return string(text)
	}
	var b strings.Builder
	for _, c := range text {
		b.WriteRune(rune(c))
	}
	return b.String()
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}
