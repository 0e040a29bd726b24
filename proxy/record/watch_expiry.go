package record

import (
	"iter"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Ending is what the metrics need to know of one thing that ends.
type Ending struct {
	Kind    string // a word of a fixed set
	ID      string // which of its kind
	Name    string // whose
	Tenant  string
	Owner   string
	State   string // "replaced", "ok", "soon", "urgent" or "expired"
	Due     bool   // somebody should act
	Expires time.Time
}

// NotificationState is what the metrics need to know of notifications.
type NotificationState struct {
	Pending   int64     // what waits for the receiver
	Oldest    time.Time // when the oldest of it came up; zero when nothing waits
	Delivered uint64
	Failed    uint64 // attempts
	GivenUp   uint64
}

// maxEndings bounds the series of single things whose end is near: the next ones have them.
const maxEndings = 200

// endingStates are all states, so that each has a series before the first of it.
var endingStates = []string{"replaced", "ok", "soon", "urgent", "expired"}

// WatchEndings shows what ends: for each kind how many and when the next one does, and one by one what somebody should act on. all is called at each scrape.
func (m *Metrics) WatchEndings(all iter.Seq[Ending]) {
	if m == nil {
		return
	}
	count := desc("expiry_objects", "What ends, by kind (certificates, credentials, reviews and so on) and by how near that is.", "kind", "state")
	next := desc("expiry_timestamp_seconds_min", "When the next of a kind ends that has not yet, replaced ones left out.", "kind")
	single := desc("expiry_due_timestamp_seconds", "When something ends that somebody should act on: at most 200, the next ends first.",
		"kind", "id", "name", "tenant", "owner", "state")
	m.reg.MustRegister(newCollector([]*prometheus.Desc{count, next, single}, func(emit emitter) {
		counts, first := map[string]map[string]int{}, map[string]time.Time{}
		var due []Ending
		now := time.Now()
		for e := range all {
			if counts[e.Kind] == nil {
				counts[e.Kind] = map[string]int{}
			}
			counts[e.Kind][e.State]++
			if e.State != "replaced" && e.Expires.After(now) && (first[e.Kind].IsZero() || e.Expires.Before(first[e.Kind])) {
				first[e.Kind] = e.Expires
			}
			if e.Due {
				due = append(due, e)
			}
		}
		for kind, states := range counts {
			for _, state := range endingStates {
				emit(count, prometheus.GaugeValue, float64(states[state]), kind, state)
			}
		}
		for kind, t := range first {
			emit(next, prometheus.GaugeValue, float64(t.Unix()), kind)
		}
		slices.SortFunc(due, func(a, b Ending) int { return a.Expires.Compare(b.Expires) })
		for _, e := range due[:min(len(due), maxEndings)] {
			emit(single, prometheus.GaugeValue, float64(e.Expires.Unix()), e.Kind, e.ID, e.Name, e.Tenant, e.Owner, e.State)
		}
	}))
}

// WatchNotifications shows whether the receiver takes notifications. state is called at each scrape.
func (m *Metrics) WatchNotifications(state func() NotificationState) {
	if m == nil {
		return
	}
	attempts := desc("notification_attempts_total", "Attempts to deliver a notification by result: delivered, failed or given_up.", "result")
	pending := desc("notifications_pending", "Notifications that wait for the receiver, of all nodes.")
	oldest := desc("notification_oldest_pending_timestamp_seconds", "When the oldest notification that waits came up; 0 when none waits.")
	m.reg.MustRegister(newCollector([]*prometheus.Desc{attempts, pending, oldest}, func(emit emitter) {
		s := state()
		emit(attempts, prometheus.CounterValue, float64(s.Delivered), "delivered")
		emit(attempts, prometheus.CounterValue, float64(s.Failed), "failed")
		emit(attempts, prometheus.CounterValue, float64(s.GivenUp), "given_up")
		emit(pending, prometheus.GaugeValue, float64(s.Pending))
		at := 0.0
		if !s.Oldest.IsZero() {
			at = float64(s.Oldest.Unix())
		}
		emit(oldest, prometheus.GaugeValue, at)
	}))
}
