package pki_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// ask asks the responder about a certificate.
func ask(t testing.TB, env *pkitest.Env, c *x509.Certificate, h crypto.Hash) (pki.OCSPAnswer, *ocsp.Response) {
	t.Helper()
	request, err := ocsp.CreateRequest(c, env.CA.Intermediate(), &ocsp.RequestOptions{Hash: h})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := env.CA.OCSP(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	response, err := ocsp.ParseResponseForCert(answer.DER, c, env.CA.Intermediate())
	if err != nil {
		t.Fatalf("%s: %v", answer.Status, err)
	}
	return answer, response
}

func TestOCSPSaysGoodRevokedAndUnknown(t *testing.T) {
	for _, keyType := range []string{pki.P256, pki.P384, pki.RSA2048} {
		env := pkitest.With(t, pkitest.Options{KeyType: keyType})
		good, lost := env.Client("good"), env.Client("lost")
		revoke(t, env.CA, env.DB, serialOf(lost), "keyCompromise", time.Now())
		unknown := *good.Leaf
		unknown.SerialNumber = big.NewInt(12345)
		for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			for _, c := range []struct {
				of   *x509.Certificate
				want int
			}{{good.Leaf, ocsp.Good}, {lost.Leaf, ocsp.Revoked}, {&unknown, ocsp.Unknown}} {
				_, response := ask(t, env, c.of, h)
				if response.Status != c.want || response.IssuerHash != h {
					t.Errorf("%s, %v: status %d, want %d", keyType, h, response.Status, c.want)
				}
				if c.want == ocsp.Revoked && response.RevocationReason != ocsp.KeyCompromise {
					t.Errorf("%s, %v: reason %d", keyType, h, response.RevocationReason)
				}
			}
		}
	}
}

// What signs OCSP answers must be allowed to sign other things than certificates and lists; a root signs none.
func TestTheIntermediateMaySignAnswers(t *testing.T) {
	env := pkitest.New(t)
	if usage := env.CA.Intermediate().KeyUsage; usage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign|x509.KeyUsageDigitalSignature {
		t.Errorf("the intermediate's key usage is %b", usage)
	}
	if usage := env.CA.Trust().Roots()[0].KeyUsage; usage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Errorf("the root's key usage is %b", usage)
	}
}

