package proxy

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// dayUse is what one identity has used of one day: what all nodes had stored when this one last asked, and what this one has counted since. Requests
// count and take no lock; what was counted is stored in the background, every dailyInterval.
type dayUse struct {
	identity string
	day      int64
	requests atomic.Int64
	octets   atomic.Int64
	waiting  atomic.Bool // among those to be stored

	stored identity.DailyUse // as of the last time; of storeDaily
}

// dailyInterval is how often what was used is stored. What a killed node has counted since is lost; what other nodes have counted since is not known.
const dailyInterval = 2 * time.Second

// daily are the uses to be stored.
type daily struct {
	mu      sync.Mutex // guards waiting
	waiting []*dayUse

	storing sync.Mutex // held while they are stored, by whoever does
	failing bool       // of the last time; guarded by storing
}

// on returns the use of a day.
func (q *quota) on(day int64) *dayUse {
	for {
		u := q.today.Load()
		if u != nil && u.day == day {
			return u
		}
		fresh := &dayUse{identity: q.identity, day: day}
		if q.today.CompareAndSwap(u, fresh) {
			return fresh
		}
	}
}

// spend takes a request out of the day's quota. One that is refused does not count.
func (x *exchange) spend(q *quota, i *identity.Identity) (record.Outcome, string) {
	u := q.on(identity.Day(x.access.Time))
	if cause := u.exhausted(i, u.requests.Add(1)); cause != "" {
		u.requests.Add(-1)
		x.retry = identity.EndOfDay(u.day).Sub(x.access.Time)
		return record.QuotaExhausted, cause
	}
	x.today = u
	x.server.daily.touch(u)
	return record.Served, ""
}

// exhausted says why a request is one too many, when so many have come with it; "" when it is not.
func (u *dayUse) exhausted(i *identity.Identity, requests int64) string {
	switch {
	case i.DailyRequests > 0 && requests > i.DailyRequests:
		return "the identity has sent as many requests as it may in a day"
	case i.DailyOctets > 0 && u.octets.Load() >= i.DailyOctets:
		return "the identity has sent and received as many octets as it may in a day"
	}
	return ""
}

// pass counts octets of bodies.
func (d *daily) pass(u *dayUse, octets int64) {
	if octets > 0 {
		u.octets.Add(octets)
		d.touch(u)
	}
}

// touch has a use stored, at the next turn.
func (d *daily) touch(u *dayUse) {
	if u.waiting.Load() || u.waiting.Swap(true) {
		return
	}
	d.mu.Lock()
	d.waiting = append(d.waiting, u)
	d.mu.Unlock()
}

// keepDaily stores what was used until Shutdown.
func (s *Server) keepDaily() {
	tick := time.NewTicker(dailyInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.stopped:
			return
		case <-tick.C:
			s.storeDaily()
		}
	}
}

// storeDaily stores what was counted since the last time and learns what other nodes have. Without the database this node goes on counting (law 10), and
// stores later.
func (s *Server) storeDaily() {
	s.daily.storing.Lock()
	defer s.daily.storing.Unlock()
	s.daily.mu.Lock()
	waiting := s.daily.waiting
	s.daily.waiting = nil
	s.daily.mu.Unlock()
	byDay := map[int64][]*dayUse{}
	snapshot := s.cfg.Registry.Snapshot()
	for _, u := range waiting {
		u.waiting.Store(false) // before it is read: what is counted from now on has it stored again
		if _, ok := snapshot.Identity(u.identity); ok {
			byDay[u.day] = append(byDay[u.day], u)
		}
	}
	var failed error
	for day, list := range byDay {
		if err := s.storeDay(day, list); err != nil {
			failed = err
			for _, u := range list {
				s.daily.touch(u)
			}
		}
	}
	if failing := failed != nil; failing != s.daily.failing {
		s.daily.failing = failing
		if failing {
			s.log.Error("storing daily use: it is counted here meanwhile", "error", failed)
		} else {
			s.log.Info("storing daily use again")
		}
	}
}

func (s *Server) storeDay(day int64, list []*dayUse) error {
	spent := make([]identity.DailyUse, len(list))
	for i, u := range list {
		spent[i] = identity.DailyUse{Identity: u.identity, Requests: u.requests.Load() - u.stored.Requests, Octets: u.octets.Load() - u.stored.Octets}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	totals, err := s.cfg.Registry.SpendDaily(ctx, day, spent)
	if err != nil {
		return err
	}
	for i, u := range list {
		u.requests.Add(totals[i].Requests - u.stored.Requests - spent[i].Requests)
		u.octets.Add(totals[i].Octets - u.stored.Octets - spent[i].Octets)
		u.stored = totals[i]
	}
	return nil
}

// LoadDaily reads what was used today before the server was started. It is called before Serve.
func (s *Server) LoadDaily(ctx context.Context) error {
	day := identity.Day(s.cfg.Now())
	list, err := s.cfg.Registry.DailyUse(ctx, day)
	if err != nil {
		return fmt.Errorf("reading what identities have used today: %w", err)
	}
	for _, stored := range list {
		u := &dayUse{identity: stored.Identity, day: day, stored: stored}
		u.requests.Store(stored.Requests)
		u.octets.Store(stored.Octets)
		s.quotas.named(stored.Identity).today.Store(u)
	}
	return nil
}
