package record

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the access records say, and a few things that are no request. Names and units follow Prometheus' conventions:
// seconds, bytes, _total. No label holds what a caller chooses: routes, tenants and outcomes are configured names, and beyond
// maxSeries of their combinations the label is "other".
//
// All methods may be called from any goroutine, and on a nil *Metrics, where they do nothing.
type Metrics struct {
	reg prometheus.Registerer

	requests        *prometheus.CounterVec   // outcome, route, tenant
	duration        *prometheus.HistogramVec // route
	tokenWait       *prometheus.HistogramVec // tenant
	tenantDuration  *prometheus.HistogramVec // tenant
	bytes           *prometheus.CounterVec   // direction, route
	tenantResponses *prometheus.CounterVec   // tenant, class
	retries         *prometheus.CounterVec   // tenant

	tokenFetches  *prometheus.CounterVec   // tenant, result
	tokenDuration *prometheus.HistogramVec // tenant
	csrfFetches   *prometheus.CounterVec   // tenant, result
	handshakes    *prometheus.CounterVec   // result
	connections   prometheus.Gauge
	cut           *prometheus.CounterVec // outcome
	switches      *prometheus.CounterVec // tenant, to
	enrolments    *prometheus.CounterVec // act, result
	passwords     *prometheus.CounterVec // result
	logins        *prometheus.CounterVec // stage, outcome

	handles atomic.Pointer[map[handleKey]*handle] // copied on write, so that Observe reads it without a lock

	mu     sync.Mutex // guards the writing of handles and the two below
	fresh  map[handleKey]*handle
	misses int
}

// maxSeries bounds the combinations of outcome, route and tenant.
const maxSeries = 10000

// Buckets. A request through the gateway takes about a millisecond on top of what the tenant takes, and an integration flow takes from ten
// milliseconds to minutes: 1-2.5-5 steps from 1 ms to 10 s resolve both ends of what an operator alerts on, and 30, 60 and 300 s are
// the usual time limits (SAP's load balancer, our default, the longest sensible route). Sixteen series a route is what that costs.
var durationBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// A token comes from a token server in tens of milliseconds, and the engine gives up after some ten seconds.
var tokenBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// NewMetrics makes the metrics and registers them. It panics when reg already has them: one registry serves one process.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		reg: reg,
		requests: counter("requests_total", "Requests by outcome, route and tenant. Route and tenant are empty when none was found.",
			"outcome", "route", "tenant"),
		duration:        histogram("request_duration_seconds", "From the first byte of a request to the last of its answer.", durationBuckets, "route"),
		tokenWait:       histogram("request_token_seconds", "How long requests waited for a token; those that found one are not in it.", tokenBuckets, "tenant"),
		tenantDuration:  histogram("request_tenant_seconds", "From asking for a connection to the tenant to the end of its answer.", durationBuckets, "tenant"),
		bytes:           counter("request_body_bytes_total", "Body bytes by direction: in is from the caller, out is to the caller.", "direction", "route"),
		tenantResponses: counter("tenant_responses_total", "Answers of the tenant by class of status.", "tenant", "class"),
		retries:         counter("tenant_retries_total", "Requests sent to the tenant a second time after a 401.", "tenant"),
		tokenFetches:    counter("token_fetches_total", "Attempts to fetch a token by result: ok or the step that failed.", "tenant", "result"),
		tokenDuration:   histogram("token_fetch_duration_seconds", "How long the token server took.", tokenBuckets, "tenant"),
		csrfFetches:     counter("csrf_fetches_total", "Attempts to fetch a CSRF token from a tenant by result.", "tenant", "result"),
		handshakes:      counter("tls_handshakes_total", "TLS handshakes of callers by result.", "result"),
		connections:     prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "connections_open", Help: "Open connections of callers."}),
		cut:             counter("connections_cut_total", "Connections that were ended because of what the caller sent on them, by outcome.", "outcome"),
		switches:        counter("credential_switches_total", "Changes from one credential of an identity to its other one: to the newer, or back to the older.", "tenant", "to"),
	}
	m.enrolments = enrolments()
	m.passwords = counter("login_passwords_total", "Passwords of logins that were not known, by what became of them: right, wrong, throttled or busy.", "result")
	m.logins = counter("login_requests_total", "Requests with a login that exists, by stage of the login and outcome.", "stage", "outcome")
	empty := make(map[handleKey]*handle)
	m.handles.Store(&empty)
	reg.MustRegister(m.requests, m.duration, m.tokenWait, m.tenantDuration, m.bytes, m.tenantResponses, m.retries,
		m.tokenFetches, m.tokenDuration, m.csrfFetches, m.handshakes, m.connections, m.cut, m.switches, m.enrolments, m.passwords, m.logins, buildInfo())
	return m
}

