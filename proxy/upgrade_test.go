package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Connections that are turned over to another protocol.

// newUpgradingGate has the route /ws/*, which allows websocket and other, and a tenant that switches to websocket and then does what the function says.
func newUpgradingGate(t *testing.T, limits proxy.Limits, idle time.Duration, then func(conn io.ReadWriteCloser)) *gate {
	t.Helper()
	g := newGate(t, limits)
	g.addRoute(identity.Route{
		Name: "ws", Path: "/ws/*", Tenant: "acme", Role: "orders.send", Upgrade: []string{"websocket", "other"}, IdleTimeout: identity.Duration(idle),
	})
	g.tenant.answer(switching(then))
	return g
}

// switching makes the tenant switch to websocket and then do what the function says.
func switching(then func(conn io.ReadWriteCloser)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			fmt.Fprintf(w, "no upgrade: %q %q", r.Header.Get("Upgrade"), r.Header.Get("Connection"))
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: %s\r\n"+
			"Set-Cookie: JSESSIONID=1\r\nX-Token: %s\r\n\r\n", r.Header.Get("Sec-WebSocket-Key"), r.Header.Get("Authorization"))
		then(struct {
			io.Reader
			io.Writer
			io.Closer
		}{rw, conn, conn})
	}
}

func echo(conn io.ReadWriteCloser) { io.Copy(conn, conn) }

// upgrade asks for a protocol.
func (c *client) upgrade(path, protocol string) (*http.Response, error) {
	req, err := http.NewRequest("GET", "https://localhost"+path, nil)
	must(c.gate.tb, err)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	req.Header.Set("Sec-WebSocket-Key", "key")
	c.Client.Timeout = 0 // net/http gives no way to write to a body whose time is bounded
	return c.Do(req)
}

// webSocket is a connection that was turned over.
func (c *client) webSocket(path string) (*http.Response, io.ReadWriteCloser) {
	c.gate.tb.Helper()
	resp, err := c.upgrade(path, "websocket")
	must(c.gate.tb, err)
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != 101 || !ok {
		b, _ := io.ReadAll(resp.Body)
		c.gate.tb.Fatalf("got %s %q", resp.Status, b)
	}
	c.gate.tb.Cleanup(func() { conn.Close() })
	return resp, conn
}

// exchangeOctets has the other side send back what it is sent.
func exchangeOctets(t *testing.T, conn io.ReadWriter, n int) {
	t.Helper()
	want := make([]byte, n)
	rand.Read(want)
	go conn.Write(want)
	got := make([]byte, n)
	if m, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d octets of %d came back: %v", m, n, err)
	}
}

func (g *gate) wsRecord() map[string]any {
	g.tb.Helper()
	return g.recordWhere("route ws", func(r map[string]any) bool { return r["route"] == "ws" })
}

func TestAWebSocketPassesWhereTheRouteAllowsIt(t *testing.T) {
	g := newUpgradingGate(t, proxy.Limits{}, 0, echo)
	c := g.issue("orders")
	resp, conn := c.webSocket("/ws/1")
	h := resp.Header
	if h.Get("Upgrade") != "websocket" || h.Get("Connection") != "Upgrade" || h.Get("Sec-Websocket-Accept") != "key" || h.Get("X-Request-Id") == "" {
		t.Errorf("got header %v", h)
	}
	if h.Get("Set-Cookie") != "" || strings.Contains(fmt.Sprint(h), "token-") {
		t.Errorf("what must not reach a caller did: %v", h)
	}
	exchangeOctets(t, conn, 5)
	exchangeOctets(t, conn, 3<<20)
	if n := len(g.records()); n != 0 {
		t.Errorf("%d records while the connection is open", n)
	}
	conn.Close()
	r := g.wsRecord()
	if r["outcome"] != "served" || r["status"] != 101.0 || r["tenant_status"] != 101.0 || r["identity"] != "orders" || r["path"] != "/ws/1" {
		t.Errorf("record = %v", r)
	}
	if n := 5 + 3<<20; r["bytes_in"] != float64(n) || r["bytes_out"] != float64(n) {
		t.Errorf("recorded %v octets in and %v out, want %d", r["bytes_in"], r["bytes_out"], n)
	}
	if d, _ := r["duration_us"].(float64); d <= 0 || r["tenant_us"] == nil {
		t.Errorf("record = %v", r)
	}
	sent := g.tenant.last(t).Header
	if sent.Get("Authorization") == "" || sent.Get("Connection") != "Upgrade" || sent.Get("Sec-Websocket-Key") != "key" {
		t.Errorf("the tenant got %v", sent)
	}
}

