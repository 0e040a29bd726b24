package token

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Trial is what one token request showed, for a check of a credential. Nothing in it but Token holds a secret, and Token redacts.
type Trial struct {
	// Held says that no request was made, because the client or its server is being left alone until Err.Until.
	Held bool
	// Err says why there is no token; nil if there is one.
	Err *Error
	// Token is the token. It is the caller's alone: no source hands it out.
	Token Token
	// Lifetime is what the token was taken over with; LifetimeTold is false when that is the engine's own default.
	Lifetime     time.Duration
	LifetimeTold bool
	// Scope is what was granted, where ScopeTold says that the server said so.
	Scope     string
	ScopeTold bool
	// Status and Date are of the answer: its HTTP status, 0 without an answer, and the server's clock, zero when it did not tell.
	Status int
	Date   time.Time
	// Answered is when the answer came, by our clock.
	Answered time.Time
}

// Try makes one token request with a credential, beside the sources and with the same law: one request of a client at a time, none while it
// is held or its server has asked to be left alone, and a refusal counts. A trace in the context (net/http/httptrace) sees its connection.
func (e *Engine) Try(ctx context.Context, c Credential) Trial {
	s := e.Source(c)
	p := s.client.pacer
	turn := &ticket{client: s.client, turn: make(chan struct{})}
	turn.waiters.Store(1)
	if held := s.awaitTurn(ctx, turn); held != nil {
		return Trial{Held: true, Err: held}
	}
	started := s.now()
	if err := s.tryable(started); err != nil {
		p.pass(turn)
		return Trial{Held: true, Err: err}
	}
	var t Trial
	ctx = context.WithValue(ctx, noticeKey{}, func(res *http.Response) {
		t.Answered, t.Status = time.Now(), res.StatusCode
		t.Date, _ = http.ParseTime(res.Header.Get("Date")) // zero when there is none
	})
	ctx, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() // dropped
	r, err := e.fetch(ctx, c)
	ended := s.now()
	p.heard(e, turn, err)
	var h *held
	if err == nil {
		h = s.hold(r, started)
		t.Token, t.Lifetime, t.LifetimeTold, t.Scope, t.ScopeTold = h.token, h.expires-h.obtained, r.lifetime > 0, r.scope, r.scopeTold
	}
	t.Err = s.tried(err, ended)
	p.leave(turn)
	s.report(&flight{}, h, r, t.Err, ended-started)
	return t
}

// awaitTurn waits for a turn at the token server, unless the server has asked for a pause that is too long to wait for.
func (s *Source) awaitTurn(ctx context.Context, turn *ticket) *Error {
	p := s.client.pacer
	until, pausing := p.pause()
	if until == 0 {
		p.join(turn)
	}
	for until == 0 {
		select {
		case <-turn.turn:
			return nil
		case <-ctx.Done():
			p.leave(turn)
			return s.interrupted(ctx.Err(), nil)
		case <-s.ctx.Done():
			p.leave(turn)
			return s.refuse()
		case <-pausing:
			if until, pausing = p.pause(); until > 0 {
				p.leave(turn)
			}
		}
	}
	return s.pauseError(until)
}

// tryable counts a request, or returns why none is made.
func (s *Source) tryable(now instant) *Error {
	if err := s.client.holds(now); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped {
		return s.refuse()
	}
	// A pause of our own is for callers, who come in numbers; whoever looks into a failure gets his one request, unless the server has asked for quiet.
	if err := s.backoff.holds(now); err != nil && err.RetryAfter > 0 {
		return err
	}
	s.fetches++
	return nil
}

// tried remembers what came of it as land does, but for the token.
func (s *Source) tried(err *Error, now instant) *Error {
	switch {
	case err == nil:
		s.client.accepted(s)
	case errors.Is(err, context.Canceled): // whoever asked has gone: that says nothing of the server
		return err
	default:
		err = s.client.refused(s, err, now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.backoff.reset()
		return nil
	}
	s.failures++
	s.lastError = s.backoff.fail(s, err, now)
	return s.lastError
}

// noticeKey is the context key of a function that looks at the answer's head.
type noticeKey struct{}

func noticed(ctx context.Context, res *http.Response) {
	if look, ok := ctx.Value(noticeKey{}).(func(*http.Response)); ok {
		look(res)
	}
}

// MissingScopes returns which of the requested scopes were not granted. Both are separated by spaces. A granted scope counts when it is the same but for the
// name of the application in front (TENANTS.md 3.6).
func MissingScopes(requested, granted string) []string { return missingScopes(requested, granted) }