const namespace = "tenantgate"

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

func buildInfo() prometheus.Collector {
	version, revision, goVersion := "unknown", "unknown", "unknown"
	if bi, ok := debug.ReadBuildInfo(); ok {
		version, goVersion = bi.Main.Version, bi.GoVersion
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace:   namespace,
		Name:        "build_info",
		Help:        "Always 1; its labels say what is running.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": goVersion},
	}, func() float64 { return 1 })
}

// Handshake results: the values of the label of tenantgate_tls_handshakes_total.
const (
	HandshakeDone    = "done"    // finished, with an accepted certificate
	HandshakeRefused = "refused" // no certificate, or one that is not accepted
	HandshakeFailed  = "failed"  // anything else: no common version, too slow, a hang-up, no TLS at all
	HandshakeShed    = "shed"    // closed before it cost anything: too many connections or handshakes, or no memory
)

// Handshake counts one handshake; result is one of the constants above.
func (m *Metrics) Handshake(result string) {
	if m != nil {
		m.handshakes.WithLabelValues(result).Inc()
	}
}

// ConnectionOpened counts a caller's connection in.
func (m *Metrics) ConnectionOpened() {
	if m != nil {
		m.connections.Inc()
	}
}

// ConnectionClosed counts a caller's connection out.
func (m *Metrics) ConnectionClosed() {
	if m != nil {
		m.connections.Dec()
	}
}

// ConnectionCut counts a connection that was ended because of what the caller sent on it, and not because of one request.
func (m *Metrics) ConnectionCut(o Outcome) {
	if m != nil {
		m.cut.WithLabelValues(o.String()).Inc()
	}
}

// LoginVerified counts a password that was not known; result is one of a fixed set of words.
func (m *Metrics) LoginVerified(result string) {
	if m != nil {
		m.passwords.WithLabelValues(result).Inc()
	}
}

// TokenFetch counts one attempt to fetch a token. result is "ok" or the step that failed: a word of a fixed set, never a message.
func (m *Metrics) TokenFetch(tenant, result string, d time.Duration) {
	if m == nil {
		return
	}
	m.tokenFetches.WithLabelValues(tenant, result).Inc()
	m.tokenDuration.WithLabelValues(tenant).Observe(d.Seconds())
}

// CredentialSwitched counts a change between the two credentials of an identity for a tenant.
func (m *Metrics) CredentialSwitched(tenant string, fallback bool) {
	if m == nil {
		return
	}
	to := "newer"
	if fallback {
		to = "older"
	}
	m.switches.WithLabelValues(tenant, to).Inc()
}

// Results of fetching a CSRF token: the values of the label of tenantgate_csrf_fetches_total.
const (
	CSRFDone    = "ok"
	CSRFNoLink  = "unreachable" // no connection to the tenant
	CSRFBroken  = "broken"      // no answer, none in time, or one that is not HTTP
	CSRFRefused = "refused"     // 401 or 403
	CSRFMissing = "missing"     // an answer without a token
	CSRFDropped = "dropped"     // the identity, its credential or the tenant changed meanwhile
)

// CSRFFetch counts one attempt to fetch a CSRF token; result is one of the constants above.
func (m *Metrics) CSRFFetch(tenant, result string) {
	if m != nil {
		m.csrfFetches.WithLabelValues(tenant, result).Inc()
	}
}
