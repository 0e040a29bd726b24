package admin

import (
	"context"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// switchIdentity disables or enables.
func switchIdentity(verb string, turn func(*identity.Tx, context.Context, string) (identity.Identity, error)) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		if err := c.nothing(); err != nil {
			return nil, err
		}
		var stored identity.Identity
		err := s.change(c, identity.ObjectIdentity, verb, func(tx *identity.Tx) (_ act, err error) {
			stored, err = turn(tx, c.Context(), c.name)
			return act{c.name, nil}, err
		})
		return stored, err
	}
}

// removal is the change record's detail of a removed identity: the certificates that went with it.
type removal struct {
	Cascade bool     `json:"cascade"`
	Revoked []string `json:"revoked,omitempty"` // serial numbers
	Tokens  int      `json:"enrolment_tokens_withdrawn,omitempty"`
	Keys    int      `json:"acme_keys_removed,omitempty"`
	Logins  []string `json:"logins,omitempty"` // user names of the logins that went along

	Mappings []string `json:"mappings_removed,omitempty"` // of authorities
	Moves    []string `json:"moves_removed,omitempty"`    // callers that were moved to it, whom their logins let in again
}

// removeIdentity removes an identity; its certificates are revoked, in the registry and at the CA.
func removeIdentity(s *Server, c *call) (any, error) {
	cascade, err := c.query.truth("cascade")
	if err != nil {
		return nil, err
	}
	return nil, s.change(c, identity.ObjectIdentity, "remove", func(tx *identity.Tx) (act, error) {
		credentials, logins, mappings := tx.IdentityCredentials(c.name), tx.IdentityLogins(c.name), tx.Mappings(c.name)
		moves := tx.MovesTo(c.name)
		revoked, err := tx.RemoveIdentity(c.Context(), c.name, cascade)
		if err != nil {
			return act{}, err
		}
		for i := range credentials {
			if err := revokeOwn(c.Context(), s.CA, tx, &credentials[i]); err != nil {
				return act{}, err
			}
		}
		done := removal{Cascade: cascade, Logins: logins, Mappings: mappings}
		for _, m := range moves {
			done.Moves = append(done.Moves, m.Caller)
		}
		for _, r := range revoked {
			if err := s.revokeAtCA(c, tx, r.Serial, "cessationOfOperation", time.Now()); err != nil {
				return act{}, err
			}
			done.Revoked = append(done.Revoked, r.Serial)
		}
		// Whoever is given the name next must not be enrolled by a token, nor by an ACME account, of its former holder.
		if done.Tokens, err = s.CA.WithdrawEnrolmentTokens(c.Context(), tx.SQL(), c.name); err != nil {
			return act{}, err
		}
		done.Keys, err = s.CA.RemoveACMEKeys(c.Context(), tx.SQL(), c.name)
		return act{c.name, done}, err
	})
}
