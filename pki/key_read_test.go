package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

func TestPrivateKeysAsOpenSSLWritesThem(t *testing.T) {
	env := pkitest.New(t)
	ec, rsaKey, ed := env.Key(pki.P384), env.Key(pki.RSA2048), env.Key(pki.Ed25519)
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	pkcs8 := func(key crypto.Signer) []byte {
		b, err := pki.EncodePrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	sec1, err := x509.MarshalECPrivateKey(ec.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	certificate := pki.EncodeCertificates(env.CA.SigningRoot())
	for _, c := range []struct {
		name string
		text []byte
		want crypto.Signer
	}{
		{"PKCS#8, EC", pkcs8(ec), ec},
		{"PKCS#8, RSA", pkcs8(rsaKey), rsaKey},
		{"PKCS#8, Ed25519", pkcs8(ed), ed},
		{"PKCS#1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey.(*rsa.PrivateKey))), rsaKey},
		{"SEC 1 with its parameters", append(block("EC PARAMETERS", []byte{6, 5, 0x2b, 0x81, 4, 0, 0x22}), block("EC PRIVATE KEY", sec1)...), ec},
		{"beside certificates", bytes.Join([][]byte{certificate, pkcs8(ec), certificate}, nil), ec},
	} {
		got, err := pki.ParsePrivateKey(c.text)
		if err != nil || !got.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(c.want.Public()) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for name, text := range map[string][]byte{
		"nothing":             nil,
		"a certificate":       certificate,
		"two keys":            append(pkcs8(ec), pkcs8(ed)...),
		"a damaged key":       block("PRIVATE KEY", []byte("secret-of-mine")),
		"an encrypted key":    block("ENCRYPTED PRIVATE KEY", []byte("secret-of-mine")),
		"one of the old kind": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("secret-of-mine")}),
		"an OpenSSH key":      block("OPENSSH PRIVATE KEY", []byte("secret-of-mine")),
	} {
		_, err := pki.ParsePrivateKey(text)
		if _, ok := errors.AsType[*pki.FileError](err); !ok || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
