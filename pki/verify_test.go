package pki_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

func TestVerifyClientAcceptsWhatTheCAIssues(t *testing.T) {
	env := pkitest.New(t)
	for _, cert := range []tls.Certificate{env.Client("orders"), env.Admin("root")} {
		if err := env.CA.Trust().VerifyClient(pkitest.Chain(t, cert), time.Now()); err != nil {
			t.Errorf("chain: %v", err)
		}
		if err := env.CA.Trust().VerifyClient(pkitest.Chain(t, cert)[:1], time.Now()); err != nil {
			t.Errorf("leaf alone: %v", err)
		}
	}
}

func TestVerifyClientRefusesOddCertificates(t *testing.T) {
	env := pkitest.New(t)
	want := map[pkitest.Odd]pki.Reason{
		pkitest.Expired: pki.Expired, pkitest.NotYetValid: pki.NotYetValid, pkitest.Foreign: pki.Untrusted, pkitest.SelfSigned: pki.Untrusted,
		pkitest.ServerOnly: pki.NotClientAuth, pkitest.NoEKU: pki.NotClientAuth, pkitest.AnyEKU: pki.NotClientAuth, pkitest.IsCA: pki.IsCA,
		pkitest.RSA1024: pki.WeakKey, pkitest.P521: pki.WeakKey, pkitest.SerialLong: pki.Malformed, pkitest.NoSignUsage: pki.NotClientAuth,
		pkitest.Critical: pki.Untrusted, pkitest.NoAuthority: pki.Malformed,
	}
	for _, kind := range pkitest.Odds() {
		t.Run(string(kind), func(t *testing.T) {
			err := env.CA.Trust().VerifyClient(pkitest.Chain(t, env.Odd(kind, "orders")), time.Now())
			var rejected *pki.RejectedError
			if !errors.As(err, &rejected) || rejected.Reason != want[kind] {
				t.Errorf("got %v, want reason %s", err, want[kind])
			}
		})
	}
}

func TestVerifyClientRefusesServerCertificateOfTheSameCA(t *testing.T) {
	env := pkitest.New(t)
	err := env.CA.Trust().VerifyClient(pkitest.Chain(t, env.Server("localhost")), time.Now())
	var rejected *pki.RejectedError
	if !errors.As(err, &rejected) || rejected.Reason != pki.NotClientAuth {
		t.Errorf("got %v, want not_client", err)
	}
}

func TestVerifyClientRefusesNothingNilAndFloods(t *testing.T) {
	env := pkitest.New(t)
	trust := env.CA.Trust()
	leaf := env.Client("orders").Leaf
	flood := []*x509.Certificate{leaf}
	for range 200 {
		flood = append(flood, leaf)
	}
	for _, chain := range [][]*x509.Certificate{nil, {nil}, {leaf, nil}, {{}}, flood} {
		var rejected *pki.RejectedError
		if err := trust.VerifyClient(chain, time.Now()); !errors.As(err, &rejected) || rejected.Reason == pki.Unverifiable {
			t.Errorf("chain of %d: got %v", len(chain), err)
		}
	}
}

