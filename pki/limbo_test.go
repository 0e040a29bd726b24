package pki_test

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// suite finds a data file of the test suites that are kept beside this repository, or skips loudly.
func suite(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("TENANTGATE_SUITES"); dir != "" {
		return filepath.Join(dir, name)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "..", "shared", "suites", name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skipf("SKIPPED, NOTHING WAS CHECKED: %s not found; set TENANTGATE_SUITES to the directory that holds it", name)
	return ""
}

// A limboCase is a test case in the schema of C2SP/x509-limbo.
type limboCase struct {
	ID             string    `json:"id"`
	Trusted        []string  `json:"trusted_certs"`
	Intermediates  []string  `json:"untrusted_intermediates"`
	Peer           string    `json:"peer_certificate"`
	ValidationTime time.Time `json:"validation_time"`
	Expected       string    `json:"expected_result"`
	CRLs           []string  `json:"crls"`
}

func limboCases(t testing.TB) []limboCase {
	t.Helper()
	b, err := os.ReadFile(suite(t, "limbo-client.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Testcases []limboCase `json:"testcases"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return file.Testcases
}

// accept is what a listener and `cert verify` do: read all, then VerifyClient.
func (c limboCase) accept() error {
	trust, err := pki.LoadTrust([]byte(strings.Join(c.Trusted, "\n")), nil)
	if err != nil {
		return err
	}
	chain, err := pki.ParseCertificates([]byte(strings.Join(append([]string{c.Peer}, c.Intermediates...), "\n")))
	if err != nil {
		return err
	}
	now := c.ValidationTime
	if now.IsZero() {
		now = time.Now()
	}
	if len(c.CRLs) == 0 {
		return trust.VerifyClient(chain, now)
	}
	crls, err := pki.ParseCRLs([]byte(strings.Join(c.CRLs, "\n")))
	if err != nil {
		return err
	}
	return trust.VerifyClient(chain, now, crls...)
}

// deviations reads testdata/limbo-deviations.txt: "case-id  accepted|refused  reason".
func deviations(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/limbo-deviations.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := make(map[string]string)
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || (fields[1] != "accepted" && fields[1] != "refused") {
			t.Fatalf("line without a reason: %s", line)
		}
		all[fields[0]] = fields[1]
	}
	return all
}

func TestVerifyClientAgainstLimbo(t *testing.T) {
	known := deviations(t)
	cases := limboCases(t)
	if len(cases) < 193 {
		t.Fatalf("only %d cases", len(cases))
	}
	deviating := 0
	for _, c := range cases {
		start := time.Now()
		err := c.accept()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: took %v", c.ID, took)
		}
		result, conforms := "accepted", c.Expected == "SUCCESS"
		if err != nil {
			result, conforms = "refused", c.Expected == "FAILURE"
		}
		want, listed := known[c.ID]
		delete(known, c.ID)
		switch {
		case !conforms:
			deviating++
			if !listed || want != result {
				t.Errorf("%s: %s against the suite's %s and not listed: %v", c.ID, result, c.Expected, err)
			}
		case listed:
			t.Errorf("%s: listed as %s, but conforms: strike it from the list", c.ID, want)
		}
	}
	for id := range known {
		t.Errorf("%s: listed, but not in the suite", id)
	}
	t.Logf("%d cases, %d conform, %d deviate for a reason in testdata/limbo-deviations.txt", len(cases), len(cases)-deviating, deviating)
}

// The cases in which crypto/x509 by itself is too lax for us. None may ever be listed as a deviation.
func TestVerifyClientRefusesWhatGoAccepts(t *testing.T) {
	mustRefuse := map[string]bool{
		"webpki::ca-as-leaf": true, "rfc5280::ca-as-leaf-wrong-san": true, "webpki::ee-basicconstraints-ca": true,
		"webpki::eku::ee-anyeku": true, "webpki::eku::ee-without-eku": true, "rfc5280::eku::ee-eku-empty": true, "rfc5280::eku::ee-wrong-eku": true,
		"webpki::forbidden-weak-rsa-key-in-root": true, "webpki::forbidden-weak-rsa-in-leaf": true,
		"webpki::forbidden-rsa-not-divisible-by-8-in-root": true, "webpki::forbidden-rsa-key-not-divisible-by-8-in-leaf": true,
		"webpki::v1-cert": true, "rfc5280::serial::zero": true, "rfc5280::serial::too-long": true, "rfc5280::ca-empty-subject": true,
		"crl::crlnumber-missing": true, "crl::crlnumber-critical": true, "crl::issuer-missing-crlsign": true, "crl::revoked-certificate-with-crl": true,
	}
	lax := 0
	for _, c := range limboCases(t) {
		refused := c.accept() != nil
		if mustRefuse[c.ID] && !refused {
			t.Errorf("%s: accepted", c.ID)
		}
		delete(mustRefuse, c.ID)
		if c.Expected == "FAILURE" && refused && c.acceptedByGo() {
			lax++
		}
	}
	for id := range mustRefuse {
		t.Errorf("%s: not in the suite", id)
	}
	if lax < 22 {
		t.Errorf("only %d of the bad cases that crypto/x509 accepts are refused", lax)
	}
	t.Logf("%d bad cases that crypto/x509 accepts are refused", lax)
}

// acceptedByGo is what crypto/tls does with RequireAndVerifyClientCert.
func (c limboCase) acceptedByGo() bool {
	roots, helpers := x509.NewCertPool(), x509.NewCertPool()
	for _, pem := range c.Trusted {
		roots.AppendCertsFromPEM([]byte(pem))
	}
	for _, pem := range c.Intermediates {
		helpers.AppendCertsFromPEM([]byte(pem))
	}
	leaf, err := pki.ParseCertificates([]byte(c.Peer))
	if err != nil {
		return false
	}
	_, err = leaf[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: helpers, CurrentTime: c.ValidationTime, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}
