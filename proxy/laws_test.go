package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Law 1.

func TestWithoutACertificateNothingIsServed(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	if a := g.caller(tls.Certificate{}).get("/http/orders/1"); a.err == nil {
		t.Errorf("got status %d without a certificate", a.status)
	}
	r := g.recordWhere("protocol TLS", func(r map[string]any) bool { return r["protocol"] == "TLS" })
	if r["outcome"] != "unidentified" || !strings.Contains(r["cause"].(string), "no client certificate") {
		t.Errorf("record = %v", r)
	}
	if n := len(g.tenant.requests()); n != 0 {
		t.Errorf("%d requests reached the tenant", n)
	}
}

func TestWithoutTheRoleOrARouteNothingIsServed(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.addIdentity("nobody")
	g.wantOutcome(g.issue("nobody").get("/http/orders/1"), record.Denied)
	g.wantOutcome(g.issue("orders").get("/http/stock/1"), record.Denied)
	g.wantOutcome(g.issue("orders").get("/"), record.NoRoute)
	if n := len(g.tenant.requests()); n != 0 {
		t.Errorf("%d requests reached the tenant", n)
	}
	if n := g.tenant.tokenFetches(); n != 0 {
		t.Errorf("%d tokens were fetched for requests that were refused", n)
	}
}

// Law 2.

var identityHeaders = []string{
	"Authorization", "authorization", "AUTHORIZATION", "Cookie", "cookie", "Proxy-Authorization", "proxy_authorization", "Proxy-Connection",
	"SSL_CLIENT_CERT", "SSL-Client-Cert", "ssl_client_user", "X-SSL-Client-Cert", "X_SSL_CLIENT_CERT", "X-Forwarded-Client-Cert", "X_Forwarded_Client_Cert",
	"X-Forwarded-For", "X-Forwarded-User", "X_Forwarded_User", "x-forwarded_user", "X-Real-IP", "Forwarded", "Client-Cert", "Client_Cert", "Client-Cert-Chain",
	"X-Client-Cert", "X-Remote-User", "REMOTE_USER", "X-Original-URL", "X-Rewrite-URL", "SAP_Sender", "sap-sender", "X-Request-Id", "X_Request_Id",
	"Transfer_Encoding", "Content_Length", "X-Auth-Request-User", "X-CF-ENCODED-CREDENTIALS", "Cookie2", "Via",
}

func TestNoCallerHeaderBecomesIdentity(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	for _, name := range identityHeaders {
		raw := c.raw("GET /http/orders/1?SAP_Sender=evil&keep=1&authorization=evil HTTP/1.1\r\nHost: localhost\r\n" + name + ": evil\r\nX-Keep: kept\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(raw, "HTTP/1.1 200") {
			t.Errorf("with %s: got %.200q", name, raw)
			continue
		}
		r := g.tenant.last(t)
		for n, v := range r.Header {
			if strings.Contains(strings.Join(v, ","), "evil") {
				t.Errorf("with %s: %s: %s reached the tenant", name, n, v)
			}
		}
		if r.RequestURI != "/http/orders/1?keep=1" {
			t.Errorf("with %s: target %q reached the tenant", name, r.RequestURI)
		}
		if r.Header.Get("X-Keep") != "kept" || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer token-") {
			t.Errorf("with %s: the tenant saw %v", name, r.Header)
		}
	}
}

func TestConnectionHeaderCannotStripWhatWeAdd(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	raw := g.issue("orders").raw("GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nX-Hop: 1\r\nX-End: 1\r\n" +
		"Connection: authorization, x-hop, x-request-id, close\r\nConnection: Authorization\r\n\r\n")
	if !strings.HasPrefix(raw, "HTTP/1.1 200") {
		t.Fatalf("got %.300q", raw)
	}
	h := g.tenant.last(t).Header
	if !strings.HasPrefix(h.Get("Authorization"), "Bearer ") || h.Get("X-Request-Id") == "" {
		t.Errorf("what we add was stripped: %v", h)
	}
	if h.Get("X-Hop") != "" || h.Get("X-End") == "" {
		t.Errorf("hop-by-hop fields: %v", h)
	}
}

// Law 3.

type revocation struct {
	name string
	act  func(g *gate, c *client)
}

