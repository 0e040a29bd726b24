package identity

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// load reads the whole registry. Each table is read once, certificates at the same time as the rest: a million identities take most
// of the time of a start.
func (r *Registry) load(ctx context.Context) (*Snapshot, error) {
	var revision int64 // of the state in which the certificates were read
	var bindings []Binding
	s, d := emptySnapshot(), (*draft)(nil)
	table := s.bindings.edit()
	var wg sync.WaitGroup
	var certificatesErr, restErr error
	wg.Go(func() {
		certificatesErr = r.view(ctx, func(tx *sql.Tx) (err error) {
			if revision, _, err = state(ctx, tx); err == nil {
				bindings, err = loadBindings(ctx, tx, table)
			}
			return err
		})
	})
	wg.Go(func() {
		restErr = r.view(ctx, func(tx *sql.Tx) (err error) {
			if s.revision, _, err = state(ctx, tx); err == nil {
				d, err = r.loadRest(ctx, tx, s)
			}
			return err
		})
	})
	wg.Wait()
	if err := errors.Join(restErr, certificatesErr); err != nil {
		return nil, err
	}
	d.assign(table, bindings)
	if revision == s.revision {
		return d.snapshot(revision), nil
	}
	// A change came between the two: read again what was touched since the earlier state.
	return r.mend(ctx, d.snapshot(min(revision, s.revision)))
}

// mend brings a snapshot to one consistent state that may hold objects of later changes than its revision.
func (r *Registry) mend(ctx context.Context, s *Snapshot) (mended *Snapshot, err error) {
	err = r.view(ctx, func(tx *sql.Tx) error {
		revision, oldest, err := state(ctx, tx)
		if err != nil {
			return err
		}
		if s.revision < oldest {
			return errors.New("reading the registry: it changes faster than it can be read; try again")
		}
		d := newDraft(s)
		if err := r.apply(ctx, tx, d, s.revision); err != nil {
			return err
		}
		mended = d.snapshot(revision)
		return nil
	})
	return mended, err
}

