package proxy

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// turnstile lets so many handshakes compute at the same time, and no more: a flood of them must not stand in front of requests in line for a processor. While
// a handshake waits for its caller it is outside, so that a slow one keeps nobody out. Those who wait get in address by address, in turn: whoever comes
// with a thousand waits behind his own, and not before others. What was begun is ended first: sixty callers who come together are then served one after the
// other from the beginning, and not all at the end.
type turnstile struct {
	mu      sync.Mutex // guards what follows; held for a few instructions
	places  int
	free    int // negative while there are more inside than places
	begun   line
	waiting map[netip.Prefix]line
	turns   []netip.Prefix // the addresses that wait, each once
}

// line is who waits, in order.
type line []*waiter

type waiter struct {
	in   chan struct{} // closed when it may go in
	gone bool          // it waits no longer
}

// resize sets how many may be inside; 0 is one less than there are processors, and at least one: the last processor is for requests.
func (t *turnstile) resize(places int) {
	if places == 0 {
		places = max(1, runtime.GOMAXPROCS(0)-1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free += places - t.places
	t.places = places
	for t.free > 0 && t.admit() {
		t.free--
	}
}

// enter waits for a place, no longer than that. Whoever got one must leave. A handshake that is begun has had a place before.
func (t *turnstile) enter(from netip.Prefix, begun bool, patience time.Duration) bool {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	w := &waiter{in: make(chan struct{})}
	t.queue(w, from, begun)
	t.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.in:
		return true
	case <-timer.C:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-w.in: // in the same moment
		return true
	default:
		w.gone = true
		return false
	}
}

// queue has w wait in its line. It is called with the lock held.
func (t *turnstile) queue(w *waiter, from netip.Prefix, begun bool) {
	if begun {
		t.begun = append(t.begun, w)
		return
	}
	if t.waiting == nil {
		t.waiting = make(map[netip.Prefix]line)
	}
	if len(t.waiting[from]) == 0 {
		t.turns = append(t.turns, from)
	}
	t.waiting[from] = append(t.waiting[from], w)
}

// leave gives the place to the next one.
func (t *turnstile) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free < 0 || !t.admit() {
		t.free++
	}
}

// admit lets the next one in: of those who have begun or, if there are none, the first of the address whose turn it is. It is called with the lock held.
func (t *turnstile) admit() bool {
	if t.begun.admit() {
		return true
	}
	for len(t.turns) > 0 {
		from := t.turns[0]
		t.turns = t.turns[1:]
		waiting := t.waiting[from]
		admitted := waiting.admit()
		if len(waiting) == 0 {
			delete(t.waiting, from)
		} else {
			t.waiting[from] = waiting
			t.turns = append(t.turns, from)
		}
		if admitted {
			return true
		}
	}
	return false
}

// admit lets the first one in who still waits.
func (l *line) admit() bool {
	for len(*l) > 0 {
		w := (*l)[0]
		(*l)[0] = nil
		if *l = (*l)[1:]; !w.gone {
			close(w.in)
			return true
		}
	}
	return false
}

// shaking is a handshake at the turnstile: a socket in readShake reads through it.
type shaking struct {
	turnstile *turnstile
	from      netip.Prefix
	patience  time.Duration
	inside    bool
	turns     int // that it has had
}

// quickTurns are those of a handshake that come before others' first one. It takes two, or three when the caller's hello comes in two pieces: whoever comes
// in more gains nothing by it.
const quickTurns = 3

var errShed = errors.New("too many handshakes wait for their turn")

// begin has what is read from now on pass the turnstile. The first thing that a server does in a handshake is reading.
func (h *shaking) begin(s *socket) { s.shake, s.mode = h, readShake }

func (h *shaking) read(s *socket, p []byte) (int, error) {
	h.leave()
	n, err := s.Conn.Read(p)
	if err == nil && !h.turnstile.enter(h.from, 0 < h.turns && h.turns < quickTurns, h.patience) {
		return 0, errShed
	}
	h.turns++
	if h.inside = err == nil; h.inside {
		runtime.Gosched() // whoever was let in by another handshake would run right behind it, before requests that wait longer
	}
	return n, err
}

func (h *shaking) leave() {
	if h.inside {
		h.inside = false
		h.turnstile.leave()
	}
}

// end leaves the handshake, wherever it has ended.
func (h *shaking) end(s *socket) {
	h.leave()
	s.shake, s.mode = nil, readWaits
}

// sources is what is known of the addresses that connect: an address of IPv4, a network of 64 bits of IPv6.
type sources struct {
	shaking map[netip.Prefix]int           // handshakes under way
	full    map[netip.Prefix]time.Duration // when one may make as many connections at once as in a second, since the server was made; what is past is left out
}

// maxSources bounds the addresses whose rate is known. Those beyond are let in: they have other bounds.
const maxSources = 1 << 16

func newSources() sources {
	return sources{make(map[netip.Prefix]int), make(map[netip.Prefix]time.Duration)}
}

// admit counts a new connection in, or says why not.
func (s *sources) admit(from netip.Prefix, l *Limits, now time.Duration) (cause string) {
	if s.shaking[from] >= l.MaxSourceHandshakes {
		return "too many handshakes with this address are under way"
	}
	if l.SourceRate > 0 {
		full, known := s.full[from]
		full = max(full, now) + time.Second/time.Duration(l.SourceRate)
		switch {
		case full-now > time.Second:
			return "this address connects too often"
		case known || len(s.full) < maxSources:
			s.full[from] = full
		}
	}
	s.shaking[from]++
	return ""
}

// shaken counts a handshake out.
func (s *sources) shaken(from netip.Prefix) {
	if s.shaking[from]--; s.shaking[from] == 0 {
		delete(s.shaking, from)
	}
}

// forget lets go of addresses that have not connected for a while.
func (s *sources) forget(now time.Duration) {
	for from, full := range s.full {
		if full <= now {
			delete(s.full, from)
		}
	}
}
