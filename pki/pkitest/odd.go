package pkitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/url"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// An Odd is a kind of client certificate that must be refused.
type Odd string

// The kinds. Each but Foreign and SelfSigned is signed by the Env's own intermediate, and each but its own fault is a
// certificate that would be accepted.
const (
	Expired     Odd = "expired"
	NotYetValid Odd = "not-yet-valid"
	Foreign     Odd = "foreign"     // another CA, with the same names
	SelfSigned  Odd = "self-signed" // by its own key
	ServerOnly  Odd = "server-only" // EKU serverAuth
	NoEKU       Odd = "no-eku"
	AnyEKU      Odd = "any-eku"
	IsCA        Odd = "ca" // a CA certificate in the client's place
	RSA1024     Odd = "rsa-1024"
	P521        Odd = "p-521" // a curve off the list; crypto/x509 takes it
	SerialLong  Odd = "serial-too-long"
	NoSignUsage Odd = "key-usage-without-signature"
	Critical    Odd = "unknown-critical-extension"
	NoAuthority Odd = "no-authority-key-identifier"
)

// Odds lists all kinds.
func Odds() []Odd {
	return []Odd{Expired, NotYetValid, Foreign, SelfSigned, ServerOnly, NoEKU, AnyEKU, IsCA, RSA1024, P521, SerialLong, NoSignUsage, Critical, NoAuthority}
}

// Odd returns a client certificate for name with the fault of its kind. RSA1024 sets GODEBUG for the rest of the test, so
// the test cannot be parallel.
func (e *Env) Odd(kind Odd, name string) tls.Certificate {
	e.t.Helper()
	switch kind {
	case Foreign:
		return With(e.t, Options{Now: e.now}).Client(name)
	case SelfSigned:
		return e.selfSigned(name)
	case RSA1024:
		e.t.Setenv("GODEBUG", "rsa1024min=0")
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			e.t.Fatalf("making a weak key: %v", err)
		}
		return e.Sign(key, e.template(name))
	case P521:
		key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		if err != nil {
			e.t.Fatalf("making a key: %v", err)
		}
		return e.Sign(key, e.template(name))
	}
	c := e.template(name)
	switch kind {
	case Expired:
		c.NotBefore, c.NotAfter = e.now().Add(-time.Minute), e.now().Add(-time.Second)
	case NotYetValid:
		c.NotBefore = e.now().Add(time.Hour)
	case ServerOnly:
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case NoEKU:
		c.ExtKeyUsage = nil
	case AnyEKU:
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	case IsCA:
		c.IsCA = true
		c.KeyUsage |= x509.KeyUsageCertSign
	case SerialLong:
		c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159)
	case NoSignUsage:
		c.KeyUsage = x509.KeyUsageKeyEncipherment
	case Critical:
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 55738, 666, 1}, Critical: true, Value: []byte{5, 0}}}
	case NoAuthority:
		return e.signUnder(e.Key(pki.P256), c, true)
	default:
		e.t.Fatalf("no such kind of odd certificate: %q", kind)
	}
	return e.Sign(e.Key(pki.P256), c)
}

// template is a good client certificate for name, with serial number and validity.
func (e *Env) template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(e.now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: e.now().Add(-time.Minute), NotAfter: e.now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
		URIs: []*url.URL{{Scheme: "spiffe", Host: TrustDomain, Path: "/identity/" + name}},
	}
}

// Sign signs any template with the intermediate's key, past the CA and its records.
func (e *Env) Sign(key crypto.Signer, c *x509.Certificate) tls.Certificate {
	return e.signUnder(key, c, false)
}

// signUnder leaves out the authority key identifier when asked to: crypto/x509 copies it from the parent.
func (e *Env) signUnder(key crypto.Signer, c *x509.Certificate, noAKI bool) tls.Certificate {
	e.t.Helper()
	parent := *e.CA.Intermediate()
	if noAKI {
		parent.SubjectKeyId = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, c, &parent, key.Public(), e.key)
	if err != nil {
		e.t.Fatalf("signing: %v", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		e.t.Fatalf("parsing what was signed: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der, e.CA.Intermediate().Raw}, PrivateKey: key, Leaf: leaf}
}

func (e *Env) selfSigned(name string) tls.Certificate {
	e.t.Helper()
	c, key := e.template(name), e.Key(pki.P256)
	c.AuthorityKeyId = []byte{1, 2, 3, 4}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		e.t.Fatalf("signing: %v", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		e.t.Fatalf("parsing what was signed: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Request returns a certificate request as PEM, signed by key.
func (e *Env) Request(key crypto.Signer, template *x509.CertificateRequest) []byte {
	e.t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		e.t.Fatalf("making a request: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// CRL returns a revocation list of the intermediate, valid from now for an hour unless change says otherwise.
func (e *Env) CRL(revoked []*big.Int, change func(*x509.RevocationList)) *x509.RevocationList {
	e.t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: e.now().Add(-time.Minute), NextUpdate: e.now().Add(time.Hour)}
	for _, serial := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: e.now()})
	}
	if change != nil {
		change(l)
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, e.CA.Intermediate(), e.key)
	if err != nil {
		e.t.Fatalf("making a revocation list: %v", err)
	}
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		e.t.Fatalf("parsing a revocation list: %v", err)
	}
	return parsed
}