// view calls fn with a transaction that sees one state of the database.
func (r *Registry) view(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := r.db.BeginTx(ctx, &consistentRead)
	if err != nil {
		return fmt.Errorf("reading the registry: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	return fn(tx)
}

// loadFrom reads the whole registry in one transaction.
func (r *Registry) loadFrom(ctx context.Context, tx *sql.Tx) (*Snapshot, error) {
	s := emptySnapshot()
	d, err := r.loadRest(ctx, tx, s)
	if err != nil {
		return nil, err
	}
	bindings, err := loadBindings(ctx, tx, d.bindings)
	if err != nil {
		return nil, err
	}
	d.assign(d.bindings, bindings)
	return d.snapshot(0), nil // the caller gives it its revision
}

// loadRest reads everything but the certificates.
func (r *Registry) loadRest(ctx context.Context, tx *sql.Tx, empty *Snapshot) (*draft, error) {
	d, l := newDraft(empty), newLoader()
	if err := l.routing(ctx, tx, d, ""); err != nil {
		return nil, err
	}
	if err := d.readPolicy(ctx, tx); err != nil {
		return nil, err
	}
	identities, err := l.identities(ctx, tx, "")
	if err != nil {
		return nil, err
	}
	credentials, err := r.credentials(ctx, tx, "")
	if err != nil {
		return nil, err
	}
	d.fill(identities, credentials)
	logins, err := l.logins(ctx, tx, "")
	if err != nil {
		return nil, err
	}
	for _, login := range logins {
		d.putLogin(login)
	}
	moves, err := l.moves(ctx, tx, "")
	if err != nil {
		return nil, err
	}
	for _, m := range moves {
		d.putMove(m)
	}
	if d.loginPolicy, err = l.loginPolicy(ctx, tx); err != nil {
		return nil, err
	}
	authorities, err := readAuthorities(ctx, tx, "")
	if err != nil {
		return nil, err
	}
	for _, e := range authorities {
		d.putAuthority(e)
	}
	d.changed = Changed{}
	return d, nil
}

// state returns the revision that the transaction sees and the one up to which the change log was cut.
func state(ctx context.Context, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (revision, oldest int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT revision, oldest FROM registry WHERE id = 1`).Scan(&revision, &oldest)
	if err != nil {
		err = fmt.Errorf("reading the registry's revision: %w", err)
	}
	return revision, oldest, err
}

// fill puts identities and credentials into an empty draft. Nobody else has seen its holders, so they are changed in place.
func (d *draft) fill(identities []*Identity, credentials []*Credential) {
	d.holders.hint = perShard(len(identities))
	d.credentials.hint = perShard(len(credentials))
	d.identities = len(identities)
	holders := make([]holder, len(identities))
	for n, i := range identities {
		holders[n].identity = i
		d.holders.put(i.Name, &holders[n])
	}
	for _, c := range credentials {
		h := d.ownHolder(c.Identity)
		h.credentials = append(h.credentials, c)
		d.credentials.put(c.ID, c)
	}
	for _, h := range d.holders.all {
		if len(h.credentials) > 1 {
			slices.SortFunc(h.credentials, credentialOrder)
		}
	}
}

// loadBindings reads the certificates into an empty table. Their identities are missing until assign.
func loadBindings(ctx context.Context, tx *sql.Tx, table *bindingDraft) ([]Binding, error) {
	certificates, err := newLoader().certificates(ctx, tx, "")
	if err != nil {
		return nil, err
	}
	table.hint = perShard(len(certificates))
	bindings := make([]Binding, len(certificates))
	for n, c := range certificates {
		bindings[n].Certificate = c
		table.put(c.Fingerprint, &bindings[n])
	}
	return bindings, nil
}

// assign gives the bindings of loadBindings their identities, after fill.
func (d *draft) assign(table *bindingDraft, bindings []Binding) {
	d.bindings = table
	for n := range bindings {
		c := bindings[n].Certificate
		h := d.ownHolder(c.Identity)
		h.certificates = append(h.certificates, c)
		bindings[n].Identity = h.bound(c.Identity)
	}
	for _, h := range d.holders.all {
		if len(h.certificates) > 1 {
			slices.SortFunc(h.certificates, newerCertificate)
		}
	}
}

// ownHolder returns the holder of a name in a draft that nobody else has seen.
func (d *draft) ownHolder(name string) *holder {
	h, ok := d.holders.get(name)
	if !ok {
		h = &holder{}
		d.holders.put(name, h)
	}
	return h
}

// perShard returns the entries to expect in one of shardCount parts, some chance allowed for.
func perShard(n int) int { return n/shardCount + n/shardCount/8 }

// loader reads rows and keeps equal values once.
type loader struct {
	shared map[string]string   // owners, descriptions, dates, reasons
	roles  map[string][]string // by their words

	policies map[[2]string]*Identity // by windows and networks: identities that have nothing else
}

func newLoader() *loader {
	return &loader{shared: map[string]string{}, roles: map[string][]string{}, policies: map[[2]string]*Identity{}}
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

// policy gives an identity its windows and networks, and the policy that is made of them, once for all that have the same.
func (l *loader) policy(i *Identity, windows, networks string) {
	if windows == "" && networks == "" {
		return
	}
	key := [2]string{windows, networks}
	like, ok := l.policies[key]
	if !ok {
		like = &Identity{}
		if windows != "" {
			like.CallingWindows = strings.Split(windows, "\n")
		}
		if networks != "" {
			like.Networks = words(networks)
		}
		like.withPolicy()
		if len(l.policies) < sharedLimit {
			l.policies[key] = like
		}
	}
	i.CallingWindows, i.Networks, i.callPolicy = like.CallingWindows, like.Networks, like.callPolicy
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
	var roles, keyTypes, windows, networks string
	var review string
	var disabled, created, updated, certificatesOnly int64
	into := make([]any, 20)
	err := each(ctx, q, func(row scanner) error {
		i = take(&slab)
		into[0], into[1], into[2], into[3] = &i.Name, &i.Owner, &i.Description, &roles
		into[4], into[5], into[6], into[7] = &disabled, &review, &created, &updated
		into[8], into[9], into[10], into[11] = &i.Rate, &i.Burst, &i.Concurrency, &i.Bandwidth
		into[12], into[13] = &i.RenewGrace, &keyTypes
		into[14], into[15], into[16] = &windows, &networks, &certificatesOnly
		into[17], into[18], into[19] = &i.MaxBody, &i.DailyRequests, &i.DailyOctets
		if err := row.Scan(into...); err != nil {
			return err
		}
		l.share(&i.Owner)
		l.share(&i.Description)
		l.share(&review)
		i.ReviewDate = Date(review)
		i.Roles, i.Disabled = l.roleList(roles), disabled != 0
		i.KeyTypes = l.roleList(keyTypes)
		i.CertificatesOnly = certificatesOnly != 0
		l.policy(i, windows, networks)
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
