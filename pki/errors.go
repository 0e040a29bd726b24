package pki

import (
	"errors"
	"fmt"
)

// Errors a caller acts on.
var (
	// ErrNotFound: the CA has no record of that serial number.
	ErrNotFound = errors.New("certificate not found")
	// ErrPassphrase: the passphrase does not open the CA's key.
	ErrPassphrase = errors.New("the passphrase does not open the key")
	// ErrExists: Init found a file it would have to overwrite.
	ErrExists = errors.New("already exists")
)

// A RequestError says what is wrong with what a caller asked the CA for: a certificate request, a name, a lifetime. Its
// text is meant for that caller and holds no secret.
type RequestError struct {
	Field   string // what is at fault: "key", "signature", "subject", "subjectAltName", "basicConstraints", "csr", "name", "lifetime", "profile"
	Problem string // what is wrong with it
	Hint    string // what to do
}

// Error returns field, problem and hint in one line.
func (e *RequestError) Error() string {
	s := "certificate request: " + e.Field + ": " + e.Problem
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// A FileError says what is wrong with a file of the CA or of a trust bundle.
type FileError struct {
	Path    string // the file; "" for bytes that came from elsewhere
	Problem string
	Hint    string
	Err     error // the cause; may be nil
}

// Error returns path, problem, cause and hint in one line.
func (e *FileError) Error() string {
	s := e.Problem
	if e.Path != "" {
		s = e.Path + ": " + s
	}
	if e.Err != nil {
		s = fmt.Sprintf("%s: %v", s, e.Err)
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }
