//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// cluster is nodes on one PostgreSQL database, in this process, with everything that `serve` runs.
type cluster struct {
	t     *testing.T
	dir   string
	nodes []*node
	api   []*admin.Client
	stops []func()
}

func newCluster(t *testing.T, size int) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: filepath.Join(t.TempDir(), "n")}
	cfg := defaultConfig()
	cfg.Listen, cfg.Admin.Listen, cfg.Publish.Listen, cfg.Enrolment.Listen = "127.0.0.1:0", "", "127.0.0.1:0", "127.0.0.1:0"
	if err := initialize(t.Context(), initOptions{dir: c.dir, adminName: "admin", config: cfg}); err != nil {
		t.Fatal(err)
	}
	url := databasetest.StartPostgreSQL(t).Database(t)
	config, err := os.ReadFile(filepath.Join(c.dir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	config = bytes.Replace(config, []byte(`database: "tenantgate.db"`), []byte(`database: "`+url+`"`), 1)
	if err := os.WriteFile(filepath.Join(c.dir, configFile), config, 0o600); err != nil {
		t.Fatal(err)
	}
	for range size {
		c.start()
	}
	t.Cleanup(func() {
		for _, stop := range c.stops {
			stop()
		}
	})
	return c
}

func (c *cluster) start() {
	c.t.Helper()
	cfg, err := loadConfig(filepath.Join(c.dir, configFile))
	if err != nil {
		c.t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tg") // a socket's path is short
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { os.RemoveAll(dir) })
	cfg.Admin.Socket, cfg.Record.Access = filepath.Join(dir, "s"), filepath.Join(dir, "access.log")
	n, err := openNode(c.t.Context(), cfg, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := n.listen(inherited{}); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.serve() }()
	ctx, stop := context.WithCancel(context.Background())
	go n.follow(ctx)
	go n.followCA(ctx)
	go n.publish.keep(ctx)
	c.nodes, c.api = append(c.nodes, n), append(c.api, socketClient(cfg.Admin.Socket))
	c.stops = append(c.stops, func() {
		stop()
		_ = n.shutdown(context.Background())
		<-ended
	})
}

// command runs a command of the CLI on the first node and returns what it printed.
func (c *cluster) command(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("tenantgate %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *cluster) try(args ...string) (string, error) {
	var out bytes.Buffer
	status := run(c.t.Context(), append([]string{"-c", filepath.Join(c.dir, configFile), "--socket", c.nodes[0].cfg.Admin.Socket}, args...), strings.NewReader(""), &out, &out)
	if status != exitOK {
		return out.String(), exec.ErrNotFound
	}
	return out.String(), nil
}

// caller is somebody with a certificate and a connection that stays open.
type caller struct {
	cert tls.Certificate
	conn *tls.Conn
}

func (c *cluster) caller(node int) *caller {
	c.t.Helper()
	key, err := pki.GenerateKey(pki.P256)
	if err != nil {
		c.t.Fatal(err)
	}
	csr, err := requestFor("erp", key)
	if err != nil {
		c.t.Fatal(err)
	}
	issued, err := c.api[node].IssueCertificate(c.t.Context(), "erp", admin.CertificateRequest{CSR: csr})
	if err != nil {
		c.t.Fatal(err)
	}
	chain, err := pki.ParseCertificates([]byte(issued.Chain))
	if err != nil {
		c.t.Fatal(err)
	}
	return &caller{cert: tls.Certificate{Certificate: [][]byte{chain[0].Raw}, PrivateKey: key, Leaf: chain[0]}} // the leaf alone: whoever does so needs the node to know its issuer
}

// dial connects to a node, whose certificate must lead to one of the roots.
func (c *cluster) dial(k *caller, node int, roots ...*x509.Certificate) error {
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	conn, err := tls.Dial("tcp", c.nodes[node].front.addresses().callers, &tls.Config{
		RootCAs: pool, ServerName: "localhost", NextProtos: []string{"http/1.1"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &k.cert, nil },
	})
	if err == nil {
		k.conn = conn
		c.t.Cleanup(func() { conn.Close() })
	}
	return err
}

// reaches reports whether a node serves somebody over a new connection. (In TLS 1.3 a client learns only afterwards that its certificate was refused.)
func (c *cluster) reaches(k *caller, node int, roots ...*x509.Certificate) bool {
	return c.dial(k, node, roots...) == nil && k.served()
}

// served reports whether a request on the open connection is answered by somebody who knows the caller: there is no route, which only they are told.
func (k *caller) served() bool {
	_ = k.conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(k.conn, "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return false
	}
	b := make([]byte, 4096)
	n, err := k.conn.Read(b)
	return err == nil && bytes.HasPrefix(b[:n], []byte("HTTP/1.1 404"))
}

func soon(t *testing.T, within time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !done() {
		if time.Since(began) > within {
			t.Fatalf("%s: not within %v", what, within)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// The whole life of a CA on two nodes: callers with old and new certificates and bundles, before, during and after each step. Run with -v for the figures.
func TestACAIsRotatedOnTwoNodesWithoutACallerNoticing(t *testing.T) {
	c := newCluster(t, 2)
	if _, err := c.api[0].AddIdentity(t.Context(), identity.Identity{Name: "erp", Owner: "team"}); err != nil {
		t.Fatal(err)
	}
	oldRoot, first := c.nodes[0].ca.SigningRoot(), c.nodes[0].ca.Intermediate()
	old := c.caller(0)
	soon(t, 2*time.Second, "the other node knows the certificate", func() bool { return c.reaches(old, 1, oldRoot) })
	token := c.token()

	// Another intermediate.
	asked := time.Now()
	c.command("ca", "rotate", "intermediate")
	t.Logf("rotating the intermediate took %v", time.Since(asked))
	second := c.nodes[0].ca.Intermediate()
	took := soon(t, time.Second, "the other node signs with the new one", func() bool { return c.nodes[1].ca.Intermediate().Equal(second) })
	t.Logf("the other node signs with it after %v", took)
	fresh := c.caller(1)
	for node := range c.nodes {
		soon(t, time.Second, "a new certificate, shown alone, is known", func() bool { return c.reaches(fresh, node, oldRoot) })
		soon(t, 3*time.Second, "the node's own certificate is the new one's", func() bool {
			return c.dial(fresh, node, oldRoot) == nil && fresh.conn.ConnectionState().PeerCertificates[0].CheckSignatureFrom(second) == nil
		})
	}
	if !old.served() {
		t.Error("the old connection was dropped")
	}
	for _, issuer := range []*x509.Certificate{first, second} {
		soon(t, 2*time.Second, "each has its list", func() bool { return c.publishes(1, issuer) })
	}

	// Another root.
	safe := t.TempDir()
	if out := c.command("ca", "rotate", "root", "--root-out", safe); !strings.Contains(out, "2 may not have root") && !strings.Contains(out, "1 may not have root") {
		t.Errorf("it does not say who has the new root: %s", out)
	}
	b, err := os.ReadFile(filepath.Join(safe, "root_ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := pki.ParseCertificates(b)
	if err != nil {
		t.Fatal(err)
	}
	newRoot := roots[0]
	if err := c.dial(fresh, 1, newRoot); err == nil {
		t.Error("the server's own certificate comes from the new root before it was activated")
	}
	if out := c.command("ca", "rotate", "root", "--root-out", safe); !strings.Contains(out, "nothing comes from it yet") {
		t.Errorf("given again: %s", out)
	}
	c.command("ca", "rotate", "root", "--activate")
	for node := range c.nodes {
		for name, root := range map[string]*x509.Certificate{"old": oldRoot, "new": newRoot} {
			soon(t, 3*time.Second, "a client with the "+name+" root alone", func() bool { return c.reaches(fresh, node, root) })
		}
		c.believedByOthers(node, oldRoot, newRoot)
	}
	c.enrollsWith(token, oldRoot, newRoot)
	if !old.served() {
		t.Error("the old connection was dropped")
	}

	// A compromise: within a second everywhere, and the connection is cut.
	asked = time.Now()
	c.command("ca", "retire", pki.PublicID(first), "--reason", "keyCompromise")
	for old.served() {
		time.Sleep(time.Millisecond)
	}
	t.Logf("retiring to refusal on a live connection of the other node: %v", time.Since(asked))
	if since := time.Since(asked); since > time.Second {
		t.Errorf("it took %v, want less than a second", since)
	}
	for node := range c.nodes {
		if c.reaches(old, node, oldRoot, newRoot) {
			t.Errorf("node %d serves the retired one's certificate", node)
		}
		if !c.reaches(fresh, node, newRoot) {
			t.Errorf("node %d does not serve the other one's", node)
		}
	}
	if out, err := c.try("ca", "retire", fingerprint(oldRoot)); err == nil {
		t.Errorf("the old root was retired under certificates: %s", out)
	}

	// A node that comes later knows it all.
	c.start()
	if late := c.nodes[2].ca; late.Problem() != "" || !late.Intermediate().Equal(c.nodes[0].ca.Intermediate()) {
		t.Errorf("a node that comes later: %q", late.Problem())
	}
}

func fingerprint(c *x509.Certificate) string { return pki.PublicID(c) }

func (c *cluster) publishes(node int, issuer *x509.Certificate) bool {
	response, err := http.Get("http://" + c.nodes[node].front.addresses().publish + pki.CRLPath(pki.PublicID(issuer)))
	if err != nil {
		return false
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return false
	}
	list, err := x509.ParseRevocationList(b)
	return err == nil && list.CheckSignatureFrom(issuer) == nil
}

// believedByOthers has OpenSSL and curl connect with each root alone.
func (c *cluster) believedByOthers(node int, roots ...*x509.Certificate) {
	c.t.Helper()
	_, port, _ := net.SplitHostPort(c.nodes[node].front.addresses().callers)
	_, open, _ := net.SplitHostPort(c.nodes[node].front.addresses().enrolment)
	for _, root := range roots {
		file := filepath.Join(c.t.TempDir(), "root.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}), 0o600); err != nil {
			c.t.Fatal(err)
		}
		out, _ := exec.Command("openssl", "s_client", "-connect", "127.0.0.1:"+port, "-servername", "localhost", "-verify_hostname", "localhost", "-CAfile", file).CombinedOutput()
		if !strings.Contains(string(out), "Verify return code: 0 (ok)") {
			c.t.Errorf("OpenSSL with %s alone: %s", root.Subject, out)
		}
		if out, err := exec.Command("curl", "-sS", "--cacert", file, "https://localhost:"+open+"/v1/roots").CombinedOutput(); err != nil || strings.Count(string(out), "BEGIN CERTIFICATE") != 2 {
			c.t.Errorf("curl with %s alone: %v: %s", root.Subject, err, out)
		}
	}
}

// token makes an enrolment token.
func (c *cluster) token() string {
	c.t.Helper()
	made, err := c.api[0].AddEnrolmentToken(c.t.Context(), "erp", admin.EnrolmentTokenRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	return made.Token
}

// enrollsWith enrols with a token from before the rotation; the caller gets both roots.
func (c *cluster) enrollsWith(text string, roots ...*x509.Certificate) {
	c.t.Helper()
	token, err := enrolment.ParseToken(text)
	if err != nil {
		c.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(c.nodes[1].front.addresses().enrolment)
	base := "https://localhost:" + port
	root, err := enrolment.Pin(c.t.Context(), base, token.Root)
	if err != nil {
		c.t.Fatalf("the first contact with a token from before: %v", err)
	}
	key, err := pki.GenerateKey(pki.P256)
	if err != nil {
		c.t.Fatal(err)
	}
	csr, err := requestFor("erp", key)
	if err != nil {
		c.t.Fatal(err)
	}
	answer, err := enrolment.NewClient(base, []*x509.Certificate{root}, nil).Enroll(c.t.Context(), token, []byte(csr))
	if err != nil {
		c.t.Fatalf("enrolling with a token from before: %v", err)
	}
	for _, want := range roots {
		if !strings.Contains(answer.Roots, string(pki.EncodeCertificates(want))) {
			c.t.Errorf("the caller does not get root %s", want.Subject)
		}
	}
}
