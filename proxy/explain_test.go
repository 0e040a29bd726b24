package proxy_test

import (
	"crypto/x509"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// outcomeOf is how an answer says that its request ended.
func outcomeOf(t *testing.T, a answer) string {
	t.Helper()
	if a.status == 200 {
		return record.Served.String()
	}
	var doc struct{ Type string }
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatalf("no problem document: %+v", a)
	}
	return strings.TrimPrefix(doc.Type, "urn:tenantgate:problem:")
}

// failedSteps are the steps that say no, in order.
func failedSteps(e proxy.Explanation) (steps []proxy.ExplainedStep) {
	for _, s := range e.Steps {
		if s.State == proxy.StepFail {
			steps = append(steps, s)
		}
	}
	return steps
}

// TestExplainAgreesWithTheRequestPath sends what it has asked about: whatever the registry says, a request ends as it was explained, and the first step
// that fails is why.
func TestExplainAgreesWithTheRequestPath(t *testing.T) {
	var at atomic.Int64
	at.Store(time.Now().Unix())
	later := time.Now().UTC().Hour() + 2
	g := newGate(t, proxy.Limits{}, clockAt(&at))
	c := g.issue("orders")
	r := rand.New(rand.NewPCG(7, 7))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	seen := map[string]int{}
	for n := range 300 {
		g.limit("orders", func(i *identity.Identity) {
			*i = identity.Identity{Name: i.Name, Owner: i.Owner, Roles: []string{"orders.send"}, Disabled: r.IntN(8) == 0}
			for _, set := range []func(){
				func() { i.Roles = nil },
				func() { i.Roles = []string{"orders.send", "stock.read"} },
				func() { i.Networks = []string{pick("10.0.0.0/8", "127.0.0.1", "::/0")} },
				func() { i.CallingWindows = []string{pick("daily 00:00-24:00 UTC", window(later, later+1))} },
				func() { i.MaxBody = 100 },
				func() { i.DailyRequests = int64(1 + r.IntN(200)) },
				func() { i.DailyOctets = int64(1 + r.IntN(100_000)) },
				func() { i.Rate, i.Burst = 0.001, 1+r.IntN(3) },
				func() { i.Concurrency = 1 },
			} {
				if r.IntN(6) == 0 {
					set()
				}
			}
		})
		method, path := pick("GET", "POST", "DELETE", "PUT"), pick("/http/orders/1", "/http/orders/1?a=b", "/http/exact", "/http/stock/1", "/nowhere",
			"/http/orders//1", "/http/orders/%2e%2e/x", "/HTTP/ORDERS/1")
		size := 0
		if method != "GET" {
			size = []int{0, 50, 101, 2000}[r.IntN(4)]
		}
		q := &proxy.Question{Identity: "orders", Method: method, Host: "localhost", Target: path, Source: netip.MustParseAddr("127.0.0.1"),
			BodySize: int64(size)}
		if n%2 == 0 {
			q.Certificate = []*x509.Certificate{c.leaf}
		}
		e := g.server.Explain(q)
		if again := g.server.Explain(q); again.Outcome != e.Outcome {
			t.Fatalf("asking changes the answer from %v to %v", e.Outcome, again.Outcome)
		}
		a := c.do(method, path, strings.NewReader(strings.Repeat("x", size)))
		i, _ := g.registry.Snapshot().Identity("orders")
		if got := outcomeOf(t, a); got != e.Outcome.String() {
			t.Fatalf("%s %s with %d octets by %+v ends with %s and was explained as %v: %s\n%+v", method, path, size, i, got, e.Outcome, e.Cause, e.Steps)
		}
		failed := failedSteps(e)
		if (e.Outcome == record.Served) != (len(failed) == 0) || len(failed) > 0 && failed[0].Outcome != e.Outcome {
			t.Fatalf("%s %s by %+v: %v, but the steps are %+v", method, path, i, e.Outcome, e.Steps)
		}
		seen[e.Outcome.String()]++
	}
	for _, o := range []record.Outcome{record.Served, record.Denied, record.NetworkDenied, record.OutsideWindow, record.BodyTooLarge, record.NoRoute,
		record.MethodNotAllowed, record.Malformed, record.QuotaExhausted, record.Limited} {
		if seen[o.String()] == 0 {
			t.Errorf("never saw %v: %v", o, seen)
		}
	}
}

