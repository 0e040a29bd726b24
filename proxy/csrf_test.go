package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
)

func TestAChangeGetsItsCSRFToken(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOn))
			g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
			c := g.issue("orders").speaking(proto)
			for i := range 3 {
				r := g.wantServed(c.post(fmt.Sprintf("/http/flow/%d?x=1", i), "hello"), 200)
				if fetched := r["csrf_us"] != nil; fetched != (i == 0) || r["csrf_retried"] != nil {
					t.Errorf("record of change %d: %v", i, r)
				}
			}
			g.wantServed(c.do("DELETE", "/http/flow/4", nil), 200)
			g.wantServed(c.stream("/http/flow/5", "hello"), 200)
			g.wantServed(c.get("/http/flow/6"), 200)
			g.wantExecuted("sb-orders", "sb-orders", "sb-orders", "sb-orders", "sb-orders", "sb-orders")
			f := g.fetches()
			if len(f) != 1 || f[0].Method != "GET" || f[0].Target != "/http/flow/0" || f[0].Executed || f[0].Header.Get("Cookie") != "" {
				t.Fatalf("fetches: %+v", f)
			}
			all := g.sim.Requests()
			for _, r := range all[1 : len(all)-1] {
				if n := len(strings.Split(r.Header.Get("Cookie"), "; ")); !r.Session || n != 3 || len(r.Header["Cookie"]) != 1 {
					t.Errorf("%s %s went with %d cookies", r.Method, r.Target, n)
				}
			}
			if last := all[len(all)-1]; last.Header["Cookie"] != nil || last.Header["X-Csrf-Token"] != nil || last.Session {
				t.Errorf("a GET went with the session: %v", last.Header)
			}
		})
	}
}

func TestWithoutCSRFNothingIsAdded(t *testing.T) {
	g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOff))
	c := g.issue("orders")
	g.wantServed(c.post("/http/flow/1", "x", "X-CSRF-Token", "of-the-caller"), 200)
	if h := g.sim.Requests()[0].Header; h["Cookie"] != nil || h.Get("X-CSRF-Token") != "of-the-caller" {
		t.Errorf("the tenant saw %v", h)
	}
	g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
	a := c.post("/http/flow/1", "x")
	g.wantServed(a, 403)
	if a.header.Get("X-CSRF-Token") != "required" || len(g.fetches()) != 0 {
		t.Errorf("got %v after %d fetches", a.header, len(g.fetches()))
	}
}

func TestCSRFAutoWaitsUntilTheTenantAsks(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFAuto))
			c := g.issue("orders").speaking(proto)
			g.wantServed(c.post("/http/flow/1", "x"), 200)
			if n := len(g.sim.Requests()); n != 1 {
				t.Fatalf("%d requests for a flow that is not protected", n)
			}
			g.sim.SetFlow("/http/flow/mine", tenantsim.Flow{Role: "other"}) // 403 for want of a role is something else
			g.wantServed(c.post("/http/flow/mine", "x"), 403)
			if n := len(g.sim.Requests()); n != 2 {
				t.Fatalf("%d requests, want 2", n)
			}
			g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
			if r := g.wantServed(c.post("/http/flow/2", "x"), 200); r["csrf_retried"] != true || r["retried"] != nil || r["tenant_status"] != 200.0 {
				t.Errorf("record of the change that was refused first: %v", r)
			}
			if r := g.wantServed(c.post("/http/flow/3", "x"), 200); r["csrf_retried"] != nil {
				t.Errorf("record of the next: %v", r)
			}
			g.wantExecuted("sb-orders", "sb-orders", "sb-orders")
			if n := len(g.fetches()); n != 1 {
				t.Errorf("%d fetches, want 1", n)
			}
		})
	}
}

