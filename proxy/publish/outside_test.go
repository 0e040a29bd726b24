package publish_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/publish"
)

// Programs that nobody here wrote follow the addresses in the certificates.

// published is a CA whose certificates lead to the server that publishes for it.
func published(t *testing.T) *pkitest.Env {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	env := pkitest.With(t, pkitest.Options{Change: func(o *pki.Options) { o.PublicURL = "http://" + l.Addr().String() }})
	handler := &publish.Handler{CA: env.CA, Trust: env.CA.Trust}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return env
}

// write writes a certificate without its chain.
func write(t *testing.T, c tls.Certificate) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leaf.pem")
	if err := os.WriteFile(path, pki.EncodeCertificates(c.Leaf), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenSSLFetchesTheListThatACertificateNames(t *testing.T) {
	openssl := outside.Program(t, "openssl")
	env := published(t)
	good, lost := env.Client("good"), env.Client("lost")
	env.Revoke(lost, "keyCompromise")
	if _, err := env.CA.CRL(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cert tls.Certificate
		want string
	}{{good, ": OK"}, {lost, "certificate revoked"}} {
		out, _ := exec.CommandContext(t.Context(), openssl, "verify", "-crl_check", "-crl_download", "-CAfile", filepath.Join(env.Dir, "root_ca.crt"),
			"-untrusted", filepath.Join(env.Dir, "intermediate_ca.crt"), write(t, c.cert)).CombinedOutput()
		if !strings.Contains(string(out), c.want) {
			t.Errorf("want %q: %s", c.want, out)
		}
	}
}

const javaChecker = `
import java.io.FileInputStream;
import java.security.cert.*;
import java.security.cert.PKIXRevocationChecker.Option;
import java.util.*;

public class Checker {
  static X509Certificate read(String file) throws Exception {
    try (var in = new FileInputStream(file)) { return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in); }
  }

  public static void main(String[] a) throws Exception {
    for (int i = 2; i < a.length; i++) {
      for (var options : List.of(EnumSet.of(Option.ONLY_END_ENTITY, Option.NO_FALLBACK), EnumSet.of(Option.ONLY_END_ENTITY, Option.NO_FALLBACK, Option.PREFER_CRLS))) {
        String how = options.contains(Option.PREFER_CRLS) ? "list" : "OCSP";
        var validator = CertPathValidator.getInstance("PKIX");
        var checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        checker.setOptions(options);
        var parameters = new PKIXParameters(Set.of(new TrustAnchor(read(a[0]), null)));
        parameters.addCertPathChecker(checker);
        try {
          validator.validate(CertificateFactory.getInstance("X.509").generateCertPath(List.of(read(a[i]), read(a[1]))), parameters);
          System.out.println((i - 2) + " by " + how + ": good");
        } catch (CertPathValidatorException e) {
          System.out.println((i - 2) + " by " + how + ": " + e.getReason() + " " + e.getMessage());
        }
      }
    }
  }
}
`

func TestJavaBelievesResponderAndList(t *testing.T) {
	java := outside.Program(t, "java")
	env := published(t)
	good, lost := env.Client("good"), env.Client("lost")
	env.Revoke(lost, "keyCompromise")
	if _, err := env.CA.CRL(t.Context()); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(t.TempDir(), "Checker.java")
	if err := os.WriteFile(source, []byte(javaChecker), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), java, source, filepath.Join(env.Dir, "root_ca.crt"), filepath.Join(env.Dir, "intermediate_ca.crt"),
		write(t, good), write(t, lost)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"0 by OCSP: good", "0 by list: good", "1 by OCSP: REVOKED", "1 by list: REVOKED"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("want %q: %s", want, out)
		}
	}
}
