package token

import (
	"context"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Source gives the tokens of one credential and scope. It is made by [Engine.Source] and safe for concurrent use.
type Source struct {
	e      *Engine
	cred   Credential
	host   string
	client *client
	base   time.Time // instants are kept as time since base: one read of the monotonic clock on the hot path

	current atomic.Pointer[held] // what callers get; nil when there is none
	nextTry atomic.Int64         // instant from which a call nudges a refresh; never while one is under way or held back
	lastUse atomic.Int64         // instant of the last call, to the minute

	storedUse atomic.Int64 // the last use that was stored
	retired   atomic.Bool  // it is for those who hold it, and nobody else

	ctx    context.Context // ends when the source is dropped
	cancel context.CancelFunc

	mu        sync.Mutex // guards what follows; never held across the network
	flight    *flight    // the request under way, nil if none
	suspect   *held      // evicted by Reject and not yet replaced
	lastEvict instant    // of the last eviction by Reject
	backoff   backoff
	timer     *time.Timer
	fetches   uint64
	failures  uint64
	lastError *Error
	dropped   bool
}

// instant is the time since the engine's base.
type instant = time.Duration

const never instant = math.MaxInt64

// held is a token with its times; immutable.
type held struct {
	token     Token
	obtained  instant
	refreshAt instant
	usable    instant // up to here it is handed out
	expires   instant
}

// flight is one request, in line or under way, and all who wait for it. held or err are set before done is closed.
type flight struct {
	done       chan struct{}
	background bool // nobody waited when it began
	takenOver  bool // the token is another node's
	ticket     *ticket
	held       *held
	err        *Error
}

// begun reports whether the request has had its turn.
func (f *flight) begun() bool {
	select {
	case <-f.ticket.turn:
		return true
	default:
		return false
	}
}

// awaited reports whether a caller waits.
func (f *flight) awaited() bool { return f.ticket.waiters.Load() > 0 }

func newSource(e *Engine, c Credential, cl *client) *Source {
	s := &Source{e: e, cred: c, host: c.host(), client: cl, base: e.base, lastEvict: -1 << 62}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.nextTry.Store(int64(never))
	return s
}

func (s *Source) now() instant           { return time.Since(s.base) }
func (s *Source) at(i instant) time.Time { return s.base.Add(i) }
func (h *held) good(now instant) bool    { return h != nil && now < h.usable }
func (s *Source) warm(now instant) bool {
	return !s.retired.Load() && now-instant(s.lastUse.Load()) <= s.e.keepWarm()
}

// Token returns the token at hand or, when there is none that is valid, the one that a single request for all waiting
// callers brings. Its error is an [*Error]. The context bounds this caller's wait only: the request goes on for the others
// and for the next. Within a back-off the remembered error comes at once and no request is made.
func (s *Source) Token(ctx context.Context) (Token, error) {
	if t, ok := s.Held(); ok {
		return t, nil
	}
	return s.wait(ctx)
}

// Held returns the token at hand, if there is a valid one, and has it refreshed in the background when it is time. It never waits: one atomic load and one
// look at the clock.
func (s *Source) Held() (Token, bool) {
	now := s.now()
	h := s.current.Load()
	if !h.good(now) {
		return Token{}, false
	}
	if now-instant(s.lastUse.Load()) > time.Minute {
		s.lastUse.Store(int64(now))
	}
	if now >= instant(s.nextTry.Load()) {
		s.nudge()
	}
	return h.token, true
}

// wait is Token without a valid token at hand.
func (s *Source) wait(ctx context.Context) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, s.interrupted(err, nil)
	}
	s.mu.Lock()
	now := s.now()
	s.lastUse.Store(int64(now))
	if s.dropped {
		s.mu.Unlock()
		return Token{}, s.refuse()
	}
	if h := s.current.Load(); h.good(now) {
		s.mu.Unlock()
		return h.token, nil
	}
	until, pausing := s.client.pacer.pause()
	f := s.flight
	if until > 0 && (f == nil || !f.begun()) {
		defer s.mu.Unlock()
		return s.paused(now, until)
	}
	if f == nil {
		if err := s.backoff.holds(now); err != nil {
			s.mu.Unlock()
			return Token{}, err
		}
		f = s.begin(false)
	} else if f.ticket.waiters.Add(1) == 1 {
		s.client.pacer.place(f.ticket)
	}
	s.mu.Unlock()
	return s.await(ctx, f, pausing)
}

