package pkitest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// A Company is a CA that is not ours: a company's, with whatever certificates, revocation lists and answers a test wants from it.
type Company struct {
	Cert *x509.Certificate
	Key  crypto.Signer

	t      testing.TB
	parent *Company // nil for a root
}

var companySerial atomic.Int64

// NewCompany returns a root with this common name. change, which may be nil, alters the certificate before it is signed.
func NewCompany(t testing.TB, name string, change func(*x509.Certificate)) *Company {
	t.Helper()
	return (&Company{t: t}).authority(name, change)
}

// Sub returns an intermediate under the CA.
func (c *Company) Sub(name string, change func(*x509.Certificate)) *Company {
	c.t.Helper()
	s := c.authority(name, change)
	s.parent = c
	return s
}

func (c *Company) authority(name string, change func(*x509.Certificate)) *Company {
	c.t.Helper()
	key := newKey(c.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + companySerial.Add(1)), Subject: pkix.Name{Country: []string{"DE"}, Organization: []string{"Example"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	if change != nil {
		change(template)
	}
	by, signer := template, crypto.Signer(key)
	if c.Cert != nil {
		by, signer = c.Cert, c.Key
	}
	return &Company{Cert: create(c.t, template, by, key.Public(), signer), Key: key, t: c.t}
}

// Cross returns the CA's certificate as other signs it: the same name and key.
func (c *Company) Cross(other *Company) *x509.Certificate {
	c.t.Helper()
	template := *c.Cert
	template.SerialNumber = big.NewInt(1000 + companySerial.Add(1))
	return create(c.t, &template, other.Cert, c.Key.Public(), other.Key)
}

// Leaf returns a client certificate with this common name and all intermediates behind it. change, which may be nil, alters it before it is signed.
func (c *Company) Leaf(name string, change func(*x509.Certificate)) tls.Certificate {
	c.t.Helper()
	key := newKey(c.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + companySerial.Add(1)), Subject: pkix.Name{Country: []string{"DE"}, Organization: []string{"Example"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	leaf := create(c.t, template, c.Cert, key.Public(), c.Key)
	out := tls.Certificate{PrivateKey: key, Leaf: leaf, Certificate: [][]byte{leaf.Raw}}
	for ca := c; ca.parent != nil; ca = ca.parent {
		out.Certificate = append(out.Certificate, ca.Cert.Raw)
	}
	return out
}

// PEM returns the CA's certificate.
func (c *Company) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Cert.Raw}))
}

// CRL returns a revocation list, DER, that is current for an hour. change, which may be nil, alters it before it is signed.
func (c *Company) CRL(number int64, change func(*x509.RevocationList), revoked ...*x509.Certificate) []byte {
	c.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: r.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	if change != nil {
		change(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, c.Cert, c.Key)
	if err != nil {
		c.t.Fatalf("making a revocation list: %v", err)
	}
	return der
}

// A Responder answers OCSP requests about the CA's certificates. All fields may be changed between requests, by Set only.
type Responder struct {
	CA *Company
	// Answer alters what is answered: status, times, serial number. nil answers good for an hour.
	Answer func(*ocsp.Response)
	// By signs in the CA's place, its certificate embedded; nil is the CA.
	By *Company
	// Delay is for how long an answer is held back; Dead answers 500.
	Delay time.Duration
	Dead  bool
	// Asked counts the requests.
	Asked atomic.Int64

	mu sync.Mutex // guards the fields but Asked
}

// ServeHTTP implements [http.Handler].
func (r *Responder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.Asked.Add(1)
	b, _ := io.ReadAll(q.Body)
	request, err := ocsp.ParseRequest(b)
	if err != nil {
		http.Error(w, "malformed", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	answer, by, delay, dead := r.Answer, r.By, r.Delay, r.Dead
	r.mu.Unlock()
	time.Sleep(delay)
	if dead {
		http.Error(w, "dead", http.StatusInternalServerError)
		return
	}
	template := ocsp.Response{Status: ocsp.Good, SerialNumber: request.SerialNumber, ThisUpdate: time.Now().Add(-time.Second), NextUpdate: time.Now().Add(time.Hour)}
	if answer != nil {
		answer(&template)
	}
	signer, certificate := r.CA.Key, r.CA.Cert
	if by != nil {
		signer, certificate = by.Key, by.Cert
		template.Certificate = by.Cert
	}
	der, err := ocsp.CreateResponse(r.CA.Cert, certificate, template, signer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	_, _ = io.Copy(w, bytes.NewReader(der))
}

// Set changes fields.
func (r *Responder) Set(change func(*Responder)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("making a key: %v", err)
	}
	return key
}

func create(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatalf("making a certificate: %v", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("reading a certificate: %v", err)
	}
	return c
}