var revocations = []revocation{
	{"certificate revoked", func(g *gate, c *client) {
		g.change(func(tx *identity.Tx) error {
			_, err := tx.RevokeCertificate(g.tb.Context(), identity.FingerprintOf(c.leaf.Raw), "keyCompromise", time.Now())
			return err
		})
	}},
	{"identity disabled", func(g *gate, c *client) {
		g.change(func(tx *identity.Tx) error { _, err := tx.DisableIdentity(g.tb.Context(), "orders"); return err })
	}},
}

func TestRevocationRefusesTheNextRequestOnAnOpenConnection(t *testing.T) {
	for _, r := range revocations {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(r.name+" "+proto, func(t *testing.T) {
				g := newGate(t, proxy.Limits{})
				c := g.issue("orders")
				if proto == "HTTP/2.0" {
					c.h2()
				}
				var dials int
				inner := c.transport.DialContext
				c.transport.DialContext = func(ctx context.Context, n, a string) (net.Conn, error) { dials++; return inner(ctx, n, a) }
				if a := c.get("/http/orders/1"); a.status != 200 || a.proto != proto {
					t.Fatalf("before: %+v", a)
				}
				r.act(g, c)
				a := c.get("/http/orders/1")
				if a.err != nil || a.status != 401 && a.status != 403 || dials != 1 {
					t.Errorf("after, with %d connections: %+v", dials, a)
				}
				if n := len(g.tenant.requests()); n != 1 {
					t.Errorf("%d requests reached the tenant, want 1", n)
				}
			})
		}
	}
}

func TestRevocationRefusesAResumedSession(t *testing.T) {
	for _, r := range revocations {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(r.name+" "+tls.VersionName(version), func(t *testing.T) {
				g := newGate(t, proxy.Limits{})
				c := g.issue("orders")
				c.transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
				c.transport.TLSClientConfig.MaxVersion = version
				c.transport.DisableKeepAlives = true
				resumed := func() (bool, answer) {
					var state tls.ConnectionState
					resp, err := c.Get("https://localhost/http/orders/1")
					if err != nil {
						return false, answer{err: err}
					}
					defer resp.Body.Close()
					io.Copy(io.Discard, resp.Body)
					state = *resp.TLS
					return state.DidResume, answer{status: resp.StatusCode}
				}
				if _, a := resumed(); a.status != 200 {
					t.Fatalf("first: %+v", a)
				}
				if did, a := resumed(); !did || a.status != 200 {
					t.Fatalf("second: resumed %v, %+v", did, a)
				}
				r.act(g, c)
				if _, a := resumed(); a.status == 200 {
					t.Errorf("a resumed session was served after: %s", r.name)
				}
				if n := len(g.tenant.requests()); n != 2 {
					t.Errorf("%d requests reached the tenant, want 2", n)
				}
			})
		}
	}
}

func TestATicketDiesWithTheTrustBundle(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	c.transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("before: %+v", a)
	}
	other := newGate(t, proxy.Limits{})
	g.trust.Store(other.ca.Trust())
	if a := c.get("/http/orders/1"); a.err == nil && a.status == 200 {
		t.Error("the open connection is served under a bundle that does not know its CA")
	}
	c.transport.CloseIdleConnections()
	if a := c.get("/http/orders/1"); a.err == nil && a.status == 200 {
		t.Error("a resumed session is served under a bundle that does not know its CA")
	}
}

