package login

import (
	"net/netip"
	"sync"
	"time"
)

// line is who waits to have a password compared. A bounded number is compared at once, because each takes the memory and the processor of a slow hash. The next is
// the one of the lowest rank who has waited longest; of one source at most sourcePlaces wait, so that nobody fills the line. Who gave up and comes again within a
// while comes back to his place: a source that must share with thousands gets its turn when theirs have passed.
type line struct {
	mu      sync.Mutex // guards what follows; held for a few instructions
	free    int
	waiting [ranks][]*waiter
	length  int
	placed  map[netip.Prefix]*place
}

const (
	linePlaces   = 1024 // that may wait on one node
	sourcePlaces = 4
	placeFor     = 30 * time.Second // that a place is held for who gave up
	placesKept   = 1 << 15
)

// place is since when a source waits.
type place struct {
	since   time.Time
	last    time.Time // seen
	waiting int
}

type waiter struct {
	source netip.Prefix
	since  time.Time
	in     chan struct{} // closed when it may go in
	done   bool          // it went in or gave up
}

func newLine(places int) *line {
	return &line{free: places, placed: make(map[netip.Prefix]*place)}
}

// enter waits for a place, no longer than patience and until gone is closed. Whoever got one must leave.
func (l *line) enter(source netip.Prefix, rank int, patience time.Duration, gone <-chan struct{}) bool {
	now := time.Now()
	l.mu.Lock()
	if l.free > 0 && l.length == 0 {
		l.free--
		l.mu.Unlock()
		return true
	}
	p := l.place(source, now)
	if p == nil || p.waiting >= sourcePlaces || l.length >= linePlaces && !l.makeRoom(rank, p.since) {
		l.mu.Unlock()
		return false
	}
	w := &waiter{source: source, since: p.since, in: make(chan struct{})}
	p.waiting++
	l.insert(w, rank)
	l.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.in:
		return l.admitted(w)
	case <-timer.C:
	case <-gone:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.done { // in the same moment
		return !w.displaced()
	}
	l.remove(w, rank)
	return false
}

// displaced waiters were put out for one who goes before them: their source is no more.
func (w *waiter) displaced() bool { return !w.source.IsValid() }

func (l *line) admitted(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !w.displaced()
}

// place returns the source's place in time. The lock is held.
func (l *line) place(source netip.Prefix, now time.Time) *place {
	p := l.placed[source]
	if p != nil && p.waiting == 0 && now.Sub(p.last) > placeFor {
		p.since = now
	}
	if p == nil {
		if len(l.placed) >= placesKept {
			l.forget(now)
		}
		if len(l.placed) >= placesKept {
			return nil
		}
		p = &place{since: now}
		l.placed[source] = p
	}
	p.last = now
	return p
}

// forget lets go of places that nobody holds. The lock is held.
func (l *line) forget(now time.Time) {
	for source, p := range l.placed {
		if p.waiting == 0 && (now.Sub(p.last) > placeFor || len(l.placed) > placesKept*3/4) {
			delete(l.placed, source)
		}
	}
}

// insert puts a waiter behind those of its rank who have waited longer. The lock is held.
func (l *line) insert(w *waiter, rank int) {
	q := append(l.waiting[rank], w)
	for i := len(q) - 1; i > 0 && q[i-1].since.After(w.since); i-- {
		q[i], q[i-1] = q[i-1], q[i]
	}
	l.waiting[rank] = q
	l.length++
}

// makeRoom puts out the last of the line, if it comes after one of this rank and time. The lock is held.
func (l *line) makeRoom(rank int, since time.Time) bool {
	for r := ranks - 1; r >= rank; r-- {
		q := l.waiting[r]
		if len(q) == 0 {
			continue
		}
		last := q[len(q)-1]
		if r == rank && !last.since.After(since) {
			return false
		}
		q[len(q)-1] = nil
		l.waiting[r] = q[:len(q)-1]
		l.out(last)
		last.source = netip.Prefix{}
		close(last.in)
		return true
	}
	return false
}

// remove takes a waiter that gives up out of the line. The lock is held.
func (l *line) remove(w *waiter, rank int) {
	for i, o := range l.waiting[rank] {
		if o == w {
			l.waiting[rank] = append(l.waiting[rank][:i], l.waiting[rank][i+1:]...)
			l.out(w)
			return
		}
	}
}

// out counts a waiter out. The lock is held.
func (l *line) out(w *waiter) {
	w.done = true
	l.length--
	if p := l.placed[w.source]; p != nil {
		p.waiting--
	}
}

// leave gives the place to the next one.
func (l *line) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.waiting {
		q := l.waiting[r]
		if len(q) == 0 {
			continue
		}
		w := q[0]
		q[0] = nil
		l.waiting[r] = q[1:]
		l.out(w)
		if p := l.placed[w.source]; p != nil { // it had its turn
			if p.since = time.Now(); p.waiting == 0 {
				delete(l.placed, w.source)
			}
		}
		close(w.in)
		return
	}
	l.free++
}
