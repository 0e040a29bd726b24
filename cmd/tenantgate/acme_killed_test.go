//go:build unix

package main

import (
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// acmeServerNode is a server with ACME that is killed, and a client that goes on.
type acmeServerNode struct {
	t           *testing.T
	binary, dir string
	issuer      *certmagic.ACMEIssuer
	client      *certmagic.Config
}

// freePorts are ports that nobody listens on.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func newACMEServerNode(t *testing.T) *acmeServerNode {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n := &acmeServerNode{t: t, binary: filepath.Join(dir, "tenantgate"), dir: filepath.Join(dir, "node")}
	if err := os.Symlink(self, n.binary); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 2)
	n.run("init", n.dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--enrolment-listen", fmt.Sprintf("127.0.0.1:%d", ports[0]))
	config := filepath.Join(n.dir, "tenantgate.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.NewReplacer("allow: []", `allow: ["127.0.0.0/8"]`, "unsafe_loopback: false", "unsafe_loopback: true",
		"unsafe_http_port: 0", fmt.Sprint("unsafe_http_port: ", ports[1])).Replace(string(text)))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	server := n.start()
	n.run("identity", "add", "erp", "--owner", "team-erp")
	var key admin.NewACMEKey
	if err := json.Unmarshal(n.run("acme", "key", "add", "erp", "--host", "localhost", "--json"), &key); err != nil {
		t.Fatal(err)
	}
	n.stop(server)
	root, err := os.ReadFile(filepath.Join(n.dir, "ca", "root_ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return n.client, nil }, Logger: zap.NewNop(),
	})
	t.Cleanup(cache.Stop)
	n.client = certmagic.New(cache, certmagic.Config{Storage: &certmagic.FileStorage{Path: t.TempDir()}, Logger: zap.NewNop()})
	n.issuer = certmagic.NewACMEIssuer(n.client, certmagic.ACMEIssuer{
		CA: key.Directory, TrustedRoots: roots, Agreed: true, Email: "team-erp@example.com", Logger: zap.NewNop(),
		ExternalAccount: &acme.EAB{KeyID: key.ID, MACKey: key.HMACKey},
		ListenHost:      "127.0.0.1", AltHTTPPort: ports[1], DisableTLSALPNChallenge: true,
	})
	n.client.Issuers = []certmagic.Issuer{n.issuer}
	return n
}

// run runs a command and returns its standard output.
func (n *acmeServerNode) run(args ...string) []byte {
	n.t.Helper()
	var problem strings.Builder
	cmd := exec.Command(n.binary, args...)
	cmd.Env = append(os.Environ(), "TENANTGATE_CONFIG="+filepath.Join(n.dir, "tenantgate.yaml"))
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("tenantgate %s: %v: %s", strings.Join(args, " "), err, problem.String())
	}
	return out
}

// start starts the server and waits until it serves.
func (n *acmeServerNode) start() *exec.Cmd {
	n.t.Helper()
	addr := filepath.Join(n.t.TempDir(), "addr")
	cmd := exec.Command(n.binary, "serve", "-c", filepath.Join(n.dir, "tenantgate.yaml"), "--addr-file", addr)
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = cmd.Process.Kill() })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(addr); err == nil {
			return cmd
		}
		if time.Now().After(end) {
			n.t.Fatal("the server does not start")
		}
	}
}

func (n *acmeServerNode) stop(server *exec.Cmd) {
	_ = server.Process.Kill()
	_ = server.Wait()
}

// counts are what was signed, bound, recorded, and what orders have come to a certificate.
func (n *acmeServerNode) counts() (counts [4]int) {
	n.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(n.dir, "tenantgate.db"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer db.Close()
	for i, query := range []string{
		`SELECT COUNT(*) FROM pki_certificates WHERE profile = 'client' AND name = 'erp'`,
		`SELECT COUNT(*) FROM certificates WHERE identity = 'erp'`,
		`SELECT COUNT(*) FROM change_records WHERE action = 'certificate.acme'`,
		`SELECT COUNT(*) FROM pki_acme_orders WHERE status = 'valid' AND serial <> ''`,
	} {
		if err := db.QueryRow(query).Scan(&counts[i]); err != nil {
			n.t.Fatal(err)
		}
	}
	return counts
}

// Killed at any moment, a server has signed, bound and recorded a certificate and ended its order, or nothing of it; and the client goes on.
func TestAServerKilledInAnOrderLeavesNothingOrAll(t *testing.T) {
	n := newACMEServerNode(t)
	server := n.start()
	if err := n.client.ObtainCertSync(t.Context(), "localhost"); err != nil {
		access, _ := os.ReadFile(filepath.Join(n.dir, "access.log"))
		t.Fatalf("%v\n%s", err, access)
	}
	cut := 0
	for range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		done := make(chan error, 1)
		go func() { done <- n.client.RenewCertSync(ctx, "localhost", true) }()
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond) // an order takes about so long here
		n.stop(server)
		cancel()
		if err := <-done; err != nil {
			cut++
		}
		if c := n.counts(); c[0] != c[1] || c[0] != c[2] || c[0] != c[3] {
			t.Errorf("signed, bound, recorded, ordered: %v", c)
		}
		server = n.start()
	}
	if cut == 0 {
		t.Error("no order was cut off: nothing was tried")
	}
	before := n.counts()[0]
	if err := n.client.RenewCertSync(t.Context(), "localhost", true); err != nil {
		t.Errorf("after all that: %v", err)
	}
	if got := n.counts()[0]; got != before+1 {
		t.Errorf("%d certificates, want %d", got, before+1)
	}
	n.run("audit", "verify")
	b, err := n.client.Storage.Load(t.Context(), certmagic.StorageKeys.SiteCert(n.issuer.IssuerKey(), "localhost"))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := pki.ParseCertificates(b)
	if err != nil {
		t.Fatal(err)
	}
	if out := string(n.run("cert", "list", "--identity", "erp", "--json")); !strings.Contains(out, pki.FormatSerial(chain[0].SerialNumber)) {
		t.Errorf("the last certificate is not listed: %s", out)
	}
}