func TestRevocationCutsTransfersInFlight(t *testing.T) {
	for _, r := range revocations {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			for _, direction := range []string{"download", "upload", "waiting", "caller that does not read"} {
				t.Run(strings.Join([]string{r.name, proto, direction}, " "), func(t *testing.T) {
					g := newGate(t, proxy.Limits{})
					c := g.issue("orders")
					if proto == "HTTP/2.0" {
						c.h2()
					}
					arrived := make(chan struct{})
					g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
						block := make([]byte, 1<<16)
						switch direction {
						case "upload":
							io.ReadFull(r.Body, block)
							close(arrived)
							io.Copy(io.Discard, r.Body)
						case "waiting":
							close(arrived)
							<-r.Context().Done()
						default:
							for first := true; r.Context().Err() == nil; first = false {
								if _, err := w.Write(block); err != nil {
									return
								}
								w.(http.Flusher).Flush()
								if first {
									close(arrived)
								}
							}
						}
					})
					ended := make(chan time.Time, 1)
					var body io.Reader
					method := "GET"
					if direction == "upload" {
						method, body = "POST", endless{}
					}
					go func() {
						req, _ := http.NewRequest(method, "https://localhost/http/orders/1", body)
						resp, err := c.Do(req)
						if err == nil {
							if direction == "caller that does not read" {
								select { // its own end is what the record says
								case <-time.After(5 * time.Second):
								case <-t.Context().Done():
								}
							}
							io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
						}
						ended <- time.Now()
					}()
					<-arrived
					start := time.Now()
					r.act(g, c)
					if direction != "caller that does not read" {
						select {
						case end := <-ended:
							if d := end.Sub(start); d > time.Second {
								t.Errorf("the transfer went on for %v", d)
							}
						case <-time.After(3 * time.Second):
							t.Fatal("the transfer goes on")
						}
					}
					rec := g.recordWhere("route orders", func(r map[string]any) bool { return r["route"] == "orders" })
					if rec["outcome"] != "revoked_in_flight" {
						t.Errorf("record = %v", rec)
					}
					if d := time.Since(start); d > time.Second {
						t.Errorf("the record came after %v", d)
					}
				})
			}
		}
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Law 4.

func TestTheTokenAppearsNowhere(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.Header().Set("Authorization", r.Header.Get("Authorization"))
		w.WriteHeader(500)
	})
	a := g.issue("orders").get("/http/orders/1")
	if strings.Contains(fmt.Sprint(a), "token-") {
		t.Errorf("a token reached the caller: %+v", a)
	}
	g.record(a.header.Get("X-Request-Id"))
	if b, _ := os.ReadFile(g.logPath); strings.Contains(string(b), "token-") || strings.Contains(string(b), "secret-of") {
		t.Errorf("a token is in the record: %s", b)
	}
}

// Law 5.

func TestNoConnectionIsSharedBetweenIdentities(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.addRoute(identity.Route{Name: "both", Path: "/http/both", Tenant: "acme", Role: "both"})
	for _, name := range []string{"orders", "stock"} {
		g.change(func(tx *identity.Tx) error {
			_, err := tx.SetIdentity(t.Context(), identity.Identity{Name: name, Owner: "team", Roles: []string{"both"}})
			return err
		})
	}
	orders, stock := g.issue("orders"), g.issue("stock")
	for range 20 {
		for _, c := range []*client{orders, stock} {
			if a := c.get("/http/both"); a.status != 200 {
				t.Fatalf("got %+v", a)
			}
		}
	}
	if len(g.tenant.mixed) > 0 {
		t.Errorf("connections %v carried two identities", g.tenant.mixed)
	}
	if len(g.tenant.conns) != 2 {
		t.Errorf("%d connections to the tenant, want one for each identity", len(g.tenant.conns))
	}
}

// Law 8.

func TestAmbiguousPathsNeverReachTheTenant(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	for _, path := range []string{
		"/http/orders/..%2fstock", "/http/orders/../stock/1", "/http/orders/%2e%2e/stock", "/http/orders//1", "/http/orders/a;b", "/http/orders/..;/stock",
		"/http/orders/a%5cb", `/http/orders/a\b`, "/http/orders/%00", "/http/orders/%252e", "/http/orders/%ff", "/http/orders/a%3bb", "/http/orders/./a",
	} {
		raw := c.raw("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(raw, "HTTP/1.1 400") || !strings.Contains(raw, `"urn:tenantgate:problem:malformed"`) {
			t.Errorf("%s: got %.200q", path, raw)
		}
	}
	if n := len(g.tenant.requests()); n != 0 {
		t.Errorf("%d requests reached the tenant: %v", n, g.tenant.last(t).RequestURI)
	}
}

