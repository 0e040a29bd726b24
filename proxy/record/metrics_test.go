package record_test

import (
	"fmt"
	"iter"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// scrape is what Prometheus would read: samples by name and labels.
func scrape(t testing.TB, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(g, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	samples := make(map[string]float64)
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		if err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		samples[line[:i]] = v
	}
	return samples
}

func wantSamples(t testing.TB, g prometheus.Gatherer, want map[string]float64) {
	t.Helper()
	got := scrape(t, g)
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s is %v (there: %v), want %v", name, g, ok, v)
		}
	}
}

func TestObserveCountsByOutcomeRouteAndTenant(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := record.NewMetrics(reg)
	a := sample()
	a.Retried, a.TokenDuration = true, 30*time.Millisecond
	m.Observe(a)
	m.Observe(a)
	a.Outcome, a.Route, a.Tenant, a.TenantStatus, a.Retried, a.TokenDuration = record.NoRoute, "", "", 0, false, 0
	m.Observe(a)
	wantSamples(t, reg, map[string]float64{
		`tenantgate_requests_total{outcome="no_route",route="",tenant=""}`:              1,
		`tenantgate_requests_total{outcome="served",route="orders",tenant="acme-prod"}`: 2,
		`tenantgate_request_body_bytes_total{direction="in",route="orders"}`:            32768,
		`tenantgate_request_body_bytes_total{direction="out",route="orders"}`:           624,
		`tenantgate_request_duration_seconds_count{route="orders"}`:                     2,
		`tenantgate_request_duration_seconds_bucket{route="orders",le="0.025"}`:         0,
		`tenantgate_request_duration_seconds_bucket{route="orders",le="0.05"}`:          2,
		`tenantgate_request_token_seconds_count{tenant="acme-prod"}`:                    2,
		`tenantgate_request_tenant_seconds_sum{tenant="acme-prod"}`:                     0.094,
		`tenantgate_tenant_responses_total{class="2xx",tenant="acme-prod"}`:             2,
		`tenantgate_tenant_retries_total{tenant="acme-prod"}`:                           2,
		`tenantgate_connections_open`:                                                   0,
		`tenantgate_request_body_bytes_total{direction="in",route=""}`:                  16384,
		`tenantgate_request_token_seconds_bucket{tenant="acme-prod",le="0.025"}`:        0,
		`tenantgate_request_token_seconds_bucket{tenant="acme-prod",le="0.05"}`:         2,
		`tenantgate_request_tenant_seconds_bucket{tenant="acme-prod",le="300"}`:         2,
		`tenantgate_request_duration_seconds_bucket{route="orders",le="+Inf"}`:          2,
	})
}

func TestObserveIsBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := record.NewMetrics(reg)
	for i := range 10500 {
		m.Observe(&record.Access{Outcome: record.Denied, Tenant: "acme", Route: fmt.Sprint("route-", i)})
	}
	n := 0
	for name := range scrape(t, reg) {
		if strings.HasPrefix(name, "tenantgate_requests_total{") {
			n++
		}
	}
	if n != 10001 {
		t.Errorf("%d series, want 10000 and one for the others", n)
	}
}

