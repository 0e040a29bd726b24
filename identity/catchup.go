package identity

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
)

// catchUp returns a draft of the registry as the transaction sees it: the current snapshot and what others changed since. The
// transaction sees one state: it has a consistent view, or the writers' lock.
func (r *Registry) catchUp(ctx context.Context, tx *sql.Tx, revision, oldest int64) (*draft, error) {
	base := r.current.Load()
	switch {
	case base.revision == revision:
		return newDraft(base), nil
	case base.revision < oldest, base.revision > revision:
		// The change log no longer reaches back, or the database was replaced by an older one.
		loaded, err := r.loadFrom(ctx, tx)
		if err != nil {
			return nil, err
		}
		d := newDraft(loaded)
		d.changed.All = true
		return d, nil
	}
	d := newDraft(base)
	if err := r.apply(ctx, tx, d, base.revision); err != nil {
		return nil, err
	}
	return d, nil
}

// apply reads the objects touched after a revision as they are now. The order keeps every reference whole: what is referred to comes
// before what refers to it and goes after it.
func (r *Registry) apply(ctx context.Context, tx *sql.Tx, d *draft, after int64) error {
	touched, err := touchedSince(ctx, tx, after)
	if err != nil {
		return fmt.Errorf("reading the change log: %w", err)
	}
	l := newLoader()
	if err := l.routing(ctx, tx, d, "$1", after); err != nil {
		return err
	}
	for _, name := range d.changed.Routes {
		delete(touched, changeKey{ObjectRoute, name})
	}
	for _, name := range d.changed.Tenants {
		delete(touched, changeKey{ObjectTenant, name})
	}
	identities, err := l.identities(ctx, tx, "$1", after)
	if err != nil {
		return err
	}
	for _, i := range identities {
		d.putIdentity(i)
		delete(touched, changeKey{ObjectIdentity, i.Name})
	}
	credentials, err := r.credentials(ctx, tx, "$1", after)
	if err != nil {
		return err
	}
	for _, c := range credentials {
		d.putCredential(c)
		delete(touched, changeKey{ObjectCredential, c.ID})
	}
	certificates, err := l.certificates(ctx, tx, "$1", after)
	if err != nil {
		return err
	}
	for _, c := range certificates {
		d.putCertificate(c)
		delete(touched, changeKey{ObjectCertificate, c.Fingerprint.String()})
	}
	if touched[changeKey{ObjectPolicy, ""}] {
		if err := d.readPolicy(ctx, tx); err != nil {
			return err
		}
		d.changed.Policy = true
	}
	logins, err := l.logins(ctx, tx, "$1", after)
	if err != nil {
		return err
	}
	for _, login := range logins {
		d.putLogin(login)
		delete(touched, changeKey{ObjectLogin, login.User})
	}
	moves, err := l.moves(ctx, tx, "$1", after)
	if err != nil {
		return err
	}
	for _, m := range moves {
		d.putMove(m)
		delete(touched, changeKey{ObjectMove, m.key()})
	}
	if touched[changeKey{ObjectLoginPolicy, loginPolicyName}] {
		p, err := l.loginPolicy(ctx, tx)
		if err != nil {
			return err
		}
		d.putLoginPolicy(p)
	}
	authorities, err := readAuthorities(ctx, tx, "$1", after)
	if err != nil {
		return err
	}
	for _, e := range authorities {
		d.putAuthority(e)
		delete(touched, changeKey{ObjectAuthority, e.Authority.Name})
	}
	d.dropAll(touched)
	return nil
}

// dropAll removes what was touched and is no more.
func (d *draft) dropAll(gone map[changeKey]bool) {
	for k := range gone {
		switch k.object {
		case ObjectRoute:
			d.dropRoute(k.name)
		case ObjectCredential:
			d.dropCredential(k.name)
		case ObjectLogin:
			d.dropLogin(k.name)
		case ObjectMove:
			d.dropMove(k.name)
		case ObjectIdentity:
			d.dropIdentity(k.name)
		case ObjectAuthority:
			d.dropAuthority(k.name)
		}
	}
	for k := range gone {
		if k.object == ObjectTenant {
			d.dropTenant(k.name)
		}
	}
}

// changeKey names one object in the change log.
type changeKey struct{ object, name string }

func (k changeKey) compare(o changeKey) int {
	return cmp.Or(cmp.Compare(k.object, o.object), cmp.Compare(k.name, o.name))
}

func touchedSince(ctx context.Context, q querier, after int64) (map[changeKey]bool, error) {
	touched := map[changeKey]bool{}
	err := each(ctx, q, func(row scanner) error {
		var k changeKey
		err := row.Scan(&k.object, &k.name)
		touched[k] = true
		return err
	}, `SELECT DISTINCT object, name FROM registry_changes WHERE revision > $1`, after)
	return touched, err
}

// keys returns what the publication touched, as the change log has it. All is not among it.
func (c *Changed) keys() []changeKey {
	var keys []changeKey
	add := func(object string, names []string) {
		for _, name := range names {
			keys = append(keys, changeKey{object, name})
		}
	}
	add(ObjectTenant, c.Tenants)
	add(ObjectRoute, c.Routes)
	add(ObjectIdentity, c.Identities)
	add(ObjectCredential, c.Credentials)
	add(ObjectLogin, c.Logins)
	add(ObjectMove, c.Moves)
	if c.LoginPolicy {
		add(ObjectLoginPolicy, []string{loginPolicyName})
	}
	add(ObjectAuthority, c.Authorities)
	for _, f := range c.Certificates {
		keys = append(keys, changeKey{ObjectCertificate, f.String()})
	}
	if c.Policy {
		keys = append(keys, changeKey{ObjectPolicy, ""})
	}
	return keys
}

// with returns both publications as one.
func (c Changed) with(o Changed) Changed {
	return Changed{
		All:          c.All || o.All,
		Tenants:      append(c.Tenants, o.Tenants...),
		Routes:       append(c.Routes, o.Routes...),
		Identities:   append(c.Identities, o.Identities...),
		Credentials:  append(c.Credentials, o.Credentials...),
		Authorities:  append(c.Authorities, o.Authorities...),
		Certificates: append(c.Certificates, o.Certificates...),
		Policy:       c.Policy || o.Policy,
		Logins:       append(c.Logins, o.Logins...),
		Moves:        append(c.Moves, o.Moves...),
		LoginPolicy:  c.LoginPolicy || o.LoginPolicy,
	}
}
