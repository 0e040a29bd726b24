package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// makePublic makes certificates for localhost of a CA that is not ours:
//
//	public/root.pem
//	public/a.pem a.key b.pem b.key   with their chain
//	public/alone.pem                 of a.key, without its issuer
//	public/other.pem other.key       for another name
//	public/serials                   a=SERIAL and b=SERIAL
func makePublic(t *testing.T, dir string) {
	t.Helper()
	sign := func(template, issuer *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if issuer == nil {
			issuer, by = template, key
		}
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
		if err != nil {
			t.Fatal(err)
		}
		template.SerialNumber = serial.SetBit(serial, 102, 1)
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	root, rootKey := sign(ca("Public Root"), nil, nil)
	inter, interKey := sign(ca("Public Intermediate"), root, rootKey)
	fixture(t, dir, "public/root.pem", pki.EncodeCertificates(root))
	serials := ""
	for name, host := range map[string]string{"a": "localhost", "b": "localhost", "other": "other.example.org"} {
		leaf, key := sign(&x509.Certificate{DNSNames: []string{host}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, inter, interKey)
		encoded, err := pki.EncodePrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		fixture(t, dir, "public/"+name+".pem", pki.EncodeCertificates(leaf, inter))
		fixture(t, dir, "public/"+name+".key", encoded)
		if name == "a" {
			fixture(t, dir, "public/alone.pem", pki.EncodeCertificates(leaf))
		}
		serials += name + "=" + hex.EncodeToString(leaf.SerialNumber.Bytes()) + "\n"
	}
	fixture(t, dir, "public/serials", []byte(serials))
}
