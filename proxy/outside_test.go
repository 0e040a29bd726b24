package proxy_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy"
)

// Clients that nobody here wrote.

// files writes the client's key, chain and the CA as PEM.
func (c *client) files(t *testing.T) (cert, key, ca string) {
	t.Helper()
	dir := t.TempDir()
	cert, key, ca = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")
	keyPEM, err := pki.EncodePrivateKey(c.cert.PrivateKey)
	must(t, err)
	chain := pki.EncodeCertificates(c.issued.Chain...)
	must(t, os.WriteFile(cert, chain, 0o600))
	must(t, os.WriteFile(key, keyPEM, 0o600))
	must(t, os.WriteFile(ca, pki.EncodeCertificates(c.gate.ca.Trust().Roots()...), 0o600))
	return cert, key, ca
}

func TestCurlIsServedOverHTTP1AndHTTP2(t *testing.T) {
	curl := outside.Program(t, "curl")
	g := newGate(t, proxy.Limits{})
	cert, key, ca := g.issue("orders").files(t)
	_, port, err := net.SplitHostPort(g.addr)
	must(t, err)
	big := filepath.Join(t.TempDir(), "big")
	must(t, os.WriteFile(big, bytes.Repeat([]byte("x"), 3<<20), 0o600))
	for _, version := range []string{"--http1.1", "--http2"} {
		run := func(args ...string) string {
			t.Helper()
			args = append([]string{"-sS", version, "--cert", cert, "--key", key, "--cacert", ca, "--max-time", "20"}, args...)
			out, err := exec.Command(curl, args...).CombinedOutput()
			if err != nil {
				t.Fatalf("curl %s: %v: %s", version, err, out)
			}
			return string(out)
		}
		url := "https://localhost:" + port
		if got := run("-d", "hello", url+"/http/orders/1?a=b"); got != "POST /http/orders/1?a=b 5" {
			t.Errorf("%s: got %q", version, got)
		}
		// curl announces a large body with Expect: 100-continue over HTTP/1.1.
		if got := run("-H", "Expect: 100-continue", "--data-binary", "@"+big, url+"/http/orders/2"); got != "POST /http/orders/2 3145728" {
			t.Errorf("%s: got %q", version, got)
		}
		if got := run("-H", "Transfer-Encoding: chunked", "--data-binary", "@"+big, url+"/http/orders/3"); version == "--http1.1" && got != "POST /http/orders/3 3145728" {
			t.Errorf("%s: got %q", version, got)
		}
		if got := run("-I", url+"/http/orders/4"); !strings.Contains(got, " 200") {
			t.Errorf("%s: HEAD: got %q", version, got)
		}
		if got := run("-w", "%{http_code}", url+"/http/stock/1"); !strings.HasSuffix(got, "403") || !strings.Contains(got, "problem:denied") {
			t.Errorf("%s: got %q", version, got)
		}
	}
}

func TestOpenSSLResumesUntilItsCertificateIsRevoked(t *testing.T) {
	openssl := outside.Program(t, "openssl")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run(version, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders")
			cert, key, ca := c.files(t)
			session := filepath.Join(t.TempDir(), "session")
			connect := func(args ...string) string {
				args = append([]string{"s_client", "-connect", g.addr, "-servername", "localhost", version, "-cert", cert, "-key", key, "-CAfile", ca, "-cert_chain", cert, "-ign_eof"}, args...)
				cmd := exec.Command(openssl, args...)
				cmd.Stdin = strings.NewReader("GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
				out, _ := cmd.CombinedOutput()
				return string(out)
			}
			if out := connect("-sess_out", session); !strings.Contains(out, "HTTP/1.1 200 OK") {
				t.Fatalf("first: %s", out)
			}
			if out := connect("-sess_in", session); !strings.Contains(out, "HTTP/1.1 200 OK") || !strings.Contains(out, "Reused, TLSv1") {
				t.Fatalf("second: %s", out)
			}
			revocations[0].act(g, c)
			if out := connect("-sess_in", session); strings.Contains(out, "HTTP/1.1 200 OK") {
				t.Errorf("served after the revocation: %s", out)
			}
		})
	}
}

const javaClient = `
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.*;
import java.security.KeyStore;
import javax.net.ssl.*;

public class Caller {
  static KeyStore load(String type, String file, char[] password) throws Exception {
    KeyStore store = KeyStore.getInstance(type);
    try (var in = new FileInputStream(file)) { store.load(in, password); }
    return store;
  }

  public static void main(String[] a) throws Exception {
    char[] password = "changeit".toCharArray();
    var keys = KeyManagerFactory.getInstance("SunX509");
    keys.init(load(a[0], a[1], password), password);
    var trust = TrustManagerFactory.getInstance("PKIX");
    trust.init(load(a[2], a[3], password));
    var tls = SSLContext.getInstance("TLS");
    tls.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
    for (var version : HttpClient.Version.values()) {
      var client = HttpClient.newBuilder().sslContext(tls).version(version).build();
      var answer = client.send(HttpRequest.newBuilder(URI.create(a[4])).POST(HttpRequest.BodyPublishers.ofString("hello")).build(), HttpResponse.BodyHandlers.ofString());
      System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body());
    }
  }
}
`

// Java's HttpClient with each kind of key store and trust store.
func TestJavaIsServedWithItsKeyStores(t *testing.T) {
	java := outside.Program(t, "java")
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	_, port, err := net.SplitHostPort(g.addr)
	must(t, err)
	dir := t.TempDir()
	source := filepath.Join(dir, "Caller.java")
	must(t, os.WriteFile(source, []byte(javaClient), 0o600))
	write := func(format pki.Format) string {
		b, err := format.Encode(pki.Contents{Key: c.cert.PrivateKey, Chain: c.issued.Chain, Roots: g.ca.Trust().Roots()}, "changeit")
		must(t, err)
		file := filepath.Join(dir, string(format))
		must(t, os.WriteFile(file, b, 0o600))
		return file
	}
	for _, c := range []struct {
		kind            string
		store, trusting pki.Format
	}{{"PKCS12", pki.PKCS12, pki.TrustPKCS12}, {"PKCS12", pki.PKCS12Legacy, pki.TrustPKCS12}, {"JKS", pki.JKS, pki.TrustJKS}} {
		out, err := exec.Command(java, source, c.kind, write(c.store), c.kind, write(c.trusting), "https://localhost:"+port+"/http/orders/1").CombinedOutput()
		if err != nil {
			t.Fatalf("java: %v: %s", err, out)
		}
		for _, want := range []string{"HTTP_1_1 200 POST /http/orders/1 5", "HTTP_2 200 POST /http/orders/1 5"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: got %s, want %s", c.store, out, want)
			}
		}
	}
}