func TestAForgottenSessionIsReplaced(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newSimGate(t, proxy.Limits{ReplayBytes: 1 << 10}, csrf(identity.CSRFOn))
			g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
			c := g.issue("orders").speaking(proto)
			g.wantServed(c.post("/http/flow/1", "x"), 200)

			g.sim.ForgetSessions()
			if r := g.wantServed(c.post("/http/flow/2", "x"), 200); r["csrf_retried"] != true {
				t.Errorf("record = %v", r)
			}
			// A body that is gone cannot be sent again: the caller is told, the record says why, and the next call is fresh.
			g.sim.ForgetSessions()
			big := strings.Repeat("x", 1<<20)
			a := c.stream("/http/flow/3", big)
			if r := g.wantServed(a, 403); !strings.Contains(fmt.Sprint(r["cause"]), "could not be sent again") || a.header.Get("X-CSRF-Token") != "required" {
				t.Errorf("got %v, record = %v", a.header, r)
			}
			g.wantServed(c.stream("/http/flow/4", big), 200)
			g.wantExecuted("sb-orders", "sb-orders", "sb-orders")
		})
	}
}

// A refusal to a body that cannot be sent again cannot be mended: a session that was not proved lately is replaced before.
func TestALargeChangeGetsAFreshSession(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			var later atomic.Int64
			g := newSimGate(t, proxy.Limits{ReplayBytes: 1 << 10}, csrf(identity.CSRFOn), func(c *proxy.Config) {
				c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
			})
			g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
			c := g.issue("orders").speaking(proto)
			large := strings.Repeat("x", 1<<20)
			for i, tt := range []struct {
				after   time.Duration
				send    func() answer
				fetches int // in all
			}{
				{0, func() answer { return c.post("/http/flow/1", large) }, 1},
				{50 * time.Second, func() answer { return c.post("/http/flow/1", large) }, 1},
				{50 * time.Second, func() answer { return c.stream("/http/flow/1", large) }, 1}, // the one before has proved it
				{61 * time.Second, func() answer { return c.post("/http/flow/1", large) }, 2},
				{61 * time.Second, func() answer { return c.stream("/http/flow/1", "x") }, 3}, // nobody knows how much it will be
				{61 * time.Second, func() answer { return c.post("/http/flow/1", "x") }, 3},   // can be sent again
			} {
				later.Add(int64(tt.after))
				if i == 3 || i == 4 {
					g.sim.ForgetSessions()
				}
				g.wantServed(tt.send(), 200)
				if n := len(g.fetches()); n != tt.fetches {
					t.Errorf("change %d: %d fetches so far, want %d", i, n, tt.fetches)
				}
			}
			if n := len(g.sim.Executed()); n != 6 {
				t.Errorf("%d changes were executed, want 6", n)
			}
		})
	}
}

// An early refusal to a body that waits to be asked for (Expect) leaves the body where it is.
func TestAChangeThatExpectsIsSentAgainWithItsBody(t *testing.T) {
	g := newSimGate(t, proxy.Limits{ReplayBytes: 1 << 10}, csrf(identity.CSRFAuto))
	g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
	c := g.issue("orders")
	c.transport.ExpectContinueTimeout = 5 * time.Second
	big := strings.Repeat("x", 1<<20)
	a := c.post("/http/flow/1", big, "Expect", "100-continue")
	if r := g.wantServed(a, 200); r["csrf_retried"] != true {
		t.Errorf("record = %v", r)
	}
	g.wantExecuted("sb-orders")
	if e := g.sim.Executed()[0]; e.BodyBytes != 1<<20 {
		t.Errorf("%d octets arrived", e.BodyBytes)
	}
}