// TestExplainSaysEachStepAndWhatChangesIt: a step behind one that fails is looked at as well.
func TestExplainSaysEachStepAndWhatChangesIt(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	g.limit("orders", func(i *identity.Identity) {
		i.Disabled, i.Roles, i.Networks, i.CallingWindows = true, nil, []string{"10.0.0.0/8"}, []string{"Mon 00:00-01:00 UTC"}
		i.MaxBody, i.DailyRequests = 10, 5
	})
	q := &proxy.Question{Identity: "orders", Method: "POST", Host: "localhost", Target: "/http/orders/1", Source: netip.MustParseAddr("192.0.2.1"),
		BodySize: 11}
	q.At = c.leaf.NotBefore.Add(time.Hour)
	for q.At.Weekday() == time.Monday {
		q.At = q.At.Add(24 * time.Hour)
	}
	e := g.server.Explain(q)
	var names []string
	for _, s := range failedSteps(e) {
		names = append(names, s.Name)
		if s.Change == "" || s.Reason == "" {
			t.Errorf("step %+v does not say what to do", s)
		}
	}
	if want := []string{"identity", "network", "window", "role", "body"}; !slices.Equal(names, want) {
		t.Errorf("failed %v, want %v", names, want)
	}
	if e.Outcome != record.Denied || e.Cause != "identity is disabled" {
		t.Errorf("got %v: %s", e.Outcome, e.Cause)
	}
	for _, tt := range []struct {
		name string
		set  func(*proxy.Question)
		step string
	}{
		{"nobody", func(q *proxy.Question) { q.Identity = "nobody" }, "identity"},
		{"another's certificate", func(q *proxy.Question) { q.Certificate = []*x509.Certificate{g.issue("stock").leaf} }, "certificate"},
		{"before it is valid", func(q *proxy.Question) { q.At = c.leaf.NotBefore.Add(-time.Hour) }, "certificate"},
		{"without a certificate", func(q *proxy.Question) { q.Certificate = []*x509.Certificate{} }, "certificate"},
		{"odd host", func(q *proxy.Question) { q.Host = "a b" }, "request"},
	} {
		q := *q
		tt.set(&q)
		e := g.server.Explain(&q)
		if !slices.ContainsFunc(failedSteps(e), func(s proxy.ExplainedStep) bool { return s.Name == tt.step }) || e.Outcome == record.Served {
			t.Errorf("%s: %v, %+v", tt.name, e.Outcome, e.Steps)
		}
	}
}

func BenchmarkDecideWithPolicies(b *testing.B) {
	g := newGate(b, proxy.Limits{})
	g.limit("orders", func(i *identity.Identity) {
		i.Networks, i.CallingWindows, i.MaxBody = []string{"10.0.0.0/8", "127.0.0.0/8"}, []string{"Mon-Fri 00:00-24:00 Europe/Berlin",
			"Sat,Sun 00:00-24:00 Europe/Berlin"}, 1<<20
	})
	c := g.issue("orders")
	core := proxy.Core{Registry: g.registry, Trust: g.trust.Load}
	req := proxy.Request{Peer: proxy.NewPeer(c.leaf, "localhost", g.trust.Load()), Source: netip.MustParseAddr("127.0.0.1"), Host: "localhost:8443",
		Method: "POST",
		Target: "/http/orders/4711/items?$top=1&language=EN", Length: 1024}
	var d proxy.Decision
	core.Decide(&req, &d)
	if d.Outcome != record.Served {
		b.Fatalf("outcome %s: %s", d.Outcome, d.Cause)
	}
	b.ReportAllocs()
	for b.Loop() {
		core.Decide(&req, &d)
	}
}

