package identity

import "slices"

// Binding is what a certificate or a login stands for. It is immutable.
type Binding struct {
	// Certificate is the bound certificate; look at Revoked. It is nil when a login is bound.
	Certificate *Certificate
	// Login is the bound login; look at its stage. It is nil when a certificate is bound.
	Login *Login
	// Identity is whose it is; look at Disabled. It is never nil: the certificate of an identity that was removed stands for a disabled
	// one of the same name, without roles.
	Identity *Identity
}

// HasRole reports whether a request with this certificate or login may use the role: the identity holds it, is enabled, and the certificate
// is not revoked; a login has it, too. Whether the login is live and accepted is for its stage to say. It allocates nothing.
func (b *Binding) HasRole(role string) bool {
	switch {
	case b.Identity.Disabled:
		return false
	case b.Login != nil && !b.Login.hasRole(role):
		return false
	case b.Login == nil && b.Certificate.Revoked():
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
	logins       []*Login       // by user name
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
