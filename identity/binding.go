package identity

import "slices"

// Binding is what a certificate stands for. It is immutable.
type Binding struct {
	// Certificate is the bound certificate; look at Revoked.
	Certificate *Certificate
	// Identity is whose it is; look at Disabled. It is never nil: the certificate of an identity that was removed stands for a disabled
	// one of the same name, without roles.
	Identity *Identity
}

// HasRole reports whether a request with this certificate may use the role: the identity holds it, is enabled, and the certificate
// is not revoked. It allocates nothing.
func (b *Binding) HasRole(role string) bool {
	if b.Identity.Disabled || b.Certificate.Revoked() {
		return false
	}
	_, ok := slices.BinarySearch(b.Identity.Roles, role)
	return ok
}

// holder is all that hangs on one identity's name. It is immutable once a snapshot holds it.
type holder struct {
	identity     *Identity      // nil once the identity was removed
	certificates []*Certificate // newest first
	credentials  []*Credential  // by tenant, newest first
}

// bound returns the identity that bindings show.
func (h *holder) bound(name string) *Identity {
	if h.identity != nil {
		return h.identity
	}
	return &Identity{Name: name, Disabled: true}
}

// credentialsFor returns the credentials for one tenant. It allocates nothing.
func (h *holder) credentialsFor(tenant string) []*Credential {
	from := 0
	for from < len(h.credentials) && h.credentials[from].Tenant < tenant {
		from++
	}
	to := from
	for to < len(h.credentials) && h.credentials[to].Tenant == tenant {
		to++
	}
	return h.credentials[from:to:to]
}
