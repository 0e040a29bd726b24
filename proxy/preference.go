package proxy

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// pair is the two credentials that an identity may hold for a tenant while one replaces the other, and which of them requests use: the newer one once it has
// worked, the older one before that and when the newer one is refused.
type pair struct {
	newer, older *standing
	inUse        atomic.Pointer[standing]
	// trial is set while the tenant has not taken the newer one: only what can be sent again is sent with it.
	trial atomic.Bool
	// probe has one request try the newer one, some time after the tenant has refused it.
	probe atomic.Bool

	mu sync.Mutex // guards the standings; held for a few instructions
}

// standing is what is known of one credential of a pair.
type standing struct {
	credential *identity.Credential
	source     *token.Source // that brought the last token, nil before the first
	trying     bool          // a fetch in the background is under way
	notBefore  time.Time     // of the next one, or of the next probe
	failed     *token.Error  // the last error; nil when the last answer was a token
	refused    bool          // the token server does not accept it; until the next token
	rejected   string        // why the tenant does not take it; "" when it does, or has not been asked
	probing    bool          // a request is to find out, or has been sent to, whether the tenant takes it now
	setbacks   int           // how often it was given up
	since      time.Time     // when it came into use
}

// rank orders the credentials of a pair: the lower one is used.
type rank int

const (
	preferred rank = iota // the newer one, which has worked
	standby               // the older one
	unproven              // the newer one, before its first token
	rejected              // by the tenant
	refused               // by the token server
	expired
)

func (p *pair) rank(s *standing, now time.Time) rank {
	switch {
	case s.credential.Expired(now):
		return expired
	case s.refused:
		return refused
	case s.rejected != "":
		return rejected
	case s == p.older:
		return standby
	case s.source == nil:
		return unproven
	}
	return preferred
}

// newPair begins with the older one, which has been in use until now.
func newPair(credentials []*identity.Credential, now time.Time) *pair {
	p := &pair{newer: &standing{credential: credentials[0]}, older: &standing{credential: credentials[1]}}
	p.trial.Store(true)
	p.inUse.Store(p.older)
	if p.older.credential.Expired(now) && !p.newer.credential.Expired(now) {
		p.inUse.Store(p.newer)
	}
	return p
}

// renewed is the pair with other copies of the same two credentials.
func (p *pair) renewed(credentials []*identity.Credential) *pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	newer, older := *p.newer, *p.older
	newer.credential, older.credential = credentials[0], credentials[1]
	newer.trying, older.trying = false, false
	next := &pair{newer: &newer, older: &older}
	next.trial.Store(p.trial.Load())
	next.inUse.Store(next.older)
	if p.inUse.Load() == p.newer {
		next.inUse.Store(next.newer)
	}
	return next
}

// inherit takes over what is known of a credential that was in the identity's last pair, too: of that one the other was removed while a third was added, as when
// a certificate renews itself beside a rotation. One that did not work does not come into use by that.
func (p *pair) inherit(last *pair, now time.Time) {
	if last == nil {
		return
	}
	last.mu.Lock()
	defer last.mu.Unlock()
	for _, s := range []*standing{p.newer, p.older} {
		for _, known := range []*standing{last.newer, last.older} {
			if known.credential.ID == s.credential.ID {
				credential := s.credential
				*s = *known
				s.credential, s.trying, s.probing = credential, false, false
			}
		}
	}
	if r := p.rank(p.older, now); r >= rejected && p.rank(p.newer, now) < r {
		p.inUse.Store(p.newer)
	}
}

func (p *pair) is(credentials []*identity.Credential) bool {
	return p != nil && p.newer.credential == credentials[0] && p.older.credential == credentials[1]
}

// standsFor reports whether these are the pair's credentials, if perhaps other copies of them.
func (p *pair) standsFor(credentials []*identity.Credential) bool {
	return p != nil && len(credentials) > 1 && p.newer.credential.ID == credentials[0].ID && p.older.credential.ID == credentials[1].ID
}

// pick returns the credential for a request. One that can be sent again may be the one that tries the newer credential.
func (p *pair) pick(repeatable bool) *identity.Credential {
	if repeatable && p.probe.Load() && p.probe.CompareAndSwap(true, false) {
		return p.newer.credential
	}
	return p.inUse.Load().credential
}

