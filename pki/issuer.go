package pki

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"sync/atomic"

	"github.com/smallstep/certificates/authority"
)

// issuer is an intermediate whose key is here. It signs certificates, and what is published about them: a revocation list and the answers
// about single certificates come from the very issuer of the certificate, so that whoever checks needs no further trust.
type issuer struct {
	cert   *x509.Certificate
	id     string // its fingerprint, hex
	signer crypto.Signer
	crl    atomic.Pointer[CRL] // the last that was seen; nil before the first

	// Made by start before anything is signed with it.
	authority *authority.Authority
	store     *store
}

func newIssuer(cert *x509.Certificate, signer crypto.Signer) *issuer {
	sum := sha256.Sum256(cert.Raw)
	return &issuer{cert: cert, id: hex.EncodeToString(sum[:]), signer: signer}
}

// PublicID returns what a CA certificate is called in addresses: the first 16 digits of its SHA-256 fingerprint, in lower-case hex.
func PublicID(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:8])
}

// publish puts the addresses of the issuer's list, of answers about single certificates and of its own certificate into a certificate that is
// about to be signed (RFC 5280 sections 4.2.1.13 and 4.2.2.1).
func (i *issuer) publish(c *x509.Certificate, url string) {
	if url == "" {
		return
	}
	id := PublicID(i.cert)
	c.CRLDistributionPoints = []string{url + CRLPath(id)}
	c.OCSPServer = []string{url + OCSPPath}
	c.IssuingCertificateURL = []string{url + CertificatePath(id)}
}

// OCSPPath is where [Options].PublicURL answers about single certificates.
const OCSPPath = "/ocsp"

// CRLPath is where [Options].PublicURL has the revocation list of the issuer with that public ID.
func CRLPath(id string) string { return "/crl/" + id + ".crl" }

// CertificatePath is where [Options].PublicURL has the CA certificate with that public ID.
func CertificatePath(id string) string { return "/ca/" + id + ".crt" }

// sameIssuer reports whether c names ca as its issuer: before a signature is looked at, which costs more.
func sameIssuer(c, ca *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, ca.RawSubject) && (len(c.AuthorityKeyId) == 0 || len(ca.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, ca.SubjectKeyId))
}