// await waits for a flight, until the caller's context ends, or the token server asks for a pause before it was asked.
func (s *Source) await(ctx context.Context, f *flight, pausing <-chan struct{}) (Token, error) {
	for done := false; !done; {
		select {
		case <-f.done:
			done = true
		case <-ctx.Done():
			s.giveUp(f)
			return Token{}, s.interrupted(ctx.Err(), f)
		case <-pausing:
			var until instant
			if until, pausing = s.client.pacer.pause(); until > 0 && !f.begun() {
				s.giveUp(f)
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.paused(s.now(), until)
			}
		}
	}
	if f.err == nil {
		return f.held.token, nil
	}
	if h := s.current.Load(); h.good(s.now()) {
		return h.token, nil // the one that was rejected: see land
	}
	return Token{}, f.err
}

// giveUp takes a caller away from a flight.
func (s *Source) giveUp(f *flight) {
	if f.ticket.waiters.Add(-1) == 0 {
		s.client.pacer.place(f.ticket)
	}
}

// paused is for a caller who will not wait for as long as the token server wants to be left alone: a token that the tenant has rejected, as the rejection may
// have been the application's own, or an error. s.mu is held.
func (s *Source) paused(now, until instant) (Token, error) {
	if h := s.suspect; h.good(now) {
		s.current.Store(h)
		s.suspect = nil
		if s.flight == nil {
			s.nextTry.Store(int64(until))
		}
		return h.token, nil
	}
	return Token{}, s.pauseError(until)
}

func (s *Source) pauseError(until instant) *Error {
	return &Error{Step: StepStatus, Host: s.host, Status: http.StatusTooManyRequests, Until: s.at(until),
		Description: "the server has told another client to wait"}
}

// interrupted is the error of a caller who could not wait for the flight, if there was one.
func (s *Source) interrupted(cause error, f *flight) *Error {
	description := cause.Error()
	switch {
	case f == nil:
	case f.begun():
		description += " while the token server was asked"
	default:
		description += " before the token server could be asked: others are in line, or it asked for a pause"
	}
	return &Error{Step: StepWait, Host: s.host, Description: description, cause: cause}
}

func (s *Source) refuse() *Error {
	return &Error{Step: StepDropped, Host: s.host, Description: ErrDropped.Error(), cause: ErrDropped}
}

// nudge begins a refresh in the background, unless one is under way or held back.
func (s *Source) nudge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.dropped || s.flight != nil || now < instant(s.nextTry.Load()) || s.backoff.holds(now) != nil {
		return
	}
	s.begin(true)
}

// Reject tells that the tenant answered 401 to t, and reports whether asking for a token and sending the request once more
// is worth it. It evicts t if it is the token at hand; a token that has replaced t already stays. It returns false when a
// token was evicted within the cool-down before: then the token was fresh and the 401 is the application's own, and
// evicting again would only make a storm of token requests. An evicted token serves again if no other can be had.
func (s *Source) Reject(t Token) (retry bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped || t.ID == 0 {
		return false
	}
	now := s.now()
	h := s.current.Load()
	switch {
	case h.good(now) && h.token.ID != t.ID:
		return true // replaced meanwhile
	case !h.good(now):
		// Evicted or expired: the next call brings another one, unless the server is being left alone and the next call
		// would hand out the very same.
		return s.flight != nil || !s.leftAlone(now)
	case now-s.lastEvict < s.e.rejectCooldown():
		return false
	}
	if s.flight == nil && s.leftAlone(now) {
		return false // nothing better can be had: keep it
	}
	s.lastEvict = now
	s.suspect = h
	s.current.Store(nil)
	s.unsave(h, now)
	return true
}

// leftAlone reports whether the token server is not asked now. s.mu is held.
func (s *Source) leftAlone(now instant) bool {
	until, _ := s.client.pacer.pause()
	return until > 0 || s.backoff.holds(now) != nil
}

// State returns what is known of the source.
func (s *Source) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := State{CredentialID: s.cred.ID, Scope: s.cred.Scope, Parameters: s.cred.Parameters, Host: s.host,
		Fetching: s.flight != nil, Fetches: s.fetches, Failures: s.failures, LastError: s.lastError}
	if used := instant(s.lastUse.Load()); used > 0 {
		st.LastUsed = s.at(used)
	}
	if h := s.current.Load(); h.good(s.now()) {
		st.Valid, st.Obtained, st.Expires = true, s.at(h.obtained), s.at(h.expires)
	}
	return st
}

// drop cancels what is under way and refuses from now on.
func (s *Source) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = true
	s.current.Store(nil)
	s.suspect = nil
	if s.timer != nil {
		s.timer.Stop()
	}
	if f := s.flight; f != nil {
		s.flight = nil
		f.err = s.refuse()
		close(f.done) // nobody waits for the network to notice
	}
	s.cancel()
}
