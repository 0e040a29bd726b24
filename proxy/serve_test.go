package proxy_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

func TestServesWithTheIdentitysOwnToken(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			orders, stock := g.issue("orders"), g.issue("stock")
			if proto == "HTTP/2.0" {
				orders.h2()
				stock.h2()
			}
			a := orders.do("POST", "/http/orders/7?x=%41&y", strings.NewReader("hello"))
			if a.err != nil || a.status != 200 || a.body != "POST /http/orders/7?x=%41&y 5" || a.proto != proto {
				t.Fatalf("got %+v", a)
			}
			if got := a.header.Get("X-Client"); got != "sb-orders" {
				t.Errorf("the tenant saw %q, want the identity's own client", got)
			}
			if c := a.header.Values("Set-Cookie"); len(c) > 0 {
				t.Errorf("a tenant's cookie reached the caller: %q", c)
			}
			r := g.record(a.header.Get("X-Request-Id"))
			for name, want := range map[string]any{
				"identity": "orders", "route": "orders", "tenant": "acme", "outcome": "served", "status": 200.0, "tenant_status": 200.0, "method": "POST",
				"path": "/http/orders/7", "bytes_in": 5.0, "bytes_out": float64(len(a.body)), "protocol": proto, "serial": orders.serial(),
			} {
				if r[name] != want {
					t.Errorf("record has %s = %v, want %v", name, r[name], want)
				}
			}
			g.wantOutcome(stock.get("/http/orders/7"), record.Denied)
			g.wantOutcome(stock.get("/http/other"), record.NoRoute)
			g.wantOutcome(orders.get("/http/exact"), record.MethodNotAllowed)
			if n := len(g.tenant.requests()); n != 1 {
				t.Errorf("%d requests reached the tenant, want 1", n)
			}
		})
	}
}

func TestNoHeaderAsksForAMethodThatTheRouteDoesNotHave(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	for _, header := range [][]string{
		{"X-HTTP-Method-Override", "DELETE"}, {"x-http-method", "DELETE"}, {"X-Method-Override", "post"}, {"X-HTTP-Method", "POST", "X-HTTP-Method", "DELETE"},
		{"X-HTTP-Method", "POST, DELETE"},
	} {
		g.wantOutcome(c.do("POST", "/http/exact", strings.NewReader("x"), header...), record.Denied)
	}
	if a := c.do("POST", "/http/exact", strings.NewReader("x"), "X-HTTP-Method", "POST", "X_HTTP_Method", "DELETE", "X-HTTP_Method-Override", "DELETE"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	for name, values := range g.tenant.last(t).Header {
		if strings.Contains(strings.Join(values, ","), "DELETE") {
			t.Errorf("%s: %s reached the tenant", name, values)
		}
	}
}

func TestABodyOverTheRoutesLimitIsRefused(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	big := strings.Repeat("x", 2<<10)
	g.wantOutcome(c.do("POST", "/http/exact", strings.NewReader(big)), record.BodyTooLarge)
	if n := len(g.tenant.requests()); n != 0 {
		t.Errorf("%d requests reached the tenant with an announced length", n)
	}
	g.wantOutcome(c.do("POST", "/http/exact", struct{ io.Reader }{strings.NewReader(big)}), record.BodyTooLarge)
	if a := c.do("POST", "/http/exact", strings.NewReader("small")); a.status != 200 {
		t.Errorf("a small body: %+v", a)
	}
}

// Serve may come to run after Shutdown, which cannot close a listener that it does not know.
func TestServingAfterShutdownEndsAtOnce(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	must(t, g.server.Shutdown(t.Context()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	done := make(chan error, 1)
	go func() { done <- g.server.Serve(l) }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("got %v, want nil", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on accepting")
	}
}
