//go:build unix

package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

// outliving is a server that is killed and started again, with a tenant, and a token server that can be taken away.
type outliving struct {
	*handover
	database string
	caller   *http.Client
	tenant   *httptest.Server
	tokens   *httptest.Server
	down     atomic.Bool // the token server hangs up
	fetches  atomic.Int64
}

const visibleToken = "this-text-must-not-be-on-disk"

func newOutliving(t *testing.T) *outliving {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := &outliving{handover: &handover{t: t, binary: filepath.Join(dir, "tenantgate"), config: filepath.Join(dir, "node", "tenantgate.yaml")},
		database: filepath.Join(dir, "node", "tenantgate.db")}
	if err := os.Symlink(self, o.binary); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.socket, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	o.tenant = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "+visibleToken) {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(o.tenant.Close)
	o.tokens = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := o.fetches.Add(1)
		if o.down.Load() {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"%s-%d","token_type":"bearer","expires_in":3600}`, visibleToken, n)
	}))
	t.Cleanup(o.tokens.Close)
	bundle, secret := filepath.Join(dir, "tenant-ca.pem"), filepath.Join(dir, "secret")
	for path, content := range map[string][]byte{
		bundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.tenant.Certificate().Raw}), secret: []byte("this-secret-neither"),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(o.binary, "init", filepath.Join(dir, "node"), "--listen", "127.0.0.1:1", "--admin-listen", "127.0.0.1:0").CombinedOutput(); err != nil {
		t.Fatalf("init: %v: %s", err, out)
	}
	server := o.start()
	o.run("tenant", "add", "acme", "--base-url", o.tenant.URL, "--token-url", o.tokens.URL+"/oauth/token", "--auth-style", "body", "--ca-bundle", bundle)
	o.run("route", "add", "all", "--path", "/http/*", "--tenant", "acme", "--role", "call")
	o.run("identity", "add", "erp", "--owner", "team-erp", "--role", "call")
	o.run("credential", "add", "erp", "acme", "--client-id", "erp", "--secret-file", secret)
	o.run("cert", "issue", "erp", "--out", filepath.Join(dir, "erp"))
	o.stop(server)
	o.caller = handoverCaller(t, filepath.Join(dir, "erp"), l.Addr().String(), false)
	o.caller.Transport.(*http.Transport).DisableKeepAlives = true
	return o
}

func (o *outliving) call() int {
	o.t.Helper()
	resp, err := o.caller.Get("https://localhost/http/orders")
	if err != nil {
		o.t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode
}

// stored is how many tokens are in the database.
func (o *outliving) stored() (n int) {
	o.t.Helper()
	db, err := sql.Open("sqlite", o.database)
	if err != nil {
		o.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(`SELECT count(*) FROM tokens WHERE length(sealed) > 0`).Scan(&n); err != nil {
		o.t.Fatal(err)
	}
	return n
}

func (o *outliving) untilStored(want int) {
	o.t.Helper()
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if o.stored() == want {
			return
		}
	}
	o.t.Fatalf("%d tokens in the database, want %d", o.stored(), want)
}

// ask reads what the admin socket answers to everybody.
func (o *outliving) ask(path string) string {
	o.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(filepath.Dir(o.config), "admin.sock"))
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://tenantgate" + path)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(b)
}

func (o *outliving) kill(server *exec.Cmd) {
	server.Process.Kill()
	server.Wait()
}

// inDatabase reports whether a text stands in the database's files, free pages and write-ahead log included.
func (o *outliving) inDatabase(text string) bool {
	o.t.Helper()
	files, err := filepath.Glob(o.database + "*")
	if err != nil || len(files) == 0 {
		o.t.Fatalf("no database files: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			o.t.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

func TestAKilledServerServesOnWithItsTokensWhileTheTokenServerIsDown(t *testing.T) {
	o := newOutliving(t)
	server := o.start()
	if got := o.call(); got != 200 {
		t.Fatalf("got %d, want 200", got)
	}
	o.untilStored(1)
	if !o.inDatabase("team-erp") || o.inDatabase(visibleToken) || o.inDatabase("this-secret-neither") {
		t.Error("a token or secret is in the database in the clear (or nothing can be found there)")
	}
	o.kill(server)

	o.down.Store(true)
	server = o.start()
	for range 3 {
		if got := o.call(); got != 200 {
			t.Errorf("got %d with the token server down, want 200", got)
		}
	}
	if got := o.fetches.Load(); got != 1 {
		t.Errorf("got %d token requests, want 1", got)
	}

	// An identity that is disabled leaves no token, also not for the time when it is enabled again.
	o.run("identity", "disable", "erp")
	o.untilStored(0)
	o.run("identity", "enable", "erp")
	if got := o.call(); got == 200 {
		t.Error("got 200 with a token of before the identity was disabled")
	}
	out, err := exec.Command(o.binary, "-c", o.config, "status", "--json").Output()
	var status admin.Status
	if json.Unmarshal(out, &status) != nil {
		t.Fatalf("status: %v: %s", err, out)
	}
	host := strings.TrimPrefix(o.tokens.URL, "https://")
	found := false
	for _, c := range status.Checks {
		if c.Name == "token_servers" {
			found = c.OK && c.Warning && strings.HasPrefix(c.Detail, host+": failing since ") &&
				strings.HasSuffix(c.Detail, " (request), 1 of 1 credentials affected, 1 without a token")
		}
	}
	if !found || !status.Ready {
		t.Errorf("got status %s, want it ready, and to name the token server and the step", out)
	}
	for path, want := range map[string]string{
		"/readyz":  `"name":"token_servers","ok":true,"warning":true,"detail":"` + host + `: failing since `,
		"/metrics": `tenantgate_token_server_failing{server="` + host + `"} 1`,
	} {
		if got := o.ask(path); !strings.Contains(got, want) {
			t.Errorf("%s lacks %s:\n%s", path, want, got)
		}
	}
	if got := o.ask("/metrics"); !strings.Contains(got, `tenantgate_token_fetches_total{result="request",tenant="acme"} 1`) {
		t.Error("/metrics does not say at which step fetching failed")
	}
	o.stop(server)
}

func TestWithoutPersistenceNoTokenIsInTheDatabase(t *testing.T) {
	o := newOutliving(t)
	server := o.start()
	if got := o.call(); got != 200 {
		t.Fatalf("got %d, want 200", got)
	}
	o.untilStored(1)
	o.kill(server)
	config, err := os.ReadFile(o.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(config, []byte("persist: true"), []byte("persist: false"), 1)
	if bytes.Equal(config, changed) {
		t.Fatal("the configuration has no tokens.persist")
	}
	if err := os.WriteFile(o.config, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	server = o.start()
	if got := o.stored(); got != 0 {
		t.Errorf("%d tokens are left in the database", got)
	}
	if got := o.call(); got != 200 || o.fetches.Load() != 2 {
		t.Errorf("got %d after %d token requests, want 200 after 2", got, o.fetches.Load())
	}
	o.stop(server)
	if got := o.stored(); got != 0 {
		t.Errorf("%d tokens are in the database", got)
	}
	server = o.start()
	o.down.Store(true)
	if got := o.call(); got == 200 {
		t.Error("got 200 without a token server")
	}
	o.stop(server)
}
