package identity

import (
	"fmt"
	"strconv"
	"strings"
)

// Code says what kind of fault an [Error] is. It is an error itself, so errors.Is(err, ErrNotFound) asks for it.
type Code string

// The codes, by what the caller did wrong.
const (
	ErrInvalid  Code = "invalid"   // a field cannot be stored
	ErrNotFound Code = "not_found" // no such object
	ErrExists   Code = "exists"    // the name or fingerprint is taken
	ErrInUse    Code = "in_use"    // other objects need this one as it is
	ErrOverlap  Code = "overlap"   // two routes would match one request, or two mappings one certificate
	ErrRefused  Code = "refused"   // the policy does not allow it
	ErrKey      Code = "key"       // the encryption key does not open what the database holds
)

// Error returns the code's text.
func (c Code) Error() string { return string(c) }

// The kinds of objects, as they stand in [Error] and in change records.
const (
	ObjectIdentity    = "identity"
	ObjectTenant      = "tenant"
	ObjectRoute       = "route"
	ObjectCredential  = "credential"
	ObjectCertificate = "certificate"
	ObjectPolicy      = "policy"
	ObjectLogin       = "login"
	ObjectMove        = "move"
	ObjectLoginPolicy = "login_policy"
	ObjectAuthority   = "authority"
)

// Error is a refusal: what was asked for cannot be, nothing was changed, and Hint says what to do about it. Errors of the database
// are not of this type.
type Error struct {
	// Code is the kind of fault.
	Code Code
	// Object is the kind of object and Name its key.
	Object, Name string
	// Field is the JSON name of the field at fault; "" when it is the object as a whole.
	Field string
	// Message says what is wrong. It never holds a secret.
	Message string
	// Hint says what to do next.
	Hint string
}

// Error returns one line: object, field, message and hint.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Object)
	if e.Name != "" {
		fmt.Fprintf(&b, " %q", e.Name)
	}
	if e.Field != "" {
		b.WriteString(": " + e.Field)
	}
	b.WriteString(": " + e.Message)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the code.
func (e *Error) Unwrap() error { return e.Code }

func notFound(object, name string) error {
	return &Error{Code: ErrNotFound, Object: object, Name: shortened(name), Message: "does not exist",
		Hint: "list what there is and look for a slip of the pen"}
}

func exists(object, name string) error {
	return &Error{Code: ErrExists, Object: object, Name: name, Message: "exists already",
		Hint: "choose another name, or change the existing one"}
}

func inUse(object, name, by, hint string) error {
	return &Error{Code: ErrInUse, Object: object, Name: name, Message: "in use by " + by, Hint: hint}
}

// quoted returns s for a message: quoted, escaped and not long.
func quoted(s string) string { return strconv.Quote(shortened(s)) }

func shortened(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
