package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
)

// recorder is a tenant that keeps every octet that reached it, by connection, and answers each request that is complete.
type recorder struct {
	net.Listener
	mu    sync.Mutex
	conns []*bytes.Buffer
}

func newRecorder(t *testing.T, cert tls.Certificate) *recorder {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	must(t, err)
	r := &recorder{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

func (r *recorder) serve(conn net.Conn) {
	defer conn.Close()
	seen := new(bytes.Buffer)
	r.mu.Lock()
	r.conns = append(r.conns, seen)
	r.mu.Unlock()
	in := bufio.NewReader(io.TeeReader(conn, &locked{r, seen}))
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			io.Copy(io.Discard, in)
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

type locked struct {
	r *recorder
	b *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	return l.b.Write(p)
}

// Raw requests that nobody here wrote, through the running proxy over mTLS: what reaches the tenant is whole requests of ours, one after the other, and
// nothing between them.
func TestNothingOfTheCorpusIsSmuggled(t *testing.T) {
	dir := os.Getenv("TENANTGATE_SUITES")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "suites")
	}
	f, err := os.Open(filepath.Join(dir, "h1-corpus.jsonl"))
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("h1-corpus.jsonl is missing")
		}
		t.Skip("SKIP: h1-corpus.jsonl is not beside the project; set TENANTGATE_SUITES")
	}
	defer f.Close()
	g := newGate(t, proxy.Limits{HeaderTimeout: 200 * time.Millisecond, IdleTimeout: 200 * time.Millisecond, BodyIdleTimeout: 200 * time.Millisecond})
	tenant := newRecorder(t, g.tenant.TLS.Certificates[0])
	ctx := t.Context()
	g.change(func(tx *identity.Tx) error {
		base := "https://" + tenant.Addr().String()
		if _, err := tx.AddTenant(ctx, identity.Tenant{Name: "raw", BaseURL: base, TokenURL: g.tenant.URL + "/oauth/token", AuthStyle: "body", CABundle: g.tenant.caPEM}); err != nil {
			return err
		}
		if err := tx.RemoveRoute(ctx, "exact"); err != nil {
			return err
		}
		for _, name := range []string{"orders", "stock"} {
			if err := tx.RemoveRoute(ctx, name); err != nil {
				return err
			}
		}
		if _, err := tx.AddRoute(ctx, identity.Route{Name: "all", Path: "/*", Tenant: "raw", Role: "orders.send"}); err != nil {
			return err
		}
		_, err := tx.AddCredential(ctx, identity.Credential{
			Identity: "orders", Tenant: "raw", ClientID: "sb-orders", Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-orders"),
		})
		return err
	})
	c := g.issue("orders")
	sessions := tls.NewLRUClientSessionCache(64)
	deviations := deviationsIn(t, "testdata/h1-corpus-deviations.txt")
	met := map[string]bool{}

	var mu sync.Mutex
	statuses, kinds := map[string]int{}, map[string]int{}
	type job struct{ id, expect, raw string }
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for j := range jobs {
				status, refused, slow := c.exchangeRaw(sessions, j.raw)
				if slow && j.expect == "accept" { // half a request, or what is behind one, is not refused for what it is
					refused = false
				}
				mu.Lock()
				statuses[status]++
				kind := mustBeMalformed(j.raw)
				if kind != "" {
					kinds[kind]++
				}
				if j.expect == "reject" && !refused || j.expect == "accept" && refused {
					met[j.id] = true
				}
				mu.Unlock()
				if j.expect == "reject" && !refused && deviations[j.id] == "" {
					t.Errorf("%s: nothing of it was refused: %q", j.id, j.raw)
				}
				if j.expect == "accept" && refused && deviations[j.id] == "" {
					t.Errorf("%s: refused (%s), and not listed: %q", j.id, status, j.raw)
				}
				if kind != "" && status != "400" {
					t.Errorf("%s has %s and got %s: %q", j.id, kind, status, j.raw)
				}
			}
		})
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	total := 0
	for lines.Scan() {
		var line struct{ ID, Hex, Expect string }
		must(t, json.Unmarshal(lines.Bytes(), &line))
		raw, err := hex.DecodeString(line.Hex)
		must(t, err)
		jobs <- job{line.ID, line.Expect, string(raw)}
		total++
	}
	close(jobs)
	workers.Wait()

	tenant.mu.Lock()
	defer tenant.mu.Unlock()
	reached, halves := 0, 0
	for _, conn := range tenant.conns {
		whole, half := judgeConnection(t, conn.Bytes())
		reached += whole
		halves += half
	}
	for id, reason := range deviations {
		if !met[id] {
			t.Errorf("%s is listed as a deviation (%s), and is none", id, reason)
		}
	}
	t.Logf("%d of them deviate as listed; refused with 400 for %v", len(met), kinds)
	t.Logf("%d requests: first answers %v; %d requests reached the tenant on %d connections, %d were half ones, each the last on its connection",
		total, statuses, reached, len(tenant.conns), halves)
	if total < 3000 || reached == 0 {
		t.Errorf("only %d requests were sent, and %d reached the tenant", total, reached)
	}
}

