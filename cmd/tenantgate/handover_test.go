//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// handover is a server that is started again and again on one listening socket, as systemd does it.
type handover struct {
	t        *testing.T
	dir      string
	binary   string
	config   string
	socket   *os.File
	publish  *os.File // a second socket, of that name; nil is none
	address  string   // of the socket
	upstream *httptest.Server
}

func (h *handover) run(args ...string) {
	h.t.Helper()
	out, err := exec.Command(h.binary, append([]string{"-c", h.config}, args...)...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("tenantgate %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// start starts the next server and waits until it serves.
func (h *handover) start() *exec.Cmd {
	h.t.Helper()
	addrs := filepath.Join(h.t.TempDir(), "addr")
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$; export LISTEN_PID; exec "$@"`, "sh", h.binary, "serve", "-c", h.config, "--addr-file", addrs)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=callers")
	cmd.ExtraFiles = []*os.File{h.socket}
	if h.publish != nil {
		cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=callers:publish")
		cmd.ExtraFiles = append(cmd.ExtraFiles, h.publish)
	}
	cmd.Stderr = &strings.Builder{}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { cmd.Process.Kill() })
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(addrs); err == nil {
			return cmd
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	h.t.Fatalf("the server did not start: %s", cmd.Stderr)
	return nil
}

func (h *handover) stop(cmd *exec.Cmd) {
	h.t.Helper()
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		h.t.Fatalf("stopping: %v: %s", err, cmd.Stderr)
	}
}

// executions is a tenant that counts how often each request reached it.
type executions struct {
	mu   sync.Mutex
	seen map[string]int
}

func (e *executions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth/token" {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"t","token_type":"bearer","expires_in":3600}`)
		return
	}
	e.mu.Lock()
	e.seen[r.URL.Path]++
	e.mu.Unlock()
	io.Copy(w, r.Body)
}

// newHandover makes a node, without starting it, and a socket for it. Once it was started, furnish gives it an identity erp that may call the tenant.
func newHandover(t *testing.T, tenant http.Handler) *handover {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &handover{t: t, dir: dir, binary: filepath.Join(dir, "tenantgate"), config: filepath.Join(dir, "node", "tenantgate.yaml")}
	if err := os.Symlink(self, h.binary); err != nil {
		t.Fatal(err)
	}
	h.socket, h.address = heldSocket(t)
	h.upstream = httptest.NewTLSServer(tenant)
	t.Cleanup(h.upstream.Close)
	for name, content := range map[string][]byte{
		"tenant-ca.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.upstream.Certificate().Raw}),
		"secret":        []byte("secret"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(h.binary, "init", filepath.Join(dir, "node"), "--listen", "127.0.0.1:1", "--admin-listen", "127.0.0.1:0").CombinedOutput()
	if err != nil {
		t.Fatalf("init: %v: %s", err, out)
	}
	return h
}

// heldSocket is a listening socket for a server to inherit, and its address.
func heldSocket(t *testing.T) (*os.File, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket, l.Addr().String()
}

// Whoever asks for a revocation list while the server is replaced waits and gets it: not to get one means to refuse our certificates.
func TestWhatIsPublishedIsServedOnASocketThatWasInherited(t *testing.T) {
	h := newHandover(t, http.NotFoundHandler())
	var address string
	h.publish, address = heldSocket(t)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	list := func() error {
		root, err := os.ReadFile(filepath.Join(h.dir, "node", "ca", "intermediate_ca.crt"))
		if err != nil {
			return err
		}
		certs, err := pki.ParseCertificates(root)
		if err != nil {
			return err
		}
		resp, err := client.Get("http://" + address + pki.CRLPath(pki.PublicID(certs[0])))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		der, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		_, err = x509.ParseRevocationList(der)
		return err
	}
	server := h.start()
	if err := list(); err != nil {
		t.Fatal(err)
	}
	h.stop(server)
	between := make(chan error)
	go func() { between <- list() }()
	server = h.start()
	if err := <-between; err != nil {
		t.Error(err)
	}
	h.stop(server)
}

func (h *handover) furnish() {
	h.t.Helper()
	h.run("tenant", "add", "acme", "--base-url", h.upstream.URL, "--token-url", h.upstream.URL+"/oauth/token", "--auth-style", "body",
		"--ca-bundle", filepath.Join(h.dir, "tenant-ca.pem"))
	h.run("route", "add", "all", "--path", "/http/*", "--tenant", "acme", "--role", "call")
	h.run("identity", "add", "erp", "--owner", "team-erp", "--role", "call")
	h.run("credential", "add", "erp", "acme", "--client-id", "erp", "--secret-file", filepath.Join(h.dir, "secret"))
	h.run("cert", "issue", "erp", "--out", filepath.Join(h.dir, "erp"))
}

// Under load, server after server is replaced on one socket: no request fails, none is sent twice.
func TestServerAfterServerOnOneSocketLosesNoRequest(t *testing.T) {
	tenant := &executions{seen: map[string]int{}}
	h := newHandover(t, tenant)
	server := h.start()
	h.furnish()

	const workers, restarts = 8, 4
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	sent := make([]int, workers)
	for w := range workers {
		client := handoverCaller(t, filepath.Join(h.dir, "erp"), h.address, w%2 == 1)
		wg.Go(func() {
			for ; ctx.Err() == nil; sent[w]++ {
				url := fmt.Sprintf("https://localhost/http/%d/%d", w, sent[w])
				resp, err := client.Post(url, "text/plain", strings.NewReader("hello"))
				if err != nil {
					t.Errorf("worker %d, request %d: %v", w, sent[w], err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || string(body) != "hello" {
					t.Errorf("worker %d, request %d: %s, %q, %v", w, sent[w], resp.Status, body, err)
				}
			}
		})
	}
	for range restarts {
		time.Sleep(300 * time.Millisecond) // of load on each server
		h.stop(server)
		server = h.start()
	}
	time.Sleep(300 * time.Millisecond)
	cancel()
	wg.Wait()
	h.stop(server)
	total := 0
	for w, n := range sent {
		for i := range n {
			if got := tenant.seen[fmt.Sprintf("/http/%d/%d", w, i)]; got != 1 {
				t.Errorf("worker %d, request %d reached the tenant %d times", w, i, got)
			}
		}
		total += n
	}
	t.Logf("%d requests over %d servers", total, restarts+1)
}

// handoverCaller is a caller with the certificate that was issued to files, over HTTP/1.1 or HTTP/2. Each has connections of its own.
func handoverCaller(t *testing.T, files, address string, h2 bool) *http.Client {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(files, "erp.pem"), filepath.Join(files, "erp.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(files, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}},
		Protocols:       new(http.Protocols),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetHTTP2(h2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}
