package acme_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"encoding/base64"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
)

// freePort is one that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// outsideHouse is a house that looks for challenges where a client is to answer them. It returns the port and the file with the CA.
func outsideHouse(t *testing.T) (h *house, port int, ca string) {
	t.Helper()
	h = build(t)
	port = freePort(t)
	h.targets.HTTPPort, h.targets.TLSPort = port, port
	h.registry, h.url = h.node()
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pki.EncodeCertificates(h.pki.CA.Trust().Roots()...), 0o600); err != nil {
		t.Fatal(err)
	}
	return h, port, ca
}

// run runs a client to its end.
func run(t *testing.T, env []string, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, outside.Program(t, program), args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// got reads what a client has got, and fails unless the proxy would take it for erp's.
func (h *house) got(path string) *x509.Certificate {
	h.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.accepted(b)
}

func (h *house) accepted(chain []byte) *x509.Certificate {
	h.t.Helper()
	certs, err := pki.ParseCertificates(chain)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.pki.CA.Trust().VerifyClient(certs, time.Now()); err != nil {
		h.t.Fatal(err)
	}
	if b := h.bound(certs[0]); b.Identity != "erp" || b.Revoked() {
		h.t.Fatalf("got %+v", b)
	}
	if !slices.Equal(certs[0].DNSNames, []string{host}) {
		h.t.Errorf("got the names %v", certs[0].DNSNames)
	}
	return certs[0]
}

// The command lines of docs/enrolment.md, but for what makes them run here: another port, other directories, and no root.
func TestCertbot(t *testing.T) {
	outside.Program(t, "certbot")
	h, port, ca := outsideHouse(t)
	k, secret := h.key(nil)
	dir := t.TempDir()
	env := []string{"REQUESTS_CA_BUNDLE=" + ca}
	here := []string{"--config-dir", dir + "/config", "--work-dir", dir + "/work", "--logs-dir", dir + "/logs", "-n"}
	challenge := []string{"--http-01-port", fmt.Sprint(port), "--http-01-address", "127.0.0.1"}
	certbot := func(args ...string) {
		t.Helper()
		defer func() { // a client says little of what the server has seen
			h.mu.Lock()
			defer h.mu.Unlock()
			for i := 0; t.Failed() && i < len(h.records); i++ {
				t.Log(h.records[i].Path, h.records[i].Outcome, h.records[i].Cause)
			}
		}()
		run(t, env, "certbot", append(args, here...)...)
	}

	certbot("register", "--server", h.url+"/acme/directory", "--eab-kid", k.ID, "--eab-hmac-key", base64.RawURLEncoding.EncodeToString(secret),
		"--agree-tos", "--register-unsafely-without-email")
	certbot(append([]string{"certonly", "--server", h.url + "/acme/directory", "--standalone", "-d", host}, challenge...)...)
	first := h.got(dir + "/config/live/" + host + "/fullchain.pem")
	certbot(append([]string{"renew", "--force-renewal", "--no-random-sleep-on-renew"}, challenge...)...)
	second := h.got(dir + "/config/live/" + host + "/fullchain.pem")
	if first.Equal(second) || h.certificates() != 2 {
		t.Error("it was not renewed")
	}
	certbot("revoke", "--server", h.url+"/acme/directory", "--cert-name", host, "--reason", "superseded", "--no-delete-after-revoke")
	if b := h.bound(second); !b.Revoked() || b.RevocationReason != "superseded" || h.bound(first).Revoked() {
		t.Errorf("got %+v", b)
	}
	certbot("unregister", "--server", h.url+"/acme/directory")
	if left, err := h.pki.CA.ACMEKey(t.Context(), nil, k.ID); err != nil || left.AccountStatus != pki.ACMEDeactivated {
		t.Errorf("got %+v, %v", left, err)
	}
}

func TestLego(t *testing.T) {
	outside.Program(t, "lego")
	for _, kind := range []string{"http", "tls"} {
		t.Run(kind, func(t *testing.T) {
			h, port, ca := outsideHouse(t)
			k, secret := h.key(nil)
			dir := t.TempDir()
			env := []string{"LEGO_CA_CERTIFICATES=" + ca}
			args := []string{"--server", h.url + "/acme/directory", "--path", dir, "--email", "team-erp@example.com", "--accept-tos", "--domains", host,
				"--eab", "--kid", k.ID, "--hmac", base64.RawURLEncoding.EncodeToString(secret), "--" + kind, "--" + kind + ".port", fmt.Sprintf("127.0.0.1:%d", port)}
			run(t, env, "lego", append(args, "run")...)
			first := h.got(dir + "/certificates/" + host + ".crt")
			run(t, env, "lego", append(args, "renew", "--days", "365", "--no-random-sleep")...)
			second := h.got(dir + "/certificates/" + host + ".crt")
			if first.Equal(second) || h.certificates() != 2 {
				t.Error("it was not renewed")
			}
			run(t, env, "lego", append(args, "revoke")...)
			if !h.bound(second).Revoked() || h.bound(first).Revoked() {
				t.Error("the second one is to be revoked, and the first one not")
			}
		})
	}
}

func TestCertmagic(t *testing.T) {
	for _, kind := range []string{"http-01", "tls-alpn-01"} {
		t.Run(kind, func(t *testing.T) {
			h, port, _ := outsideHouse(t)
			k, secret := h.key(nil)
			storage := &certmagic.FileStorage{Path: t.TempDir()}
			var config *certmagic.Config
			cache := certmagic.NewCache(certmagic.CacheOptions{
				GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil }, Logger: zap.NewNop(),
			})
			t.Cleanup(cache.Stop)
			config = certmagic.New(cache, certmagic.Config{Storage: storage, Logger: zap.NewNop()})
			issuer := certmagic.NewACMEIssuer(config, certmagic.ACMEIssuer{
				CA: h.url + "/acme/directory", TrustedRoots: h.pki.Root, Agreed: true, Email: "team-erp@example.com", Logger: zap.NewNop(),
				ExternalAccount: &acme.EAB{KeyID: k.ID, MACKey: base64.RawURLEncoding.EncodeToString(secret)},
				ListenHost:      "127.0.0.1", AltHTTPPort: port, AltTLSALPNPort: port,
				DisableHTTPChallenge: kind != "http-01", DisableTLSALPNChallenge: kind != "tls-alpn-01",
			})
			config.Issuers = []certmagic.Issuer{issuer}
			read := func() *x509.Certificate {
				t.Helper()
				b, err := storage.Load(t.Context(), certmagic.StorageKeys.SiteCert(issuer.IssuerKey(), host))
				if err != nil {
					t.Fatal(err)
				}
				return h.accepted(b)
			}
			if err := config.ObtainCertSync(t.Context(), host); err != nil {
				t.Fatal(err)
			}
			first := read()
			if err := config.RenewCertSync(t.Context(), host, true); err != nil {
				t.Fatal(err)
			}
			if first.Equal(read()) || h.certificates() != 2 {
				t.Error("it was not renewed")
			}
			if err := config.RevokeCert(t.Context(), host, 1, false); err != nil {
				t.Fatal(err)
			}
		})
	}
}
