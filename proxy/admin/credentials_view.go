package admin

import (
	"cmp"
	"slices"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// Credential is an answer with a credential: what is stored, without its secret, and how it stands on the node that answers.
type Credential struct {
	identity.Credential
	Use CredentialUse `json:"use"`
}

// CredentialUse is how a credential stands on one node; another one may know better or worse.
type CredentialUse struct {
	// State is "preferred", "fallback", "standby", "unproven", "rejected", "refused" or "expired"; "" when the node does not know.
	State string `json:"state"`
	// InUse says that requests are sent with it.
	InUse bool `json:"in_use"`
	// Taken says that the tenant has taken its tokens; it matters while the identity holds another one.
	Taken bool `json:"taken"`
	// Until is when one that is rejected or refused is tried again.
	Until time.Time `json:"until,omitzero"`
	// Error is what went wrong last; "" when nothing did.
	Error string `json:"error,omitempty"`
	// LastUsed is when a token of it was last asked for, since the node's start and to the minute.
	LastUsed time.Time `json:"last_used,omitzero"`
}

// withUse adds to credentials how they stand.
func (s *Server) withUse(credentials []*identity.Credential) []Credential {
	uses := make([]CredentialUse, len(credentials))
	if s.CredentialUses != nil {
		uses = s.CredentialUses(credentials)
	}
	all := make([]Credential, len(credentials))
	for i, c := range credentials {
		all[i] = Credential{*c, uses[i]}
	}
	return all
}

func showCredential(s *Server, c *call) (any, error) {
	credential, ok := s.Registry.Snapshot().Credential(c.name)
	if !ok {
		return nil, absent(identity.ObjectCredential, c.name)
	}
	return s.withUse([]*identity.Credential{credential})[0], c.tag(credential) // how it stands changes by itself
}

func listCredentials(s *Server, c *call) (any, error) {
	snapshot := s.Registry.Snapshot()
	if _, ok := snapshot.Identity(c.name); !ok {
		return nil, absent(identity.ObjectIdentity, c.name)
	}
	return s.withUse(snapshot.IdentityCredentials(c.name)), nil
}

// listAllCredentials answers with the credentials of all identities by id: all of them, those that end within a time, or those whose end is near.
func listAllCredentials(s *Server, c *call) (any, error) {
	keep, err := expiringFilter(c, time.Now())
	if err != nil {
		return nil, err
	}
	var list []*identity.Credential
	for one := range s.Registry.Snapshot().AllCredentials() {
		if keep(one) {
			list = append(list, one)
		}
	}
	slices.SortFunc(list, func(a, b *identity.Credential) int { return cmp.Compare(a.ID, b.ID) })
	some, err := page(c, list, func(one *identity.Credential) string { return one.ID })
	if err != nil {
		return nil, err
	}
	return s.withUse(some), nil
}

// expiringSoon as a value of the parameter "expiring" stands for the time of warnings, which depends on how long a credential lives.
const expiringSoon = "soon"

func expiringFilter(c *call, now time.Time) (func(*identity.Credential) bool, error) {
	within, given := c.query["expiring"]
	switch {
	case !given:
		return func(*identity.Credential) bool { return true }, nil
	case within == expiringSoon:
		return func(one *identity.Credential) bool { return one.EndsSoon(now) }, nil
	}
	d, err := time.ParseDuration(within)
	if err != nil || d < 0 {
		return nil, malformed("parameter \"expiring\" is %q: give soon, or a duration such as 720h", within)
	}
	return func(one *identity.Credential) bool { return !one.NotAfter.IsZero() && one.NotAfter.Sub(now) <= d }, nil
}
