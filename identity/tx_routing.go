package identity

import (
	"context"
	"slices"
)

// Tenant returns the tenant of this name as the transaction sees it, or an [ErrNotFound] error.
func (tx *Tx) Tenant(name string) (Tenant, error) {
	if t, ok := tx.draft.tenants[name]; ok {
		return *t, nil
	}
	return Tenant{}, notFound(ObjectTenant, name)
}

// AddTenant stores a new tenant and returns it as stored.
func (tx *Tx) AddTenant(ctx context.Context, t Tenant) (Tenant, error) {
	t = t.normal()
	if err := t.Validate(); err != nil {
		return Tenant{}, err
	}
	if _, ok := tx.draft.tenants[t.Name]; ok {
		return Tenant{}, exists(ObjectTenant, t.Name)
	}
	t.Created, t.Updated = tx.now, tx.now
	if err := tx.exec(ctx, "storing a tenant", insertTenant, tenantArgs(&t)...); err != nil {
		return Tenant{}, err
	}
	stored := t
	tx.draft.putTenant(&stored)
	return t, nil
}

// SetTenant replaces all fields of the tenant of that name and returns it as stored. It is refused when the tenant's routes would
// come to overlap others because of its case rule, or when credentials that rely on its style or token endpoint would be left
// without, or would not fit what else it asks for.
func (tx *Tx) SetTenant(ctx context.Context, t Tenant) (Tenant, error) {
	t = t.normal()
	if err := t.Validate(); err != nil {
		return Tenant{}, err
	}
	old, err := tx.Tenant(t.Name)
	if err != nil {
		return Tenant{}, err
	}
	if err := tx.tenantFits(&old, &t); err != nil {
		return Tenant{}, err
	}
	t.Created, t.Updated = old.Created, tx.now
	if err := tx.exec(ctx, "storing a tenant", updateTenant, tenantArgs(&t)...); err != nil {
		return Tenant{}, err
	}
	stored := t
	tx.draft.putTenant(&stored)
	return t, nil
}

// tenantFits checks what refers to a tenant that is about to change.
func (tx *Tx) tenantFits(old, t *Tenant) error {
	if old.CaseSensitive != t.CaseSensitive {
		if err := tx.recheckOverlaps(t); err != nil {
			return err
		}
	}
	if old.Protocol != t.Protocol {
		for _, e := range tx.draft.routes {
			if e.Route.Tenant != t.Name {
				continue
			}
			if err := e.Route.fits(t); err != nil {
				return err
			}
		}
	}
	if old.AuthStyle == t.AuthStyle && old.TokenURL == t.TokenURL && old.Issuer == t.Issuer && (old.HTTPProxy == "") == (t.HTTPProxy == "") &&
		old.ClientCertificate == t.ClientCertificate {
		return nil
	}
	for _, c := range tx.draft.credentials.all {
		if c.Tenant != t.Name {
			continue
		}
		if err := c.fits(t); err != nil {
			return err
		}
	}
	return nil
}

// recheckOverlaps judges the routes of a tenant by its new case rule: those that the rule makes wider may meet others, also of
// another tenant.
func (tx *Tx) recheckOverlaps(t *Tenant) error {
	compiled := map[string]*RouteEntry{}
	for name, e := range tx.draft.routes {
		if e.Route.Tenant == t.Name {
			compiled[name] = newRouteEntry(e.Route, t)
		}
	}
	for _, e := range compiled {
		for name, other := range tx.draft.routes {
			if changed, ok := compiled[name]; ok {
				other = changed
			}
			if name != e.Route.Name && overlap(e, other) {
				return overlapError(e, other)
			}
		}
	}
	return nil
}

// RemoveTenant removes a tenant that no route and no credential names.
func (tx *Tx) RemoveTenant(ctx context.Context, name string) error {
	if _, err := tx.Tenant(name); err != nil {
		return err
	}
	var routes []string
	for _, e := range tx.draft.routes {
		if e.Route.Tenant == name {
			routes = append(routes, e.Route.Name)
		}
	}
	if len(routes) > 0 {
		slices.Sort(routes)
		return inUse(ObjectTenant, name, "route "+some(routes), "remove the tenant's routes first")
	}
	for _, c := range tx.draft.credentials.all {
		if c.Tenant == name {
			return inUse(ObjectTenant, name, "a credential of identity "+quoted(c.Identity), "remove the tenant's credentials first")
		}
	}
	if err := tx.exec(ctx, "removing a tenant", deleteTenant, name); err != nil {
		return err
	}
	tx.draft.dropTenant(name)
	return nil
}

// Route returns the route of this name as the transaction sees it, or an [ErrNotFound] error.
func (tx *Tx) Route(name string) (Route, error) {
	if e, ok := tx.draft.routes[name]; ok {
		r := *e.Route
		r.Methods, r.Upgrade = slices.Clone(r.Methods), slices.Clone(r.Upgrade)
		return r, nil
	}
	return Route{}, notFound(ObjectRoute, name)
}

// AddRoute stores a new route and returns it as stored. An [ErrOverlap] error names the route that would match the same requests.
func (tx *Tx) AddRoute(ctx context.Context, r Route) (Route, error) {
	if err := r.Validate(); err != nil {
		return Route{}, err
	}
	if _, ok := tx.draft.routes[r.Name]; ok {
		return Route{}, exists(ObjectRoute, r.Name)
	}
	r.Created = tx.now
	return tx.storeRoute(ctx, r, insertRoute)
}

// SetRoute replaces all fields of the route of that name and returns it as stored, or an error as AddRoute does.
func (tx *Tx) SetRoute(ctx context.Context, r Route) (Route, error) {
	if err := r.Validate(); err != nil {
		return Route{}, err
	}
	old, err := tx.Route(r.Name)
	if err != nil {
		return Route{}, err
	}
	r.Created = old.Created
	return tx.storeRoute(ctx, r, updateRoute)
}

func (tx *Tx) storeRoute(ctx context.Context, r Route, statement string) (Route, error) {
	r = r.normal()
	r.Updated = tx.now
	tenant, ok := tx.draft.tenants[r.Tenant]
	if !ok {
		return Route{}, &Error{Code: ErrInvalid, Object: ObjectRoute, Name: r.Name, Field: "tenant",
			Message: "there is no tenant " + quoted(r.Tenant), Hint: "add the tenant first"}
	}
	if err := r.fits(tenant); err != nil {
		return Route{}, err
	}
	entry := newRouteEntry(&r, tenant)
	if other := tx.draft.overlapping(entry); other != nil {
		return Route{}, overlapError(entry, other)
	}
	if err := tx.exec(ctx, "storing a route", statement, routeArgs(&r)...); err != nil {
		return Route{}, err
	}
	stored := r
	stored.Methods, stored.Upgrade = slices.Clone(r.Methods), slices.Clone(r.Upgrade)
	tx.draft.putRoute(&stored)
	return r, nil
}

// RemoveRoute removes a route.
func (tx *Tx) RemoveRoute(ctx context.Context, name string) error {
	if _, err := tx.Route(name); err != nil {
		return err
	}
	if err := tx.exec(ctx, "removing a route", deleteRoute, name); err != nil {
		return err
	}
	tx.draft.dropRoute(name)
	return nil
}

// some names the first of a list and how many there are beside it.
func some(names []string) string {
	switch len(names) {
	case 1:
		return quoted(names[0])
	case 2:
		return quoted(names[0]) + " and one more"
	}
	return quoted(names[0]) + " and others"
}
