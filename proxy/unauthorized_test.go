package proxy_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
)

// 401 and 403 of a tenant, and of its flows.

func TestAFlowsOwn401IsNoTokenStorm(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFAuto))
			g.sim.SetFlow("/http/flow/refusing", answering(401))
			c := g.issue("orders").speaking(proto)
			var wg sync.WaitGroup
			var others atomic.Int32
			for range 10 {
				wg.Go(func() {
					for range 100 {
						if a := c.post("/http/flow/refusing", "x"); a.status != 401 {
							others.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if n := others.Load(); n != 0 {
				t.Errorf("%d of 1000 calls got something else than the flow's 401", n)
			}
			if n := len(g.sim.TokenRequests()); n != 2 { // the second is what shows that it was not the token
				t.Errorf("%d token requests, want 2", n)
			}
			// Those under way with the first token were sent once more, and no others.
			if n := len(g.sim.Requests()); n < 1001 || n > 1000+10 {
				t.Errorf("%d requests reached the tenant", n)
			}
			if a := c.post("/http/flow/1", "x"); a.status != 200 {
				t.Errorf("another flow: %+v", a)
			}
		})
	}
}

// A 403 says that a role is missing, and never that the token is bad: it keeps its place until it is refreshed.
func TestA403LeavesTheTokenAlone(t *testing.T) {
	g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFAuto))
	g.sim.SetFlow("/http/flow/mine", tenantsim.Flow{Role: "other"})
	c := g.issue("orders")
	for range 100 {
		g.wantServed(c.post("/http/flow/mine", "x"), 403)
	}
	if n, m := len(g.sim.TokenRequests()), len(g.sim.Requests()); n != 1 || m != 100 {
		t.Errorf("%d token requests and %d requests, want 1 and 100", n, m)
	}
}

func TestA401IsRetriedUpToTheReplayLimit(t *testing.T) {
	const limit = 64 << 10 // of proxy.DefaultLimits
	for _, proto := range protocols {
		for _, tt := range []struct {
			name   string
			send   func(c *client, body string) answer
			size   int
			status int
		}{
			{"the limit", func(c *client, b string) answer { return c.post("/http/flow/1", b) }, limit, 200},
			{"over the limit", func(c *client, b string) answer { return c.post("/http/flow/1", b) }, limit + 1, 401},
			{"the limit, chunked", func(c *client, b string) answer { return c.stream("/http/flow/1", b) }, limit, 200},
			{"over the limit, chunked", func(c *client, b string) answer { return c.stream("/http/flow/1", b) }, limit + 1, 401},
		} {
			t.Run(proto+" "+tt.name, func(t *testing.T) {
				g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOff))
				c := g.issue("orders").speaking(proto)
				g.wantServed(c.get("/http/flow/1"), 200)
				must(t, g.sim.RevokeTokens())
				body := strings.Repeat("x", tt.size)
				r := g.wantServed(tt.send(c, body), tt.status)
				if retried := r["retried"] == true; retried != (tt.status == 200) {
					t.Errorf("record = %v", r)
				}
				g.wantServed(tt.send(c, body), 200)
				want := 3
				if tt.status != 200 {
					want = 2
				}
				if n := len(g.sim.Executed()); n != want {
					t.Errorf("%d requests were executed, want %d", n, want)
				}
				if n := len(g.sim.TokenRequests()); n != 2 {
					t.Errorf("%d token requests, want 2", n)
				}
			})
		}
	}
}
