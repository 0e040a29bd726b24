package token

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// begin starts the one request of this source, for the caller that waits for it or in the background. s.mu is held.
func (s *Source) begin(inBackground bool) *flight {
	f := &flight{done: make(chan struct{}), background: inBackground, ticket: &ticket{client: s.client, turn: make(chan struct{})}}
	if !inBackground {
		f.ticket.waiters.Store(1)
	}
	s.flight = f
	s.nextTry.Store(int64(never))
	go s.fly(f)
	return f
}

// fly makes the request when it is its turn.
func (s *Source) fly(f *flight) {
	p := s.client.pacer
	if s.heldBack(f, s.now()) {
		return
	}
	p.join(f.ticket)
	select {
	case <-f.ticket.turn:
	case <-s.ctx.Done():
		p.leave(f.ticket)
		return // drop has answered the waiters
	}
	if s.heldBack(f, s.now()) || s.takeOver(f) { // since it is in line
		p.pass(f.ticket)
		return
	}
	started := s.now()
	s.mu.Lock()
	s.fetches++
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, s.e.timeout())
	r, err := s.e.fetch(ctx, s.cred)
	cancel()
	ended := s.now()
	p.heard(s.e, f.ticket, err)
	var h *held
	if err == nil {
		h = s.hold(r, started)
		s.client.accepted(s)
	} else {
		err = s.client.refused(s, err, ended)
	}
	p.leave(f.ticket)
	err = s.land(f, h, err, ended)
	s.report(f, h, r, err, ended-started)
}

// heldBack lands a flight whose client is held, and reports whether it was.
func (s *Source) heldBack(f *flight, now instant) bool {
	err := s.client.holds(now)
	if err != nil {
		s.land(f, nil, err, now)
	}
	return err != nil
}

// hold turns a reply into a token with its times, counted from the start of the request so as to err on the safe side.
func (s *Source) hold(r *reply, started instant) *held {
	lifetime := r.lifetime
	if lifetime <= 0 {
		lifetime = s.e.defaultLifetime()
	}
	return s.e.newHeld(r.accessToken, started, min(lifetime, s.e.maxLifetime()))
}

func (e *Engine) newHeld(value string, obtained instant, lifetime time.Duration) *held {
	margin := min(orDuration(e.ExpiryMargin, 10*time.Second), lifetime/10)
	return &held{
		token:     newToken(value, e.lastID.Add(1)),
		obtained:  obtained,
		refreshAt: obtained + e.refreshDelay(lifetime),
		usable:    obtained + lifetime - margin,
		expires:   obtained + lifetime,
	}
}

// refreshDelay is half the lifetime or MaxAge, less some jitter.
func (e *Engine) refreshDelay(lifetime time.Duration) time.Duration {
	part := e.RefreshAt
	if part <= 0 || part >= 1 {
		part = 0.5
	}
	delay := min(time.Duration(float64(lifetime)*part), orDuration(e.MaxAge, 2*time.Hour))
	jitter := e.Jitter
	if jitter == 0 {
		jitter = 0.1
	}
	if jitter < 0 {
		return delay
	}
	return delay - time.Duration(rand.Float64()*min(jitter, 1)*float64(delay))
}

// land takes over the result and wakes who waits. It returns the error as it is remembered, with the time of the next try.
func (s *Source) land(f *flight, h *held, err *Error, now instant) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != f {
		return s.refuse() // dropped meanwhile
	}
	s.flight = nil
	if err == nil {
		s.backoff.reset()
		s.lastError = nil
		s.current.Store(h)
		s.nextTry.Store(int64(h.refreshAt))
		f.held = h
		if !f.takenOver {
			s.save(h)
		}
	} else {
		s.failures++
		err = s.backoff.fail(s, err, now)
		s.lastError = err
		s.nextTry.Store(int64(s.backoff.until))
		f.err = err
		if s.current.Load() == nil && s.suspect.good(now) {
			// The rejection may have been the application's own, and an outage of the token server must stop nothing.
			s.current.Store(s.suspect)
		}
	}
	s.suspect = nil
	s.arm(now)
	close(f.done)
	return err
}

// arm sets the timer to the next thing to do on its own: refresh while in use, or forget at the end. s.mu is held.
func (s *Source) arm(now instant) {
	h := s.current.Load()
	if h == nil {
		return
	}
	next := h.usable
	if s.flight == nil && s.warm(now) {
		next = min(next, max(instant(s.nextTry.Load()), now))
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(next-now, s.tick)
		return
	}
	s.timer.Reset(next - now)
}

// tick is what the timer does.
func (s *Source) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	h := s.current.Load()
	if s.dropped || h == nil {
		return
	}
	if !h.good(now) {
		s.current.CompareAndSwap(h, nil) // a dead token has no business in memory, nor on disk
		s.unsave(h, now)
		return
	}
	if s.flight == nil && now >= instant(s.nextTry.Load()) && s.warm(now) {
		s.begin(true)
	}
	s.arm(now)
}

// report tells the outcome to the metrics and the log.
func (s *Source) report(f *flight, h *held, r *reply, err *Error, took time.Duration) {
	fetch := Fetch{CredentialID: s.cred.ID, Scope: s.cred.Scope, Host: s.host, Background: f.background, Duration: took, Err: err}
	if err == nil {
		fetch.Lifetime, fetch.LifetimeTold = h.expires-h.obtained, r.lifetime > 0
	}
	if s.e.Observe != nil {
		s.e.Observe(fetch)
	}
	if s.e.Logger == nil {
		return
	}
	attrs := []any{slog.String("credential", s.cred.ID), slog.String("host", s.host), slog.Duration("took", took),
		slog.Bool("background", f.background)}
	if err != nil {
		s.e.Logger.Warn("token not fetched", append(attrs, slog.String("error", err.Error()))...)
		return
	}
	s.e.Logger.Debug("token fetched", append(attrs, slog.Duration("lifetime", fetch.Lifetime))...)
}
