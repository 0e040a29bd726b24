package record

import (
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// CredentialEnd is what the metrics need to know of one outbound credential.
type CredentialEnd struct {
	Tenant         string
	NotAfter       time.Time // zero when no end is known
	NeedsSuccessor bool      // its end is near or over, and there is no other one
}

// WatchCredentials shows, by tenant, when credentials end and for how many identities the newer of two does not work. ends and fallbacks are called at each
// scrape.
func (m *Metrics) WatchCredentials(ends func() iter.Seq[CredentialEnd], fallbacks func() map[string]int) {
	if m == nil {
		return
	}
	next := desc("credential_expiry_timestamp_seconds_min", "When the next credential for the tenant expires that has not yet.", "tenant")
	expiring := desc("credentials_expiring", "Credentials for the tenant that have expired or soon will, and that have no successor.", "tenant")
	fallback := desc("credentials_fallback", "Identities whose newer credential for the tenant does not work, so that the older one is used.", "tenant")
	m.reg.MustRegister(newCollector([]*prometheus.Desc{next, expiring, fallback}, func(emit emitter) {
		now := time.Now()
		count, first := map[string]int{}, map[string]time.Time{}
		for e := range ends() {
			n := count[e.Tenant]
			if e.NeedsSuccessor {
				n++
			}
			count[e.Tenant] = n
			if e.NotAfter.After(now) && (first[e.Tenant].IsZero() || e.NotAfter.Before(first[e.Tenant])) {
				first[e.Tenant] = e.NotAfter
			}
		}
		back := fallbacks()
		for tenant, n := range count {
			emit(expiring, prometheus.GaugeValue, float64(n), tenant)
			emit(fallback, prometheus.GaugeValue, float64(back[tenant]), tenant)
		}
		for tenant, t := range first {
			emit(next, prometheus.GaugeValue, float64(t.Unix()), tenant)
		}
	}))
}
