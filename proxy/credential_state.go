package proxy

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// CredentialState is how a credential stands on this node.
type CredentialState struct {
	// State is a word of a fixed set:
	//
	//	preferred  it has brought a token and is used
	//	fallback   it is the older one and used, because the newer one has not worked yet or does not any more
	//	standby    it is the older one, and there if it is needed
	//	unproven   it has not brought a token
	//	rejected   the tenant does not take its tokens; it is tried again from Until on
	//	refused    the token server does not accept it; it is tried again from Until on
	//	expired    its end has come
	State string
	// InUse says that requests are sent with it.
	InUse bool
	// Taken says that the tenant has taken its tokens. It is known, and matters, only while there is an older one.
	Taken bool
	// Until is when it is tried again, zero when nothing is in its way.
	Until time.Time
	// Error is why it is rejected or refused, or why the last token was not to be had; "" when nothing is wrong. It holds no secret.
	Error string
	// LastUsed is when a token of it was last asked for, to the minute; zero when it was not since the start.
	LastUsed time.Time
}

var rankNames = [...]string{preferred: "preferred", standby: "standby", unproven: "unproven", rejected: "rejected", refused: "refused", expired: "expired"}

// CredentialStates says how credentials of the registry stand, in their order.
func (s *Server) CredentialStates(credentials []*identity.Credential) []CredentialState {
	tokens := map[string][]token.State{}
	for _, st := range s.cfg.Tokens.States() {
		tokens[st.CredentialID] = append(tokens[st.CredentialID], st)
	}
	all := make([]CredentialState, len(credentials))
	for i, c := range credentials {
		all[i] = s.credentialState(c, tokens[c.ID])
	}
	return all
}

func (s *Server) credentialState(c *identity.Credential, tokens []token.State) CredentialState {
	state := single(c, tokens, s.cfg.Now())
	if both := s.cfg.Registry.Snapshot().Credentials(c.Identity, c.Tenant); len(both) > 1 && (c.ID == both[0].ID || c.ID == both[1].ID) {
		s.preferences.of(both).describe(c, &state, s.cfg.Now())
	}
	for _, t := range tokens {
		if t.LastUsed.After(state.LastUsed) {
			state.LastUsed = t.LastUsed
		}
	}
	return state
}

// single is the state of the identity's only credential for the tenant.
func single(c *identity.Credential, tokens []token.State, now time.Time) CredentialState {
	state := CredentialState{State: rankNames[unproven], InUse: true}
	for _, t := range tokens {
		if t.Valid {
			state.State = rankNames[preferred]
		}
	}
	for _, t := range tokens {
		if e := t.LastError; e != nil {
			state.Error, state.Until = e.Error(), e.Until
			if refuses(c, e) {
				state.State = rankNames[refused]
			}
		}
	}
	if c.Expired(now) {
		state.State = rankNames[expired]
	}
	return state
}

// describe says how one credential of the pair stands.
func (p *pair) describe(c *identity.Credential, state *CredentialState, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.newer
	if c.ID != s.credential.ID {
		s = p.older
	}
	r := p.rank(s, now)
	state.State, state.InUse, state.Until = rankNames[r], p.inUse.Load() == s, time.Time{}
	state.Taken = s == p.older || !p.trial.Load()
	if r == standby && state.InUse {
		state.State = "fallback"
	}
	if r >= unproven && r != expired && now.Before(s.notBefore) {
		state.Until = s.notBefore
	}
	switch {
	case r == rejected:
		state.Error = s.rejected
	case s.failed != nil:
		state.Error = s.failed.Error()
	}
}

// Fallbacks says by tenant how many identities use their older credential because the newer one is refused, rejected or expired.
func (s *Server) Fallbacks() map[string]int {
	all := map[string]int{}
	m := s.preferences.pairs.Load()
	if m == nil {
		return all
	}
	now := s.cfg.Now()
	for key, p := range *m {
		p.mu.Lock()
		if p.inUse.Load() == p.older && p.rank(p.newer, now) > unproven {
			all[key.tenant]++
		}
		p.mu.Unlock()
	}
	return all
}