func TestObserveTakesNoMemory(t *testing.T) {
	m := record.NewMetrics(prometheus.NewRegistry())
	a := sample()
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
	next := now.Add(6 * 24 * time.Hour).Truncate(time.Second)
	m.WatchCertificates(func() iter.Seq[record.Expiry] {
		return slices.Values([]record.Expiry{
			{Kind: "client", NotAfter: now.Add(-time.Hour)}, {Kind: "client", NotAfter: next}, {Kind: "client", NotAfter: now.Add(300 * 24 * time.Hour)},
		})
	})
	m.WatchCredentials(func() iter.Seq[record.CredentialEnd] {
		return slices.Values([]record.CredentialEnd{
			{Tenant: "acme", NotAfter: now.Add(-time.Hour), NeedsSuccessor: true}, {Tenant: "acme", NotAfter: next, NeedsSuccessor: true},
			{Tenant: "acme", NotAfter: now.Add(9000 * time.Hour)}, {Tenant: "endless"},
		})
	}, func() map[string]int { return map[string]int{"endless": 2} })
	m.CredentialSwitched("acme", false)
	m.CredentialSwitched("acme", true)
	m.WatchIdentities(func() (int, int) { return 3, 1 })
	m.WatchTenants(func() []record.TenantState {
		return []record.TenantState{{Tenant: "acme", InFlight: 4}, {Tenant: "dead", BreakerOpen: true}}
	})
	wantSamples(t, reg, map[string]float64{
		`tenantgate_certificates{days="expired",kind="client"}`:              1,
		`tenantgate_certificates{days="1",kind="client"}`:                    0,
		`tenantgate_certificates{days="7",kind="client"}`:                    1,
		`tenantgate_certificates{days="90",kind="client"}`:                   0,
		`tenantgate_certificates{days="more",kind="client"}`:                 1,
		`tenantgate_certificate_expiry_timestamp_seconds_min{kind="client"}`: float64(next.Unix()),
		`tenantgate_credential_expiry_timestamp_seconds_min{tenant="acme"}`:  float64(next.Unix()),
		`tenantgate_credentials_expiring{tenant="acme"}`:                     2,
		`tenantgate_credentials_expiring{tenant="endless"}`:                  0,
		`tenantgate_credentials_fallback{tenant="acme"}`:                     0,
		`tenantgate_credentials_fallback{tenant="endless"}`:                  2,
		`tenantgate_credential_switches_total{tenant="acme",to="newer"}`:     1,
		`tenantgate_credential_switches_total{tenant="acme",to="older"}`:     1,
		`tenantgate_identities{state="enabled"}`:                             3,
		`tenantgate_identities{state="disabled"}`:                            1,
		`tenantgate_tenant_breaker_open{tenant="acme"}`:                      0,
		`tenantgate_tenant_breaker_open{tenant="dead"}`:                      1,
		`tenantgate_tenant_requests_in_flight{tenant="acme"}`:                4,
		`tenantgate_tokens{tenant="acme"}`:                                   2,
		`tenantgate_tokens_failing{tenant="acme"}`:                           1,
	})
	got := scrape(t, reg)
	if age := got[`tenantgate_token_age_seconds_max{tenant="acme"}`]; age < 3600 || age > 3700 {
		t.Errorf("oldest token's age %v s, want about 3600", age)
	}
	if left := got[`tenantgate_token_expiry_seconds_min{tenant="acme"}`]; left < 3500 || left > 3600 {
		t.Errorf("first expiry in %v s, want about 3600", left)
	}
}

func TestHandshakesAndConnections(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := record.NewMetrics(reg)
	m.ConnectionOpened()
	m.ConnectionOpened()
	m.ConnectionClosed()
	m.Handshake(record.HandshakeDone)
	m.Handshake(record.HandshakeRefused)
	m.TokenFetch("acme", "status", 20*time.Millisecond)
	wantSamples(t, reg, map[string]float64{
		`tenantgate_connections_open`:                                   1,
		`tenantgate_tls_handshakes_total{result="done"}`:                1,
		`tenantgate_tls_handshakes_total{result="refused"}`:             1,
		`tenantgate_token_fetches_total{result="status",tenant="acme"}`: 1,
		`tenantgate_token_fetch_duration_seconds_count{tenant="acme"}`:  1,
	})
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
	m.WatchCredentials(nil, nil)
	m.CredentialSwitched("", true)
	m.WatchIdentities(nil)
	m.WatchTenants(nil)
}

func BenchmarkObserve(b *testing.B) {
	m := record.NewMetrics(prometheus.NewRegistry())
	a := sample()
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(a)
	}
}

func TestCSRFFetchesAreCountedByResult(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := record.NewMetrics(reg)
	m.CSRFFetch("acme", record.CSRFDone)
	m.CSRFFetch("acme", record.CSRFDone)
	m.CSRFFetch("acme", record.CSRFRefused)
	(*record.Metrics)(nil).CSRFFetch("acme", record.CSRFDone)
	wantSamples(t, reg, map[string]float64{
		`tenantgate_csrf_fetches_total{result="ok",tenant="acme"}`:      2,
		`tenantgate_csrf_fetches_total{result="refused",tenant="acme"}`: 1,
	})
}
