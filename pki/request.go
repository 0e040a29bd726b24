package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"strings"
)

// maxRequest bounds a certificate request, in bytes. An RSA-8192 request with a page of names is 4 KiB.
const maxRequest = 64 << 10

// A Request is a PKCS#10 certificate request (RFC 2986) that has proved possession of an acceptable key and asks for
// nothing that is refused whoever asks. Whether it fits a name and a profile is decided by [CA.Issue]. Immutable.
type Request struct {
	csr     *x509.CertificateRequest
	asked   asked
	dropped []string
}

// PublicKey returns the key the request is for.
func (r *Request) PublicKey() crypto.PublicKey { return r.csr.PublicKey }

// CommonName returns the common name the request asks for; it may be empty.
func (r *Request) CommonName() string { return r.csr.Subject.CommonName }

// ParseRequest reads one certificate request, PEM or DER. It refuses with a *[RequestError] what is no request (and says
// what it is instead), a bad signature, a weak key, an e-mail address anywhere and a request to be a CA. SHA-1 signatures
// are taken: they prove possession of the key and are not carried over, and old SAP systems make them.
func ParseRequest(b []byte) (*Request, error) {
	der, err := requestDER(b)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		if what := nameDER(der); what != "" {
			return nil, notARequest(what)
		}
		return nil, &RequestError{Field: "csr", Problem: "not a certificate request: " + trimX509(err), Hint: "send a PKCS#10 request, PEM or DER, whole and unchanged"}
	}
	// The key is judged before the signature: verifying a signature of a 100,000-bit key is the attack.
	if err := checkKey(csr.PublicKey); err != nil {
		return nil, &RequestError{Field: "key", Problem: err.Error(), Hint: "make a new key: RSA with 2048 bits or more, P-256, P-384 or Ed25519"}
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, signatureError(csr, err)
	}
	r := &Request{csr: csr}
	if r.asked, err = readAsked(csr); err != nil {
		return nil, err
	}
	if err := r.checkPersons(); err != nil {
		return nil, err
	}
	if r.asked.ca {
		return nil, &RequestError{Field: "basicConstraints", Problem: "asks for a CA certificate (CA:TRUE)", Hint: "create the request without CA:TRUE; this CA issues no further CAs"}
	}
	r.dropped = r.asked.dropped
	return r, nil
}

// checkPersons refuses e-mail addresses: a certificate names a technical identity, never a person.
func (r *Request) checkPersons() error {
	hint := "create the request without any e-mail address; the subject is CN=<identity> and nothing else is needed"
	if len(r.csr.EmailAddresses) > 0 {
		return &RequestError{Field: "subjectAltName", Problem: fmt.Sprintf("holds the e-mail address %q", r.csr.EmailAddresses[0]), Hint: hint}
	}
	for _, attr := range r.csr.Subject.Names {
		s, isText := attr.Value.(string)
		if attr.Type.Equal(oidEmailAddress) {
			return &RequestError{Field: "subject", Problem: fmt.Sprintf("holds the e-mail address %q", s), Hint: hint}
		}
		if isText && strings.Contains(s, "@") {
			return &RequestError{Field: "subject", Problem: fmt.Sprintf("%s %q looks like an e-mail address", attributeName(attr.Type), s), Hint: hint}
		}
	}
	return nil
}

// requestDER finds the one request in b.
func requestDER(b []byte) ([]byte, error) {
	if len(b) > maxRequest {
		return nil, &RequestError{Field: "csr", Problem: fmt.Sprintf("%d bytes are too many for a certificate request", len(b)), Hint: fmt.Sprintf("the limit is %d bytes; send one request only", maxRequest)}
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // the byte order mark of Windows editors
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, &RequestError{Field: "csr", Problem: "is empty", Hint: "send a PKCS#10 request, PEM or DER"}
	}
	block, rest := pem.Decode(b)
	if block == nil {
		if bytes.Contains(b, []byte("-----BEGIN ")) {
			return nil, &RequestError{Field: "csr", Problem: "broken PEM: there is a BEGIN line but no whole block", Hint: "copy the file whole, from the BEGIN line to the END line"}
		}
		if b[0] != 0x30 { // every DER structure we know is a SEQUENCE
			return nil, &RequestError{Field: "csr", Problem: "neither PEM nor DER", Hint: "send the file that begins with -----BEGIN CERTIFICATE REQUEST-----"}
		}
		return b, nil
	}
	switch block.Type {
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST": // the second is keytool's and SAP's
	default:
		return nil, notARequest(namePEM(block))
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, &RequestError{Field: "csr", Problem: "there is a second PEM block (" + namePEM(next) + ") behind the request", Hint: "send one request alone"}
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, &RequestError{Field: "csr", Problem: "there is other data behind the request", Hint: "send one request alone"}
	}
	return block.Bytes, nil
}

func notARequest(what string) error {
	hint := "send the certificate request: the file that begins with -----BEGIN CERTIFICATE REQUEST-----"
	if strings.Contains(what, "private key") {
		hint = "a private key must never leave its owner: treat this one as compromised, make a new one, and send the certificate request"
	}
	return &RequestError{Field: "csr", Problem: "this is " + what + ", not a certificate request", Hint: hint}
}

// namePEM says in words what a PEM block holds. It never quotes the content, which may be a private key.
func namePEM(b *pem.Block) string {
	switch b.Type {
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return "a certificate request"
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		return "a certificate"
	case "X509 CRL":
		return "a certificate revocation list"
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return "a public key"
	case "PKCS7", "CMS":
		return "a PKCS#7 bundle"
	case "EC PARAMETERS":
		return "a file of elliptic curve parameters (and probably a private key)"
	}
	if strings.HasSuffix(b.Type, "PRIVATE KEY") {
		return "a private key"
	}
	return fmt.Sprintf("a PEM block of type %.40q", b.Type)
}

// nameDER says in words what der holds, "" if it is nothing known.
func nameDER(der []byte) string {
	if _, err := x509.ParseCertificate(der); err == nil {
		return "a certificate"
	}
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return "a private key"
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return "a private key"
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return "a private key"
	}
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return "a public key"
	}
	if _, err := x509.ParseRevocationList(der); err == nil {
		return "a certificate revocation list"
	}
	var pfx struct { // RFC 7292 section 4
		Version int
		Rest    asn1.RawValue
	}
	if _, err := asn1.Unmarshal(der, &pfx); err == nil && pfx.Version == 3 {
		return "a PKCS#12 file, which holds a private key"
	}
	return ""
}

func trimX509(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "x509: "), "asn1: ")
}
