package token

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// throttle is what a server that answered 429 asks for. It speaks of the subaccount or the address and not of one client, so that every client waits; those
// with a token at hand notice nothing. Callers wait through a short pause, and are told of a long one at once. It is guarded by the pacer's mutex.
type throttle struct {
	until  instant       // no request begins before
	trying bool          // behind a pause there is one request at a time until one gets another answer
	probe  *ticket       // that one, nil if none is under way
	times  int           // in a row
	begins chan struct{} // closed, and replaced, when a pause begins that no caller should wait for
}

// longestThrottle bounds how long one client's 429 holds the others up; that client itself waits for as long as it was told, see backoff.
const longestThrottle = time.Minute

// patience is how long a pause callers wait for.
const patience = 5 * time.Second

// pause tells until when requests are held up, if that is so long that no caller should wait for it, else 0; and gives what is closed when such a pause begins.
func (p *pacer) pause() (until instant, begins <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.throttle.until-p.now() > patience {
		until = p.throttle.until
	}
	return until, p.throttle.begins
}

// heard notes what a request came to. The error is nil when it brought a token.
func (p *pacer) heard(e *Engine, t *ticket, err *Error) {
	if err != nil && errors.Is(err, context.Canceled) {
		return // the credential was dropped meanwhile
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	p.health.heard(now, err)
	th := &p.throttle
	switch {
	case err != nil && err.Status == http.StatusTooManyRequests:
		th.times++
		pause := err.RetryAfter
		if pause <= 0 {
			pause = e.pause(th.times, 0)
		}
		th.until, th.trying = max(th.until, now+min(pause, longestThrottle)), true
		if pause > patience {
			close(th.begins)
			th.begins = make(chan struct{})
		}
	case t.started >= th.until: // it was asked behind the pause
		th.trying, th.probe, th.times = false, nil, 0
	}
}