func TestWhatIsForwardedIsByteExact(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	for _, target := range []string{
		"/http/orders/A%20b", "/HTTP/Orders/x", "/http/%6frders/x", "/http/orders/('AG')/$value?$format=json&$top=1", "/http/orders/x?", "/http/orders/x?a=b;c=d&%zz",
		"/http/orders/%C3%A9?q=%c3%a9+x",
	} {
		raw := c.raw("GET " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(raw, "HTTP/1.1 200") {
			t.Errorf("%s: got %.200q", target, raw)
			continue
		}
		if got := g.tenant.last(t).RequestURI; got != target {
			t.Errorf("%s reached the tenant as %s", target, got)
		}
	}
}

func TestATenantPathReplacesTheMatchedPart(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.addRoute(identity.Route{Name: "v1", Path: "/v1/*", TenantPath: "/http/orders/*", Tenant: "acme", Role: "orders.send"})
	g.addRoute(identity.Route{Name: "ping", Path: "/ping", TenantPath: "/http/ping/x", Tenant: "acme", Role: "orders.send"})
	c := g.issue("orders")
	for target, want := range map[string]string{
		"/V1/%41%20/b?x": "/http/orders/%41%20/b?x", "/%761/a": "/http/orders/a", "/ping?SAP_Sender=1": "/http/ping/x", "/ping?a&SAP_Sender=1": "/http/ping/x?a",
	} {
		if a := c.get(target); a.status != 200 {
			t.Errorf("%s: got %+v", target, a)
			continue
		}
		if got := g.tenant.last(t).RequestURI; got != want {
			t.Errorf("%s reached the tenant as %s, want %s", target, got, want)
		}
	}
}

// Law 9.

func TestA401IsRetriedOnceWithANewToken(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	g.tenant.revokeTokens()
	a := c.do("POST", "/http/orders/2", strings.NewReader("hello"))
	if a.status != 200 || a.body != "POST /http/orders/2 5" {
		t.Fatalf("after the tokens were revoked: %+v", a)
	}
	if r := g.record(a.header.Get("X-Request-Id")); r["retried"] != true {
		t.Errorf("record = %v", r)
	}
	if n := len(g.tenant.requests()); n != 3 {
		t.Errorf("%d requests reached the tenant, want 3", n)
	}
	if b := g.tenant.bodies; !slices.Equal(b, []string{"", "hello"}) {
		t.Errorf("bodies = %q", b)
	}
}

func TestA401IsNotRetriedWhenTheBodyCannotBeSentAgain(t *testing.T) {
	g := newGate(t, proxy.Limits{ReplayBytes: 1 << 10})
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	g.tenant.revokeTokens()
	big := strings.Repeat("x", 1<<20)
	if a := c.do("POST", "/http/orders/2", strings.NewReader(big)); a.status != 401 {
		t.Fatalf("got %+v, want the tenant's 401", a)
	}
	if a := c.do("POST", "/http/orders/3", strings.NewReader(big)); a.status != 200 {
		t.Fatalf("the next call: got %+v (%v), want 200 with a fresh token", a, a.err)
	}
	if n := len(g.tenant.requests()); n != 3 {
		t.Errorf("%d requests reached the tenant, want 3", n)
	}
}

func TestAPostIsNeverSentTwice(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	for _, header := range [][]string{nil, {"Idempotency-Key", "1"}, {"X-Idempotency-Key", "1"}} {
		if a := c.get("/http/orders/warm"); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
		before := len(g.tenant.requests())
		g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { // executed, and then the connection breaks
			conn, _, _ := http.NewResponseController(w).Hijack()
			conn.Close()
		})
		g.wantOutcome(c.do("POST", "/http/orders/1", nil, header...), record.TenantBroken)
		g.wantOutcome(c.do("POST", "/http/orders/1", strings.NewReader("x"), header...), record.TenantBroken)
		if n := len(g.tenant.requests()) - before; n != 2 {
			t.Errorf("with %v: %d requests reached the tenant, want 2", header, n)
		}
		g.tenant.answer(nil)
	}
	if a := c.get("/http/orders/after"); a.status != 200 {
		t.Errorf("the next request: %+v", a)
	}
}

// Law 10.

func TestALostTokenEndpointStopsNothingWhileTokensAreValid(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	orders, stock := g.issue("orders"), g.issue("stock")
	if a := orders.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	g.tenant.mu.Lock()
	g.tenant.tokenErr = 503
	g.tenant.mu.Unlock()
	if a := orders.get("/http/orders/1"); a.status != 200 {
		t.Errorf("with a valid token: %+v", a)
	}
	g.wantOutcome(stock.get("/http/stock/1"), record.NoToken)
}

