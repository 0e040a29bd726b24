package proxy_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// When, from where and how much an identity may call.

// clockAt has decisions made at a time that a test sets.
func clockAt(at *atomic.Int64) func(*proxy.Config) {
	return func(c *proxy.Config) { c.Now = func() time.Time { return time.Unix(at.Load(), 0) } }
}

func TestAnIdentityCallsFromItsNetworksOnly(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			g.limit("orders", func(i *identity.Identity) { i.Networks = []string{"10.0.0.0/8"} })
			r := g.wantOutcome(c.get("/http/orders/1"), record.NetworkDenied)
			if r["identity"] != "orders" || r["cause"] == "" || r["route"] != nil {
				t.Errorf("record = %v", r)
			}
			if a := g.issue("stock").get("/http/stock/1"); a.status != 200 {
				t.Errorf("another identity: %+v", a)
			}
			// On the open connection, as soon as it is allowed.
			g.limit("orders", func(i *identity.Identity) { i.Networks = []string{"10.0.0.0/8", "127.0.0.0/8"} })
			if a := c.get("/http/orders/1"); a.status != 200 {
				t.Errorf("from a network that is allowed: %+v", a)
			}
			if n := len(g.tenant.requests()); n != 2 {
				t.Errorf("%d requests reached the tenant", n)
			}
		})
	}
}

func TestAnIdentityCallsInItsWindowsOnly(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			var at atomic.Int64
			day := time.Now().UTC().Truncate(24 * time.Hour)
			at.Store(time.Now().Unix())
			g := newGate(t, proxy.Limits{}, clockAt(&at))
			c := g.issue("orders").speaking(proto)
			hour := time.Now().UTC().Hour()
			open, shut := window(hour, hour+1), window(hour+2, hour+3)
			g.limit("orders", func(i *identity.Identity) { i.CallingWindows = []string{shut} })
			if r := g.wantOutcome(c.get("/http/orders/1"), record.OutsideWindow); r["cause"] == "" {
				t.Errorf("record = %v", r)
			}
			at.Store(day.Add(time.Duration(hour+2)*time.Hour + 30*time.Minute).Unix())
			if a := c.get("/http/orders/1"); a.status != 200 {
				t.Errorf("in its window: %+v", a)
			}
			g.limit("orders", func(i *identity.Identity) { i.CallingWindows = []string{open} })
			g.wantOutcome(c.get("/http/orders/1"), record.OutsideWindow)
		})
	}
}

func window(from, to int) string {
	clock := func(h int) string { return string([]byte{'0' + byte(h%24/10), '0' + byte(h%24%10)}) + ":00" }
	return "daily " + clock(from) + "-" + clock(to) + " UTC"
}

func TestABodyIsBoundedByTheIdentityToo(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			g.limit("orders", func(i *identity.Identity) { i.MaxBody = 100 })
			if a := c.do("POST", "/http/orders/1", strings.NewReader(strings.Repeat("x", 100))); a.status != 200 {
				t.Errorf("at the limit: %+v", a)
			}
			r := g.wantOutcome(c.do("POST", "/http/orders/1", strings.NewReader(strings.Repeat("x", 101))), record.BodyTooLarge)
			if cause, _ := r["cause"].(string); !strings.Contains(cause, "identity's limit") {
				t.Errorf("record = %v", r)
			}
			// chunked, so that the length is not known before
			g.wantOutcome(c.do("POST", "/http/orders/1", struct{ *strings.Reader }{strings.NewReader(strings.Repeat("x", 101))}), record.BodyTooLarge)
			// The route's is lower.
			g.limit("orders", func(i *identity.Identity) { i.MaxBody = 1 << 20 })
			g.wantOutcome(c.do("POST", "/http/exact", strings.NewReader(strings.Repeat("x", 1<<10+1))), record.BodyTooLarge)
		})
	}
}

func TestAQuotaOfTheDay(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			var at atomic.Int64
			now := time.Now()
			at.Store(now.Unix())
			g := newGate(t, proxy.Limits{}, clockAt(&at))
			g.limit("orders", func(i *identity.Identity) { i.DailyRequests = 2 })
			c := g.issue("orders").speaking(proto)
			for range 2 {
				if a := c.get("/http/orders/1"); a.status != 200 {
					t.Fatalf("within the quota: %+v", a)
				}
			}
			a := c.get("/http/orders/1")
			r := g.wantOutcome(a, record.QuotaExhausted)
			if r["identity"] != "orders" || r["cause"] == "" || a.status != http.StatusTooManyRequests {
				t.Errorf("record = %v", r)
			}
			if got := a.header.Get("Retry-After"); len(got) == 0 || len(got) > 5 {
				t.Errorf("Retry-After is %q", got)
			}
			if a := g.issue("stock").get("/http/stock/1"); a.status != 200 {
				t.Errorf("another identity: %+v", a)
			}
			// A node that is started again knows what was used, and one beside it learns of it.
			g.server.StoreDaily()
			other := proxy.New(proxy.Config{Registry: g.registry, Trust: g.trust.Load, Tokens: g.tokens, Log: g.log,
				Now: func() time.Time { return time.Unix(at.Load(), 0) }})
			t.Cleanup(func() { other.Shutdown(t.Context()) })
			if err := other.LoadDaily(t.Context()); err != nil {
				t.Fatal(err)
			}
			if requests, octets := other.DailyUse("orders"); requests != 2 || octets == 0 {
				t.Errorf("after a restart: %d requests, %d octets", requests, octets)
			}
			// A higher quota acts at once, midnight renews it.
			g.limit("orders", func(i *identity.Identity) { i.DailyRequests = 3 })
			if a := c.get("/http/orders/1"); a.status != 200 {
				t.Errorf("with a higher quota: %+v", a)
			}
			g.wantOutcome(c.get("/http/orders/1"), record.QuotaExhausted)
			at.Store(identity.EndOfDay(identity.Day(now)).Unix())
			if a := c.get("/http/orders/1"); a.status != 200 {
				t.Errorf("after midnight: %+v", a)
			}
		})
	}
}

func TestOctetsOfTheDayAreCountedInBothDirections(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.limit("orders", func(i *identity.Identity) { i.DailyOctets = 1000 })
	c := g.issue("orders")
	if a := c.do("POST", "/http/orders/1", strings.NewReader(strings.Repeat("x", 5000))); a.status != 200 {
		t.Fatalf("the request during which they run out: %+v", a)
	}
	g.wantOutcome(c.get("/http/orders/1"), record.QuotaExhausted)
	if requests, octets := g.server.DailyUse("orders"); requests != 1 || octets < 5000 {
		t.Errorf("%d requests, %d octets", requests, octets)
	}
}
