package identity

import (
	"cmp"
	"maps"
	"slices"
)

// Changed names what a publication touched: added, changed or removed.
type Changed struct {
	// All says that the names are not known, because the snapshot was read anew; anything may have changed.
	All bool
	// Tenants, Routes and Identities are names, Credentials are IDs.
	Tenants, Routes, Identities, Credentials []string
	// Authorities are the names of those of which anything changed, their mappings, blocks and revocation lists included.
	Authorities []string
	// Certificates are the certificates bound or revoked. Those of a changed identity are not among them.
	Certificates []Fingerprint
	// Policy says that the policy was set.
	Policy bool
	// Logins are user names. Those of a changed identity are not among them.
	Logins []string
	// Moves are callers and user names, with a ':' between.
	Moves []string
	// LoginPolicy says that what holds for all logins changed.
	LoginPolicy bool
}

// draft is the next snapshot in the making. It shares with its base what it does not change, and the base never sees the draft.
type draft struct {
	bindings    *bindingDraft
	holders     *shardsDraft[*holder]
	identities  int
	credentials *shardsDraft[*Credential]
	tenants     map[string]*Tenant
	routes      map[string]*RouteEntry
	authorities *Authorities
	table       *routeTable // nil once tenants or routes are the draft's own
	policy      Policy
	logins      *shardsDraft[*Binding]
	loginPolicy *LoginPolicy
	moves       map[string][]*Move // by user name; shared with the base until dropMove
	changed     Changed
}

func newDraft(base *Snapshot) *draft {
	return &draft{
		bindings: base.bindings.edit(), holders: base.holders.edit(), identities: base.identities,
		credentials: base.credentials.edit(), tenants: base.tenants, routes: base.routes, table: base.table, policy: base.policy,
		logins: base.logins.edit(), loginPolicy: base.loginPolicy, moves: base.moves, authorities: base.authorities,
	}
}

// snapshot returns what the draft holds. The draft is done with.
func (d *draft) snapshot(revision int64) *Snapshot {
	table := d.table
	if table == nil {
		table = newRouteTable(d.routes)
	}
	return &Snapshot{
		revision: revision, bindings: d.bindings.freeze(), holders: d.holders.freeze(), identities: d.identities,
		credentials: d.credentials.freeze(), tenants: d.tenants, routes: d.routes, table: table, policy: d.policy,
		logins: d.logins.freeze(), loginPolicy: d.loginPolicy, moves: d.moves, authorities: d.authorities,
	}
}

// ownRouting makes tenants and routes the draft's own before the first change to either.
func (d *draft) ownRouting() {
	if d.table != nil {
		d.tenants, d.routes, d.table = maps.Clone(d.tenants), maps.Clone(d.routes), nil
	}
}

func (d *draft) putTenant(t *Tenant) {
	d.ownRouting()
	d.tenants[t.Name] = t
	d.changed.Tenants = append(d.changed.Tenants, t.Name)
	for name, e := range d.routes {
		if e.Route.Tenant == t.Name {
			d.routes[name] = newRouteEntry(e.Route, t)
		}
	}
}

func (d *draft) dropTenant(name string) {
	d.ownRouting()
	delete(d.tenants, name)
	d.changed.Tenants = append(d.changed.Tenants, name)
}

// putRoute stores the route. Its tenant is there.
func (d *draft) putRoute(r *Route) {
	d.ownRouting()
	d.routes[r.Name] = newRouteEntry(r, d.tenants[r.Tenant])
	d.changed.Routes = append(d.changed.Routes, r.Name)
}

func (d *draft) dropRoute(name string) {
	d.ownRouting()
	delete(d.routes, name)
	d.changed.Routes = append(d.changed.Routes, name)
}

// overlapping returns a route that overlaps e, the first by name, or nil.
func (d *draft) overlapping(e *RouteEntry) *RouteEntry {
	var found *RouteEntry
	for name, other := range d.routes {
		if name != e.Route.Name && overlap(e, other) && (found == nil || name < found.Route.Name) {
			found = other
		}
	}
	return found
}

// holder returns a copy of what hangs on the name, to be changed and put back.
func (d *draft) holder(name string) *holder {
	if h, ok := d.holders.get(name); ok {
		c := *h
		return &c
	}
	return &holder{}
}