// The tenant goes by the session and not by the token, for ever: what an identity was must not outlive what it is.
func TestASessionNeverOutlivesWhatItWasOpenedFor(t *testing.T) {
	ctx := t.Context()
	sessions := func(g *simGate) map[string]bool {
		m := map[string]bool{}
		for _, r := range g.sim.Requests() {
			if c, err := (&http.Request{Header: r.Header}).Cookie("JSESSIONID"); err == nil {
				m[c.Value] = true
			}
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		change func(g *simGate)
		client string // who the tenant must then take the identity for
		status int
	}{
		{"identity disabled and enabled", func(g *simGate) {
			g.change(func(tx *identity.Tx) error { _, err := tx.DisableIdentity(ctx, "orders"); return err })
			g.change(func(tx *identity.Tx) error { _, err := tx.EnableIdentity(ctx, "orders"); return err })
		}, "sb-orders", 200},
		{"another credential", func(g *simGate) {
			g.addClient("orders", "sb-new")
			c := g.issue("orders")
			eventually(g.tb, "the new credential in use", func() bool { // once it has worked
				g.wantServed(c.post("/http/flow/3", "x"), 200)
				all := g.sim.Executed()
				return all[len(all)-1].Client == "sb-new"
			})
		}, "sb-new", 200},
		{"another credential in place of the old", func(g *simGate) {
			old := g.registry.Snapshot().Credentials("orders", "cpi")[0].ID
			g.addClient("orders", "sb-new")
			g.change(func(tx *identity.Tx) error { return tx.RemoveCredential(ctx, old) })
		}, "sb-new", 200},
		{"tenant changed", func(g *simGate) {
			g.change(func(tx *identity.Tx) error {
				c, err := tx.Tenant("cpi")
				if err == nil {
					c.Description = "changed"
					_, err = tx.SetTenant(ctx, c)
				}
				return err
			})
		}, "sb-orders", 200},
		{"route changed", func(g *simGate) { g.setRoute(func(r *identity.Route) { r.CallerHeader = "SAP_Sender" }) }, "sb-orders", 200},
		{"roles at the tenant withdrawn, and the token rejected", func(g *simGate) {
			g.sim.SetRoles("sb-orders", "none")
			must(g.tb, g.sim.RevokeTokens())
			g.sim.ForgetSessions() // else nobody notices
		}, "sb-orders", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOn))
			g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
			c := g.issue("orders")
			g.wantServed(c.post("/http/flow/1", "x"), 200)
			before := sessions(g)
			tt.change(g)
			if tt.status != 200 {
				g.wantOutcome(c.post("/http/flow/2", "x"), record.NoCSRFToken)
				return
			}
			g.sim.Forget()
			g.wantServed(c.post("/http/flow/2", "x"), 200)
			for id := range sessions(g) {
				if before[id] {
					t.Error("the session of before was shown")
				}
			}
			g.wantExecuted(tt.client)
		})
	}
}

func TestNoSessionIsSharedBetweenIdentities(t *testing.T) {
	g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOn))
	g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
	orders, stock := g.issue("orders"), g.issue("stock")
	var wg sync.WaitGroup
	for range 20 {
		for _, c := range []*client{orders, stock} {
			wg.Go(func() {
				if a := c.post("/http/flow/1", "x", "Cookie", "JSESSIONID=mine"); a.status != 200 {
					t.Errorf("got %+v", a)
				}
			})
		}
	}
	wg.Wait()
	owner := map[string]string{}
	for _, r := range g.sim.Executed() {
		c, err := (&http.Request{Header: r.Header}).Cookie("JSESSIONID")
		must(t, err)
		if who := owner[c.Value]; who != "" && who != r.Client {
			t.Errorf("one session served %s and %s", who, r.Client)
		}
		owner[c.Value] = r.Client
	}
	if len(owner) != 2 || len(g.fetches()) != 2 {
		t.Errorf("%d sessions after %d fetches, want 2 of each", len(owner), len(g.fetches()))
	}
}

// A new token opens a new session. The old one still has the roles that were withdrawn meanwhile, and the tenant would go by it.
func TestARefreshedTokenOpensASessionOfItsOwn(t *testing.T) {
	g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOn))
	g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF, s.TokenLifetime = true, 2*time.Second })
	c := g.issue("orders")
	g.wantServed(c.post("/http/flow/1", "x"), 200)
	g.sim.SetRoles("sb-orders", "none")
	first := len(g.sim.TokenRequests())
	eventually(t, "another token", func() bool { c.get("/http/flow/1"); return len(g.sim.TokenRequests()) > first+1 })
	g.sim.Forget()
	g.wantOutcome(c.post("/http/flow/1", "x"), record.NoCSRFToken)
	g.wantExecuted()
}

func TestOneFetchServesAllThatWait(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOn), func(c *proxy.Config) { c.Metrics = record.NewMetrics(reg) })
	g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF, s.FlowDelay = true, 50*time.Millisecond })
	c := g.issue("orders").h2()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if a := c.post("/http/flow/1", "x"); a.status != 200 {
				t.Errorf("got %+v", a)
			}
		})
	}
	wg.Wait()
	if n := len(g.fetches()); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	if n := len(g.sim.Executed()); n != 100 {
		t.Errorf("%d changes were executed, want 100", n)
	}
	if got := metric(t, reg, "tenantgate_csrf_fetches_total", "cpi", "ok"); got != 1 {
		t.Errorf("the metric says %v, want 1", got)
	}
}