// Octets that the tenant sends with its 101, and the last ones before it closes, reach the caller; so does what the caller sends before it has the 101.
func TestNothingIsLostAtEitherEndOfAnUpgrade(t *testing.T) {
	got := make(chan string, 1)
	g := newUpgradingGate(t, proxy.Limits{}, 0, func(conn io.ReadWriteCloser) {
		io.WriteString(conn, "at once")
		b, _ := io.ReadAll(conn)
		io.WriteString(conn, strings.Repeat("last", 1e5))
		got <- string(b)
	})
	conn := g.issue("orders").dial("localhost")
	io.WriteString(conn, "GET /ws/1 HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: other, websocket\r\n\r\n")
	r := bufio.NewReader(conn)
	// The tenant knows no other protocol than websocket, and the first that the route allows is asked for.
	resp, err := http.ReadResponse(r, nil)
	must(t, err)
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(b) != `no upgrade: "other" "Upgrade"` {
		t.Fatalf("got %s %q", resp.Status, b)
	}
	io.WriteString(conn, "GET /ws/1 HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x, websocket\r\n\r\nearly")
	resp, err = http.ReadResponse(r, nil)
	must(t, err)
	if resp.StatusCode != 101 {
		t.Fatalf("got %s", resp.Status)
	}
	io.WriteString(conn, " and late")
	conn.CloseWrite()
	b, err := io.ReadAll(r)
	if want := "at once" + strings.Repeat("last", 1e5); err != nil || string(b) != want {
		t.Errorf("the caller got %d octets, want %d; %v", len(b), len(want), err)
	}
	if s := <-got; s != "early and late" {
		t.Errorf("the tenant got %q", s)
	}
	if r := g.recordWhere("status 101", func(r map[string]any) bool { return r["status"] == 101.0 }); r["outcome"] != "served" {
		t.Errorf("record = %v", r)
	}
}

func TestAnUpgradeThatIsNotAllowedIsAnOrdinaryRequest(t *testing.T) {
	g := newUpgradingGate(t, proxy.Limits{}, 0, echo)
	c := g.issue("orders")
	for _, tt := range []struct{ name, send string }{
		{"route without upgrades", "GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"},
		{"protocol that the route does not name", "GET /ws/1 HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n\r\n"},
		{"no Connection field", "GET /ws/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n"},
		{"no Upgrade field", "GET /ws/1 HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\n\r\n"},
		{"HTTP/1.0", "GET /ws/1 HTTP/1.0\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"with a body", "POST /ws/1 HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := answers(t, c.raw(tt.send))
			if len(a) != 1 || a[0].status != 200 || a[0].body != `no upgrade: "" ""` {
				t.Errorf("got %+v", a)
			}
		})
	}
	if a := c.h2().get("/ws/1", "X-Upgrade", "websocket"); a.status != 200 || a.body != `no upgrade: "" ""` {
		t.Errorf("HTTP/2: got %+v", a)
	}
}

// The rules of access are those of every request.
func TestAnUpgradeNeedsTheRole(t *testing.T) {
	g := newUpgradingGate(t, proxy.Limits{}, 0, echo)
	resp, err := g.issue("stock").upgrade("/ws/1", "websocket")
	must(t, err)
	b, _ := io.ReadAll(resp.Body)
	g.wantOutcome(answer{resp.StatusCode, resp.Header, string(b), resp.Proto, nil}, record.Denied)
	if n := len(g.tenant.requests()); n != 0 {
		t.Errorf("%d requests reached the tenant", n)
	}
}

// A tenant that refuses, or switches to something else, has given an ordinary answer, or none. Neither connection is used for anybody else.
func TestAConnectionThatWasToBeUpgradedIsNeverPooled(t *testing.T) {
	g := newUpgradingGate(t, proxy.Limits{}, 0, echo)
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	pooled := g.tenant.last(t).RemoteAddr
	var lone []string
	for i, tt := range []struct {
		answer string
		want   int
	}{
		{"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\nUpgrade: websocket\r\n\r\nno", 426},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200},
		{"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", 502},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", 502},
		{"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n", 502},
	} {
		g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				io.WriteString(conn, tt.answer)
				io.Copy(io.Discard, conn)
				conn.Close()
			}
		})
		resp, err := c.upgrade("/ws/1", "websocket")
		must(t, err)
		b, err := io.ReadAll(resp.Body)
		if resp.StatusCode != tt.want || err != nil || strings.Contains(string(b), "poison") || resp.Header.Get("Upgrade") != "" {
			t.Errorf("answer %d: got %s %q, %v", i, resp.Status, b, err)
		}
		lone = append(lone, g.tenant.last(t).RemoteAddr)
	}
	g.tenant.answer(nil)
	for range 5 {
		if a := c.get("/http/orders/1"); a.body != "GET /http/orders/1 0" {
			t.Fatalf("afterwards: got %+v", a)
		}
		if addr := g.tenant.last(t).RemoteAddr; slices.Contains(lone, addr) {
			t.Errorf("the connection %s was used again", addr)
		}
	}
	if slices.Contains(lone, pooled) {
		t.Errorf("the upgrade went over the pooled connection %s", pooled)
	}
}

func TestA401ToAnUpgradeIsRetriedOnce(t *testing.T) {
	g := newUpgradingGate(t, proxy.Limits{}, 0, echo)
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	g.tenant.revokeTokens()
	_, conn := c.webSocket("/ws/1")
	exchangeOctets(t, conn, 5)
	conn.Close()
	if r := g.wsRecord(); r["retried"] != true {
		t.Errorf("record = %v", r)
	}
}