// exchangeRaw sends octets on a connection of their own and returns the status of the first answer, or "none", whether one of them was a refusal, and
// whether one was refused because its end did not come.
func (c *client) exchangeRaw(sessions tls.ClientSessionCache, octets string) (first string, refused, slow bool) {
	conf := c.tls("") // the requests name hosts of their own: no server name that they would contradict
	conf.InsecureSkipVerify, conf.NextProtos, conf.ClientSessionCache = true, []string{"http/1.1"}, sessions
	conn, err := tls.Dial("tcp", c.gate.addr, conf)
	if err != nil {
		return "no connection", false, false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	go io.WriteString(conn, octets) // it may be refused before it was sent
	answer, _ := io.ReadAll(conn)
	refused, slow = bytes.Contains(answer, []byte("HTTP/1.1 4")), bytes.Contains(answer, []byte("HTTP/1.1 408 "))
	if line, _, ok := strings.Cut(string(answer), "\r\n"); ok && len(line) > 12 {
		return line[9:12], refused, slow
	}
	return "none", refused, slow
}

// judgeConnection reads what reached the tenant on one connection: whole requests with our marks, and at most one half request at its end.
func judgeConnection(t *testing.T, octets []byte) (whole, half int) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(octets))
	for {
		if _, err := in.Peek(1); err != nil {
			return whole, half
		}
		req, err := http.ReadRequest(in)
		if err == io.ErrUnexpectedEOF {
			return whole, half + 1
		}
		if err != nil {
			t.Errorf("the tenant got what is no request: %v in %.500q", err, octets)
			return whole, half
		}
		if id, auth := req.Header["X-Request-Id"], req.Header["Authorization"]; len(id) != 1 || len(id[0]) != 32 || len(auth) != 1 || !strings.HasPrefix(auth[0], "Bearer token-") {
			t.Errorf("a request that is not ours reached the tenant: %v in %.500q", req.Header, octets)
		}
		for name := range req.Header {
			switch alias := strings.ReplaceAll(strings.ToLower(name), "_", "-"); alias {
			case "content-length", "transfer-encoding", "host", "connection", "authorization", "x-request-id", "cookie", "te", "upgrade":
				if strings.Contains(name, "_") || alias == "connection" || alias == "cookie" || alias == "te" || alias == "upgrade" {
					t.Errorf("%s reached the tenant: %.500q", name, octets)
				}
			}
		}
		if _, err := io.Copy(io.Discard, req.Body); err == io.ErrUnexpectedEOF {
			return whole, half + 1
		} else if err != nil {
			t.Errorf("the tenant got a body that is none: %v in %.500q", err, octets)
			return whole, half
		}
		whole++
	}
}

// mustBeMalformed says what a request has in its head that nobody may interpret, or nothing.
func mustBeMalformed(raw string) string {
	head, _, whole := strings.Cut(raw, "\r\n\r\n")
	if !whole {
		return ""
	}
	if strings.Count(head, "\n") != strings.Count(head, "\r\n") {
		return "a bare LF"
	}
	names := map[string]bool{}
	for i, line := range strings.Split(head, "\r\n") {
		if i > 1 && (line[:1] == " " || line[:1] == "\t") {
			return "obs-fold"
		}
		name, _, _ := strings.Cut(line, ":")
		names[strings.ToLower(name)] = true
	}
	if names["content-length"] && names["transfer-encoding"] {
		return "Content-Length and Transfer-Encoding"
	}
	return ""
}

// deviationsIn reads a list of cases on which a suite and this project disagree: a name, white space, and why that is right.
func deviationsIn(t *testing.T, path string) map[string]string {
	t.Helper()
	list, err := os.ReadFile(path)
	must(t, err)
	all := map[string]string{}
	for line := range strings.Lines(string(list)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		if all[name] = strings.TrimSpace(reason); all[name] == "" {
			t.Errorf("%s: %s has no reason", path, name)
		}
	}
	return all
}
