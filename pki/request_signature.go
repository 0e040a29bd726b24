package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
)

// oidPSS is id-RSASSA-PSS (RFC 4055, 3.1), the one algorithm that tools are talked into and whose parameters decide whether it can be verified.
var oidPSS = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}

// signatureError tells a signature that is wrong from one that cannot be judged.
func signatureError(csr *x509.CertificateRequest, err error) error {
	_, insecure := errors.AsType[x509.InsecureAlgorithmError](err)
	if !insecure && !errors.Is(err, x509.ErrUnsupportedAlgorithm) {
		return &RequestError{Field: "signature", Problem: "the request is not signed by its own key: " + trimX509(err),
			Hint: "create the request anew with the key it is for; the file may have been damaged or edited"}
	}
	e := &RequestError{Field: "signature", Problem: "the request is signed by an algorithm that is not taken",
		Hint: "sign it by SHA-256, SHA-384 or SHA-512 with RSA (PKCS #1 v1.5, or PSS with a salt as long as the hash) or ECDSA, or by Ed25519"}
	var outer struct {
		Info      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	switch rest, bad := asn1.Unmarshal(csr.Raw, &outer); {
	case insecure:
		e.Problem += ": " + csr.SignatureAlgorithm.String()
	case bad != nil || len(rest) > 0:
	case outer.Algorithm.Algorithm.Equal(oidPSS):
		e.Problem += ": RSA-PSS with unusual parameters"
	default:
		e.Problem += ": " + outer.Algorithm.Algorithm.String()
	}
	return e
}
