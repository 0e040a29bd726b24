package proxy

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// CredentialSwitch is the change from one credential of an identity for a tenant to the other one.
type CredentialSwitch struct {
	Identity, Tenant string
	// To is the id of the credential that is used from now on, From that of the one that was.
	To, From string
	// Fallback says that To is the older one.
	Fallback bool
	// Cause says why, for operators. It holds no secret.
	Cause string
}

const (
	// A credential that was given up is tried again after setbackMin; the pause doubles with each further time, up to setbackMax. A token server half of whose
	// nodes know a secret must not cause a switch with every token.
	setbackMin = time.Minute
	setbackMax = time.Hour
	// rejectedMin is the first pause when it was the tenant that refused it: a role that is missing takes a person.
	rejectedMin = 15 * time.Minute
	// probeAgain is when another request is to probe, if none has found out whether the tenant takes it now.
	probeAgain = time.Minute
	// provenFor is how long a credential must have been in use for its earlier setbacks to be forgotten.
	provenFor = time.Hour
	// tryTimeout bounds a fetch in the background; the engine's own timeout is shorter.
	tryTimeout = time.Minute
	// refreshPatience is how long a refusal may last while its credential still has a valid token: the engine asks again before it holds the client.
	refreshPatience = time.Minute
)

// learn takes in what came of asking for a token with one of the pair's credentials.
func (p *preferences) learn(one *pair, m means, err error) {
	one.mu.Lock()
	one.of(m.credential).learn(m.source, err, p.server.cfg.Now())
	one.mu.Unlock()
	p.settle(one)
}

func (s *standing) learn(source *token.Source, err error, now time.Time) {
	if err == nil {
		s.source, s.failed, s.refused = source, nil, false
		if s.rejected == "" { // else the tenant's pause goes on
			s.notBefore = time.Time{}
		}
		return
	}
	e, ok := err.(*token.Error)
	if !ok || e.Step == token.StepWait || e.Step == token.StepDropped {
		return
	}
	s.failed, s.refused = e, s.refused || refuses(s.credential, e) // an outage does not undo a refusal
	s.putOff(e.Until, now)
}

// putOff lets the next try wait until then.
func (s *standing) putOff(until, now time.Time) {
	if soonest := now.Add(time.Second); until.Before(soonest) {
		until = soonest
	}
	if until.After(s.notBefore) {
		s.notBefore = until
	}
}

// setback lets a credential that was given up wait for its next try, the longer the more often that has happened.
func (s *standing) setback(pause time.Duration, now time.Time) {
	if !s.since.IsZero() && now.Sub(s.since) > provenFor {
		s.setbacks = 0
	}
	s.putOff(now.Add(min(pause<<min(s.setbacks, 10), setbackMax)), now)
	s.setbacks++
}

// accept notes that the tenant takes the newer credential.
func (p *preferences) accept(one *pair) {
	one.mu.Lock()
	one.newer.rejected, one.newer.probing = "", false
	one.mu.Unlock()
	one.trial.Store(false)
	p.settle(one)
}

// reject notes that the tenant does not take the newer credential's tokens. It stays on trial: after a pause, one request at a time finds out whether that is
// still so.
func (p *preferences) reject(one *pair, cause string) {
	now := p.server.cfg.Now()
	one.mu.Lock()
	if s := one.newer; s.rejected == "" || s.probing { // else one of many requests at the same time
		s.rejected, s.probing = cause, false
		s.setback(rejectedMin, now)
	}
	one.mu.Unlock()
	one.trial.Store(true)
	p.settle(one)
}

// settle puts the better credential into use. One that has no token at hand is asked for one first, so that nobody waits for it; only one that has ended is
// given up at once.
func (p *preferences) settle(one *pair) {
	if !p.known(one) {
		return
	}
	now := p.server.cfg.Now()
	one.mu.Lock()
	s := one.inUse.Load()
	next := one.opposite(s)
	if one.rank(next, now) >= one.rank(s, now) {
		one.mu.Unlock()
		return
	}
	if one.rank(s, now) != expired && !next.ready() {
		one.mu.Unlock()
		p.try(one, next)
		return
	}
	cause := one.cause(s, now)
	if s == one.newer && s.rejected == "" { // else it had its setback
		s.setback(setbackMin, now)
	}
	next.since = now
	one.inUse.Store(next)
	one.mu.Unlock()
	p.announce(s.credential, next.credential, next == one.older, cause)
}

