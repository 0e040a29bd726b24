package servercert_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// public is a CA that is not ours: a root and an intermediate.
type public struct {
	t           *testing.T
	root, inter *x509.Certificate
	key         crypto.Signer // of the intermediate
}

func newPublic(t *testing.T) *public {
	t.Helper()
	p := &public{t: t}
	rootKey := newKey(t)
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour)}
	}
	p.root = signed(t, ca("Public Root"), ca("Public Root"), rootKey.Public(), rootKey)
	p.key = newKey(t)
	p.inter = signed(t, ca("Public Intermediate"), p.root, p.key.Public(), rootKey)
	return p
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSAKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t *testing.T, template, issuer *x509.Certificate, key crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue makes a certificate for a key, of 90 days unless change says otherwise.
func (p *public) issue(key crypto.PublicKey, change func(*x509.Certificate), names ...string) *x509.Certificate {
	template := &x509.Certificate{DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if change != nil {
		change(template)
	}
	return signed(p.t, template, p.inter, key, p.key)
}

// pair makes a key and a certificate with its chain, as PEM.
func (p *public) pair(names ...string) (cert, key []byte, leaf *x509.Certificate) {
	k := newKey(p.t)
	leaf = p.issue(k.Public(), nil, names...)
	return pki.EncodeCertificates(leaf, p.inter), keyPEM(p.t, k), leaf
}

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	b, err := pki.EncodePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// place is a directory of files that a test writes.
type place struct {
	t   *testing.T
	dir string
}

func newPlace(t *testing.T) place { return place{t, t.TempDir()} }

func (p place) path(name string) string { return filepath.Join(p.dir, name) }

// write makes a file in one step, as tools do that know what they are doing.
func (p place) write(name string, b []byte) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name+".tmp"), b, 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.path(name+".tmp"), p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}
