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
