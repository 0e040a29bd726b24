package external

import "github.com/tenantgate/tenantgate/identity"

// HoldLists has whoever reads a revocation list wait until release is called.
func (v *Verifier) HoldLists(of *identity.Authorities) (release func()) {
	v.compiler.get(of)
	for _, r := range v.compiler.lists {
		r.mu.Lock()
	}
	return func() {
		for _, r := range v.compiler.lists {
			r.mu.Unlock()
		}
	}
}