// ready reports whether a valid token is at hand.
func (s *standing) ready() bool { return s.source != nil && s.source.State().Valid }

// cause says why a credential is given up for the other one. p.mu is held.
func (p *pair) cause(s *standing, now time.Time) string {
	switch p.rank(s, now) {
	case expired:
		return "it ended at " + s.credential.NotAfter.UTC().Format(time.RFC3339)
	case refused:
		return s.failed.Error()
	case rejected:
		return s.rejected
	}
	return "the newer one has worked"
}

func (p *preferences) announce(from, to *identity.Credential, fallback bool, cause string) {
	text, level := "a new credential is in use", slog.LevelInfo
	if fallback {
		text, level = "a credential was given up for the older one", slog.LevelWarn
	}
	p.server.log.Log(context.Background(), level, text, "identity", to.Identity, "tenant", to.Tenant, "credential", to.ID, "instead_of", from.ID, "cause", cause)
	if p.server.cfg.Switched != nil {
		p.server.cfg.Switched(CredentialSwitch{Identity: to.Identity, Tenant: to.Tenant, To: to.ID, From: from.ID, Fallback: fallback, Cause: cause})
	}
}

// try asks for a token in the background, unless that is under way, has failed a moment ago, or makes no sense.
func (p *preferences) try(one *pair, s *standing) {
	p.begin(one, s, func() (means, error) {
		t, ok := p.server.cfg.Registry.Snapshot().Tenant(s.credential.Tenant)
		if !ok {
			return means{}, token.ErrDropped
		}
		return p.server.upstreams.means(s.credential, t, p.routeFor(s.credential))
	})
}

// fetch is try for the scope of a request that did not wait for it.
func (p *preferences) fetch(one *pair, m means) {
	p.begin(one, one.of(m.credential), func() (means, error) { return m, nil })
}

func (p *preferences) begin(one *pair, s *standing, find func() (means, error)) {
	now := p.server.cfg.Now()
	one.mu.Lock()
	if s.trying || now.Before(s.notBefore) || s.credential.Expired(now) {
		one.mu.Unlock()
		return
	}
	s.trying = true
	one.mu.Unlock()
	go func() {
		m, err := find()
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), tryTimeout) // the engine ends it when it closes or the credential goes
			_, err = m.source.Token(ctx)
			cancel()
		}
		one.mu.Lock()
		s.trying = false
		s.learn(m.source, err, p.server.cfg.Now())
		one.mu.Unlock()
		p.settle(one)
	}()
}

// routeFor is a route with whose scope and parameters the identity's requests ask for tokens: the first one that it may use.
func (p *preferences) routeFor(c *identity.Credential) *identity.Route {
	snapshot := p.server.cfg.Registry.Snapshot()
	i, ok := snapshot.Identity(c.Identity)
	if !ok {
		return &identity.Route{}
	}
	for _, r := range snapshot.Routes() {
		if r.Tenant == c.Tenant && slices.Contains(i.Roles, r.Role) {
			return r
		}
	}
	return &identity.Route{}
}

// tendAll does what is due for all pairs.
func (p *preferences) tendAll() {
	if m := p.pairs.Load(); m != nil {
		for _, one := range *m {
			p.tend(one)
		}
	}
}

// tend notices what the token engine found out by itself and what has ended, and tries again what was refused long enough ago.
func (p *preferences) tend(one *pair) {
	now := p.server.cfg.Now()
	one.mu.Lock()
	for _, s := range []*standing{one.newer, one.older} {
		s.look(now)
	}
	newer := one.newer
	due := !now.Before(newer.notBefore)
	if newer.rejected != "" && !newer.refused && due {
		newer.probing, newer.notBefore = true, now.Add(probeAgain)
		one.probe.Store(true)
	}
	again := due && (newer.source == nil || newer.refused)
	one.mu.Unlock()
	if again {
		p.try(one, newer)
	}
	p.settle(one)
}

// look notices that a refresh in the background was refused. While the token at hand is valid there is time to see whether the server means it.
func (s *standing) look(now time.Time) {
	if s.source == nil || s.refused {
		return
	}
	st := s.source.State()
	e := st.LastError
	if e == nil || !refuses(s.credential, e) || st.Valid && e.Until.Sub(now) <= refreshPatience {
		return
	}
	s.failed, s.refused = e, true
	s.putOff(e.Until, now)
}
