package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// makeFixtures makes certificates, revocation lists and requests, good ones and odd ones, and returns their directory:
//
//	roots.pem intermediates.pem good.pem
//	good.crl revoked.crl stale.crl foreign.crl forged.crl
//	ending.pem ending.key       of a certificate that lives an hour
//	odd/KIND.pem        client certificates that must be refused
//	csr/NAME.pem        requests; csr/good.der is DER
//	servicekey/         see makeServiceKeys
//	public/             see makePublic
//	node/               what init makes, listening on free ports
func makeFixtures(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	env := pkitest.New(t)
	good := env.Client("erp")
	fixture(t, dir, "roots.pem", pki.EncodeCertificates(env.CA.Trust().Roots()...))
	fixture(t, dir, "intermediates.pem", pki.EncodeCertificates(env.CA.Trust().Intermediates()...))
	fixture(t, dir, "good.pem", pkitest.PEM(good))
	key, err := pki.EncodePrivateKey(good.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	fixture(t, dir, "good.key", key)
	ending := env.Issue(pki.ClientProfile(), "ending", time.Hour)
	fixture(t, dir, "ending.pem", pkitest.PEM(ending))
	if key, err = pki.EncodePrivateKey(ending.PrivateKey); err != nil {
		t.Fatal(err)
	}
	fixture(t, dir, "ending.key", key)
	makeLists(t, dir, env, good.Leaf.SerialNumber)
	for _, kind := range pkitest.Odds() {
		fixture(t, dir, filepath.Join("odd", string(kind)+".pem"), pkitest.PEM(env.Odd(kind, "erp")))
	}
	makeRequests(t, dir, env)
	makeServiceKeys(t, dir, env)
	makePublic(t, dir)
	cfg := defaultConfig()
	cfg.Listen, cfg.Admin.Listen, cfg.Enrolment.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.ServerNames = []string{"localhost", "127.0.0.1"}
	if err := initialize(t.Context(), initOptions{dir: filepath.Join(dir, "node"), adminName: "admin", config: cfg}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// makeLists makes revocation lists, one that is in order and others.
func makeLists(t *testing.T, dir string, env *pkitest.Env, serial *big.Int) {
	t.Helper()
	good := env.CRL(nil, nil)
	forged := append([]byte(nil), good.Raw...)
	forged[len(forged)-1] ^= 1 // the last byte of the signature
	for name, der := range map[string][]byte{
		"good":    good.Raw,
		"revoked": env.CRL([]*big.Int{serial}, nil).Raw,
		"stale":   env.CRL(nil, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Second) }).Raw,
		"foreign": pkitest.New(t).CRL(nil, nil).Raw,
		"forged":  forged,
	} {
		fixture(t, dir, name+".crl", pki.EncodeCRL(der))
	}
}

// makeRequests makes certificate requests as backends send them, and as they must not.
func makeRequests(t *testing.T, dir string, env *pkitest.Env) {
	t.Helper()
	strong := env.Key(pki.P256)
	erp := pkix.Name{CommonName: "erp"}
	basicCA, err := asn1.Marshal(struct{ IsCA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	requests := map[string]*x509.CertificateRequest{
		"good":           {Subject: erp},
		"organisation":   {Subject: pkix.Name{CommonName: "erp", Organization: []string{"Example"}, Country: []string{"DE"}}},
		"foreign-dns":    {Subject: erp, DNSNames: []string{"bank.example"}},
		"foreign-ip":     {Subject: erp, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}},
		"foreign-spiffe": {Subject: erp, URIs: []*url.URL{{Scheme: "spiffe", Host: "tenantgate.internal", Path: "/identity/other"}}},
		"e-mail":         {Subject: erp, EmailAddresses: []string{"anna@example.com"}},
		"other-name":     {Subject: pkix.Name{CommonName: "other"}},
		"ca-true":        {Subject: erp, ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: basicCA}}},
	}
	for name, template := range requests {
		fixture(t, dir, filepath.Join("csr", name+".pem"), env.Request(strong, template))
	}
	block, _ := pem.Decode(env.Request(strong, requests["good"]))
	fixture(t, dir, "csr/good.der", block.Bytes)
	broken := append([]byte(nil), block.Bytes...)
	broken[len(broken)-1] ^= 1 // the last byte of the signature
	fixture(t, dir, "csr/bad-signature.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: broken}))
	t.Setenv("GODEBUG", "rsa1024min=0")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	fixture(t, dir, "csr/weak-key.pem", env.Request(weak, requests["good"]))
}
