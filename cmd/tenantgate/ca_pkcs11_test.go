//go:build pkcs11 && unix

package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

const (
	hsmLibrary = "/usr/lib/softhsm/libsofthsm2.so"
	hsmPIN     = "271828"
)

// softHSM makes a token in a directory of its own and returns that, and the beginning of the URIs of its keys.
func softHSM(t *testing.T) (dir, uri string) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "tokens")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(base, "softhsm2.conf")
	if err := os.WriteFile(config, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "gate", "--so-pin", "5678", "--pin", hsmPIN).CombinedOutput()
	if err != nil {
		t.Fatalf("making a token: %v: %s (apt-get install softhsm2)", err, out)
	}
	return dir, "pkcs11:module-path=" + hsmLibrary + ";token=gate;object="
}

// hsmNode runs a node whose CA's keys are in an HSM.
func hsmNode(t *testing.T, dir string, log *bytes.Buffer) (*node, *cluster, func()) {
	t.Helper()
	cfg, err := loadConfig(filepath.Join(dir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	n, err := openNode(t.Context(), cfg, slog.New(slog.NewTextHandler(log, nil)), new(slog.LevelVar))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.listen(inherited{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.serve() }()
	ctx, stop := context.WithCancel(context.Background())
	go n.followCA(ctx)
	c := &cluster{t: t, dir: dir, nodes: []*node{n}, api: []*admin.Client{socketClient(cfg.Admin.Socket)}}
	return n, c, func() {
		stop()
		if err := n.shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-ended
	}
}

// A CA whose keys are in an HSM: made there, signing, rotated, with the token pulled out and put back, restarted, and with a wrong PIN.
func TestACAInAnHSM(t *testing.T) {
	tokens, uri := softHSM(t)
	work, err := os.MkdirTemp("", "tg") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	pinFile, dir := filepath.Join(work, "pin"), filepath.Join(work, "n")
	if err := os.WriteFile(pinFile, []byte(hsmPIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if status := run(t.Context(), []string{"init", dir, "--ca-key", uri + "intermediate", "--root-key", uri + "root", "--pin-file", pinFile,
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, strings.NewReader(""), &out, &out); status != exitOK {
		t.Fatal(out.String())
	}
	if keys, _ := filepath.Glob(filepath.Join(dir, "ca", "*.key")); len(keys) > 0 {
		t.Errorf("keys in files: %v", keys)
	}
	var log bytes.Buffer
	n, c, stop := hsmNode(t, dir, &log)
	if _, err := c.api[0].AddIdentity(t.Context(), identity.Identity{Name: "erp", Owner: "team"}); err != nil {
		t.Fatal(err)
	}
	root, first := n.ca.SigningRoot(), n.ca.Intermediate()
	old := c.caller(0)
	if !c.reaches(old, 0, root) {
		t.Fatal("not served")
	}
	if err := n.ca.KeepCRLs(t.Context()); err != nil {
		t.Errorf("revocation list: %v", err)
	}
	request, err := ocsp.CreateRequest(old.cert.Leaf, first, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := n.ca.OCSP(t.Context(), request); err != nil || answer.Status != "good" {
		t.Errorf("OCSP: %s, %v", answer.Status, err)
	}
	if out, err := c.try("ca", "rotate", "intermediate", "--root-key", uri+"root"); err == nil || !strings.Contains(out, "--key URI") {
		t.Errorf("rotated out of the HSM unseen: %s", out)
	}
	foreign := strings.Replace(uri, hsmLibrary, filepath.Join(work, "foreign.so"), 1)
	if out, err := c.try("ca", "rotate", "intermediate", "--root-key", uri+"root", "--key", foreign+"x"); err == nil || !strings.Contains(out, "ca.pkcs11_module") {
		t.Errorf("a library that the configuration does not name: %s", out)
	}
	// A slip in the token's name makes the library finalise itself: what signs must go on.
	if out, err := c.try("ca", "rotate", "intermediate", "--root-key", uri+"root", "--key", strings.Replace(uri, "token=gate", "token=gone", 1)+"x"); err == nil {
		t.Errorf("a token that is not there: %s", out)
	}
	c.command("ca", "rotate", "intermediate", "--root-key", uri+"root", "--key", uri+"intermediate-2")
	fresh := c.caller(0)
	if fresh.cert.Leaf.CheckSignatureFrom(n.ca.Intermediate()) != nil || n.ca.Intermediate().Equal(first) {
		t.Error("the new one does not sign")
	}

	// The token is pulled out: issuing fails and says so, traffic goes on. It is put back: issuing goes on.
	time.Sleep(reconnect)
	if err := os.Rename(tokens, tokens+".away"); err != nil {
		t.Fatal(err)
	}
	if err := c.issues(); err == nil || !strings.Contains(err.Error(), "KMS") || strings.Contains(err.Error(), hsmPIN) {
		t.Errorf("without the token: %v", err)
	}
	if !old.served() || !c.reaches(fresh, 0, root) {
		t.Error("without the token callers are not served")
	}
	if err := os.Rename(tokens+".away", tokens); err != nil {
		t.Fatal(err)
	}
	soon(t, 30*time.Second, "issuing again", func() bool { return c.issues() == nil })

	stop()
	n, c, stop = hsmNode(t, dir, &log)
	if !c.reaches(old, 0, root) || !c.reaches(fresh, 0, root) || n.ca.Problem() != "" || c.issues() != nil {
		t.Errorf("after a restart: %q", n.ca.Problem())
	}
	stop()
	if strings.Contains(log.String(), hsmPIN) {
		t.Error("the PIN is in the log")
	}
	wrongPIN(t, dir, pinFile)
}

// reconnect is a little more than the pause between attempts to connect to an HSM.
const reconnect = 5100 * time.Millisecond

func (c *cluster) issues() error {
	key, err := pki.GenerateKey(pki.P256)
	if err != nil {
		c.t.Fatal(err)
	}
	csr, err := requestFor("erp", key)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = c.api[0].IssueCertificate(c.t.Context(), "erp", admin.CertificateRequest{CSR: csr})
	return err
}

func wrongPIN(t *testing.T, dir, pinFile string) {
	t.Helper()
	const wrong = "314159"
	if err := os.WriteFile(pinFile, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "tenantgate")
	if err := os.Symlink(self, binary); err != nil {
		t.Fatal(err)
	}
	// In a process of its own: this one has logged in.
	out, err := exec.Command(binary, "serve", "-c", filepath.Join(dir, configFile)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "PIN") || !strings.Contains(string(out), "ca.key_pin_file") || strings.Contains(string(out), wrong) {
		t.Errorf("with a wrong PIN: %v: %s", err, out)
	}
}
