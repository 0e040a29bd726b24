package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki/servercert"
)

// acmeNode is a whole node of this process, whose callers' listener answers on a port that an ACME server knows.
type acmeNode struct {
	*node
	t    *testing.T
	cfg  Config
	path string // of the configuration
	log  *lockedLog
	port int
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// newACMENode prepares a node; change edits its configuration.
func newACMENode(t *testing.T, change func(*Config)) *acmeNode {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "node")
	n := &acmeNode{t: t, path: filepath.Join(dir, "tenantgate.yaml"), log: new(lockedLog), port: freePort(t)}
	n.cfg = defaultConfig()
	n.cfg.Listen, n.cfg.Admin.Listen = fmt.Sprintf("127.0.0.1:%d", n.port), "127.0.0.1:0"
	n.cfg.Admin.Socket = ""
	n.cfg.ServerNames = []string{"gate.example.com", "localhost"}
	n.cfg.ServerCertificate.Names = []string{"gate.example.com"}
	change(&n.cfg)
	if err := initialize(t.Context(), initOptions{dir: dir, adminName: "admin", config: n.cfg}); err != nil {
		t.Fatal(err)
	}
	return n
}

// start starts it, and returns what stops it.
func (n *acmeNode) start() (stop func()) {
	n.t.Helper()
	cfg, err := loadConfig(n.path)
	if err != nil {
		n.t.Fatal(err)
	}
	level := new(slog.LevelVar)
	if n.node, err = openNode(n.t.Context(), cfg, newLogger(n.log, "text", level), level); err != nil {
		n.t.Fatal(err)
	}
	if err := n.listen(inherited{}); err != nil {
		n.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.serve() }()
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.shutdown(ctx); err != nil {
			n.t.Errorf("stopping: %v", err)
		}
		<-done
		if n.t.Failed() {
			n.t.Logf("log:\n%s", n.log.String())
		}
	})
	n.t.Cleanup(stop)
	return stop
}

// change rewrites the configuration and reloads it.
func (n *acmeNode) change(edit func(*Config)) error {
	n.t.Helper()
	edit(&n.cfg)
	var b bytes.Buffer
	if err := renderConfig(&b, &n.cfg); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.path, b.Bytes(), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return n.reload(n.t.Context(), n.path)
}

// verifies asks openssl whether the certificate shown for a name leads to the roots in a file.
func (n *acmeNode) verifies(name, roots string) bool {
	cmd := exec.Command(outside.Program(n.t, "openssl"), "s_client", "-connect", n.front.callers.Addr().String(), "-servername", name, "-verify_hostname", name,
		"-CAfile", roots, "-verify_return_error")
	out, _ := cmd.CombinedOutput() // it ends with an alert: no certificate is shown
	return strings.Contains(string(out), "Verification: OK") || strings.Contains(string(out), "Verify return code: 0 (ok)")
}

func (n *acmeNode) write(name, text string) string {
	n.t.Helper()
	path := filepath.Join(filepath.Dir(n.path), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// within waits for what happens in another process.
func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// A node starts while the ACME server is down, serves a certificate of its CA meanwhile, and the ACME server's when it is there: by tls-alpn-01 on the very
// port on which callers must show certificates, then by http-01. A restart orders nothing.
func TestANodeHasItsCertificateFromAnACMEServer(t *testing.T) {
	for _, kind := range []string{servercert.TLSALPN01, servercert.HTTP01} {
		t.Run(kind, func(t *testing.T) {
			httpPort := freePort(t)
			n := newACMENode(t, func(c *Config) {
				c.ServerCertificate.ACME.Challenges = []string{kind}
				c.ServerCertificate.ACME.HTTPListen = fmt.Sprintf("127.0.0.1:%d", httpPort)
			})
			first := outside.StartPebble(t, outside.PebbleOptions{TLSPort: n.port, HTTPPort: httpPort})
			first.Stop()
			own := filepath.Join(filepath.Dir(n.path), "ca", "root_ca.crt")
			n.cfg.ServerCertificate.Source = sourceACME
			n.cfg.ServerCertificate.ACME.Directory, n.cfg.ServerCertificate.ACME.AgreeTerms = first.Directory, true
			n.cfg.ServerCertificate.ACME.TrustedRoots = n.write("pebble.pem", first.CA)
			var b bytes.Buffer
			if err := renderConfig(&b, &n.cfg); err != nil {
				t.Fatal(err)
			}
			n.write("tenantgate.yaml", b.String())
			stop := n.start()
			if !n.verifies("gate.example.com", own) {
				t.Error("while the ACME server is down callers do not see a certificate of the CA")
			}
			within(t, "a warning", func() bool { return strings.Contains(n.callerCertificateCheck().Detail, "connection refused") })
			if c := n.callerCertificateCheck(); !c.OK || !c.Warning || !strings.Contains(c.Detail, "callers see one of the CA of this server") {
				t.Errorf("check %+v", c)
			}

			second := outside.StartPebble(t, outside.PebbleOptions{TLSPort: n.port, HTTPPort: httpPort, After: first})
			public := n.write("public.pem", second.Root())
			within(t, "the ACME server's certificate", func() bool { return n.verifies("gate.example.com", public) })
			if n.verifies("gate.example.com", own) || !n.verifies("localhost", own) || n.verifies("localhost", public) {
				t.Error("a name has a certificate of the other CA")
			}
			if c := n.callerCertificateCheck(); !c.OK || c.Warning {
				t.Errorf("check %+v", c)
			}
			stop()
			n.start()
			if !n.verifies("gate.example.com", public) || second.Issued() != 1 {
				t.Errorf("after a restart: %d certificates were issued", second.Issued())
			}

			// The source changes while the node runs, there and back.
			if err := n.change(func(c *Config) { c.ServerCertificate.Source = sourceInternal }); err != nil {
				t.Fatal(err)
			}
			if !n.verifies("gate.example.com", own) {
				t.Error("with the source internal callers do not see a certificate of the CA")
			}
			if err := n.change(func(c *Config) { c.ServerCertificate.Source = sourceACME }); err != nil {
				t.Fatal(err)
			}
			if !n.verifies("gate.example.com", public) || second.Issued() != 1 {
				t.Errorf("with the source acme again: %d certificates were issued", second.Issued())
			}
			// Roots that the certificate does not lead to: the one that is there is not given up for another that would not do.
			if err := n.change(func(c *Config) { c.ServerCertificate.Roots = filepath.Join(filepath.Dir(n.path), "missing.pem") }); err == nil {
				t.Error("roots that are missing were taken")
			}
		})
	}
}
