package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ocsp"
)

// OCSPRequest asks, in DER, about a certificate (RFC 6960 section 4.1). The certificate is named by SHA-1 digests, which every responder understands and
// nothing depends on; there is no nonce, so that a responder may answer from what it has signed before (RFC 5019).
func OCSPRequest(cert, issuer *x509.Certificate) ([]byte, error) {
	return ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: crypto.SHA1})
}

// An OCSPVerdict is what a responder has said about one certificate.
type OCSPVerdict struct {
	// Status is good, revoked or unknown.
	Status string
	// ThisUpdate and NextUpdate bound the time in which it holds. A responder that gives no end is believed for openAnswer.
	ThisUpdate, NextUpdate time.Time
	// RevokedAt is set with the status revoked.
	RevokedAt time.Time
}

const (
	openAnswer = 5 * time.Minute
	// clockSkew is how far ahead a responder's clock may be.
	clockSkew = time.Minute
)

// VerifyOCSP reads a response about cert and believes it only when it is about that very certificate of issuer, holds at the time now, and is signed by issuer
// or by a responder that issuer has certified for it (extended key usage OCSPSigning, RFC 6960 section 4.2.2.2), not over SHA-1. Whether the responder's own
// certificate was revoked is not asked. Responses to several questions at once are refused.
func VerifyOCSP(der []byte, cert, issuer *x509.Certificate, now time.Time) (OCSPVerdict, error) {
	r, err := ocsp.ParseResponse(der, nil) // the signature of an embedded certificate's key is checked, and nothing else
	if err != nil {
		return OCSPVerdict{}, fmt.Errorf("reading the answer: %w", err)
	}
	if err := checkResponder(r, issuer, now); err != nil {
		return OCSPVerdict{}, err
	}
	if about, err := isAbout(r, cert, issuer); err != nil || !about {
		return OCSPVerdict{}, errors.New("the answer is about another certificate")
	}
	v := OCSPVerdict{ThisUpdate: r.ThisUpdate, NextUpdate: r.NextUpdate, RevokedAt: r.RevokedAt}
	if v.NextUpdate.IsZero() {
		v.NextUpdate = r.ThisUpdate.Add(openAnswer)
	}
	switch {
	case now.Add(clockSkew).Before(r.ThisUpdate):
		return OCSPVerdict{}, fmt.Errorf("the answer is not valid before %s", r.ThisUpdate.UTC().Format(time.RFC3339))
	case !now.Before(v.NextUpdate):
		return OCSPVerdict{}, fmt.Errorf("the answer has expired on %s", v.NextUpdate.UTC().Format(time.RFC3339))
	}
	switch r.Status {
	case ocsp.Good:
		v.Status = "good"
	case ocsp.Revoked:
		v.Status = "revoked"
	default:
		v.Status = "unknown"
	}
	return v, nil
}

// checkResponder says whether whoever has signed may speak for issuer.
func checkResponder(r *ocsp.Response, issuer *x509.Certificate, now time.Time) error {
	if err := checkSignatureAlgorithm(r.SignatureAlgorithm); err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	by := r.Certificate
	if by == nil || bytes.Equal(by.RawSubjectPublicKeyInfo, issuer.RawSubjectPublicKeyInfo) {
		if err := r.CheckSignatureFrom(issuer); err != nil {
			return fmt.Errorf("the answer is not signed by the issuer: %w", err)
		}
		return nil
	}
	signer := false
	for _, u := range by.ExtKeyUsage {
		signer = signer || u == x509.ExtKeyUsageOCSPSigning
	}
	switch {
	case !bytes.Equal(by.RawIssuer, issuer.RawSubject) || by.CheckSignatureFrom(issuer) != nil:
		return fmt.Errorf("the responder's certificate (%s) is not of the certificate's issuer", subjectOf(by))
	case !signer:
		return fmt.Errorf("the responder's certificate (%s) is not for OCSP (extended key usage OCSPSigning)", subjectOf(by))
	case now.Before(by.NotBefore) || now.After(by.NotAfter):
		return fmt.Errorf("the responder's certificate (%s) is not valid now", subjectOf(by))
	case find(by, oidKeyUsage) != nil && by.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("the responder's certificate (%s) may not sign", subjectOf(by))
	}
	if err := checkForm(by); err != nil {
		return fmt.Errorf("the responder's certificate: %w", err)
	}
	if err := checkKey(by.PublicKey); err != nil {
		return fmt.Errorf("the responder's certificate: %w", err)
	}
	if len(by.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("the responder's certificate has the critical extension %v", by.UnhandledCriticalExtensions[0])
	}
	return r.CheckSignatureFrom(by)
}

// isAbout compares the whole CertID (RFC 6960 section 4.1.1): digests of the issuer's name and key, and the serial number.
func isAbout(r *ocsp.Response, cert, issuer *x509.Certificate) (bool, error) {
	if r.SerialNumber == nil || r.SerialNumber.Cmp(cert.SerialNumber) != 0 || !r.IssuerHash.Available() {
		return false, nil
	}
	der, err := ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: r.IssuerHash})
	if err != nil {
		return false, err
	}
	q, err := ocsp.ParseRequest(der)
	if err != nil {
		return false, err
	}
	// x/crypto does not hand out the digests. There is one response in what was signed, and they stand before the serial number in it.
	var id []byte
	for _, part := range []any{q.IssuerNameHash, q.IssuerKeyHash, cert.SerialNumber} {
		b, err := asn1.Marshal(part)
		if err != nil {
			return false, err
		}
		id = append(id, b...)
	}
	return bytes.Contains(r.TBSResponseData, id), nil
}
