package servercert

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// State is how one certificate stands.
type State struct {
	// Name is what it is for: of an ACME certificate its name, of files the file of the certificate.
	Name string
	// Source is "acme" or "files".
	Source string
	// Names are those of the listener's names that it serves.
	Names []string
	// Serial is its serial number in lower-case hex; "" while there is none.
	Serial string
	// NotBefore and NotAfter bound its validity; they are zero while there is none.
	NotBefore, NotAfter time.Time
	// Problem says why it is not there, not renewed or not replaced; "" when all is well. Since is when that was first found, Next when it is tried again
	// (zero: when the files change).
	Problem     string
	Since, Next time.Time
	// Warnings say what clients may trip over though the certificate is in use.
	Warnings []string
}

// Valid reports whether there is a certificate that is valid at now.
func (s *State) Valid(now time.Time) bool { return validAt(s.NotBefore, s.NotAfter, now) }

func validAt(notBefore, notAfter, now time.Time) bool {
	return !notAfter.IsZero() && !now.Before(notBefore) && !now.After(notAfter)
}

func leafValid(c *tls.Certificate, now time.Time) bool {
	return c != nil && validAt(c.Leaf.NotBefore, c.Leaf.NotAfter, now)
}

// covers reports whether the certificate is for a name as a listener has it: a DNS name or an address.
func covers(leaf *x509.Certificate, name string) bool {
	return name != "" && leaf.VerifyHostname(name) == nil
}

// trouble is what does not work at present.
type trouble struct {
	problem     string
	since, next time.Time
}

// set notes a problem, and reports whether it is another one than before.
func (t *trouble) set(problem string, next time.Time) (changed bool) {
	if changed = t.problem != problem; t.problem == "" {
		t.since = time.Now()
	}
	t.problem, t.next = problem, next
	return changed
}

// clear notes that all is well, and reports whether it was not.
func (t *trouble) clear() (changed bool) {
	changed = t.problem != ""
	*t = trouble{}
	return changed
}
