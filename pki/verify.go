package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// A Reason is why a client certificate was refused: a word for records, metrics and exit messages.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	NoCertificate Reason = "no_certificate" // nothing was presented
	ChainTooLong  Reason = "chain_too_long" // more certificates than any honest client sends
	Malformed     Reason = "malformed"      // version, serial number, names or extensions break RFC 5280
	WeakKey       Reason = "weak_key"       // RSA below 2048 bits, or an algorithm that is not accepted
	IsCA          Reason = "is_ca"          // a CA certificate is not a client
	NotClientAuth Reason = "not_client"     // no explicit clientAuth, or the key may not sign
	NotYetValid   Reason = "not_yet_valid"
	Expired       Reason = "expired"
	Untrusted     Reason = "untrusted"    // no valid path to a root
	BadCRL        Reason = "bad_crl"      // a revocation list is missing, stale, forged or malformed
	Revoked       Reason = "revoked"      // a revocation list names it
	Unverifiable  Reason = "unverifiable" // crypto/x509 panicked; see VerifyClient
)

// A RejectedError says why a client certificate is not acceptable.
type RejectedError struct {
	Reason Reason
	Detail string // for operators, not for the caller on the wire
	Err    error  // the cause; may be nil
}

// Error returns reason and detail.
func (e *RejectedError) Error() string {
	s := "client certificate rejected: " + string(e.Reason) + ": " + e.Detail
	if e.Err != nil {
		s += ": " + trimX509(e.Err)
	}
	return s
}

// Unwrap returns the cause.
func (e *RejectedError) Unwrap() error { return e.Err }

// maxPresented bounds the chain a client may send. Ours has two certificates; crypto/tls itself allows as many as fit
// into 256 KiB.
const maxPresented = 128

// VerifyClient says whether chain (leaf first, the rest in any order) is an acceptable client certificate at the time
// now: nil, or a *[RejectedError]. It is THE function: the listener calls it for each connection and `cert verify` for
// each file. It is stricter than crypto/x509, which serves every client on the web; we choose ours.
//
// The leaf must be X.509 v3, no CA, carry an explicit clientAuth EKU (a missing, empty or any EKU is not one; further
// EKUs do no harm), a key usage that allows to sign where there is one, a key of RSA-2048 to RSA-8192, P-256, P-384 or
// Ed25519, a positive serial number of at most 20 octets, a non-empty issuer and no extension that only CAs have. A path
// to a root must exist on which each certificate is valid now and each CA is formed as RFC 5280 section 4 demands.
//
// When crls are given, the leaf's issuer must have a current one among them, signed by it, and no certificate of the path may
// be on one. Certificates of the path other than the leaf are looked up in the lists of their issuers as far as given.
//
// A panic inside crypto/x509 (there was one in 2025: GO-2025-4013) is a refusal with reason Unverifiable, because one
// caller's certificate must not stop the process for all. Safe for concurrent use; allocates; two signature
// verifications for a certificate of our own CA, when it is shown for the first time and without crls: a chain that was
// acceptable is known for as long as every certificate of its path is valid.
func (t *Trust) VerifyClient(chain []*x509.Certificate, now time.Time, crls ...*x509.RevocationList) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &RejectedError{Reason: Unverifiable, Detail: fmt.Sprintf("verification panicked: %v", p)}
		}
	}()
	if len(chain) == 0 || chain[0] == nil {
		return &RejectedError{Reason: NoCertificate, Detail: "no certificate was presented"}
	}
	if len(chain) > maxPresented {
		return &RejectedError{Reason: ChainTooLong, Detail: fmt.Sprintf("%d certificates were presented, %d are the most", len(chain), maxPresented)}
	}
	key, cacheable := chainKey(chain)
	if cacheable = cacheable && len(crls) == 0; cacheable && t.verified.holds(key, now) {
		return nil
	}
	if err := checkLeaf(chain[0], now); err != nil {
		return err
	}
	paths, err := t.paths(chain, now)
	if err != nil {
		return err
	}
	// Any path that stands is enough: others may lead through a CA that was replaced or revoked.
	var last error
	for _, path := range paths {
		if c := t.retired(path); c != nil {
			last = &RejectedError{Reason: Revoked, Detail: "authority " + subjectOf(c) + " (" + PublicID(c) + ") is retired"}
			continue
		}
		if last = checkPath(path, now, crls); last == nil {
			if cacheable {
				t.verified.add(key, path)
			}
			return nil
		}
	}
	return last
}

