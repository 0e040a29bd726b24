package login

import (
	"net/netip"
	"sync"
	"time"
)

// Guesses are wrong passwords that were not sent before. The same wrong password again and again is a caller whose password is out of date: it is known, and
// counts once.
const (
	sourceGuesses = 10               // that a source may make at once
	sourceEvery   = 15 * time.Second // and then one in so much time
	userGuesses   = 30               // that strangers may make at one user name at once
	userEvery     = 2 * time.Second  // and then one in so much time
	trustGuesses  = 30               // that a source may make since its last success and still be trusted
	trustFor      = 7 * 24 * time.Hour
	throttled     = 1 << 15 // sources, and user names, of one generation
)

// bucket is how much of an allowance is used, as the instant at which all of it is there again.
type bucket time.Time

// spent returns the allowance used at an instant, in guesses.
func (b bucket) spent(now time.Time, every time.Duration) float64 {
	return max(0, float64(time.Time(b).Sub(now))/float64(every))
}

// counter counts guesses by key, of a bounded number of keys in two generations: what was counted last is kept.
type counter[K comparable] struct{ now, old map[K]bucket }

func (c *counter[K]) get(k K) bucket {
	if b, ok := c.now[k]; ok {
		return b
	}
	return c.old[k]
}

// add counts one guess, up to a limit: nobody must wait longer because more have guessed.
func (c *counter[K]) add(k K, now time.Time, every time.Duration, limit int) {
	b := time.Time(c.get(k))
	if b.Before(now) {
		b = now
	}
	if most := now.Add(time.Duration(limit-1) * every); b.After(most) {
		b = most
	}
	if len(c.now) >= throttled {
		c.now, c.old = nil, c.now
	}
	if c.now == nil {
		c.now = make(map[K]bucket)
	}
	c.now[k] = bucket(b.Add(every))
}

// trust is what a source has earned by a right password.
type trust struct {
	until   time.Time
	guesses int // since
}

// throttle slows guessing down. It never stands before a password that is known to be right: that is not asked for here. Its methods are safe for
// concurrent use.
type throttle struct {
	mu      sync.Mutex // guards what follows; held for a few instructions
	sources counter[netip.Prefix]
	users   counter[Digest]
	trusted map[netip.Prefix]trust // only who sent a right password gets in, so that guessing pushes nobody out
}

// rank says where in the line a source comes that wants to have a password compared: first those who have sent a right one before or are near, then those who have
// not guessed lately. (Whoever guesses from afar finds user names that somebody has no slower or faster than others.) When it returns
// a time, the source has guessed so much that it must wait so long instead. A source that has guessed no more than twice is never told to wait, whatever is done to
// the user name from elsewhere.
func (t *throttle) rank(source netip.Prefix, user Digest, near bool, now time.Time) (rank int, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr, ok := t.trusted[source]; ok && now.Before(tr.until) && tr.guesses < trustGuesses {
		return 0, 0
	}
	guessed := t.sources.get(source).spent(now, sourceEvery)
	switch {
	case near && guessed < sourceGuesses:
		return 0, 0
	case guessed == 0:
		return 1, 0
	case guessed >= sourceGuesses:
		return 0, time.Duration((guessed-sourceGuesses+1)*float64(sourceEvery)) + time.Millisecond
	}
	attacked := t.users.get(user).spent(now, userEvery)
	switch {
	case guessed <= 2 && attacked < userGuesses:
		return 2, 0
	case guessed <= 2 || attacked < userGuesses:
		return 3, 0
	}
	return 0, time.Duration((attacked-userGuesses+1)*float64(userEvery)) + time.Millisecond
}

// ranks are the ranks there are.
const ranks = 4

// wrong counts a guess.
func (t *throttle) wrong(source netip.Prefix, user Digest, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr, ok := t.trusted[source]; ok {
		tr.guesses++
		t.trusted[source] = tr
	}
	t.sources.add(source, now, sourceEvery, 2*sourceGuesses)
	t.users.add(user, now, userEvery, 2*userGuesses)
}

// right notes that a source has sent a right password.
func (t *throttle) right(source netip.Prefix, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trusted == nil {
		t.trusted = make(map[netip.Prefix]trust)
	}
	if len(t.trusted) >= throttled {
		for old, tr := range t.trusted { // in no order: whoever is still there comes in again with his next password
			if len(t.trusted) < throttled*3/4 && now.Before(tr.until) {
				break
			}
			delete(t.trusted, old)
		}
	}
	t.trusted[source] = trust{until: now.Add(trustFor)}
}
