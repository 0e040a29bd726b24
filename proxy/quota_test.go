package proxy_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// What one identity may cost.

// limit sets the limits of an identity.
func (g *gate) limit(name string, set func(i *identity.Identity)) {
	g.tb.Helper()
	g.change(func(tx *identity.Tx) error {
		i, err := tx.Identity(name)
		if err != nil {
			return err
		}
		set(&i)
		_, err = tx.SetIdentity(g.tb.Context(), i)
		return err
	})
}

// The burst is served, and says what is left; what comes on top is told when to come again, and does not reach the tenant. Another identity is not touched.
func TestAnIdentityAboveItsRateIsToldWhenToComeAgain(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			g.limit("orders", func(i *identity.Identity) { i.Rate, i.Burst = 0.01, 3 })
			c := g.issue("orders").speaking(proto)
			for _, left := range []string{"2", "1", "0"} {
				a := c.get("/http/orders/1")
				if a.status != 200 || a.header.Get("RateLimit-Policy") != `"identity";q=3;w=300` || !strings.HasPrefix(a.header.Get("RateLimit"), `"identity";r=`+left+";t=") {
					t.Errorf("got %+v", a)
				}
			}
			before := len(g.tenant.requests())
			a := c.do("POST", "/http/orders/1", strings.NewReader("x"))
			r := g.wantOutcome(a, record.Limited)
			if r["identity"] != "orders" || r["cause"] == "" {
				t.Errorf("record = %v", r)
			}
			if got := a.header.Get("Retry-After"); got != "100" || a.header.Get("RateLimit") != `"identity";r=0;t=100` {
				t.Errorf("Retry-After is %q, RateLimit %q", got, a.header.Get("RateLimit"))
			}
			if n := len(g.tenant.requests()) - before; n != 0 {
				t.Errorf("%d requests reached the tenant", n)
			}
			if a := g.issue("orders").get("/http/orders/1"); a.status != 429 {
				t.Errorf("on another connection, with another certificate: got %+v", a)
			}
			if a := g.issue("stock").get("/http/stock/1"); a.status != 200 || a.header.Get("RateLimit") != "" {
				t.Errorf("another identity: got %+v", a)
			}
			g.limit("orders", func(i *identity.Identity) { i.Rate, i.Burst = 1000, 0 })
			eventually(t, "the new rate to be in force", func() bool { return c.get("/http/orders/1").status == 200 })
			g.limit("orders", func(i *identity.Identity) { i.Rate = 0 })
			if a := c.get("/http/orders/1"); a.status != 200 || a.header.Get("RateLimit-Policy") != "" {
				t.Errorf("without a rate: got %+v", a)
			}
		})
	}
}

// A refused request takes nothing from what the identity may send.
func TestWhatIsNotAllowedCostsNoRate(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.limit("orders", func(i *identity.Identity) { i.Rate, i.Burst = 0.01, 1 })
	c := g.issue("orders")
	for range 3 {
		g.wantOutcome(c.get("/http/stock/1"), record.Denied)
	}
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Errorf("got %+v", a)
	}
}

func TestAnIdentityHasSoManyRequestsInFlight(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			g.limit("orders", func(i *identity.Identity) { i.Concurrency = 2 })
			c := g.issue("orders").speaking(proto)
			hang := make(chan struct{})
			g.tenant.answer(func(http.ResponseWriter, *http.Request) { <-hang })
			var hanging sync.WaitGroup
			for range 2 {
				hanging.Go(func() { c.get("/http/orders/1") })
			}
			eventually(t, "two requests to hang", func() bool { return len(g.tenant.requests()) == 2 })
			a := c.get("/http/orders/1")
			g.wantOutcome(a, record.Limited)
			if a.header.Get("Retry-After") != "1" {
				t.Errorf("got %+v", a)
			}
			close(hang)
			hanging.Wait()
			g.tenant.answer(nil)
			for range 20 { // one after the other is one at a time, on any connection
				if a := c.get("/http/orders/1"); a.status != 200 {
					t.Fatalf("afterwards: got %+v", a)
				}
				c.transport.CloseIdleConnections()
			}
		})
	}
}

// Both directions are slowed down, and nothing is refused or lost.
func TestBandwidthSlowsBodiesDown(t *testing.T) {
	const rate, size = 256 << 10, 128 << 10
	body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			g.limit("orders", func(i *identity.Identity) { i.Bandwidth = rate })
			c := g.issue("orders").speaking(proto)
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				if received, _ := io.ReadAll(r.Body); r.Method == "POST" {
					w.Write(received)
					return
				}
				w.Write(body)
			})
			took := func(octets int, do func() answer) {
				t.Helper()
				start := time.Now()
				if a := do(); a.status != 200 || a.body != string(body) {
					t.Errorf("got status %d and %d octets, %v", a.status, len(a.body), a.err)
				}
				want := time.Duration(octets) * time.Second / rate
				if d := time.Since(start); d < want*9/10 || d > want+2*time.Second {
					t.Errorf("%d octets took %v, want %v", octets, d, want)
				}
			}
			took(size, func() answer { return c.get("/http/orders/1") })
			took(2*size, func() answer { return c.do("POST", "/http/orders/1", bytes.NewReader(body)) })
			other := g.issue("stock")
			start := time.Now()
			if a := other.get("/http/stock/1"); a.status != 200 || time.Since(start) > 400*time.Millisecond {
				t.Errorf("another identity: got status %d in %v", a.status, time.Since(start))
			}
		})
	}
}

// All requests of an identity share its bandwidth, small ones too.
func TestBandwidthIsSharedByAnIdentitysRequests(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.limit("orders", func(i *identity.Identity) { i.Bandwidth = 64 << 10 })
	c := g.issue("orders")
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 4<<10)) })
	start := time.Now()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if a := c.get("/http/orders/1"); a.status != 200 || len(a.body) != 4<<10 {
				t.Errorf("got %d, %v", a.status, a.err)
			}
		})
	}
	all.Wait()
	if d := time.Since(start); d < 900*time.Millisecond || d > 3*time.Second {
		t.Errorf("64 KiB took %v", d)
	}
}

// Octets of an upgraded connection are octets, too.
func TestBandwidthSlowsAWebSocketDown(t *testing.T) {
	g := newUpgradingGate(t, proxy.Limits{}, 0, echo)
	g.limit("orders", func(i *identity.Identity) { i.Bandwidth = 64 << 10 })
	_, conn := g.issue("orders").webSocket("/ws/1")
	start := time.Now()
	exchangeOctets(t, conn, 32<<10)
	if d := time.Since(start); d < 900*time.Millisecond || d > 3*time.Second {
		t.Errorf("32 KiB there and back took %v, want 1s", d)
	}
}

// An answer that waits for its turn is cut like any other (law 3).
func TestDisablingCutsASlowedAnswer(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.limit("orders", func(i *identity.Identity) { i.Bandwidth = 1 << 10 })
	c := g.issue("orders")
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 1<<20)) })
	resp, err := c.Get("https://localhost/http/orders/1")
	must(t, err)
	defer resp.Body.Close()
	g.limit("orders", func(i *identity.Identity) { i.Disabled = true })
	start := time.Now()
	n, err := io.Copy(io.Discard, resp.Body)
	if d := time.Since(start); err == nil || d > time.Second {
		t.Errorf("cut after %v: %d octets, %v", d, n, err)
	}
	g.recordWhere("outcome revoked_in_flight", func(r map[string]any) bool { return r["outcome"] == "revoked_in_flight" })
}
