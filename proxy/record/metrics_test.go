package record_test

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// gauge is the value of a metric without labels.
func gauge(t testing.TB, g prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestObserveCountsByOutcomeRouteAndTenant(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := record.NewMetrics(reg)
	a := sample()
	a.Retried, a.TokenDuration = true, 30*time.Millisecond
	m.Observe(a)
	m.Observe(a)
	a.Outcome, a.Route, a.Tenant, a.TenantStatus = record.NoRoute, "", "", 0
	m.Observe(a)
	want := `
# HELP tenantgate_requests_total Requests by outcome, route and tenant. Route and tenant are empty when none was found.
# TYPE tenantgate_requests_total counter
tenantgate_requests_total{outcome="no_route",route="",tenant=""} 1
tenantgate_requests_total{outcome="served",route="orders",tenant="acme-prod"} 2
# HELP tenantgate_request_body_bytes_total Body bytes by direction: in is from the caller, out is to the caller.
# TYPE tenantgate_request_body_bytes_total counter
tenantgate_request_body_bytes_total{direction="in",route=""} 16384
tenantgate_request_body_bytes_total{direction="in",route="orders"} 32768
tenantgate_request_body_bytes_total{direction="out",route=""} 312
tenantgate_request_body_bytes_total{direction="out",route="orders"} 624
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "tenantgate_requests_total", "tenantgate_request_body_bytes_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func TestObserveIsBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := record.NewMetrics(reg)
	for i := range 10500 {
		m.Observe(&record.Access{Outcome: record.Denied, Tenant: "acme", Route: fmt.Sprint("route-", i)})
	}
	if n := testutil.CollectAndCount(gatherer{reg}, "tenantgate_requests_total"); n > 10001 {
		t.Errorf("%d series, want at most 10001", n)
	}
}

// gatherer makes a registry a collector, for counting.
type gatherer struct{ *prometheus.Registry }

func TestObserveTakesNoMemory(t *testing.T) {
	m := record.NewMetrics(prometheus.NewRegistry())
	a := sample()
	m.Observe(a)
	if n := testing.AllocsPerRun(1000, func() { m.Observe(a) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestWatchersAreBoundedByTenantAndKind(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := record.NewMetrics(reg)
	now := time.Now()
	m.WatchTokens(func() []record.TokenState {
		return []record.TokenState{
			{Tenant: "acme", Fetched: now.Add(-time.Hour), Expires: now.Add(time.Hour)},
			{Tenant: "acme", Fetched: now.Add(-time.Minute), Expires: now.Add(2 * time.Hour)},
			{Tenant: "acme", Failing: true},
		}
	})
	m.WatchCertificates(func() iter.Seq[record.Expiry] {
		return slices.Values([]record.Expiry{
			{"client", now.Add(-time.Hour)}, {"client", now.Add(6 * 24 * time.Hour)}, {"client", now.Add(300 * 24 * time.Hour)},
		})
	})
	m.WatchIdentities(func() (int, int) { return 3, 1 })
	want := `
# HELP tenantgate_certificates Certificates that are not revoked, by kind and by the days they have left: at most that many, and more than the class before.
# TYPE tenantgate_certificates gauge
tenantgate_certificates{days="1",kind="client"} 0
tenantgate_certificates{days="14",kind="client"} 0
tenantgate_certificates{days="30",kind="client"} 0
tenantgate_certificates{days="7",kind="client"} 1
tenantgate_certificates{days="90",kind="client"} 0
tenantgate_certificates{days="expired",kind="client"} 1
tenantgate_certificates{days="more",kind="client"} 1
# HELP tenantgate_identities Identities by state.
# TYPE tenantgate_identities gauge
tenantgate_identities{state="disabled"} 1
tenantgate_identities{state="enabled"} 3
# HELP tenantgate_tokens Cached tokens by tenant.
# TYPE tenantgate_tokens gauge
tenantgate_tokens{tenant="acme"} 2
# HELP tenantgate_tokens_failing Credentials whose last attempt to fetch a token failed.
# TYPE tenantgate_tokens_failing gauge
tenantgate_tokens_failing{tenant="acme"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "tenantgate_certificates", "tenantgate_identities", "tenantgate_tokens",
		"tenantgate_tokens_failing"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func TestNoMetricsIsNoFault(t *testing.T) {
	var m *record.Metrics
	m.Observe(sample())
	m.Handshake(record.HandshakeDone)
	m.ConnectionOpened()
	m.ConnectionClosed()
	m.TokenFetch("acme", "ok", time.Second)
	m.WatchTokens(nil)
	m.WatchCertificates(nil)
	m.WatchIdentities(nil)
}

func BenchmarkObserve(b *testing.B) {
	m := record.NewMetrics(prometheus.NewRegistry())
	a := sample()
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(a)
	}
}
