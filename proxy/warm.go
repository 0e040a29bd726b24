package proxy

import (
	"math/rand/v2"
	"net"
	"time"
)

// keeping is how long connections to tenants are kept, and how many are made before anybody asks for them. A zero field has the value of withDefaults.
type keeping struct {
	spares   int           // fresh links that a pool in use has at hand
	warmFor  time.Duration // how long after its last use a pool is in use
	idleLife time.Duration // how long a link may idle; below what common servers keep one open
	maxAge   time.Duration // after which a link is used no more: the tenant's name may lead elsewhere by now
	tend     time.Duration // how often all this is looked after
	resolver *net.Resolver // nil: the system's
}

func (k keeping) withDefaults() keeping {
	zero := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	if k.spares == 0 {
		k.spares = 1
	}
	zero(&k.warmFor, 15*time.Minute)
	zero(&k.idleLife, 50*time.Second)
	zero(&k.maxAge, 5*time.Minute)
	zero(&k.tend, 500*time.Millisecond)
	return k
}

// A link is fresh in the first three quarters of its time, so that its successor is there before it goes.
func (k *keeping) fresh(a *ageing, now time.Time) bool {
	return now.Sub(a.since) < k.idleLife/4*3 && now.Sub(a.made) < k.maxAge/4*3
}

// spent reports whether a link must not be used any more.
func (k *keeping) spent(a *ageing, now time.Time) bool {
	return now.Sub(a.since) > k.idleLife || now.Sub(a.made) > k.maxAge
}

// spares is what a pool knows of links that are made ahead, so that the first call after a pause finds one and pays for no handshake. It is guarded by
// idleMu.
type spares struct {
	taken    bool      // an exchange has asked for a link since the pool was last looked after
	used     time.Time // when that was, to a tick
	dialling bool      // one is on its way: never two
	last     *ageing   // of the last one that was made, until it has proved to be worth its handshake
	failures int       // in a row
	notUntil time.Time // when the next may be made
}

const (
	spareBackoffMin = time.Second
	spareBackoffMax = time.Minute
	// spareWorth is the least life that is worth a handshake. Some tenants keep no idle connections.
	spareWorth = 5 * time.Second
	// maxSparesAtOnce bounds how many are begun each time that the pools are looked after, of all pools together.
	maxSparesAtOnce = 64
)

// warm begins to make a link if the pool should have one more at hand. It reports whether it did.
func (p *pool) warm(now time.Time) bool {
	p.idleMu.Lock()
	defer p.idleMu.Unlock()
	s := &p.spares
	if s.taken {
		s.taken, s.used = false, now
	}
	if s.last != nil && now.Sub(s.last.made) > spareWorth {
		s.good()
	}
	if p.closed || s.dialling || s.used.IsZero() || now.Sub(s.used) > p.keep.warmFor || now.Before(s.notUntil) || p.fresh(now) >= p.keep.spares {
		return false
	}
	s.dialling = true
	go p.addSpare()
	return true
}

// fresh is how many fresh links are at hand.
func (p *pool) fresh(now time.Time) (n int) {
	for _, l := range p.idle {
		if p.keep.fresh(&l.ageing, now) {
			n++
		}
	}
	for _, c := range p.conns {
		if c.freshAt(now) {
			n++
		}
	}
	return n
}

// addSpare makes a link and keeps it. It ends at once when the pool is closed.
func (p *pool) addSpare() {
	current := p.current() // not if it was made by an exchange that knew no better
	var l *link
	var c *h2conn
	var err error
	switch {
	case !current:
	case p.http2():
		c, err = p.another(p.open, false)
	default:
		l, err = p.dial(p.open)
	}
	p.idleMu.Lock()
	defer p.idleMu.Unlock()
	s := &p.spares
	s.dialling = false
	switch {
	case !current:
		s.used = time.Time{}
	case err != nil:
		s.bad()
	case c != nil: // it is kept already
		s.last = &c.ageing
	case p.closed:
		go l.retire() // it may wait for the tenant
	default:
		l.reused, l.since = true, l.made
		s.last = &l.ageing
		p.idle = append(p.idle, l)
	}
}

// good notes that spares are worth making.
func (s *spares) good() { s.last, s.failures, s.notUntil = nil, 0, time.Time{} }

// bad puts the next one off, the longer the more have failed.
func (s *spares) bad() {
	pause := min(spareBackoffMin<<min(s.failures, 10), spareBackoffMax)
	s.failures++
	s.notUntil = time.Now().Add(pause/2 + rand.N(pause/2))
}

// lost notes that the tenant has closed a link that idled.
func (s *spares) lost(a *ageing, now time.Time) {
	if a == s.last && now.Sub(a.made) <= spareWorth {
		s.last = nil
		s.bad()
	}
}