func TestVerifyClientWithRevocationLists(t *testing.T) {
	env := pkitest.New(t)
	chain := pkitest.Chain(t, env.Client("orders"))
	own, other := chain[0].SerialNumber, big.NewInt(4711)
	foreign := pkitest.New(t)
	for _, c := range []struct {
		name string
		crls []*x509.RevocationList
		want pki.Reason // "" = accepted
	}{
		{"clean", []*x509.RevocationList{env.CRL([]*big.Int{other}, nil)}, ""},
		{"revoked", []*x509.RevocationList{env.CRL([]*big.Int{other, own}, nil)}, pki.Revoked},
		{"revoked on the second list", []*x509.RevocationList{env.CRL(nil, nil), env.CRL([]*big.Int{own}, nil)}, pki.Revoked},
		{"stale", []*x509.RevocationList{env.CRL(nil, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Second) })}, pki.BadCRL},
		{"from the future", []*x509.RevocationList{env.CRL(nil, func(l *x509.RevocationList) {
			l.ThisUpdate = time.Now().Add(time.Hour)
			l.NextUpdate = time.Now().Add(2 * time.Hour)
		})}, pki.BadCRL},
		{"of another CA with the same name", []*x509.RevocationList{foreign.CRL(nil, nil)}, pki.BadCRL},
		{"ours and another's", []*x509.RevocationList{foreign.CRL([]*big.Int{own}, nil), env.CRL(nil, nil)}, ""},
		{"forged", []*x509.RevocationList{forged(t, env)}, pki.BadCRL},
		{"nil", []*x509.RevocationList{nil}, pki.BadCRL},
	} {
		err := env.CA.Trust().VerifyClient(chain, time.Now(), c.crls...)
		var rejected *pki.RejectedError
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &rejected) || rejected.Reason != c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// forged returns a list whose signature does not hold.
func forged(t *testing.T, env *pkitest.Env) *x509.RevocationList {
	raw := bytes.Clone(env.CRL(nil, nil).Raw)
	raw[len(raw)-1] ^= 1
	l, err := x509.ParseRevocationList(raw)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLoadTrustRefusesBrokenBundles(t *testing.T) {
	env := pkitest.New(t)
	root, err := os.ReadFile(filepath.Join(env.Dir, "root_ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.EncodePrivateKey(env.Key(pki.P256))
	if err != nil {
		t.Fatal(err)
	}
	damaged := strings.Replace(string(root), "\nMII", "\n!!!", 1)
	for _, c := range []struct{ name, bundle, want string }{
		{"empty", "", "empty"},
		{"blank", " \n\t", "empty"},
		{"garbage", "this is no certificate", "no certificate in it"},
		{"cut off", string(root[:len(root)/2]), "broken PEM"},
		{"damaged", damaged, "broken PEM"},
		{"second damaged", string(root) + damaged + string(root), "damaged"},
		{"private key", string(key), "a private key, not a certificate"},
		{"leaf", string(pkitest.PEM(env.Client("orders"))), "not a CA"},
		{"DER garbage", "0\x03\x02\x01\x05", "certificate"},
	} {
		_, err := pki.LoadTrust([]byte(c.bundle), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := pki.LoadTrust(root, []byte("garbage")); err == nil {
		t.Error("garbage intermediates: accepted")
	}
	trust, err := pki.LoadTrust(append([]byte("\xef\xbb\xbfsome text\n"), root...), nil)
	if err != nil {
		t.Fatalf("good bundle with text: %v", err)
	}
	if block, _ := pem.Decode(root); block != nil {
		if der, err := pki.LoadTrust(block.Bytes, nil); err != nil || der.Generation() != trust.Generation() {
			t.Errorf("the same in DER: %v", err)
		}
	}
}

// An expired root starts, refuses its clients, and leaves the other root alone.
func TestExpiredRootIsLoadedAndRefusesItsClients(t *testing.T) {
	old := pkitest.With(t, pkitest.Options{Now: func() time.Time { return time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC) }})
	fresh := pkitest.New(t)
	trust, err := pki.NewTrust(append(old.CA.Trust().Roots(), fresh.CA.Trust().Roots()...), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := trust.VerifyClient(pkitest.Chain(t, fresh.Client("orders")), time.Now()); err != nil {
		t.Errorf("client of the valid root: %v", err)
	}
	if err := trust.VerifyClient(pkitest.Chain(t, old.Client("orders")), time.Now()); err == nil {
		t.Error("client of the expired root: accepted")
	}
	if !trust.NotAfter().Before(time.Now()) {
		t.Errorf("NotAfter %v does not tell of the expired root", trust.NotAfter())
	}
}

// The way a listener uses it: any certificate at the TLS layer, VerifyClient in VerifyConnection.
func TestHandshakeWithVerifyClient(t *testing.T) {
	env := pkitest.New(t)
	trust := env.CA.Trust()
	server := &tls.Config{
		Certificates: []tls.Certificate{env.Server("localhost")}, ClientAuth: tls.RequireAnyClientCert, ClientCAs: trust.CertPool(),
		VerifyConnection: func(s tls.ConnectionState) error { return trust.VerifyClient(s.PeerCertificates, time.Now()) },
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		leafOnly := env.Client("orders")
		leafOnly.Certificate = leafOnly.Certificate[:1]
		for name, cert := range map[string]tls.Certificate{"chain": env.Client("orders"), "leaf alone": leafOnly} {
			client := &tls.Config{RootCAs: env.Root, ServerName: "localhost", MaxVersion: version, Certificates: []tls.Certificate{cert}}
			if err := handshake(t, server, client); err != nil {
				t.Errorf("TLS %x, %s: %v", version, name, err)
			}
		}
		for _, kind := range []pkitest.Odd{pkitest.Expired, pkitest.NoEKU, pkitest.IsCA, pkitest.Foreign} {
			odd := env.Odd(kind, "orders")
			client := &tls.Config{RootCAs: env.Root, ServerName: "localhost", MaxVersion: version,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &odd, nil }}
			var rejected *pki.RejectedError
			if err := handshake(t, server, client); !errors.As(err, &rejected) {
				t.Errorf("TLS %x, %s: got %v, want a rejection", version, kind, err)
			}
		}
	}
}

// handshake returns the server's error.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	deadline := time.Now().Add(10 * time.Second)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	go func() {
		c := tls.Client(b, client)
		c.Handshake()
		c.Read(make([]byte, 1)) // takes the alert
		b.Close()
	}()
	return tls.Server(a, server).Handshake()
}

func FuzzVerifyClientNeverPanics(f *testing.F) {
	env := pkitest.New(f)
	trust := env.CA.Trust()
	for _, kind := range pkitest.Odds() {
		if kind != pkitest.RSA1024 {
			f.Add(env.Odd(kind, "orders").Certificate[0])
		}
	}
	f.Add(env.Client("orders").Certificate[0])
	if os.Getenv("TENANTGATE_SUITES") != "" {
		for _, c := range limboCases(f) {
			if block, _ := pem.Decode([]byte(c.Peer)); block != nil {
				f.Add(block.Bytes)
			}
		}
	}
	good := pkitest.Chain(f, env.Client("orders"))
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		for _, chain := range [][]*x509.Certificate{{cert}, {cert, env.CA.Intermediate()}, {good[0], cert}} {
			var rejected *pki.RejectedError
			if err := trust.VerifyClient(chain, time.Now()); errors.As(err, &rejected) && rejected.Reason == pki.Unverifiable {
				t.Fatal(err)
			}
		}
		if other, err := pki.NewTrust([]*x509.Certificate{cert}, nil); err == nil {
			other.VerifyClient(good, time.Now())
		}
	})
}

func BenchmarkVerifyClient(b *testing.B) {
	env := pkitest.New(b)
	chain := pkitest.Chain(b, env.Client("orders"))
	b.ReportAllocs()
	for b.Loop() {
		if err := env.CA.Trust().VerifyClient(chain, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