// metric is the value of a counter with the labels tenant and result.
func metric(t *testing.T, reg *prometheus.Registry, name, tenant, result string) float64 {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if f.GetName() == name && labels["tenant"] == tenant && labels["result"] == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestAFetchThatBringsNoTokenIsNotFollowedByTheChange(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		cause   string
		result  string
		fetches int
	}{
		{"no token", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hello")) }, "answered 200 without one", "missing", 1},
		{"required", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-CSRF-Token", "Required") }, "answered 200 without one", "missing", 1},
		{"forbidden", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, "answered 403 without one", "refused", 1},
		{"unauthorized", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, "answered 401 without one", "refused", 2},
		{"not found", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, "answered 404 without one", "missing", 1},
		{"a token without end", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-CSRF-Token", strings.Repeat("x", 2000))
		}, "answered 200 without one", "missing", 1},
		{"no answer of HTTP/1.1", octets(""), "closed the connection", "broken", 1},
		{"no HTTP/1.1", octets("hello\r\n\r\n"), "status line", "broken", 1},
		{"silence", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "did not answer in time", "broken", 1},
	} {
		if tenantsSpeak == identity.ProtocolHTTP2 && strings.HasSuffix(tt.name, "HTTP/1.1") {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Metrics = record.NewMetrics(reg) })
			g.addRoute(identity.Route{Name: "guarded", Path: "/http/guarded/*", Tenant: "acme", Role: "orders.send", CSRF: identity.CSRFOn,
				ResponseTimeout: identity.Duration(300 * time.Millisecond)})
			var posts atomic.Int32
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "GET" {
					posts.Add(1)
				}
				tt.handler(w, r)
			})
			r := g.wantOutcome(g.issue("orders").post("/http/guarded/1", "x"), record.NoCSRFToken)
			if cause := fmt.Sprint(r["cause"]); !strings.Contains(cause, "CSRF") || !strings.Contains(cause, tt.cause) {
				t.Errorf("the cause is %q, want %q in it", cause, tt.cause)
			}
			if n := len(g.tenant.requests()); n != tt.fetches || posts.Load() != 0 {
				t.Errorf("%d requests reached the tenant, %d of them changes; want %d and none", n, posts.Load(), tt.fetches)
			}
			if got := metric(t, reg, "tenantgate_csrf_fetches_total", "acme", tt.result); got != float64(tt.fetches) {
				t.Errorf("the metric says %v %s", got, tt.result)
			}
		})
	}
}

func TestAFetchIsMadeAgainOnANewConnection(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.addRoute(identity.Route{Name: "guarded", Path: "/http/guarded/*", Tenant: "acme", Role: "orders.send", CSRF: identity.CSRFOn})
	c := g.issue("orders")
	if a := c.get("/http/guarded/1"); a.status != 200 { // leaves a connection behind
		t.Fatalf("got %+v", a)
	}
	var fetches atomic.Int32
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			if fetches.Add(1) == 1 {
				octets("")(w, r)
				return
			}
			w.Header().Set("X-CSRF-Token", "0a1b")
		}
	})
	if a := c.post("/http/guarded/1", "x"); a.status != 200 || fetches.Load() != 2 || g.tenant.last(t).Header.Get("X-CSRF-Token") != "0a1b" {
		t.Errorf("got %+v after %d fetches", a, fetches.Load())
	}
}

