package record

import (
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TokenState is what the metrics need to know of one cached token.
type TokenState struct {
	Tenant  string
	Fetched time.Time // zero when there is none
	Expires time.Time
	Failing bool // the last attempt to fetch one failed
}

// TenantState is what the metrics need to know of one tenant.
type TenantState struct {
	Tenant      string
	BreakerOpen bool // it is left alone, but for a request that tries it now and then
	InFlight    int  // requests
}

// TokenServerState is what the metrics need to know of one token server.
type TokenServerState struct {
	Server   string // host and port, as configured
	Failing  bool   // its last answer, or that there was none, is its own fault
	Paused   bool   // it asked to be left alone
	InFlight int    // requests
	Waiting  int    // requests that wait for their turn
	Affected int    // credentials whose last request failed
	Without  int    // of these, those without a valid token
}

// TokenStoreState is what the metrics need to know of stored tokens.
type TokenStoreState struct {
	Failing       bool   // the last statement failed
	Pending       int    // changes that are not written yet
	Written       uint64 // changes
	Failures      uint64 // statements or transactions
	Restored      uint64 // tokens of before the restart that were put to use
	TakenOver     uint64 // tokens of other nodes
	WarmUpPending int    // credentials and scopes that were in use before the restart and are not warm yet
}

// Expiry is what the metrics need to know of one certificate.
type Expiry struct {
	Kind     string // "client", "server", "ca": a word of a fixed set
	NotAfter time.Time
}

// WatchTokens shows tokens, summed up by tenant, because one series a credential would be as many as there are identities. states is
// called at each scrape.
func (m *Metrics) WatchTokens(states func() []TokenState) {
	if m != nil {
		m.reg.MustRegister(newCollector(tokenMetrics(states)))
	}
}

// WatchTokenServers shows how token servers stand. states is called at each scrape.
func (m *Metrics) WatchTokenServers(states func() []TokenServerState) {
	if m == nil {
		return
	}
	failing := desc("token_server_failing", "1 while requests for tokens fail for the server's own fault.", "server")
	paused := desc("token_server_paused", "1 while the server has asked to be left alone (429).", "server")
	inFlight := desc("token_server_requests_in_flight", "Requests for tokens that are under way.", "server")
	waiting := desc("token_server_requests_waiting", "Requests for tokens that wait for their turn.", "server")
	affected := desc("token_server_credentials_affected", "Credentials whose last request for a token failed.", "server")
	without := desc("token_server_credentials_without_token", "Credentials whose last request for a token failed and whose token has ended.", "server")
	m.reg.MustRegister(newCollector([]*prometheus.Desc{failing, paused, inFlight, waiting, affected, without}, func(emit emitter) {
		for _, s := range states() {
			emit(failing, prometheus.GaugeValue, truth(s.Failing), s.Server)
			emit(paused, prometheus.GaugeValue, truth(s.Paused), s.Server)
			emit(inFlight, prometheus.GaugeValue, float64(s.InFlight), s.Server)
			emit(waiting, prometheus.GaugeValue, float64(s.Waiting), s.Server)
			emit(affected, prometheus.GaugeValue, float64(s.Affected), s.Server)
			emit(without, prometheus.GaugeValue, float64(s.Without), s.Server)
		}
	}))
}

// WatchTokenStore shows what becomes of stored tokens. state is called at each scrape.
func (m *Metrics) WatchTokenStore(state func() TokenStoreState) {
	if m == nil {
		return
	}
	failing := desc("token_store_failing", "1 while tokens cannot be stored: they are served, and a restart would fetch them anew.")
	pending := desc("token_store_pending", "Changes of tokens that are not stored yet.")
	written := desc("token_store_written_total", "Changes of tokens that were stored.")
	failures := desc("token_store_failures_total", "Attempts to store tokens, or to look for another node's, that failed.")
	restored := desc("tokens_restored_total", "Tokens of before the restart that were put to use.")
	takenOver := desc("tokens_taken_over_total", "Tokens that another node had fetched.")
	warmUp := desc("token_warm_up_pending", "Credentials and scopes that were in use before the restart and are not warm yet.")
	m.reg.MustRegister(newCollector([]*prometheus.Desc{failing, pending, written, failures, restored, takenOver, warmUp}, func(emit emitter) {
		s := state()
		emit(failing, prometheus.GaugeValue, truth(s.Failing))
		emit(pending, prometheus.GaugeValue, float64(s.Pending))
		emit(written, prometheus.CounterValue, float64(s.Written))
		emit(failures, prometheus.CounterValue, float64(s.Failures))
		emit(restored, prometheus.CounterValue, float64(s.Restored))
		emit(takenOver, prometheus.CounterValue, float64(s.TakenOver))
		emit(warmUp, prometheus.GaugeValue, float64(s.WarmUpPending))
	}))
}

// WatchCertificates shows how many certificates have how many days left. all is called at each scrape and yields valid and expired
// certificates, not revoked ones.
func (m *Metrics) WatchCertificates(all func() iter.Seq[Expiry]) {
	if m != nil {
		m.reg.MustRegister(newCollector(certificateMetrics(all)))
	}
}

// WatchIdentities shows how many identities there are. count is called at each scrape.
func (m *Metrics) WatchIdentities(count func() (enabled, disabled int)) {
	if m == nil {
		return
	}
	total := desc("identities", "Identities by state.", "state")
	m.reg.MustRegister(newCollector([]*prometheus.Desc{total}, func(emit emitter) {
		enabled, disabled := count()
		emit(total, prometheus.GaugeValue, float64(enabled), "enabled")
		emit(total, prometheus.GaugeValue, float64(disabled), "disabled")
	}))
}

// WatchTenants shows how tenants stand. states is called at each scrape.
func (m *Metrics) WatchTenants(states func() []TenantState) {
	if m == nil {
		return
	}
	open := desc("tenant_breaker_open", "1 while the tenant is left alone because connections to it fail.", "tenant")
	inFlight := desc("tenant_requests_in_flight", "Requests in flight by tenant.", "tenant")
	m.reg.MustRegister(newCollector([]*prometheus.Desc{open, inFlight}, func(emit emitter) {
		for _, s := range states() {
			emit(open, prometheus.GaugeValue, truth(s.BreakerOpen), s.Tenant)
			emit(inFlight, prometheus.GaugeValue, float64(s.InFlight), s.Tenant)
		}
	}))
}

// watchLog shows the access log's state.
func (m *Metrics) watchLog(l *Log) {
	if m == nil {
		return
	}
	pending := desc("record_buffer_bytes", "Bytes of access records that wait for the disk.")
	limit := desc("record_buffer_limit_bytes", "How many may wait; from half of it on requests are refused.")
	written := desc("record_written_total", "Access records written.")
	failures := desc("record_failures_total", "Attempts to write access records that failed.")
	lost := desc("record_lost_total", "Access records lost for want of room.")
	ready := desc("record_ready", "1 when requests can be recorded, 0 when they are refused.")
	m.reg.MustRegister(newCollector([]*prometheus.Desc{pending, limit, written, failures, lost, ready}, func(emit emitter) {
		s := l.State()
		emit(pending, prometheus.GaugeValue, float64(s.PendingBytes))
		emit(limit, prometheus.GaugeValue, float64(s.BufferBytes))
		emit(written, prometheus.CounterValue, float64(s.Written))
		emit(failures, prometheus.CounterValue, float64(s.Failures))
		emit(lost, prometheus.CounterValue, float64(s.Lost))
		emit(ready, prometheus.GaugeValue, truth(l.Ready() == nil))
	}))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func tokenMetrics(states func() []TokenState) ([]*prometheus.Desc, func(emitter)) {
	count := desc("tokens", "Cached tokens by tenant.", "tenant")
	failing := desc("tokens_failing", "Credentials whose last attempt to fetch a token failed.", "tenant")
	age := desc("token_age_seconds_max", "Age of the oldest cached token.", "tenant")
	left := desc("token_expiry_seconds_min", "Time until the first cached token expires; negative when it has.", "tenant")
	return []*prometheus.Desc{count, failing, age, left}, func(emit emitter) {
		type sums struct {
			count, failing int
			age            time.Duration
			left           time.Duration
		}
		now := time.Now()
		byTenant := make(map[string]*sums)
		for _, s := range states() {
			t := byTenant[s.Tenant]
			if t == nil {
				t = &sums{left: 1<<63 - 1}
				byTenant[s.Tenant] = t
			}
			if s.Failing {
				t.failing++
			}
			if !s.Fetched.IsZero() {
				t.count++
				t.age = max(t.age, now.Sub(s.Fetched))
				t.left = min(t.left, s.Expires.Sub(now))
			}
		}
		for tenant, t := range byTenant {
			emit(count, prometheus.GaugeValue, float64(t.count), tenant)
			emit(failing, prometheus.GaugeValue, float64(t.failing), tenant)
			if t.count > 0 {
				emit(age, prometheus.GaugeValue, t.age.Seconds(), tenant)
				emit(left, prometheus.GaugeValue, t.left.Seconds(), tenant)
			}
		}
	}
}

// dayClasses are the classes of days left. An alert on "7" or less wakes a team before the weekend; 90 is the default lifetime.
var dayClasses = []struct {
	days int
	name string
}{{0, "expired"}, {1, "1"}, {7, "7"}, {14, "14"}, {30, "30"}, {90, "90"}}

const laterClass = "more"

func certificateMetrics(all func() iter.Seq[Expiry]) ([]*prometheus.Desc, func(emitter)) {
	count := desc("certificates", "Certificates that are not revoked, by kind and by the days they have left: at most that many, and more than the class before.",
		"kind", "days")
	next := desc("certificate_expiry_timestamp_seconds_min", "When the next certificate of the kind expires that has not yet.", "kind")
	return []*prometheus.Desc{count, next}, func(emit emitter) {
		now := time.Now()
		counts := make(map[string]*[7]int)
		first := make(map[string]time.Time)
		for e := range all() {
			c := counts[e.Kind]
			if c == nil {
				c = new([7]int)
				counts[e.Kind] = c
			}
			c[dayClass(e.NotAfter.Sub(now))]++
			if e.NotAfter.After(now) && (first[e.Kind].IsZero() || e.NotAfter.Before(first[e.Kind])) {
				first[e.Kind] = e.NotAfter
			}
		}
		for kind, c := range counts {
			for i, n := range c {
				name := laterClass
				if i < len(dayClasses) {
					name = dayClasses[i].name
				}
				emit(count, prometheus.GaugeValue, float64(n), kind, name)
			}
		}
		for kind, t := range first {
			emit(next, prometheus.GaugeValue, float64(t.Unix()), kind)
		}
	}
}

func dayClass(left time.Duration) int {
	for i, c := range dayClasses {
		if left <= time.Duration(c.days)*24*time.Hour {
			return i
		}
	}
	return len(dayClasses)
}