func (p *pair) of(c *identity.Credential) *standing {
	if p.newer.credential == c {
		return p.newer
	}
	return p.older
}

func (p *pair) opposite(s *standing) *standing {
	if p.newer == s {
		return p.older
	}
	return p.newer
}

func (p *pair) other(c *identity.Credential) *identity.Credential {
	return p.opposite(p.of(c)).credential
}

// onTrial reports whether the tenant has yet to take this credential.
func (p *pair) onTrial(c *identity.Credential) bool { return p.trial.Load() && c == p.newer.credential }

// willing reports whether nothing speaks against the credential.
func (p *pair) willing(c *identity.Credential, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rank(p.of(c), now) < rejected
}

// rejects reports whether the tenant does not take the credential's tokens.
func (p *pair) rejects(c *identity.Credential) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(c).rejected != ""
}

// refuses reports whether an error is about the credential, and not about the token server or the way to it.
func refuses(c *identity.Credential, e *token.Error) bool {
	// An alert says certificate_expired or the like.
	return e.Step == token.StepRefused || e.Step == token.StepTLS && c.Kind == identity.KindCertificate
}

// helps reports whether asking for a token of the other credential makes sense, now that none of c can be had because of e. An outage of a token server that both
// share is no reason: the other one would meet it, too.
func helps(c *identity.Credential, e *token.Error, elsewhere bool) bool {
	switch {
	case e.Step == token.StepWait:
		return false
	case refuses(c, e), e.Step == token.StepScope, e.Code == "invalid_scope", e.Step == token.StepDropped:
		return true
	}
	return elsewhere
}

// preferences are the pairs of all identities and tenants. A reader takes no lock.
type preferences struct {
	server *Server
	mu     sync.Mutex // held while pairs is replaced
	pairs  atomic.Pointer[map[pairKey]*pair]
}

// pairKey is a struct and not a joined string, so that no two can meet.
type pairKey struct{ identity, tenant string }

// of returns the pair of the credentials of an identity for a tenant, of which there are two, the newer one first.
func (p *preferences) of(credentials []*identity.Credential) *pair {
	key := pairKey{credentials[0].Identity, credentials[0].Tenant}
	if m := p.pairs.Load(); m != nil {
		if one := (*m)[key]; one.is(credentials) {
			return one
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[pairKey]*pair)
	if m := p.pairs.Load(); m != nil {
		if one := (*m)[key]; one.is(credentials) {
			return one
		}
		next = maps.Clone(*m)
	}
	if old := next[key]; old.standsFor(credentials) {
		next[key] = old.renewed(credentials)
	} else {
		next[key] = newPair(credentials, p.server.cfg.Now())
		next[key].inherit(old, p.server.cfg.Now())
	}
	p.pairs.Store(&next)
	return next[key]
}

// forget lets go of pairs that are none any more, and begins to try what was added.
func (p *preferences) forget(now *identity.Snapshot, changed identity.Changed) {
	if !changed.All && len(changed.Identities) == 0 && len(changed.Credentials) == 0 {
		return
	}
	p.mu.Lock()
	if m := p.pairs.Load(); m != nil {
		next := maps.Clone(*m)
		maps.DeleteFunc(next, func(k pairKey, one *pair) bool {
			credentials := now.Credentials(k.identity, k.tenant)
			successor := !changed.All && len(credentials) > 1 // which inherits: see of
			return !one.standsFor(credentials) && !successor || !enabled(now, k.identity)
		})
		p.pairs.Store(&next)
	}
	p.mu.Unlock()
	for _, id := range changed.Credentials {
		c, ok := now.Credential(id)
		if !ok || !enabled(now, c.Identity) {
			continue
		}
		if credentials := now.Credentials(c.Identity, c.Tenant); len(credentials) > 1 {
			p.tend(p.of(credentials))
		}
	}
}

// known reports whether the pair is still that of its identity and tenant.
func (p *preferences) known(one *pair) bool {
	m := p.pairs.Load()
	c := one.newer.credential
	return m != nil && (*m)[pairKey{c.Identity, c.Tenant}] == one
}