// Paths returns every path (leaf first, root last) on which chain is an acceptable client certificate at the time now, as [Trust.VerifyClient] judges without
// revocation lists; at least one, or a *[RejectedError]. It is for authorities other than our own CA, whose revocation is judged elsewhere. It remembers
// nothing. Safe for concurrent use.
func (t *Trust) Paths(chain []*x509.Certificate, now time.Time) (good [][]*x509.Certificate, err error) {
	defer func() {
		if p := recover(); p != nil {
			good, err = nil, &RejectedError{Reason: Unverifiable, Detail: fmt.Sprintf("verification panicked: %v", p)}
		}
	}()
	if len(chain) == 0 || chain[0] == nil {
		return nil, &RejectedError{Reason: NoCertificate, Detail: "no certificate was presented"}
	}
	if len(chain) > maxPresented {
		return nil, &RejectedError{Reason: ChainTooLong, Detail: fmt.Sprintf("%d certificates were presented, %d are the most", len(chain), maxPresented)}
	}
	if err := checkLeaf(chain[0], now); err != nil {
		return nil, err
	}
	paths, err := t.paths(chain, now)
	if err != nil {
		return nil, err
	}
	var last error
	for _, path := range paths {
		if last = checkPath(path, now, nil); last == nil {
			good = append(good, path)
		}
	}
	if len(good) == 0 {
		return nil, last
	}
	return good, nil
}

// paths finds all paths from chain[0] to a root, each valid at now.
func (t *Trust) paths(chain []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	helpers := t.helperPool
	for _, c := range chain[1:] {
		if c == nil {
			return nil, &RejectedError{Reason: Malformed, Detail: "an intermediate could not be parsed"}
		}
		if t.holds(c) { // the usual case: our own client sends our own intermediate
			continue
		}
		if helpers == t.helperPool {
			helpers = helpers.Clone()
		}
		helpers.AddCert(c)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{
		Roots: t.rootPool, Intermediates: helpers, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err == nil {
		return paths, nil
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return nil, &RejectedError{Reason: Expired, Detail: "a certificate of the path is expired or not yet valid", Err: err}
	}
	if errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage {
		return nil, &RejectedError{Reason: NotClientAuth, Detail: "an authority of the path may not issue client certificates", Err: err}
	}
	return nil, &RejectedError{Reason: Untrusted, Detail: "no path to a trusted root", Err: err}
}

// holds reports whether c is one of our own intermediates.
func (t *Trust) holds(c *x509.Certificate) bool {
	for _, own := range t.intermediates {
		if own.Equal(c) {
			return true
		}
	}
	return false
}

// checkPath judges what crypto/x509 does not: the CAs' form, and revocation.
func checkPath(path []*x509.Certificate, now time.Time, crls []*x509.RevocationList) error {
	for i, ca := range path[1:] {
		if err := checkCA(ca); err != nil {
			return &RejectedError{Reason: Untrusted, Detail: "authority " + subjectOf(ca), Err: err}
		}
		if i+2 < len(path) && ca.AuthorityKeyId == nil {
			return &RejectedError{Reason: Untrusted, Detail: "authority " + subjectOf(ca) + " has no authority key identifier (RFC 5280 section 4.2.1.1)"}
		}
	}
	if len(crls) == 0 {
		return nil
	}
	for i := range path[:len(path)-1] {
		if err := checkRevocation(path[i], path[i+1], now, crls, i == 0); err != nil {
			return err
		}
	}
	return nil
}
