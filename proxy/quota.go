package proxy

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// quota is what one identity has used of its limits, on this node. An identity without limits has none. Its methods take no lock.
//
// A rate is a bucket that is emptied by requests and filled by time, kept as the one instant at which it will be full again (GCRA): one compare-and-swap for
// each request. Bandwidth is a queue: each piece of a body is due when those before it have had their time.
type quota struct {
	identity string
	inFlight atomic.Int64
	full     atomic.Int64 // when the bucket of requests is full again, since the server was made
	today    atomic.Pointer[dayUse]
	due      atomic.Int64 // when the octets that have passed will have had their time, since the server was made
}

// grant is what a rate says to one request.
type grant struct {
	burst  int
	window time.Duration // in which an empty bucket fills
	left   int           // requests that may come at once behind this one
	reset  time.Duration // until the bucket is full; of a request that was refused, until the next one is let through
}

// take takes a request out of the bucket, if there is one in it.
func (q *quota) take(now time.Duration, rate float64, burst int) (g grant, ok bool) {
	each := time.Duration(float64(time.Second) / rate)
	size := each * time.Duration(burst)
	g = grant{burst: burst, window: size}
	for {
		old := q.full.Load()
		ahead := max(time.Duration(old)-now, 0) + each
		if ahead > size+each { // it was another rate's, which was slower
			q.full.CompareAndSwap(old, int64(now+size))
			continue
		}
		if g.reset = ahead - size; g.reset > 0 {
			return g, false
		}
		if q.full.CompareAndSwap(old, int64(now+ahead)) {
			g.left, g.reset = int((size-ahead)/each), ahead
			return g, true
		}
	}
}

// pass queues octets, and says how long they have to wait.
func (q *quota) pass(now time.Duration, octets int, bandwidth int64) time.Duration {
	cost := time.Duration(float64(octets) / float64(bandwidth) * float64(time.Second))
	for {
		old := q.due.Load()
		next := max(time.Duration(old), now) + cost
		if q.due.CompareAndSwap(old, int64(next)) {
			return next - now
		}
	}
}

// quotas are those of all identities that have limits and have called. A connection remembers the one of its identity, so that the lock is taken once for
// each connection.
type quotas struct {
	mu  sync.Mutex // guards all
	all map[string]*quota
}

func (qs *quotas) of(c *conn, name string) *quota {
	if q := c.quota.Load(); q != nil && q.identity == name {
		return q
	}
	q := qs.named(name)
	c.quota.Store(q)
	return q
}

// named returns the quota of an identity, and makes it where there is none.
func (qs *quotas) named(name string) *quota {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.all[name]
	if q == nil {
		if qs.all == nil {
			qs.all = make(map[string]*quota)
		}
		q = &quota{identity: name}
		qs.all[name] = q
	}
	return q
}

// forget drops the quotas of identities that are gone. No connection can use one any more: all certificates of such an identity are revoked.
func (qs *quotas) forget(now *identity.Snapshot, changed identity.Changed) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	drop := func(name string) {
		if _, ok := now.Identity(name); !ok {
			delete(qs.all, name)
		}
	}
	if changed.All {
		for name := range qs.all {
			drop(name)
		}
	}
	for _, name := range changed.Identities {
		drop(name)
	}
}

// admit keeps the identity inside its limits.
func (x *exchange) admit() (record.Outcome, string) {
	i := x.decision.Binding.Identity
	if i.Rate == 0 && i.Concurrency == 0 && i.Bandwidth == 0 && !i.HasDailyQuota() {
		return record.Served, ""
	}
	q := x.server.quotas.of(x.conn, i.Name)
	x.quota, x.bandwidth = q, i.Bandwidth
	if i.Concurrency > 0 {
		if q.inFlight.Add(1) > int64(i.Concurrency) {
			q.inFlight.Add(-1)
			return record.Limited, "the identity has as many requests in flight as it may"
		}
		x.counted = true
	}
	if i.Rate > 0 {
		var ok bool
		if x.grant, ok = q.take(x.now.Sub(x.server.made), i.Rate, i.EffectiveBurst()); !ok {
			x.retry = x.grant.reset
			return record.Limited, "the identity sends more requests a second than it may"
		}
	}
	if i.HasDailyQuota() {
		return x.spend(q, i)
	}
	return record.Served, ""
}

// leave ends what the exchange holds of its identity's and its tenant's requests in flight. The caller must not learn of the answer's end before: it may
// send the next request at once.
func (x *exchange) leave() {
	if x.counted {
		x.counted = false
		x.quota.inFlight.Add(-1)
	}
	if x.gate != nil {
		x.gate.leave()
		x.gate = nil
	}
}

// rateFields tells a caller with a rate where it stands (draft-ietf-httpapi-ratelimit-headers-10): q requests at once, and as many again in w seconds; r are
// left, and in t seconds all will be there again, or the next one after a refusal.
func (x *exchange) rateFields() {
	g := &x.grant
	if g.burst == 0 {
		return
	}
	b := append(x.rateText[:0], `"identity";q=`...)
	b = strconv.AppendInt(b, int64(g.burst), 10)
	b = append(b, ";w="...)
	b = strconv.AppendInt(b, seconds(g.window), 10)
	x.caller.field("RateLimit-Policy", unsafe.String(&b[0], len(b)))
	b = append(x.rateText[:0], `"identity";r=`...)
	b = strconv.AppendInt(b, int64(g.left), 10)
	b = append(b, ";t="...)
	b = strconv.AppendInt(b, seconds(g.reset), 10)
	x.caller.field("RateLimit", unsafe.String(&b[0], len(b)))
}

// seconds are whole ones, rounded up, and at least one: nobody is asked to come again at once.
func seconds(d time.Duration) int64 { return max(1, int64((d+time.Second-1)/time.Second)) }

// portion is so much of a buffer as may be filled at once: an eighth of what passes in a second.
func (x *exchange) portion(p []byte) []byte {
	if x.bandwidth == 0 {
		return p
	}
	return p[:min(int64(len(p)), max(minPortion, x.bandwidth/8))]
}

const (
	minPortion = 512
	paceSlack  = 10 * time.Millisecond  // a shorter wait is left to those behind
	paceStep   = 100 * time.Millisecond // an exchange that is cut meanwhile must end soon
)

// pace waits until octets of a body have had their time. Both goroutines of an exchange may call it. alive is called once in a while, because somebody's
// patience may run out meanwhile. It reports whether it has waited, and whether the exchange may go on.
func (x *exchange) pace(octets int, alive func()) (waited, goOn bool) {
	if x.bandwidth == 0 || octets == 0 {
		return false, true
	}
	wait := x.quota.pass(time.Since(x.server.made), octets, x.bandwidth)
	if wait < paceSlack {
		return false, true
	}
	for end := time.Now().Add(wait); wait > 0; wait = time.Until(end) {
		time.Sleep(min(wait, paceStep))
		if x.ended.Load() != nil || x.upload.stopped.Load() {
			return true, false
		}
		alive()
	}
	return true, true
}

// slow paces a part of the answer, and sends on what has had its time.
func (x *exchange) slow(octets int) error {
	waited, goOn := x.pace(octets, func() {})
	switch {
	case !goOn:
		return errCallerGone // or whatever has ended the exchange
	case waited:
		if err := x.caller.flush(); err != nil {
			return callerError{err}
		}
	}
	return nil
}
