package token

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a text that must not be shown: it prints as [redacted] under every verb of fmt, in JSON, as text and in slog.
// The zero Secret is empty. It is safe for concurrent use.
//
// The text sits behind a pointer, because fmt reads unexported fields without asking their methods: a struct that holds a
// Secret in such a field then prints an address and not the secret.
type Secret struct{ text *string }

// NewSecret returns a Secret with the given text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text. It does not allocate.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether there is no text.
func (s Secret) Empty() bool { return s.text == nil }

// Equal reports whether both hold the same text. It is not constant in time: it compares what we hold with what we hold.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// Format implements [fmt.Formatter] for every verb, %#v and %q included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// MarshalJSON implements [json.Marshaler] with "[redacted]".
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText implements [encoding.TextMarshaler] with "[redacted]".
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements [slog.LogValuer] with "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
