package token

import (
	"math/rand/v2"
	"sync"
	"time"
)

// backoff is the memory of a source's failures. It is guarded by its owner's mutex.
type backoff struct {
	failures int
	until    instant
	err      *Error
}

// holds returns the remembered error while the server is to be left alone, else nil.
func (b *backoff) holds(now instant) *Error {
	if b.err != nil && now < b.until {
		return b.err
	}
	return nil
}

func (b *backoff) reset() { *b = backoff{} }

// fail remembers err and returns it with the time of the next try. An err that has one already (a held client) keeps it.
func (b *backoff) fail(s *Source, err *Error, now instant) *Error {
	b.failures++
	if err.Until.IsZero() {
		b.until = now + s.e.pause(b.failures, err.RetryAfter)
	} else {
		b.until = err.Until.Sub(s.base)
	}
	remembered := *err
	remembered.Until = s.at(b.until)
	b.err = &remembered
	return b.err
}

// pause is the time to leave a server alone after its n-th failure in a row: exponential, half of it random, and no shorter
// than what the server asked for within bounds.
func (e *Engine) pause(n int, retryAfter time.Duration) time.Duration {
	lowest, highest := orDuration(e.BackoffMin, time.Second), orDuration(e.BackoffMax, time.Minute)
	d := highest
	if n-1 < 32 && lowest<<(n-1) > 0 {
		d = min(lowest<<(n-1), highest)
	}
	d = d/2 + rand.N(d/2+1)
	return max(d, min(retryAfter, e.retryAfterMax()))
}

// client is what the sources of one credential share: the server counts failed log-ons by client, not by scope.
type client struct {
	pacer *pacer // of its token server
	line  line   // guarded by the pacer's mutex

	mu       sync.Mutex // guards what follows
	refusals int
	until    instant
	err      *Error
}

// holds returns the refusal while the client is held, else nil.
func (c *client) holds(now instant) *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil && now < c.until {
		return c.err
	}
	return nil
}

func (c *client) accepted(s *Source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusals > 0 && s.e.store != nil {
		s.e.store.refusal(s.cred.ID, nil)
	}
	c.refusals, c.until, c.err = 0, 0, nil
}

// refused counts a refusal and, from the last allowed try on, holds the client. Other errors pass unchanged.
func (c *client) refused(s *Source, err *Error, now instant) *Error {
	if err.Step != StepRefused {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals++
	if hold := s.e.refusedHold(c.refusals); hold > 0 {
		c.until = now + max(hold, min(err.RetryAfter, s.e.retryAfterMax()))
		held := *err
		held.Until = s.at(c.until)
		c.err, err = &held, &held
	}
	c.save(s, err)
	return err
}

// save has the refusals stored, so that a process that is started again and again does not have the client locked. c.mu is held.
func (c *client) save(s *Source, err *Error) {
	if s.e.store == nil {
		return
	}
	r := &savedRefusal{fingerprint: s.cred.fingerprint(), refusals: c.refusals, status: err.Status, code: err.Code, text: err.Description}
	if c.err != nil {
		r.until = s.wall(c.until)
	}
	s.e.store.refusal(s.cred.ID, r)
}

// refusedHold is how long a client is held after its n-th refusal in a row; 0 if it may be tried again.
func (e *Engine) refusedHold(n int) time.Duration {
	tries := e.RefusedTries
	if tries <= 0 {
		tries = 2
	}
	if n < tries {
		return 0
	}
	return orDuration(e.RefusedHold, 15*time.Minute) << min(n-tries, 2)
}