// Below one route there may be several applications, each with sessions of its own.
func TestAPathThatTheSessionDoesNotCoverGetsAnother(t *testing.T) {
	g := newGate(t, proxy.Limits{ReplayBytes: 1 << 10})
	g.addRoute(identity.Route{Name: "guarded", Path: "/http/guarded/*", Tenant: "acme", Role: "orders.send", CSRF: identity.CSRFOn})
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		app := strings.Split(r.URL.Path, "/")[3]
		if r.Method == "GET" {
			http.SetCookie(w, &http.Cookie{Name: "SESSION", Value: "of-" + app, Path: "/http/guarded/" + app})
			w.Header().Set("X-CSRF-Token", "token-of-"+app)
		} else if r.Header.Get("X-CSRF-Token") != "token-of-"+app || r.Header.Get("Cookie") != "SESSION=of-"+app {
			w.Header().Set("X-CSRF-Token", "required")
			w.WriteHeader(403)
		}
	})
	c := g.issue("orders")
	for i, path := range []string{"/http/guarded/a/1", "/http/guarded/b/1", "/http/guarded/b/2", "/http/guarded/a/1"} {
		if a := c.stream(path, strings.Repeat("x", 1<<20)); a.status != 200 {
			t.Errorf("change %d: %+v", i, a)
		}
	}
	if n := len(g.tenant.requests()); n != 4+3 {
		t.Errorf("%d requests reached the tenant, want 4 changes and 3 fetches", n)
	}
}

func TestATenantThatCannotBeReachedForAFetchIsOnRecord(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Metrics = record.NewMetrics(reg) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.Close()
	ctx := t.Context()
	g.change(func(tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, identity.Tenant{Name: "gone", BaseURL: "https://" + l.Addr().String(),
			TokenURL: g.tenant.URL + "/oauth/token", AuthStyle: "body", CABundle: g.tenant.caPEM, Protocol: tenantsSpeak})
		_, e2 := tx.AddCredential(ctx, identity.Credential{Identity: "orders", Tenant: "gone", ClientID: "sb-orders",
			Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-orders")})
		_, e3 := tx.AddRoute(ctx, identity.Route{Name: "gone", Path: "/gone/*", Tenant: "gone", Role: "orders.send", CSRF: identity.CSRFOn})
		return errors.Join(e1, e2, e3)
	})
	c := g.issue("orders")
	for range identity.DefaultBreakerFailures {
		r := g.wantOutcome(c.post("/gone/1", "x"), record.Unreachable)
		if cause := fmt.Sprint(r["cause"]); !strings.Contains(cause, "CSRF") || !strings.Contains(cause, "refused") {
			t.Errorf("the cause is %q", cause)
		}
	}
	g.wantOutcome(c.post("/gone/1", "x"), record.TenantUnavailable)
	if got := metric(t, reg, "tenantgate_csrf_fetches_total", "gone", "unreachable"); got != identity.DefaultBreakerFailures {
		t.Errorf("the metric says %v", got)
	}
}

func TestAFetchIsMadeAgainWithANewToken(t *testing.T) {
	g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOn))
	g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
	c := g.issue("orders")
	g.wantServed(c.get("/http/flow/1"), 200)
	must(t, g.sim.RevokeTokens())
	r := g.wantServed(c.post("/http/flow/1", "x"), 200)
	if r["retried"] != true {
		t.Errorf("record = %v", r)
	}
	g.wantExecuted("sb-orders", "sb-orders")
	if n := len(g.sim.TokenRequests()); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
}

func TestTheTokenOfTheAPIComesFromItsRoot(t *testing.T) {
	for _, tt := range []struct{ path, want string }{{"", "/api/v1/"}, {"/api/v1/Elsewhere", "/api/v1/Elsewhere"}} {
		g := newSimGate(t, proxy.Limits{}, func(r *identity.Route) { r.CSRF, r.CSRFPath = identity.CSRFOn, tt.path })
		g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
		g.wantServed(g.issue("orders").post("/api/v1/IntegrationPackages('x')?$format=json", "x"), 200)
		f := g.fetches()
		if len(f) != 1 || f[0].Target != tt.want {
			t.Errorf("fetched at %+v, want %s", f, tt.want)
		}
		all := g.sim.Requests()
		if last := all[len(all)-1]; last.Target != "/api/v1/IntegrationPackages('x')?$format=json" || !last.Session {
			t.Errorf("the change: %+v", last)
		}
	}
}

