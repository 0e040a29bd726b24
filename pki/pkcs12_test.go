package pki_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// The file that a caller gets must open in the tools that callers have.
func TestPKCS12OpensInOpenSSLAndKeytool(t *testing.T) {
	env := pkitest.New(t)
	for _, keyType := range []string{pki.P256, pki.RSA2048} {
		key := env.Key(keyType)
		issued, err := issue(t, env, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", PublicKey: key.Public()})
		if err != nil {
			t.Fatal(err)
		}
		for _, legacy := range []bool{false, true} {
			b, err := pki.EncodePKCS12(key, issued, env.CA.Trust().Roots(), "s3cret p4ss", legacy)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "orders.p12")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			openssl := []string{"pkcs12", "-in", path, "-passin", "pass:s3cret p4ss", "-nodes"}
			if legacy {
				openssl = append(openssl, "-legacy")
			}
			for _, c := range []struct {
				tool string
				args []string
				want map[string]int
			}{
				{"openssl", openssl, map[string]int{"BEGIN CERTIFICATE": 3, "PRIVATE KEY-----": 2, "CN = orders": 1}},
				{"keytool", []string{"-list", "-v", "-storetype", "PKCS12", "-keystore", path, "-storepass", "s3cret p4ss"},
					map[string]int{"PrivateKeyEntry": 1, "Certificate chain length: 3": 1, "Owner: CN=orders": 1}},
			} {
				if _, err := exec.LookPath(c.tool); err != nil {
					t.Logf("SKIPPED, NOT CHECKED with %s: %v", c.tool, err)
					continue
				}
				out, err := exec.Command(c.tool, c.args...).CombinedOutput()
				if err != nil {
					t.Errorf("%s, %s, legacy %v: %v\n%s", c.tool, keyType, legacy, err, out)
				}
				for text, n := range c.want {
					if got := strings.Count(string(out), text); got < n {
						t.Errorf("%s, %s, legacy %v: %q stands there %d times, want %d", c.tool, keyType, legacy, text, got, n)
					}
				}
			}
		}
	}
}

func TestPKCS12RefusesWhatDoesNotFit(t *testing.T) {
	env := pkitest.New(t)
	key := env.Key(pki.P256)
	issued, err := issue(t, env, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", PublicKey: key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.EncodePKCS12(env.Key(pki.P256), issued, nil, "x", false); err == nil {
		t.Error("another's key: accepted")
	}
	if _, err := pki.EncodePKCS12(key, issued, nil, "", false); err == nil {
		t.Error("no password: accepted")
	}
	if _, err := pki.EncodePKCS12(key, nil, nil, "x", false); err == nil {
		t.Error("no certificate: accepted")
	}
}