func (d *draft) identity(name string) (*Identity, bool) {
	if h, ok := d.holders.get(name); ok && h.identity != nil {
		return h.identity, true
	}
	return nil, false
}

func (d *draft) putIdentity(i *Identity) {
	h := d.holder(i.Name)
	if h.identity == nil {
		d.identities++
	}
	h.identity = i
	d.holders.put(i.Name, h)
	d.bind(h, i.Name)
	d.changed.Identities = append(d.changed.Identities, i.Name)
}

// dropIdentity removes the identity but keeps its certificates, which then stand for nobody.
func (d *draft) dropIdentity(name string) {
	d.changed.Identities = append(d.changed.Identities, name)
	h := d.holder(name)
	if h.identity == nil {
		return
	}
	d.identities--
	h.identity = nil
	d.putHolder(name, h)
	d.bind(h, name)
}

// putHolder stores what hangs on the name, or forgets the name when that is nothing.
func (d *draft) putHolder(name string, h *holder) {
	if h.identity == nil && len(h.certificates) == 0 && len(h.credentials) == 0 && len(h.logins) == 0 {
		d.holders.drop(name)
		return
	}
	d.holders.put(name, h)
}

// bind makes the bindings of all certificates and logins of the name anew.
func (d *draft) bind(h *holder, name string) {
	if len(h.certificates) == 0 && len(h.logins) == 0 {
		return
	}
	bound := h.bound(name)
	for _, l := range h.logins {
		d.logins.put(l.User, &Binding{Login: l, Identity: bound})
	}
	for _, c := range h.certificates {
		d.bindings.put(c.Fingerprint, &Binding{Certificate: c, Identity: bound})
	}
}

func (d *draft) putCertificate(c *Certificate) {
	h := d.holder(c.Identity)
	h.certificates = slices.DeleteFunc(slices.Clone(h.certificates),
		func(o *Certificate) bool { return o.Fingerprint == c.Fingerprint })
	h.certificates = append(h.certificates, c)
	slices.SortFunc(h.certificates, newerCertificate)
	d.holders.put(c.Identity, h)
	d.bindings.put(c.Fingerprint, &Binding{Certificate: c, Identity: h.bound(c.Identity)})
	d.changed.Certificates = append(d.changed.Certificates, c.Fingerprint)
}

func (d *draft) putCredential(c *Credential) {
	h := d.holder(c.Identity)
	h.credentials = append(withoutCredential(h.credentials, c.ID), c)
	slices.SortFunc(h.credentials, credentialOrder)
	d.holders.put(c.Identity, h)
	d.credentials.put(c.ID, c)
	d.changed.Credentials = append(d.changed.Credentials, c.ID)
}

func (d *draft) dropCredential(id string) {
	d.changed.Credentials = append(d.changed.Credentials, id)
	c, ok := d.credentials.get(id)
	if !ok {
		return
	}
	d.credentials.drop(id)
	h := d.holder(c.Identity)
	h.credentials = withoutCredential(h.credentials, id)
	d.putHolder(c.Identity, h)
}

// putAuthority stores an authority with all that hangs on it.
func (d *draft) putAuthority(e *AuthorityEntry) {
	d.authorities = d.authorities.with(e.Authority.Name, e.ready())
	d.changed.Authorities = append(d.changed.Authorities, e.Authority.Name)
}

func (d *draft) dropAuthority(name string) {
	d.authorities = d.authorities.with(name, nil)
	d.changed.Authorities = append(d.changed.Authorities, name)
}

func withoutCredential(list []*Credential, id string) []*Credential {
	return slices.DeleteFunc(slices.Clone(list), func(c *Credential) bool { return c.ID == id })
}

// newerCertificate orders an identity's certificates: the newest first.
func newerCertificate(a, b *Certificate) int {
	return cmp.Or(b.Created.Compare(a.Created), b.NotBefore.Compare(a.NotBefore), slices.Compare(a.Fingerprint[:], b.Fingerprint[:]))
}

// credentialOrder orders an identity's credentials: by tenant, the newest first.
func credentialOrder(a, b *Credential) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
}