// A caller that does the exchange itself cannot be changed: what it fetched is of no use without the session, and ours takes its place.
func TestACallerMayDoTheCSRFExchangeItself(t *testing.T) {
	for _, mode := range []string{identity.CSRFOn, identity.CSRFAuto} {
		g := newSimGate(t, proxy.Limits{}, csrf(mode))
		g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF = true })
		c := g.issue("orders")
		a := c.get("/http/flow/1", "X-CSRF-Token", "Fetch")
		g.wantServed(a, 200)
		own := a.header.Get("X-CSRF-Token")
		if own == "" || len(g.sim.Executed()) != 0 {
			t.Fatalf("the caller's own fetch: %+v", a)
		}
		g.wantServed(c.post("/http/flow/1", "x", "X-CSRF-Token", own, "X_CSRF_Token", own), 200)
		g.wantExecuted("sb-orders")
		for _, r := range g.sim.Requests()[1:] {
			for name, values := range r.Header {
				if strings.Contains(strings.Join(values, ","), own) {
					t.Errorf("%s: the caller's token reached the tenant as %s", mode, name)
				}
			}
		}
	}
}

// Others say 500 for want of a token. So may the flow: it is not asked twice, and an old session is not kept for the next.
func TestA500IsNeverTakenForACSRFRefusal(t *testing.T) {
	var later atomic.Int64
	g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOn), func(c *proxy.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF, s.CSRFStatus = true, 500 })
	c := g.issue("orders")
	g.wantServed(c.post("/http/flow/1", "x"), 200)
	g.sim.ForgetSessions()
	later.Store(int64(time.Hour))
	before := len(g.sim.Requests())
	if r := g.wantServed(c.post("/http/flow/1", "x"), 500); r["csrf_retried"] != nil {
		t.Errorf("record = %v", r)
	}
	if n := len(g.sim.Requests()) - before; n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	g.wantServed(c.post("/http/flow/1", "x"), 200)
	if n := len(g.fetches()); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

func TestNeitherCSRFTokenNorCookieIsShownOrRecorded(t *testing.T) {
	g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOn))
	var shown []string
	g.sim.SetFlow("/http/flow/mirror", tenantsim.Flow{CSRF: true, Handler: func(w http.ResponseWriter, r *http.Request) {
		shown = append(shown, r.Header.Get("X-CSRF-Token"), strings.TrimPrefix(strings.Split(r.Header.Get("Cookie"), ";")[0], "JSESSIONID="))
		w.Header().Set("X-CSRF-Token", r.Header.Get("X-CSRF-Token"))
		w.Header().Set("Set-Cookie", r.Header.Get("Cookie"))
		w.Header().Set("Trailer", "X-Mirror")
		w.Write([]byte("x"))
		w.Header().Set("X-Mirror", r.Header.Get("X-CSRF-Token"))
	}})
	a := g.issue("orders").post("/http/flow/mirror", "x")
	g.wantServed(a, 200)
	log, err := os.ReadFile(g.logPath)
	must(t, err)
	if len(shown) != 2 || len(shown[0]) < 8 || len(shown[1]) < 8 {
		t.Fatalf("the tenant saw %q", shown)
	}
	for _, secret := range shown {
		if strings.Contains(fmt.Sprint(a.header), secret) || strings.Contains(string(log), secret) {
			t.Errorf("%s is in the answer %v or in the log", secret, a.header)
		}
	}
}

// Law 3: disabling ends the wait for a fetch, and the fetch.
func TestDisablingEndsAFetch(t *testing.T) {
	g := newSimGate(t, proxy.Limits{}, csrf(identity.CSRFOn))
	g.sim.Switch(func(s *tenantsim.Switches) { s.CSRF, s.FlowDelay = true, time.Minute })
	c := g.issue("orders")
	done := make(chan answer, 1)
	go func() { done <- c.post("/http/flow/1", "x") }()
	eventually(t, "the fetch", func() bool { return len(g.fetches()) == 1 })
	begin := time.Now()
	g.change(func(tx *identity.Tx) error { _, err := tx.DisableIdentity(t.Context(), "orders"); return err })
	select {
	case <-done:
		if d := time.Since(begin); d > time.Second {
			t.Errorf("cut after %v", d)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the caller still waits")
	}
	g.recordWhere("revoked_in_flight", func(r map[string]any) bool { return r["outcome"] == "revoked_in_flight" })
}
