package proxy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Tenants behind a proxy of the company's.

// companyProxy is a small real CONNECT proxy. It alone knows where the names of tenants lead.
type companyProxy struct {
	addr string

	mu     sync.Mutex
	places map[string]string // host:port as asked for -> address
	heads  []string          // of all requests
	relays map[net.Conn]bool // connections to tenants
	answer string            // instead of a connection
	silent bool
}

// newCompanyProxy starts one, over TLS when it gets a certificate.
func newCompanyProxy(t *testing.T, cert *tls.Certificate) *companyProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &companyProxy{addr: l.Addr().String(), places: map[string]string{}, relays: map[net.Conn]bool{}}
	if cert != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}})
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *companyProxy) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		head.WriteString(line)
		if line == "\r\n" {
			break
		}
	}
	p.mu.Lock()
	p.heads = append(p.heads, head.String())
	var target string
	fmt.Sscanf(head.String(), "CONNECT %s", &target)
	place, answer, silent := p.places[target], p.answer, p.silent
	p.mu.Unlock()
	switch {
	case silent:
		io.Copy(io.Discard, c)
		return
	case answer != "":
		io.WriteString(c, answer)
		io.Copy(io.Discard, r)
		return
	}
	tenant, err := net.Dial("tcp", place)
	if err != nil {
		io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	defer tenant.Close()
	p.mu.Lock()
	p.relays[tenant] = true
	p.mu.Unlock()
	// A length in the answer to CONNECT means nothing.
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\nContent-Length: 7\r\nVia: 1.1 company\r\n\r\n")
	go func() {
		io.Copy(tenant, r)
		tenant.Close()
	}()
	io.Copy(c, tenant)
}

func (p *companyProxy) say(answer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *companyProxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.heads...)
}

// cut breaks the connections to tenants.
func (p *companyProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.relays {
		c.Close()
	}
	clear(p.relays)
}

// behind has the gate's tenant and its token endpoint called through the proxy, which alone knows where their names lead.
func (g *gate) behind(p *companyProxy, scheme string, more ...string) {
	g.tb.Helper()
	addr := g.tenant.Listener.Addr().String()
	p.mu.Lock()
	p.places["example.com:443"], p.places["login.example.com:8443"] = addr, addr
	p.mu.Unlock()
	t := identity.Tenant{Name: "acme", BaseURL: "https://example.com", TokenURL: "https://login.example.com:8443/oauth/token", AuthStyle: "body",
		CABundle: g.tenant.caPEM + strings.Join(more, ""), HTTPProxy: scheme + "://localhost:" + p.addr[strings.LastIndexByte(p.addr, ':')+1:]}
	g.change(func(tx *identity.Tx) error { _, err := tx.SetTenant(g.tb.Context(), t); return err })
}

func TestATenantIsCalledThroughItsHTTPProxy(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			var cert *tls.Certificate
			var caPEM string
			if scheme == "https" {
				pair, pem := selfSigned(t, "localhost")
				cert, caPEM = &pair, pem
			}
			g := newGate(t, proxy.Limits{})
			p := newCompanyProxy(t, cert)
			g.behind(p, scheme, caPEM)
			c := g.issue("orders")
			for range 3 {
				if a := c.get("/http/orders/1"); a.status != 200 || a.body != "GET /http/orders/1 0" {
					t.Fatalf("got %+v", a)
				}
			}
			if host := g.tenant.last(t).Host; host != "example.com" {
				t.Errorf("the tenant was called %q", host)
			}
			want := []string{
				"CONNECT login.example.com:8443 HTTP/1.1\r\nHost: login.example.com:8443\r\n\r\n",
				"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
			}
			if got := p.asked(); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Errorf("the proxy was asked %q, want %q", got, want)
			}
			// A kept connection that was broken behind the proxy is found out before a request is lost on it.
			p.cut()
			time.Sleep(50 * time.Millisecond)
			if a := c.do("POST", "/http/orders/1", strings.NewReader("hello")); a.status != 200 {
				t.Errorf("after a break: got %+v", a)
			}
			if a := c.do("POST", "/http/orders/1", io.LimitReader(endless{}, 5<<20)); a.status != 200 || a.body != fmt.Sprintf("POST /http/orders/1 %d", 5<<20) {
				t.Errorf("a large body: got %+v", a)
			}
			g.addRoute(identity.Route{Name: "ws", Path: "/ws/*", Tenant: "acme", Role: "orders.send", Upgrade: []string{"websocket"}})
			g.tenant.answer(switching(echo))
			_, conn := c.webSocket("/ws/1")
			exchangeOctets(t, conn, 1<<20)
		})
	}
}

