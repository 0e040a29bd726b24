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

// CheckCRL says whether crl is a complete revocation list that issuer itself has signed and that is current at the time now (RFC 5280 section 5): nil, or what
// is wrong with it. It is stricter than what [Trust.VerifyClient] demands of lists that an operator hands over: delta and indirect lists, those for a part of the
// certificates (an issuing distribution point, critical or not), and signatures over SHA-1 or MD5 are refused.
func CheckCRL(crl *x509.RevocationList, issuer *x509.Certificate, now time.Time) error {
	if err := checkCA(issuer); err != nil {
		return fmt.Errorf("its issuer is no lawful CA: %w", err)
	}
	if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("it is of %s, not of %s", crl.Issuer.String(), subjectOf(issuer))
	}
	for _, e := range crl.Extensions {
		switch {
		case e.Id.Equal(oidIssuingDistributionPoint):
			return errors.New("it is for a part of the certificates only (issuing distribution point, section 5.2.5)")
		case e.Id.Equal(oidDeltaCRL):
			return errors.New("it is a delta list (section 5.2.4)")
		}
	}
	if err := checkSignatureAlgorithm(crl.SignatureAlgorithm); err != nil {
		return err
	}
	return checkCRL(crl, issuer, now)
}

// checkSignatureAlgorithm refuses hashes in which collisions can be made, which crypto/x509 takes for everything but certificates.
func checkSignatureAlgorithm(a x509.SignatureAlgorithm) error {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return nil
	}
	return fmt.Errorf("it is signed with %v, which is not accepted", a)
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
