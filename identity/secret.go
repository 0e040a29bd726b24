package identity

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// SecretMaterial is a client secret or a private key in memory. It shows itself as [redacted] however it is printed, marshalled or
// logged; only Reveal returns it. The text lies behind a pointer, so that even fmt, which prints unexported fields of other structs
// without asking their methods, shows no more than an address. The zero value is no secret.
type SecretMaterial struct{ text *string }

// NewSecret returns the secret with this text; "" gives the zero value.
func NewSecret(text string) SecretMaterial {
	if text == "" {
		return SecretMaterial{}
	}
	return SecretMaterial{&text}
}

// Reveal returns the text. Each call of it is a place to review.
func (s SecretMaterial) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no secret.
func (s SecretMaterial) IsZero() bool { return s.text == nil }

// Equal compares two secrets in a time that does not depend on where they differ.
func (s SecretMaterial) Equal(o SecretMaterial) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(o.Reveal())) == 1
}

// String returns [redacted].
func (s SecretMaterial) String() string { return redacted }

// GoString returns [redacted].
func (s SecretMaterial) GoString() string { return redacted }

// Format prints [redacted] for every verb.
func (s SecretMaterial) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		_, _ = fmt.Fprintf(f, "%q", redacted)
		return
	}
	_, _ = fmt.Fprint(f, redacted)
}

// MarshalText returns [redacted].
func (s SecretMaterial) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]".
func (s SecretMaterial) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue returns [redacted].
func (s SecretMaterial) LogValue() slog.Value { return slog.StringValue(redacted) }
