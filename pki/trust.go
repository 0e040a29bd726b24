package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trust is a set of believed roots and of the intermediates that help to reach them. It never falls back to the system's
// roots: without roots there is no Trust. Immutable but for what it remembers, and safe for concurrent use; replace it whole.
type Trust struct {
	roots, intermediates []*x509.Certificate
	rootPool, helperPool *x509.CertPool
	distrusted           map[[sha256.Size]byte]bool // hashes of certificates and of keys
	generation           string
	files                files // of what ReadTrust returns
	verified             verified
}

// LoadTrust reads roots and intermediates (the latter may be empty), PEM or DER. It refuses a file without certificates, anything
// in it that is no certificate, and a certificate that could not lawfully issue another: no CA, version below 3, weak
// key, no subject, malformed CA extensions (see [Trust.VerifyClient]).
//
// An expired root is loaded: the clock is asked at each verification, which then refuses every chain through it. A node
// must still start, and serve its other roots, on the day after one root in its bundle has expired. See [Trust.NotAfter].
func LoadTrust(rootsPEM, intermediatesPEM []byte) (*Trust, error) {
	roots, err := ParseCertificates(rootsPEM)
	if err != nil {
		return nil, fmt.Errorf("reading roots: %w", err)
	}
	var intermediates []*x509.Certificate
	if len(intermediatesPEM) > 0 {
		if intermediates, err = ParseCertificates(intermediatesPEM); err != nil {
			return nil, fmt.Errorf("reading intermediates: %w", err)
		}
	}
	return NewTrust(roots, intermediates)
}

// NewTrust is [LoadTrust] for parsed certificates.
func NewTrust(roots, intermediates []*x509.Certificate) (*Trust, error) {
	if len(roots) == 0 {
		return nil, fmt.Errorf("reading roots: %w", &FileError{Problem: "there are no root certificates", Hint: "the system's roots are never used in their place"})
	}
	t := &Trust{rootPool: x509.NewCertPool(), helperPool: x509.NewCertPool()}
	sum := sha256.New()
	for i, c := range roots {
		if err := checkCA(c); err != nil {
			return nil, fmt.Errorf("reading roots: certificate %d (%s): %w", i+1, subjectOf(c), err)
		}
		t.roots = append(t.roots, c)
		t.rootPool.AddCert(c)
		own := sha256.Sum256(c.Raw)
		sum.Write(own[:])
	}
	sum.Write([]byte("|"))
	for i, c := range intermediates {
		if err := checkCA(c); err != nil {
			return nil, fmt.Errorf("reading intermediates: certificate %d (%s): %w", i+1, subjectOf(c), err)
		}
		t.intermediates = append(t.intermediates, c)
		t.helperPool.AddCert(c)
		own := sha256.Sum256(c.Raw)
		sum.Write(own[:])
	}
	t.generation = hex.EncodeToString(sum.Sum(nil))
	return t, nil
}

// without returns a Trust that refuses every path through one of the retired certificates, or through another certificate of the same key that is not
// itself believed.
func (t *Trust) without(retired []*x509.Certificate) *Trust {
	if len(retired) == 0 {
		return t
	}
	t.distrusted = make(map[[sha256.Size]byte]bool)
	for _, c := range retired {
		t.distrusted[sha256.Sum256(c.Raw)] = true
		t.distrusted[sha256.Sum256(c.RawSubjectPublicKeyInfo)] = true
	}
	for _, c := range append(t.Roots(), t.intermediates...) {
		delete(t.distrusted, sha256.Sum256(c.RawSubjectPublicKeyInfo))
	}
	hashes := make([]string, 0, len(t.distrusted))
	for h := range t.distrusted {
		hashes = append(hashes, hex.EncodeToString(h[:]))
	}
	slices.Sort(hashes)
	sum := sha256.Sum256([]byte(t.generation + "|" + strings.Join(hashes, "|")))
	t.generation = hex.EncodeToString(sum[:])
	return t
}

// retired returns the first certificate of a path that is not believed any more, nil when there is none.
func (t *Trust) retired(path []*x509.Certificate) *x509.Certificate {
	if len(t.distrusted) == 0 {
		return nil
	}
	for _, c := range path[1:] {
		if t.distrusted[sha256.Sum256(c.Raw)] || t.distrusted[sha256.Sum256(c.RawSubjectPublicKeyInfo)] {
			return c
		}
	}
	return nil
}

// Generation identifies the content: two Trusts have the same generation when they hold the same certificates in the same
// order. Bind TLS session tickets to it, so that a ticket dies with the bundle it was issued under.
func (t *Trust) Generation() string { return t.generation }

// Roots returns the roots; the slice is the caller's.
func (t *Trust) Roots() []*x509.Certificate { return append([]*x509.Certificate(nil), t.roots...) }

// Intermediates returns the intermediates; the slice is the caller's.
func (t *Trust) Intermediates() []*x509.Certificate {
	return append([]*x509.Certificate(nil), t.intermediates...)
}

// NotAfter returns when the first of the certificates expires.
func (t *Trust) NotAfter() time.Time {
	first := t.roots[0].NotAfter
	for _, c := range append(t.Roots(), t.intermediates...) {
		if c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

// CertPool returns roots and intermediates for [crypto/tls.Config].ClientCAs, whose subjects are sent to clients as the
// acceptable authorities (RFC 5246 section 7.4.4, RFC 8446 section 4.2.4). The intermediates are named too, because a
// client that holds its leaf alone recognises only its direct issuer. It is a list of names, not a verifier: use
// RequireAnyClientCert and call [Trust.VerifyClient] in VerifyConnection. Each call returns a new pool.
func (t *Trust) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range t.roots {
		pool.AddCert(c)
	}
	for _, c := range t.intermediates {
		pool.AddCert(c)
	}
	return pool
}

func subjectOf(c *x509.Certificate) string {
	if c == nil {
		return "none"
	}
	if s := c.Subject.String(); s != "" {
		return s
	}
	return "without subject"
}