// Its proxy may be changed while calls are made.
func TestAChangedHTTPProxyIsUsedAtOnce(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	p := newCompanyProxy(t, nil)
	g.behind(p, "http")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	if n := len(p.asked()); n != 2 {
		t.Errorf("the proxy was asked for %d connections, want one for the token and one for the call", n)
	}
}

func TestAnHTTPProxyIsReadStrictly(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	p := newCompanyProxy(t, nil)
	g.behind(p, "http")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	before := len(g.tenant.requests())
	for name, tt := range map[string]struct{ answer, cause string }{
		"password":      {"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n", "password"},
		"refusal":       {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403"},
		"redirect":      {"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example\r\n\r\n", "302"},
		"early octets":  {"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", "more than its answer"},
		"bare LF":       {"HTTP/1.1 200 OK\n\n", "bare line feed"},
		"not HTTP":      {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "status line"},
		"HTTP/2":        {"HTTP/2.0 200 OK\r\n\r\n", "version"},
		"endless hints": {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 200), "without end"},
		"switching":     {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switches"},
		"endless head":  {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 200<<10), "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			g.behind(p, "http") // a tenant that was changed is tried at once, however often it failed before
			p.say(tt.answer)
			p.cut()
			r := g.wantOutcome(c.get("/http/orders/1"), record.Unreachable)
			if cause, _ := r["cause"].(string); !strings.HasPrefix(cause, "HTTP proxy: ") || !strings.Contains(cause, tt.cause) {
				t.Errorf("recorded the cause %q, want it to tell of %q", cause, tt.cause)
			}
		})
	}
	if n := len(g.tenant.requests()); n != before {
		t.Errorf("%d requests reached the tenant", n-before)
	}
}

// A proxy that says nothing holds nobody who has hung up.
func TestASilentHTTPProxyIsGivenUpWithItsCaller(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	p := newCompanyProxy(t, nil)
	g.behind(p, "http")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	before := len(p.asked())
	p.mu.Lock()
	p.silent = true
	p.mu.Unlock()
	p.cut()
	conn := c.dial("localhost")
	io.WriteString(conn, "GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	eventually(t, "the proxy to be asked", func() bool { return len(p.asked()) > before })
	start := time.Now()
	g.change(func(tx *identity.Tx) error { _, err := tx.DisableIdentity(t.Context(), "orders"); return err })
	if r := g.recordWhere("route orders", func(r map[string]any) bool { return r["route"] == "orders" && r["outcome"] != "served" }); r["outcome"] != "revoked_in_flight" || time.Since(start) > time.Second {
		t.Errorf("after %v: record = %v", time.Since(start), r)
	}
}

// What the environment says about proxies decides nothing (a proxy there would see every address, and could be made by whoever starts us).
func TestProxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	var dns nameServer // addresses of this machine would never be looked for at a proxy
	r := dns.resolver(t)
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Resolve(r) })
	p := newPlace(t, "", "tenant.example")
	dns.leadTo("127.0.0.1", "")
	g.addPlace("p", "https://tenant.example:"+p.port(), p.caPEM)
	if a := g.issue("orders").get("/at/p"); a.status != 200 {
		t.Errorf("got %+v", a)
	}
}
