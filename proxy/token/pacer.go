package token

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pacer gives out the turns at one token server (host and port), because that is where limits are kept: XSUAA counts requests by subaccount, whose ordinary
// and whose certificate endpoint are hosts of their own, and IAS by the address that they come from (TENANTS.md 2.4). Turns come at the engine's rate; a few
// may be taken ahead of it, but only by requests for which a caller waits, so that warming up and refreshing never stand in a caller's way. Clients take
// turns, each has at most one request under way, and requests in flight are bounded: a server that hangs holds that many goroutines and no more.
//
// Its mutex is never held across the network.
type pacer struct {
	host     string
	base     time.Time
	interval time.Duration // between two turns
	ahead    time.Duration // by how much a request that is waited for may come before its time
	slots    int           // requests in flight at most; half of them for those that nobody waits for

	users int // clients that know it; guarded by the engine's mutex

	mu       sync.Mutex // guards what follows, and the lines of the clients
	due      instant    // when the next turn is due
	inFlight int
	waiting  int                // tickets in line
	queues   [classes][]*client // whose turn it is
	timer    *time.Timer
	throttle throttle
	health   health
}

// class orders turns: a lower one goes first.
type class int

const (
	urgent     class = iota // a caller waits
	background              // a refresh or a warm-up
	classes
)

// ticket is one place in a line.
type ticket struct {
	client  *client
	turn    chan struct{} // closed when the request may be made
	waiters atomic.Int32  // callers

	class   class // these are guarded by the pacer's mutex
	started instant
	has     bool // its turn
}

// wanted is the class that a ticket should have.
func (t *ticket) wanted() class {
	if t.waiters.Load() > 0 {
		return urgent
	}
	return background
}

// line is what a client has waiting. It is guarded by the pacer's mutex.
type line struct {
	busy    bool // a request is under way: while a secret is wrong, each scope's request would be one more failed log-on of the same client
	tickets [classes][]*ticket
	queued  [classes]bool
}

func newPacer(e *Engine, host string) *pacer {
	interval := time.Duration(float64(time.Second) / e.rate())
	return &pacer{host: host, base: e.base, interval: interval, ahead: time.Second / 10, slots: e.inFlight(), throttle: throttle{begins: make(chan struct{})}}
}

func (p *pacer) now() instant { return time.Since(p.base) }

// join puts a ticket in line. Its turn channel says when it is its turn.
func (p *pacer) join(t *ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.class = t.wanted()
	l := &t.client.line
	l.tickets[t.class] = append(l.tickets[t.class], t)
	p.waiting++
	p.queue(t.client, t.class)
	p.dispatch()
}

// place moves a ticket that is still in line to where it belongs: among those for which a caller waits, or among the others. It is called when a first caller
// has come to wait, and when the last one has gone.
func (p *pacer) place(t *ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := t.wanted()
	l := &t.client.line
	i := slices.Index(l.tickets[t.class], t)
	if k == t.class || i < 0 {
		return
	}
	l.tickets[t.class] = slices.Delete(l.tickets[t.class], i, i+1)
	t.class = k
	l.tickets[k] = append(l.tickets[k], t)
	p.queue(t.client, k)
	p.dispatch()
}

// leave takes a ticket out of line, or gives its turn back.
func (p *pacer) leave(t *ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &t.client.line
	if !t.has {
		if i := slices.Index(l.tickets[t.class], t); i >= 0 {
			l.tickets[t.class] = slices.Delete(l.tickets[t.class], i, i+1)
			p.waiting--
		}
		return
	}
	t.has, l.busy = false, false
	if p.throttle.probe == t {
		p.throttle.probe = nil
	}
	p.inFlight--
	for c := range classes {
		p.queue(t.client, c)
	}
	p.dispatch()
}

// pass gives a turn back in which nothing was asked, for another one to have it.
func (p *pacer) pass(t *ticket) {
	p.mu.Lock()
	p.due -= p.interval
	p.mu.Unlock()
	p.leave(t)
}

// queue puts a client in the queue of its class if it waits for a turn and may have one.
func (p *pacer) queue(c *client, k class) {
	if l := &c.line; !l.busy && !l.queued[k] && len(l.tickets[k]) > 0 {
		l.queued[k] = true
		p.queues[k] = append(p.queues[k], c)
	}
}

// dispatch gives out the turns that are due, and sets the timer for the next one.
func (p *pacer) dispatch() {
	for {
		c, k := p.next()
		if c == nil {
			return
		}
		now := p.now()
		if at := p.earliest(k); at > now {
			p.wake(at - now)
			return
		}
		p.queues[k] = p.queues[k][1:]
		l := &c.line
		t := l.tickets[k][0]
		l.queued[k], l.tickets[k], l.busy = false, l.tickets[k][1:], true
		t.has, t.started = true, now
		if p.throttle.trying {
			p.throttle.probe = t
		}
		p.due = max(p.due, now) + p.interval
		p.inFlight++
		p.waiting--
		close(t.turn)
	}
}

// next finds the client whose turn is next, nil if nobody may have one now.
func (p *pacer) next() (*client, class) {
	for k := range classes {
		if p.inFlight >= p.most(k) {
			continue
		}
		for len(p.queues[k]) > 0 {
			c := p.queues[k][0]
			if l := &c.line; !l.busy && len(l.tickets[k]) > 0 {
				return c, k
			}
			c.line.queued[k] = false // it left, or has a request of its other class under way
			p.queues[k] = p.queues[k][1:]
		}
	}
	return nil, 0
}

// most is how many requests may be in flight so that one more of the class may begin.
func (p *pacer) most(k class) int {
	switch {
	case p.throttle.probe != nil:
		return 0
	case k == background:
		return (p.slots + 1) / 2
	}
	return p.slots
}

// earliest is when the next request of the class may begin.
func (p *pacer) earliest(k class) instant {
	at := p.due
	if k == urgent {
		at -= p.ahead
	}
	return max(at, p.throttle.until)
}

func (p *pacer) wake(d time.Duration) {
	if p.timer == nil {
		p.timer = time.AfterFunc(d, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.dispatch()
		})
		return
	}
	p.timer.Reset(d)
}