func TestRevocationCutsAWebSocket(t *testing.T) {
	for _, r := range revocations {
		for name, side := range map[string]struct {
			tenant func(io.ReadWriteCloser)
			caller func(io.ReadWriteCloser)
		}{
			"idle":                      {echo, func(io.ReadWriteCloser) {}},
			"tenant that sends":         {func(c io.ReadWriteCloser) { io.Copy(c, endless{}) }, func(c io.ReadWriteCloser) { go io.Copy(io.Discard, c) }},
			"caller that sends":         {func(c io.ReadWriteCloser) { io.Copy(io.Discard, c) }, func(c io.ReadWriteCloser) { go io.Copy(c, endless{}) }},
			"caller that does not read": {func(c io.ReadWriteCloser) { io.Copy(c, endless{}) }, func(io.ReadWriteCloser) {}},
			"tenant that does not read": {func(io.ReadWriteCloser) { time.Sleep(3 * time.Second) }, func(c io.ReadWriteCloser) { go io.Copy(c, endless{}) }},
		} {
			t.Run(r.name+" "+name, func(t *testing.T) {
				t.Parallel()
				g := newUpgradingGate(t, proxy.Limits{}, 0, side.tenant)
				c := g.issue("orders")
				_, conn := c.webSocket("/ws/1")
				side.caller(conn)
				time.Sleep(100 * time.Millisecond) // for buffers to fill
				start := time.Now()
				r.act(g, c)
				rec := g.wsRecord()
				if d := time.Since(start); rec["outcome"] != "revoked_in_flight" || d > time.Second {
					t.Errorf("after %v: record = %v", d, rec)
				}
			})
		}
	}
}

// The idle timeout is about both directions together.
func TestAnUpgradedConnectionThatIdlesIsEnded(t *testing.T) {
	const idle = 300 * time.Millisecond
	for name, busy := range map[string]struct {
		tenant func(io.ReadWriteCloser)
		caller func(io.ReadWriter)
	}{
		"tenant sends": {func(c io.ReadWriteCloser) {
			for range 10 {
				time.Sleep(idle / 3)
				io.WriteString(c, "tick")
			}
			io.ReadAll(c)
		}, func(c io.ReadWriter) { io.ReadFull(c, make([]byte, 40)) }},
		"caller sends": {func(c io.ReadWriteCloser) { io.ReadAll(c) }, func(c io.ReadWriter) {
			for range 10 {
				time.Sleep(idle / 3)
				io.WriteString(c, "tick")
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newUpgradingGate(t, proxy.Limits{}, idle, busy.tenant)
			_, conn := g.issue("orders").webSocket("/ws/1")
			busy.caller(conn)
			if n := len(g.records()); n != 0 {
				t.Fatalf("it was ended while it was busy: %v", g.records())
			}
			start := time.Now()
			if b, _ := io.ReadAll(conn); len(b) != 0 {
				t.Errorf("got %q", b)
			}
			if d := time.Since(start); d < idle/2 || d > 3*idle {
				t.Errorf("it was ended after %v", d)
			}
			if r := g.wsRecord(); r["outcome"] != "timeout" || r["bytes_in"].(float64)+r["bytes_out"].(float64) != 40 {
				t.Errorf("record = %v", r)
			}
		})
	}
}

func TestDrainingEndsAWebSocketAtOnce(t *testing.T) {
	g := newUpgradingGate(t, proxy.Limits{}, 0, echo)
	_, conn := g.issue("orders").webSocket("/ws/1")
	exchangeOctets(t, conn, 5)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- g.server.Shutdown(ctx) }()
	if b, err := io.ReadAll(conn); err != nil || len(b) != 0 {
		t.Errorf("got %q, %v, want an end in good order", b, err)
	}
	conn.Close()
	if err := <-done; err != nil || time.Since(start) > 2*time.Second {
		t.Errorf("Shutdown took %v: %v", time.Since(start), err)
	}
	if r := g.wsRecord(); r["outcome"] != "served" || r["cause"] != "the server drains" || r["bytes_in"] != 5.0 {
		t.Errorf("record = %v", r)
	}
}

// A caller that breaks its connection, and one that ends only its half of it, both come to an end on record.
func TestACallerThatLeavesAWebSocketIsNoticed(t *testing.T) {
	gone := make(chan struct{})
	g := newUpgradingGate(t, proxy.Limits{}, 0, func(c io.ReadWriteCloser) {
		io.Copy(io.Discard, c)
		close(gone)
	})
	_, conn := g.issue("orders").webSocket("/ws/1")
	conn.Close()
	select {
	case <-gone:
	case <-time.After(2 * time.Second):
		t.Error("the tenant was not told")
	}
	if r := g.wsRecord(); r["outcome"] != "served" {
		t.Errorf("record = %v", r)
	}
}
