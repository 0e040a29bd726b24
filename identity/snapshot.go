package identity

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync"
)

// Snapshot is the registry as it was after one revision. It is immutable and safe for any number of readers, without locks. What its
// methods return points into it and must not be changed.
type Snapshot struct {
	revision    int64
	bindings    bindingTable
	holders     shards[*holder]
	identities  int // holders with an identity
	credentials shards[*Credential]
	tenants     map[string]*Tenant
	routes      map[string]*RouteEntry
	table       *routeTable
	policy      Policy
	logins      shards[*Binding]
	loginPolicy *LoginPolicy
	authorities *Authorities       // nil when there are none
	moves       map[string][]*Move // by user name

	sortedOnce sync.Once
	sorted     []*Identity // by name; made when first asked for
}

// emptySnapshot returns the registry before its first revision.
func emptySnapshot() *Snapshot {
	return &Snapshot{
		bindings:    newBindingTable(),
		holders:     newShards[*holder](),
		credentials: newShards[*Credential](),
		tenants:     map[string]*Tenant{},
		routes:      map[string]*RouteEntry{},
		table:       newRouteTable(nil),
		policy:      DefaultPolicy(),
		logins:      newShards[*Binding](),
		loginPolicy: new(DefaultLoginPolicy()),
		moves:       map[string][]*Move{},
	}
}

// Revision returns the number of the last change that the snapshot holds. It grows with each change on any node.
func (s *Snapshot) Revision() int64 { return s.revision }

// Binding returns what the certificate with this fingerprint stands for. It is found also when it is revoked or its identity is
// disabled, so that a refusal can name it; [Binding.HasRole] then denies every role. It takes no lock and allocates nothing.
func (s *Snapshot) Binding(f Fingerprint) (*Binding, bool) { return s.bindings.get(f) }

// Match returns the route for a request, or nil and false. Host is lower case without a port; path is the decoded path and folded the
// same with ASCII letters in lower case. At most one route matches. It takes no lock and allocates nothing.
func (s *Snapshot) Match(host string, path, folded []byte, method string) (*RouteEntry, bool) {
	entry, result := s.table.match(host, path, folded, method)
	return entry, result == Matched
}

// MatchPath is Match with a reason: it tells a path that no route has from one that has routes for other methods. The entry is nil
// unless the result is Matched.
func (s *Snapshot) MatchPath(host string, path, folded []byte, method string) (*RouteEntry, MatchResult) {
	return s.table.match(host, path, folded, method)
}

// Methods returns, sorted, the methods that routes have at a path, for the Allow header of a 405 (RFC 9110, 15.5.6).
func (s *Snapshot) Methods(host string, path, folded []byte) []string {
	return s.table.methods(host, path, folded)
}

// Identity returns the identity of this name.
func (s *Snapshot) Identity(name string) (*Identity, bool) {
	if h, ok := s.holders.get(name); ok && h.identity != nil {
		return h.identity, true
	}
	return nil, false
}

// Tenant returns the tenant of this name.
func (s *Snapshot) Tenant(name string) (*Tenant, bool) {
	t, ok := s.tenants[name]
	return t, ok
}

// Route returns the route of this name with its tenant.
func (s *Snapshot) Route(name string) (*RouteEntry, bool) {
	e, ok := s.routes[name]
	return e, ok
}

// Credential returns the credential with this ID, its secret opened.
func (s *Snapshot) Credential(id string) (*Credential, bool) { return s.credentials.get(id) }

// Credentials returns the credentials with which the identity calls the tenant, the newest first. It takes no lock and allocates
// nothing.
func (s *Snapshot) Credentials(identity, tenant string) []*Credential {
	if h, ok := s.holders.get(identity); ok {
		return h.credentialsFor(tenant)
	}
	return nil
}

// IdentityCredentials returns all credentials of the identity, by tenant, the newest first.
func (s *Snapshot) IdentityCredentials(identity string) []*Credential {
	if h, ok := s.holders.get(identity); ok {
		return slices.Clone(h.credentials)
	}
	return nil
}

// Certificates returns the certificates bound to the identity, the newest first, revoked and expired ones included.
func (s *Snapshot) Certificates(identity string) []*Certificate {
	if h, ok := s.holders.get(identity); ok {
		return slices.Clone(h.certificates)
	}
	return nil
}

// CertificateBySerial returns the first certificate found with this serial number (lower-case hexadecimal). It looks at all of them:
// about a tenth of a second for a million. It is for administrators, not for the request path.
func (s *Snapshot) CertificateBySerial(serial string) (*Certificate, bool) {
	for c := range s.AllCertificates() {
		if c.Serial == serial {
			return c, true
		}
	}
	return nil, false
}

// AllCertificates yields every certificate, in no order.
func (s *Snapshot) AllCertificates() iter.Seq[*Certificate] {
	return func(yield func(*Certificate) bool) {
		s.bindings.all(func(b *Binding) bool { return yield(b.Certificate) })
	}
}

// AllCredentials yields every credential, in no order.
func (s *Snapshot) AllCredentials() iter.Seq[*Credential] {
	return func(yield func(*Credential) bool) {
		s.credentials.all(func(_ string, c *Credential) bool { return yield(c) })
	}
}

// Identities returns all identities by name. The first call on a snapshot sorts them; each call returns a slice of its own.
func (s *Snapshot) Identities() []*Identity {
	s.sortedOnce.Do(func() {
		s.sorted = make([]*Identity, 0, s.identities)
		for _, h := range s.holders.all {
			if h.identity != nil {
				s.sorted = append(s.sorted, h.identity)
			}
		}
		slices.SortFunc(s.sorted, func(a, b *Identity) int { return cmp.Compare(a.Name, b.Name) })
	})
	return slices.Clone(s.sorted)
}

// Tenants returns all tenants by name.
func (s *Snapshot) Tenants() []*Tenant {
	list := slices.Collect(maps.Values(s.tenants))
	slices.SortFunc(list, func(a, b *Tenant) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Routes returns all routes by name.
func (s *Snapshot) Routes() []*Route {
	list := make([]*Route, 0, len(s.routes))
	for _, e := range s.routes {
		list = append(list, e.Route)
	}
	slices.SortFunc(list, func(a, b *Route) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Authorities returns the authorities beside our own CA, nil when there are none: a comparison is all that they cost then. The pointer is another one
// when anything of them has changed. It takes no lock and allocates nothing.
func (s *Snapshot) Authorities() *Authorities { return s.authorities }

// Counts is the size of a snapshot.
type Counts struct {
	Tenants, Routes, Identities, Credentials, Certificates, Logins int
}

// Counts returns how many objects there are, revoked and disabled ones included.
func (s *Snapshot) Counts() Counts {
	return Counts{len(s.tenants), len(s.routes), s.identities, s.credentials.count, s.bindings.count, s.logins.count}
}
