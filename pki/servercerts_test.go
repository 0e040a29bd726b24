package pki_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// shown returns the certificate that a server shows to a client that asks for name.
func shown(t *testing.T, certs *pki.ServerCerts, name string, env *pkitest.Env, version uint16) *x509.Certificate {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(a, &tls.Config{GetCertificate: certs.GetCertificate}).Handshake() }()
	client := tls.Client(b, &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: version, // verified below: crypto/tls wants the name to match
		VerifyConnection: func(s tls.ConnectionState) error {
			helpers := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				helpers.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: env.Root, Intermediates: helpers, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CurrentTime: time.Now()})
			return err
		}})
	if err := client.Handshake(); err != nil {
		t.Fatalf("handshake for %q: %v", name, err)
	}
	if err := <-done; err != nil {
		t.Fatalf("server's handshake for %q: %v", name, err)
	}
	return client.ConnectionState().PeerCertificates[0]
}

func testServerCertificates(t *testing.T, db *sql.DB) {
	home := t.TempDir()
	t.Setenv("HOME", home) // certmagic's default storage would be here
	t.Setenv("XDG_DATA_HOME", home)
	env := pkitest.With(t, pkitest.Options{DB: db})
	certs, err := env.CA.ServerCertificates(t.Context(), []string{"Gate.Example.com.", "localhost", "127.0.0.1", "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer certs.Close()
	if got, want := certs.Names(), []string{"gate.example.com", "localhost", "127.0.0.1"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	for asked, want := range map[string]string{"gate.example.com": "gate.example.com", "localhost": "localhost", "LOCALHOST": "localhost",
		"": "gate.example.com", "unknown.example.org": "gate.example.com", "acme.example.net": "gate.example.com"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := shown(t, certs, asked, env, version)
			if c.Subject.CommonName != want || !slices.Equal(c.DNSNames, []string{want}) || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
				t.Errorf("asked for %q: got %s, %v", asked, c.Subject, c.DNSNames)
			}
		}
	}
	ip, err := certs.GetCertificate(&tls.ClientHelloInfo{Conn: addressed{}})
	if err != nil || len(ip.Leaf.IPAddresses) != 1 || !ip.Leaf.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)) {
		t.Errorf("without a name on 127.0.0.1: %v", err)
	}
	// A challenge of an ACME server that does not exist gets the ordinary certificate.
	if c, err := certs.GetCertificate(&tls.ClientHelloInfo{ServerName: "localhost", SupportedProtos: []string{"acme-tls/1"}}); err != nil || c.Leaf.DNSNames[0] != "localhost" {
		t.Errorf("acme-tls/1: %v", err)
	}
	if all, err := env.CA.Certificates(t.Context(), pki.Filter{Profile: "server"}); err != nil || len(all) != 3 {
		t.Errorf("%d records, %v", len(all), err)
	}
	if files, err := os.ReadDir(home); err != nil || len(files) != 0 {
		t.Errorf("certmagic wrote %d files to the home directory, %v", len(files), err)
	}
}

// addressed is a connection to 127.0.0.1.
type addressed struct{ net.Conn }

func (addressed) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8443} }

func TestServerKeysAreSealedAndSurviveARestart(t *testing.T) {
	sealer := new(pkitest.Sealer)
	var options pki.Options
	env := pkitest.With(t, pkitest.Options{Change: func(o *pki.Options) { options = *o }})
	start := func(s pki.Sealer) (*pki.ServerCerts, error) {
		options.Sealer = s
		ca, err := pki.Open(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		return ca.ServerCertificates(t.Context(), []string{"localhost"})
	}
	var serials []string
	for range 2 {
		certs, err := start(sealer)
		if err != nil {
			t.Fatal(err)
		}
		c, err := certs.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := env.DB.Query(`SELECT path, value FROM pki_storage`)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var path string
			var value []byte
			if err := rows.Scan(&path, &value); err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(value, []byte("PRIVATE KEY")) || bytes.Contains(value, key[len(key)-40:]) {
				t.Errorf("%s holds the key in the clear", path)
			}
		}
		rows.Close()
		serials = append(serials, pki.FormatSerial(c.Leaf.SerialNumber))
		certs.Close()
	}
	if serials[0] != serials[1] {
		t.Error("a restart issued a new certificate")
	}
	if _, err := start(new(pkitest.Sealer)); err == nil || !strings.Contains(err.Error(), "unsealing") {
		t.Errorf("with another key: got %v", err)
	}
	if _, err := start(nil); err == nil {
		t.Error("without a sealer: no error")
	}
}

func TestServerCertificatesRefuseBadNames(t *testing.T) {
	env := pkitest.New(t)
	for _, names := range [][]string{nil, {""}, {"*.example.com"}, {"localhost", "a b"}, {"jane@example.com"}} {
		if certs, err := env.CA.ServerCertificates(t.Context(), names); err == nil {
			certs.Close()
			t.Errorf("%q: accepted", names)
		}
	}
}

// Three months pass: the certificate is replaced in time, in memory, without a restart.
func TestServerCertificateIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := pkitest.New(t)
		certs, err := env.CA.ServerCertificates(t.Context(), []string{"renewed.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		first := shown(t, certs, "", env, tls.VersionTLS13)
		for range 3 * 90 {
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			if left := time.Until(certs.NotAfter()); left < 29*24*time.Hour {
				t.Fatalf("only %v left", left)
			}
		}
		last := shown(t, certs, "", env, tls.VersionTLS13)
		if last.SerialNumber.Cmp(first.SerialNumber) == 0 {
			t.Error("not renewed")
		}
		if n := count(t, env.DB); n < 4 || n > 6 {
			t.Errorf("%d certificates in 270 days", n)
		}
		certs.Close()
		synctest.Wait()
		env.DB.Close()
	})
}

// While the database is away the certificate in memory is served, and renewal succeeds afterwards.
func TestServerCertificateSurvivesAFailingDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := pkitest.New(t)
		certs, err := env.CA.ServerCertificates(t.Context(), []string{"failing.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := env.DB.Exec(`CREATE TRIGGER full BEFORE INSERT ON pki_certificates BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`); err != nil {
			t.Fatal(err)
		}
		first := shown(t, certs, "", env, tls.VersionTLS13)
		time.Sleep(70 * 24 * time.Hour)
		synctest.Wait()
		if got := shown(t, certs, "", env, tls.VersionTLS13); got.SerialNumber.Cmp(first.SerialNumber) != 0 {
			t.Error("renewed without a record")
		}
		if n := count(t, env.DB); n != 1 {
			t.Errorf("%d records", n)
		}
		if _, err := env.DB.Exec(`DROP TRIGGER full`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := shown(t, certs, "", env, tls.VersionTLS13); got.SerialNumber.Cmp(first.SerialNumber) == 0 {
			t.Error("not renewed after the database came back")
		}
		certs.Close()
		env.DB.Close()
	})
}

func TestCloseLeavesNoGoroutineAndNoLock(t *testing.T) {
	env := pkitest.New(t)
	before := runtime.NumGoroutine()
	for range 3 {
		certs, err := env.CA.ServerCertificates(t.Context(), []string{"closed.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		certs.Close()
		if c, err := certs.GetCertificate(&tls.ClientHelloInfo{}); err != nil || c == nil {
			t.Errorf("after Close: %v", err)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before\n%s", n, before, buf[:runtime.Stack(buf, true)])
	}
	var locks int
	if err := env.DB.QueryRowContext(context.Background(), `SELECT COUNT(*) FROM pki_locks`).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d locks left, %v", locks, err)
	}
}