// TestExplainAgreesWithTheBridge is TestExplainAgreesWithTheRequestPath for logins.
func TestExplainAgreesWithTheBridge(t *testing.T) {
	b := newBridge(t)
	b.addLogin()
	b.tenant.mu.Lock()
	b.tenant.valid[right] = "the caller"
	b.tenant.mu.Unlock()
	c := b.stranger()
	allDay := []string{"daily 00:00-04:00 UTC", "daily 04:00-08:00 UTC", "daily 08:00-12:00 UTC", "daily 12:00-16:00 UTC", "daily 16:00-20:00 UTC", "daily 20:00-24:00 UTC"}
	for _, tc := range []struct {
		name     string
		login    func(*identity.Login)
		identity func(*identity.Identity)
		path     string
		step     string // that fails; "" is none
		outcome  record.Outcome
	}{
		{"open", nil, nil, "/http/orders/1", "", record.Served},
		{"warned", func(l *identity.Login) { l.Stage = identity.StageWarned }, nil, "/http/orders/1", "", record.Served},
		{"brownout", func(l *identity.Login) { l.Stage, l.Brownouts = identity.StageBrownout, allDay }, nil, "/http/orders/1", "login", record.LoginBrownout},
		{"closed", func(l *identity.Login) { l.Stage = identity.StageClosed }, nil, "/http/orders/1", "login", record.LoginClosed},
		{"another network", func(l *identity.Login) { l.Networks = []string{"192.0.2.0/24"} }, nil, "/http/orders/1", "login", record.Denied},
		{"another route", func(l *identity.Login) { l.Routes = []string{"exact"} }, nil, "/http/orders/1", "role", record.Denied},
		{"not its role", func(l *identity.Login) { l.Roles = []string{"stock.read"} }, func(i *identity.Identity) { i.Roles = append(i.Roles, "stock.read") }, "/http/orders/1", "role", record.Denied},
		{"no role", nil, nil, "/http/stock/1", "role", record.Denied},
		{"certificates only", nil, func(i *identity.Identity) { i.CertificatesOnly = true }, "/http/orders/1", "login", record.Denied},
		{"disabled", nil, func(i *identity.Identity) { i.Disabled = true }, "/http/orders/1", "identity", record.Denied},
		{"network of the identity", nil, func(i *identity.Identity) { i.Networks = []string{"192.0.2.0/24"} }, "/http/orders/1", "network", record.NetworkDenied},
		{"observed, without the role", func(l *identity.Login) { l.Stage = identity.StageObserve }, nil, "/http/stock/1", "", record.Served},
		{"observed, from another network than the identity's", func(l *identity.Login) { l.Stage = identity.StageObserve }, func(i *identity.Identity) { i.Networks = []string{"192.0.2.0/24"} },
			"/http/orders/1", "", record.Served},
		{"observed, without a route", func(l *identity.Login) { l.Stage = identity.StageObserve }, nil, "/nowhere", "route", record.NoRoute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.change(func(tx *identity.Tx) error { return tx.RemoveLogin(t.Context(), "P2001234567") })
			b.limit("orders", func(i *identity.Identity) {
				*i = identity.Identity{Name: i.Name, Owner: i.Owner, Roles: []string{"orders.send"}}
				if tc.identity != nil && !strings.Contains(tc.name, "disabled") {
					tc.identity(i)
				}
			})
			b.addLogin(func(l *identity.Login) {
				if tc.login != nil {
					tc.login(l)
				}
			})
			if tc.name == "disabled" {
				b.limit("orders", tc.identity)
			}
			e := b.server.Explain(&proxy.Question{Identity: "orders", Login: "P2001234567", Method: "GET", Host: "localhost", Target: tc.path, Source: netip.MustParseAddr("127.0.0.1")})
			a := c.get(tc.path, "Authorization", right)
			if got := outcomeOf(t, a); got != e.Outcome.String() || e.Outcome != tc.outcome {
				t.Errorf("it ends with %s and was explained as %v, want %v: %+v", got, e.Outcome, tc.outcome, e.Steps)
			}
			failed := failedSteps(e)
			if (tc.step == "") != (len(failed) == 0) || tc.step != "" && (failed[0].Name != tc.step || failed[0].Outcome != e.Outcome || failed[0].Reason == "") {
				t.Errorf("failed %+v, want %q", failed, tc.step)
			}
		})
	}
	b.limit("orders", func(i *identity.Identity) {
		*i = identity.Identity{Name: i.Name, Owner: i.Owner, Roles: []string{"orders.send"}}
	})
	if e := b.server.Explain(&proxy.Question{Identity: "stock", Login: "P2001234567", Method: "GET", Host: "localhost", Target: "/http/stock/1"}); e.Outcome == record.Served {
		t.Errorf("of another identity: %+v", e)
	}
}