// Sins of others.

func TestServerNameAndHostMustAgree(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	for _, tt := range []struct{ sni, host, want string }{
		{"localhost", "localhost", "200"}, {"localhost", "LOCALHOST:8443", "200"}, {"localhost", "localhost.", "200"},
		{"localhost", "gate.test", "421"}, {"gate.test", "localhost", "421"}, {"", "localhost", "200"}, {"", "gate.test", "200"},
	} {
		conn := c.dial(tt.sni)
		fmt.Fprintf(conn, "GET /http/orders/1 HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", tt.host)
		out, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(out), "HTTP/1.1 "+tt.want) {
			t.Errorf("server name %q, host %q: got %.100q, want %s", tt.sni, tt.host, out, tt.want)
		}
	}
}

func TestOddCertificatesAreRefused(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	other := newGate(t, proxy.Limits{})
	foreign := other.issue("orders")
	if a := g.caller(foreign.cert).get("/http/orders/1"); a.err == nil {
		t.Errorf("a certificate of a foreign CA: got %+v", a)
	}
	// A certificate of our own CA that is bound to nobody, and one for administrators.
	for _, profile := range []pki.Profile{pki.ClientProfile(), pki.AdminProfile()} {
		key, err := pki.GenerateKey("P-256")
		must(t, err)
		var cert tls.Certificate
		g.change(func(tx *identity.Tx) error {
			issued, err := g.ca.Issue(t.Context(), tx.SQL(), pki.IssueOptions{Profile: profile, Name: "orders", PublicKey: key.Public()})
			if err == nil {
				cert = tls.Certificate{PrivateKey: key, Certificate: [][]byte{issued.Chain[0].Raw, issued.Chain[1].Raw}, Leaf: issued.Leaf}
			}
			return err
		})
		if a := g.caller(cert).get("/http/orders/1"); a.err == nil {
			t.Errorf("an unbound %s certificate: got %+v", profile, a)
		}
	}
	if n := len(g.tenant.requests()); n != 0 {
		t.Errorf("%d requests reached the tenant", n)
	}
}

func TestAHelloInTwoRecordsChangesNothing(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	raw, err := net.Dial("tcp", g.addr)
	must(t, err)
	defer raw.Close()
	c := g.caller(tls.Certificate{})
	conn := tls.Client(&splitter{Conn: raw}, c.tls("localhost"))
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		t.Errorf("served without a certificate: %s", resp.Status)
	}
	raw2, err := net.Dial("tcp", g.addr)
	must(t, err)
	defer raw2.Close()
	conn = tls.Client(&splitter{Conn: raw2}, g.issue("orders").tls("localhost"))
	fmt.Fprintf(conn, "GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("a good certificate behind a hello in two records: %v, %v", resp, err)
	}
}

// splitter sends the first TLS record, the ClientHello, in two records.
type splitter struct {
	net.Conn
	done bool
}

func (s *splitter) Write(p []byte) (int, error) {
	if s.done || len(p) < 50 || p[0] != 22 {
		return s.Conn.Write(p)
	}
	s.done = true
	first, rest := p[5:30], p[30:]
	out := append([]byte{22, p[1], p[2], 0, byte(len(first))}, first...)
	out = append(out, 22, p[1], p[2], byte(len(rest)>>8), byte(len(rest)))
	if _, err := s.Conn.Write(append(out, rest...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func TestConnectTraceAndUpgradeAreNotServed(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	for _, method := range []string{"TRACE", "CONNECT"} {
		raw := c.raw(method + " /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(raw, "HTTP/1.1 405") {
			t.Errorf("%s: got %.100q", method, raw)
		}
	}
	if n := len(g.tenant.requests()); n != 0 {
		t.Errorf("%d requests reached the tenant", n)
	}
	raw := c.raw("GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n")
	if !strings.HasPrefix(raw, "HTTP/1.1 200") || g.tenant.last(t).Header.Get("Upgrade") != "" {
		t.Errorf("an upgrade was passed on: %.100q, %v", raw, g.tenant.last(t).Header)
	}
}
