package wire

// Error is a message that breaks the grammar or a limit. Nothing behind it on the connection may be interpreted.
type Error struct {
	Kind  Kind
	Cause string // what is wrong, for a record; it quotes nothing of the message
}

func (e *Error) Error() string { return e.Cause }

// Kind is what sort of objection an [Error] is.
type Kind uint8

// The kinds.
const (
	Malformed Kind = iota // against the grammar, or ambiguous
	TooLarge              // the head is over a limit
	Method                // CONNECT, which is never served
)

func malformed(cause string) *Error { return &Error{Malformed, cause} }