func TestOCSPRefusesWhatItCannotAnswer(t *testing.T) {
	env, other := pkitest.New(t), pkitest.New(t)
	good := env.Client("good").Leaf
	foreign := other.Client("foreign").Leaf
	request := func(c, issuer *x509.Certificate) []byte {
		b, err := ocsp.CreateRequest(c, issuer, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	two, err := exec.Command(outside.Program(t, "openssl"), "ocsp", "-issuer", filepath.Join(env.Dir, "intermediate_ca.crt"), "-serial", "0x1234", "-serial", "0x1235",
		"-no_nonce", "-reqout", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		request []byte
		want    string
	}{
		"empty":          {nil, "malformed"},
		"garbage":        {[]byte("GET / HTTP/1.1"), "malformed"},
		"too long":       {make([]byte, pki.MaxOCSPRequest+1), "malformed"},
		"behind it":      {append(request(good, env.CA.Intermediate()), 0), "malformed"},
		"two at once":    {two, "malformed"},
		"another issuer": {request(foreign, other.CA.Intermediate()), "unauthorized"},
		"the root":       {request(env.CA.Intermediate(), env.CA.Trust().Roots()[0]), "unauthorized"},
		"one":            {request(good, env.CA.Intermediate()), "good"},
	} {
		if got, _ := env.CA.OCSP(t.Context(), c.request); got.Status != c.want || len(got.DER) == 0 {
			t.Errorf("%s: %s, want %s", name, got.Status, c.want)
		}
	}
}

func TestOCSPAnswersAreSignedAgainWhenSomethingChanged(t *testing.T) {
	now := time.Now()
	env := pkitest.With(t, pkitest.Options{Now: func() time.Time { return now }})
	cert := env.Client("c")
	first, _ := ask(t, env, cert.Leaf, crypto.SHA1)
	if again, _ := ask(t, env, cert.Leaf, crypto.SHA1); string(again.DER) != string(first.DER) {
		t.Error("signed again without a reason") // an ECDSA signature is never the same twice
	}
	now = now.Add(31 * time.Minute)
	second, response := ask(t, env, cert.Leaf, crypto.SHA1)
	if string(second.DER) == string(first.DER) || response.NextUpdate.Sub(now) < 50*time.Minute {
		t.Errorf("after half its life: until %v", response.NextUpdate)
	}
	revoke(t, env.CA, env.DB, serialOf(cert), "superseded", now)
	if _, response := ask(t, env, cert.Leaf, crypto.SHA1); response.Status != ocsp.Revoked {
		t.Errorf("revoked: status %d", response.Status)
	}
	env.DB.Close()
	request, err := ocsp.CreateRequest(cert.Leaf, env.CA.Intermediate(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := env.CA.OCSP(t.Context(), request); err == nil || answer.Status != "revoked" {
		t.Errorf("without the database: %s, %v", answer.Status, err)
	}
	now = now.Add(2 * time.Hour)
	if answer, _ := env.CA.OCSP(t.Context(), request); answer.Status != "tryLater" {
		t.Errorf("without the database, after its end: %s", answer.Status)
	}
}

// The last answer about a certificate may be from before it was revoked.
func TestWithoutItsDatabaseOCSPSaysWhatTheListSays(t *testing.T) {
	env := pkitest.New(t)
	lost, never, good := env.Client("lost"), env.Client("never"), env.Client("good")
	for _, c := range []tls.Certificate{lost, good} {
		if answer, _ := ask(t, env, c.Leaf, crypto.SHA1); answer.Status != "good" {
			t.Fatalf("before: %s", answer.Status)
		}
	}
	for _, c := range []tls.Certificate{lost, never} {
		revoke(t, env.CA, env.DB, serialOf(c), "keyCompromise", time.Now())
	}
	currentCRL(t, env.CA)
	env.DB.Close()
	for _, c := range []struct {
		of   tls.Certificate
		want string
	}{{lost, "revoked"}, {never, "revoked"}, {good, "good"}} {
		for range 2 { // the second time from memory
			request, err := ocsp.CreateRequest(c.of.Leaf, env.CA.Intermediate(), nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := env.CA.OCSP(t.Context(), request)
			if answer.Status != c.want || err == nil {
				t.Errorf("%s: %s, %v, want %s", c.of.Leaf.Subject, answer.Status, err, c.want)
			}
			response, err := ocsp.ParseResponseForCert(answer.DER, c.of.Leaf, env.CA.Intermediate())
			if err != nil || response.Status == ocsp.Revoked && response.RevocationReason != ocsp.KeyCompromise {
				t.Errorf("%s: %+v, %v", c.of.Leaf.Subject, response, err)
			}
		}
	}
}

// Who asks for serial numbers that do not exist gets only so many signatures; others are answered all the same.
func TestOCSPSignsOnlySoManyUnknowns(t *testing.T) {
	now := time.Now()
	env := pkitest.With(t, pkitest.Options{Now: func() time.Time { return now }})
	good := env.Client("good").Leaf
	count := map[string]int{}
	for i := range int64(300) {
		made := *good
		made.SerialNumber = big.NewInt(i + 1)
		request, err := ocsp.CreateRequest(&made, env.CA.Intermediate(), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := env.CA.OCSP(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		count[answer.Status]++
	}
	if count["unknown"] > 60 || count["unknown"] < 10 || count["unknown"]+count["tryLater"] != 300 {
		t.Errorf("answers: %v", count)
	}
	if _, response := ask(t, env, good, crypto.SHA1); response.Status != ocsp.Good {
		t.Errorf("the good one: %d", response.Status)
	}
}

func TestOpenSSLBelievesTheResponder(t *testing.T) {
	openssl := outside.Program(t, "openssl")
	env := pkitest.New(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		answer, _ := env.CA.OCSP(r.Context(), b)
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(answer.DER)
	}))
	defer server.Close()
	good, lost := env.Client("good"), env.Client("lost")
	revoke(t, env.CA, env.DB, serialOf(lost), "keyCompromise", time.Now())
	for _, c := range []struct {
		cert tls.Certificate
		want string
	}{{good, ": good"}, {lost, ": revoked"}} {
		leaf := filepath.Join(t.TempDir(), "leaf.pem")
		if err := os.WriteFile(leaf, pkitest.PEM(c.cert), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, nonce := range []string{"-no_nonce", "-nonce"} {
			out, err := exec.CommandContext(t.Context(), openssl, "ocsp", "-issuer", filepath.Join(env.Dir, "intermediate_ca.crt"), "-cert", leaf,
				"-CAfile", filepath.Join(env.Dir, "root_ca.crt"), "-url", server.URL, nonce).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "Response verify OK") || !strings.Contains(string(out), c.want) {
				t.Errorf("%s: %v\n%s", nonce, err, out)
			}
		}
	}
}

func TestCertificatesSayWhereTheyAreRevoked(t *testing.T) {
	const url = "http://pki.example.com/gate"
	env := pkitest.With(t, pkitest.Options{Change: func(o *pki.Options) { o.PublicURL = url }})
	id := pki.PublicID(env.CA.Intermediate())
	for _, c := range []tls.Certificate{env.Client("erp"), env.Server("localhost")} {
		if got := strings.Join(c.Leaf.CRLDistributionPoints, " "); got != url+"/crl/"+id+".crl" {
			t.Errorf("distribution points %q", got)
		}
		if got := strings.Join(c.Leaf.OCSPServer, " "); got != url+"/ocsp" {
			t.Errorf("responders %q", got)
		}
		if got := strings.Join(c.Leaf.IssuingCertificateURL, " "); got != url+"/ca/"+id+".crt" {
			t.Errorf("issuer %q", got)
		}
	}
	if err := env.CA.Trust().VerifyClient(pkitest.Chain(t, env.Client("erp")), time.Now()); err != nil {
		t.Error(err)
	}
	if c := pkitest.New(t).Client("erp").Leaf; c.CRLDistributionPoints != nil || c.OCSPServer != nil || c.IssuingCertificateURL != nil {
		t.Error("addresses without a public URL")
	}
}

func TestServerCertificatesAreStapled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		twoDays, err := pki.ServerProfile().WithLifetimes(48*time.Hour, time.Hour, 48*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		env := pkitest.With(t, pkitest.Options{Change: func(o *pki.Options) { o.PublicURL, o.ServerProfile = "http://pki.example.com", twoDays }})
		certs, err := env.CA.ServerCertificates(t.Context(), []string{"localhost"})
		if err != nil {
			t.Fatal(err)
		}
		stapled := func() *ocsp.Response {
			c, err := certs.GetCertificate(&tls.ClientHelloInfo{ServerName: "localhost"})
			if err != nil {
				t.Fatal(err)
			}
			response, err := ocsp.ParseResponseForCert(c.OCSPStaple, c.Leaf, env.CA.Intermediate())
			if err != nil {
				t.Fatal(err)
			}
			if time.Now().After(response.NextUpdate) {
				t.Fatalf("stale since %v", response.NextUpdate)
			}
			return response
		}
		if got := stapled(); got.Status != ocsp.Good {
			t.Errorf("status %d", got.Status)
		}
		time.Sleep(90 * time.Second) // after a renewal, the answer follows within a minute
		for range 4 * 24 {           // through renewals
			time.Sleep(time.Hour)
			synctest.Wait()
			stapled()
		}
		c, err := certs.GetCertificate(&tls.ClientHelloInfo{ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		revoke(t, env.CA, env.DB, pki.FormatSerial(c.Leaf.SerialNumber), "superseded", time.Now())
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := stapled(); got.Status != ocsp.Revoked {
			t.Errorf("revoked: status %d", got.Status)
		}
		certs.Close()
		synctest.Wait()
		env.DB.Close()
	})
}
