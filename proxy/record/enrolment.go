package record

import "github.com/prometheus/client_golang/prometheus"

// Results of a request to the enrolment listener: the values of a label of tenantgate_enrolment_requests_total.
const (
	EnrolmentIssued   = "issued"   // a certificate was issued
	EnrolmentRepeated = "repeated" // one that was issued before was handed out again, to the same key
	EnrolmentServed   = "served"   // something else that anybody may have
	EnrolmentRefused  = "refused"  // for a fault of the caller's
	EnrolmentLimited  = "limited"  // the caller's address, or all of them together, asked too often
	EnrolmentFailed   = "failed"   // for a fault of ours
)

func enrolments() *prometheus.CounterVec {
	return counter("enrolment_requests_total", "Requests of callers for certificates, by act (enroll, renew, roots) and result.", "act", "result")
}

// Enrolment counts one request to the enrolment listener: act is a word of a fixed set, result one of the constants above.
func (m *Metrics) Enrolment(act, result string) {
	if m != nil {
		m.enrolments.WithLabelValues(act, result).Inc()
		if result == EnrolmentRefused || result == EnrolmentLimited {
			m.refusals.Add(1)
		}
	}
}

// EnrolmentsRefused returns how many requests to the enrolment listener were refused or came too often, since the start.
func (m *Metrics) EnrolmentsRefused() uint64 {
	if m == nil {
		return 0
	}
	return m.refusals.Load()
}

// AppendEnrolment takes the record of a request to the enrolment listener: a line like any other, which does not count among requests to tenants.
// That of a refusal takes no room that is kept for requests in flight. Otherwise it is [Log.Append].
func (l *Log) AppendEnrolment(a *Access) { l.write(a, a.Outcome != Served) }
