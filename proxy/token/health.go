package token

import (
	"cmp"
	"net/http"
	"slices"
	"time"
)

// health is whether a token server does its work. It is guarded by the pacer's mutex.
type health struct {
	since instant // of the first failure after the last sensible answer
	err   *Error  // the last failure; nil while it does its work
}

// heard takes in what one request came to. A client that is refused, or asks for a scope that it may not have, got a sensible answer.
func (h *health) heard(now instant, err *Error) {
	if err == nil || !err.serverFails() {
		h.err = nil
		return
	}
	if h.err == nil {
		h.since = now
	}
	h.err = err
}

// serverFails reports whether the error is the token server's own, and not that of one client.
func (e *Error) serverFails() bool {
	switch e.Step {
	case StepDial, StepTLS, StepRequest, StepParse:
		return true
	case StepStatus, StepDiscover:
		return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status/100 != 4
	}
	return false
}

// ServerState is what is known of one token server, for metrics and readiness. It carries no secret.
type ServerState struct {
	Host        string    // host and port
	Failing     bool      // the last answer, or that there was none, is the server's fault
	Since       time.Time // when it began to fail, zero if it does not
	Err         *Error    // how the last request failed, nil if it does not
	PausedUntil time.Time // it asked to be left alone (429); zero if it did not
	InFlight    int       // requests under way
	Waiting     int       // requests that wait for their turn
	Credentials int       // that get tokens there
	Affected    int       // of these, those whose last request failed
	Without     int       // of these, those that have no valid token any more
}

// Servers returns the state of each token server that is in use, ordered by host.
func (e *Engine) Servers() []ServerState {
	byHost := map[string]*ServerState{}
	e.mu.RLock()
	for _, c := range e.clients {
		if byHost[c.pacer.host] == nil {
			st := c.pacer.state()
			byHost[c.pacer.host] = &st
		}
	}
	sources := make([]*Source, 0, len(e.sources))
	for _, s := range e.sources {
		sources = append(sources, s)
	}
	e.mu.RUnlock()
	type standing struct{ affected, without bool }
	clients := map[clientKey]standing{}
	for _, s := range sources {
		st := s.State()
		key := clientKey{s.cred.ID, s.client.pacer.host}
		had := clients[key]
		failing := st.LastError != nil
		clients[key] = standing{had.affected || failing, had.without || failing && !st.Valid}
	}
	for key, c := range clients {
		st := byHost[key.host]
		if st == nil {
			continue // made after the list of clients was read
		}
		st.Credentials++
		if c.affected {
			st.Affected++
		}
		if c.without {
			st.Without++
		}
	}
	states := make([]ServerState, 0, len(byHost))
	for _, st := range byHost {
		states = append(states, *st)
	}
	slices.SortFunc(states, func(a, b ServerState) int { return cmp.Compare(a.Host, b.Host) })
	return states
}

func (p *pacer) state() ServerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := ServerState{Host: p.host, InFlight: p.inFlight, Waiting: p.waiting}
	if p.health.err != nil {
		st.Failing, st.Since, st.Err = true, p.base.Add(p.health.since), p.health.err
	}
	if p.throttle.until > p.now() {
		st.PausedUntil = p.base.Add(p.throttle.until)
	}
	return st
}
