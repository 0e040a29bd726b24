package admin

import "github.com/tenantgate/tenantgate/identity"

func showPolicy(s *Server, c *call) (any, error) {
	p := s.Registry.Snapshot().Policy()
	return p, c.tag(p)
}

// storedPolicy is the policy as the transaction sees it; there is one, without a name.
func storedPolicy(tx *identity.Tx, _ string) (identity.Policy, error) { return tx.Policy() }
