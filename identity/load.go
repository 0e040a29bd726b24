package identity

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// load reads the whole registry in one consistent view.
func (r *Registry) load(ctx context.Context) (*Snapshot, error) {
	tx, err := r.db.BeginTx(ctx, &consistentRead)
	if err != nil {
		return nil, fmt.Errorf("reading the registry: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	return r.loadFrom(ctx, tx)
}

// loadFrom reads every table once. The maps get their size before they are filled, and values that many rows share are kept once: a
// million identities take most of the time of a start.
func (r *Registry) loadFrom(ctx context.Context, q *sql.Tx) (*Snapshot, error) {
	s := emptySnapshot()
	if err := q.QueryRowContext(ctx, `SELECT revision FROM registry WHERE id = 1`).Scan(&s.revision); err != nil {
		return nil, fmt.Errorf("reading the registry's revision: %w", err)
	}
	d := newDraft(s)
	l := loader{shared: map[string]string{}, roles: map[string][]string{}}
	if err := l.routing(ctx, q, d, ""); err != nil {
		return nil, err
	}
	identities, err := l.identities(ctx, q, "")
	if err != nil {
		return nil, err
	}
	certificates, err := l.certificates(ctx, q, "")
	if err != nil {
		return nil, err
	}
	credentials, err := r.credentials(ctx, q, "")
	if err != nil {
		return nil, err
	}
	d.fill(identities, certificates, credentials)
	return d.snapshot(s.revision), nil
}

// fill puts all objects into an empty draft. Nobody else has seen its holders, so they are changed in place.
func (d *draft) fill(identities []*Identity, certificates []*Certificate, credentials []*Credential) {
	d.holders.hint = len(identities)/shardCount + len(identities)/shardCount/8
	d.bindings.hint = len(certificates)/shardCount + len(certificates)/shardCount/8
	d.credentials.hint = len(credentials) / shardCount
	d.identities = len(identities)
	holders := make([]holder, len(identities))
	for n, i := range identities {
		holders[n].identity = i
		d.holders.put(i.Name, &holders[n])
	}
	of := func(name string) *holder {
		h, ok := d.holders.get(name)
		if !ok {
			h = &holder{}
			d.holders.put(name, h)
		}
		return h
	}
	bindings := make([]Binding, len(certificates))
	for n, c := range certificates {
		h := of(c.Identity)
		h.certificates = append(h.certificates, c)
		bindings[n] = Binding{Certificate: c, Identity: h.bound(c.Identity)}
		d.bindings.put(c.Fingerprint, &bindings[n])
	}
	for _, c := range credentials {
		h := of(c.Identity)
		h.credentials = append(h.credentials, c)
		d.credentials.put(c.ID, c)
	}
	for _, h := range d.holders.all {
		if len(h.certificates) > 1 {
			slices.SortFunc(h.certificates, newerCertificate)
		}
		if len(h.credentials) > 1 {
			slices.SortFunc(h.credentials, credentialOrder)
		}
	}
}

// loader reads rows and keeps equal values once.
type loader struct {
	shared map[string]string   // owners, descriptions, dates, reasons
	roles  map[string][]string // by their words
}

// sharedLimit bounds what a loader remembers, for a registry in which every description differs.
const sharedLimit = 1 << 14

func (l *loader) share(s *string) {
	if *s == "" {
		return
	}
	if kept, ok := l.shared[*s]; ok {
		*s = kept
	} else if len(l.shared) < sharedLimit {
		l.shared[*s] = *s
	}
}

func (l *loader) roleList(s string) []string {
	list, ok := l.roles[s]
	if !ok {
		list = words(s)
		if len(l.roles) < sharedLimit {
			l.roles[s] = list
		}
	}
	return list
}

// routing reads tenants and routes, all or those that the condition leaves.
func (l *loader) routing(ctx context.Context, q querier, d *draft, touched string, args ...any) error {
	err := each(ctx, q, func(row scanner) error {
		t, err := scanTenant(row)
		if err == nil {
			d.putTenant(t)
		}
		return err
	}, `SELECT `+tenantColumns+` FROM tenants`+where("name", ObjectTenant, touched), args...)
	if err != nil {
		return fmt.Errorf("reading tenants: %w", err)
	}
	err = each(ctx, q, func(row scanner) error {
		r, err := scanRoute(row)
		if err == nil && d.tenants[r.Tenant] == nil {
			return fmt.Errorf("route %q leads to tenant %q, which is missing: the database was changed by something else", r.Name, r.Tenant)
		}
		if err == nil {
			d.putRoute(r)
		}
		return err
	}, `SELECT `+routeColumns+` FROM routes`+where("name", ObjectRoute, touched), args...)
	if err != nil {
		return fmt.Errorf("reading routes: %w", err)
	}
	return nil
}

func (l *loader) identities(ctx context.Context, q querier, touched string, args ...any) ([]*Identity, error) {
	var list []*Identity
	var slab []Identity
	var i *Identity
	var roles string
	var disabled, created, updated int64
	into := make([]any, 8)
	err := each(ctx, q, func(row scanner) error {
		i = take(&slab)
		into[0], into[1], into[2], into[3] = &i.Name, &i.Owner, &i.Description, &roles
		into[4], into[5], into[6], into[7] = &disabled, &i.ReviewDate, &created, &updated
		if err := row.Scan(into...); err != nil {
			return err
		}
		l.share(&i.Owner)
		l.share(&i.Description)
		l.share((*string)(&i.ReviewDate))
		i.Roles, i.Disabled = l.roleList(roles), disabled != 0
		i.Created, i.Updated = fromMicros(created), fromMicros(updated)
		list = append(list, i)
		return nil
	}, `SELECT `+identityColumns+` FROM identities`+where("name", ObjectIdentity, touched), args...)
	if err != nil {
		return nil, fmt.Errorf("reading identities: %w", err)
	}
	return list, nil
}

func (l *loader) certificates(ctx context.Context, q querier, touched string, args ...any) ([]*Certificate, error) {
	var list []*Certificate
	var slab []Certificate
	var fingerprint sql.RawBytes
	var notBefore, notAfter, created, revokedAt int64
	into := make([]any, 9)
	err := each(ctx, q, func(row scanner) error {
		c := take(&slab)
		into[0], into[1], into[2], into[3] = &fingerprint, &c.Identity, &c.Serial, &c.Subject
		into[4], into[5], into[6], into[7], into[8] = &notBefore, &notAfter, &created, &revokedAt, &c.RevocationReason
		if err := row.Scan(into...); err != nil {
			return err
		}
		if n, err := hex.Decode(c.Fingerprint[:], fingerprint); err != nil || n != len(c.Fingerprint) {
			return errors.New("a fingerprint is no fingerprint: the database was changed by something else")
		}
		l.share(&c.RevocationReason)
		c.NotBefore, c.NotAfter = fromMicros(notBefore), fromMicros(notAfter)
		c.Created, c.RevokedAt = fromMicros(created), fromMicros(revokedAt)
		list = append(list, c)
		return nil
	}, `SELECT `+certificateColumns+` FROM certificates`+where("fingerprint", ObjectCertificate, touched), args...)
	if err != nil {
		return nil, fmt.Errorf("reading certificates: %w", err)
	}
	return list, nil
}

// take returns the next element of a slab: one allocation for many rows of a large table, small slabs for small ones.
func take[T any](slab *[]T) *T {
	if len(*slab) == cap(*slab) {
		*slab = make([]T, 0, min(max(8, 2*cap(*slab)), 512))
	}
	*slab = (*slab)[:len(*slab)+1]
	return &(*slab)[len(*slab)-1]
}

// credentials reads credentials and opens their secrets, on all processors: that takes some microseconds each.
func (r *Registry) credentials(ctx context.Context, q querier, touched string, args ...any) ([]*Credential, error) {
	var list []*Credential
	var secrets [][]byte
	err := each(ctx, q, func(row scanner) error {
		c, sealed, err := scanCredential(row)
		list, secrets = append(list, c), append(secrets, sealed)
		return err
	}, `SELECT `+credentialColumns+` FROM credentials`+where("id", ObjectCredential, touched), args...)
	if err != nil {
		return nil, fmt.Errorf("reading credentials: %w", err)
	}
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(list))
	for w := range workers {
		wg.Go(func() {
			for n := w; n < len(list); n += workers {
				errs[n] = open(r.sealer, list[n], secrets[n])
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// open decrypts a credential's secret.
func open(s Sealer, c *Credential, sealed []byte) error {
	text, err := s.Open(sealed, c.sealContext())
	if err != nil {
		return &Error{Code: ErrKey, Object: ObjectCredential, Name: c.ID,
			Message: fmt.Sprintf("the secret of client %s of identity %q for tenant %q cannot be opened", quoted(c.ClientID), c.Identity, c.Tenant),
			Hint:    "the encryption key is another one, or the row was altered: give the right key, or restore the row from a backup"}
	}
	c.Secret = NewSecret(string(text))
	return nil
}

// where returns the condition that leaves the rows of one kind touched since the revision in the placeholder; "" leaves all.
func where(key, object, placeholder string) string {
	if placeholder == "" {
		return ""
	}
	return ` WHERE ` + key + ` IN (SELECT name FROM registry_changes WHERE object = '` + object + `' AND revision > ` + placeholder + `)`
}
