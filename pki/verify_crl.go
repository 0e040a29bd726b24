package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// checkRevocation looks cert up in the current list of its issuer. required says that there must be one.
func checkRevocation(cert, issuer *x509.Certificate, now time.Time, crls []*x509.RevocationList, required bool) error {
	found := false
	var broken error
	for _, crl := range crls {
		if crl == nil || !bytes.Equal(crl.RawIssuer, issuer.RawSubject) {
			continue
		}
		if len(crl.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(crl.AuthorityKeyId, issuer.SubjectKeyId) {
			continue // the list of a CA of the same name with another key
		}
		if err := checkCRL(crl, issuer, now); err != nil {
			broken = err
			continue
		}
		found = true
		for _, entry := range crl.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 && entry.ReasonCode != 8 { // 8: removeFromCRL
				return &RejectedError{Reason: Revoked, Detail: fmt.Sprintf("%s was revoked on %s", subjectOf(cert), entry.RevocationTime.UTC().Format(time.RFC3339))}
			}
		}
	}
	switch {
	case broken != nil:
		// A list of this issuer that cannot be believed might be the newer one: refuse even when another is in order.
		return &RejectedError{Reason: BadCRL, Detail: "revocation list of " + subjectOf(issuer), Err: broken}
	case !found && required:
		return &RejectedError{Reason: BadCRL, Detail: "no revocation list of " + subjectOf(issuer) + " was given"}
	}
	return nil
}

// checkCRL holds RFC 5280 section 5 for a complete list signed by issuer itself. Delta and indirect lists carry critical
// extensions and are refused by that.
func checkCRL(crl *x509.RevocationList, issuer *x509.Certificate, now time.Time) error {
	if err := crl.CheckSignatureFrom(issuer); err != nil { // includes the cRLSign key usage, section 6.3.3 (f)
		return err
	}
	number := false
	for _, e := range crl.Extensions {
		if e.Critical {
			return fmt.Errorf("extension %v is critical and not understood", e.Id)
		}
		number = number || e.Id.Equal(oidCRLNumber)
	}
	switch {
	case !number:
		return errors.New("it has no CRL number (section 5.2.3)")
	case now.Before(crl.ThisUpdate):
		return fmt.Errorf("it is not valid before %s", crl.ThisUpdate.UTC().Format(time.RFC3339))
	case crl.NextUpdate.IsZero():
		return errors.New("it does not say when it goes stale (nextUpdate, section 5.1.2.5)")
	case now.After(crl.NextUpdate):
		return fmt.Errorf("it went stale on %s", crl.NextUpdate.UTC().Format(time.RFC3339))
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return fmt.Errorf("an entry has the critical extension %v, which is not understood", e.Id)
			}
		}
	}
	return nil
}
