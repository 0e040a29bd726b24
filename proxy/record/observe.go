package record

import (
	"cmp"
	"maps"

	"github.com/prometheus/client_golang/prometheus"
)

// handleKey is all that an access record's labels depend on.
type handleKey struct {
	route, tenant string
	outcome       Outcome
}

// handle holds the series of one key, looked up once.
type handle struct {
	requests       prometheus.Counter
	duration       prometheus.Observer
	tokenWait      prometheus.Observer
	tenantDuration prometheus.Observer
	bytesIn        prometheus.Counter
	bytesOut       prometheus.Counter
	classes        [6]prometheus.Counter // by first digit of the tenant's status; 0 is any other
	retries        prometheus.Counter
}

// Observe counts one access record. In the steady state it takes no lock and no memory; a new combination of outcome, route and tenant
// costs both for a while.
func (m *Metrics) Observe(a *Access) {
	if m == nil {
		return
	}
	h := (*m.handles.Load())[handleKey{a.Route, a.Tenant, a.Outcome}]
	if h == nil {
		h = m.addHandle(handleKey{a.Route, a.Tenant, a.Outcome})
	}
	h.requests.Inc()
	h.duration.Observe(a.Duration.Seconds())
	if a.TokenDuration > 0 {
		h.tokenWait.Observe(a.TokenDuration.Seconds())
	}
	if a.TenantDuration > 0 {
		h.tenantDuration.Observe(a.TenantDuration.Seconds())
	}
	if a.BytesIn > 0 {
		h.bytesIn.Add(float64(a.BytesIn))
	}
	if a.BytesOut > 0 {
		h.bytesOut.Add(float64(a.BytesOut))
	}
	if a.TenantStatus > 0 {
		h.classes[class(a.TenantStatus)].Inc()
	}
	if a.Retried {
		h.retries.Inc()
	}
	if a.Login != "" {
		m.logins.WithLabelValues(a.Stage, a.Outcome.String()).Inc()
	}
}

func class(status int) int {
	if c := status / 100; c >= 1 && c <= 5 {
		return c
	}
	return 0
}

var classNames = [6]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// addHandle finds or makes the handle of a key that is not published yet. New handles gather in fresh and are published with a copy of
// the map when they have become many, so that ten thousand keys cost ten thousand steps and not their square.
func (m *Metrics) addHandle(k handleKey) *handle {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.handles.Load()
	if h := cmp.Or(old[k], m.fresh[k]); h != nil {
		m.publish(old)
		return h
	}
	if len(old)+len(m.fresh) >= maxSeries {
		return m.resolve(handleKey{"other", "other", k.outcome}) // not kept: the map stays bounded
	}
	if m.fresh == nil {
		m.fresh = make(map[handleKey]*handle)
	}
	h := m.resolve(k)
	m.fresh[k] = h
	m.publish(old)
	return h
}

// publish makes the fresh handles readable without a lock, once that is worth a copy: when they were missed as often as there are handles.
func (m *Metrics) publish(old map[handleKey]*handle) {
	if m.misses++; m.misses < len(old) {
		return
	}
	next := make(map[handleKey]*handle, len(old)+len(m.fresh))
	maps.Copy(next, old)
	maps.Copy(next, m.fresh)
	m.handles.Store(&next)
	m.fresh, m.misses = nil, 0
}

func (m *Metrics) resolve(k handleKey) *handle {
	h := &handle{
		requests:       m.requests.WithLabelValues(k.outcome.String(), k.route, k.tenant),
		duration:       m.duration.WithLabelValues(k.route),
		tokenWait:      m.tokenWait.WithLabelValues(k.tenant),
		tenantDuration: m.tenantDuration.WithLabelValues(k.tenant),
		bytesIn:        m.bytes.WithLabelValues("in", k.route),
		bytesOut:       m.bytes.WithLabelValues("out", k.route),
		retries:        m.retries.WithLabelValues(k.tenant),
	}
	for i, name := range classNames {
		h.classes[i] = m.tenantResponses.WithLabelValues(k.tenant, name)
	}
	return h
}
