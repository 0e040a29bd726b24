package pki

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// lineage is what the CA knows of its own certificates at one revision of the database. Immutable; the CA replaces it whole.
type lineage struct {
	revision int64
	records  []*AuthorityRecord
	issuers  []*issuer // whose keys are here; the first is the one that signs
	trust    *Trust
	retired  map[string]bool // by ID
	problem  string          // why this node cannot use a key that it should
}

// signing returns the intermediate that signs.
func (l *lineage) signing() *issuer { return l.issuers[0] }

// record returns the one with that ID, nil when there is none.
func (l *lineage) record(id string) *AuthorityRecord {
	for _, a := range l.records {
		if a.ID == id {
			return a
		}
	}
	return nil
}

// files are the CA's certificates in this node's directory.
type files struct {
	roots []*x509.Certificate
	inter *x509.Certificate // nil when there is none, or it is not usable and not needed any more
}

// successor returns the intermediate that signs by the database's word and did not come with a node's files, nil when there is none.
func successor(records []*AuthorityRecord) *AuthorityRecord {
	for _, a := range records {
		if a.Kind == KindIntermediate && a.State == AuthorityActive && a.Installed {
			return a
		}
	}
	return nil
}

// adopt makes the certificates of this node's directory known in the database. An intermediate that was put there by hand in the place of another one
// follows it, as it always has; not in the place of one that came by a command: that would undo it unseen.
func (ca *CA) adopt(ctx context.Context) error {
	inter := ca.files.inter
	if inter == nil {
		return nil
	}
	known := func(q querier) (records []*AuthorityRecord, done bool, err error) {
		records, err = readAuthorityRows(ctx, q)
		return records, slices.ContainsFunc(records, func(a *AuthorityRecord) bool { return a.ID == fingerprintOf(inter) }), err
	}
	if _, done, err := known(ca.options.DB); err != nil || done {
		return err
	}
	tx, err := ca.options.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after the commit
	if _, err := touchAuthorities(ctx, tx); err != nil {
		return err
	}
	records, done, err := known(tx)
	if err != nil || done {
		return err
	}
	if other := successor(records); other != nil {
		return &FileError{Path: filepath.Join(ca.options.Dir, intermediateCertFile), Problem: "the database has another intermediate, " + other.ID[:16] + ", and does not know this one",
			Hint: "put the files back that were there; to change to this one: tenantgate ca rotate intermediate"}
	}
	now := ca.options.Now()
	trusted := now
	if len(records) == 0 { // of a release that kept no such list: whoever has a certificate of this intermediate got its root then
		trusted = inter.NotBefore
	}
	root := signerOf(inter, ca.files.roots)
	location := LocationFile
	if ca.options.KeyURI != "" {
		location = ca.options.KeyURI
	}
	_, err = tx.ExecContext(ctx, `UPDATE pki_authorities SET state = $1 WHERE state = $2 AND id <> $3`, string(AuthorityRetiring), string(AuthorityActive), fingerprintOf(root))
	if err != nil {
		return err
	}
	for _, a := range []*AuthorityRecord{
		{ID: fingerprintOf(root), Kind: KindRoot, State: AuthorityActive, Certificate: root, Location: LocationFile, Created: now, Trusted: trusted, Activated: trusted},
		{ID: fingerprintOf(inter), Kind: KindIntermediate, State: AuthorityActive, Parent: fingerprintOf(root), Certificate: inter, Location: location,
			Created: now, Trusted: trusted, Activated: trusted},
	} {
		if err := insertAuthority(ctx, tx, a); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// signerOf returns the one of roots that has signed c, nil when there is none.
func signerOf(c *x509.Certificate, roots []*x509.Certificate) *x509.Certificate {
	for _, root := range roots {
		if sameIssuer(c, root) && c.CheckSignatureFrom(root) == nil {
			return root
		}
	}
	return nil
}

// load reads the database and makes a lineage of it. Whoever calls it has the turn.
func (ca *CA) load(ctx context.Context) (*lineage, error) {
	tx, err := ca.options.DB.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // it only reads
	l := &lineage{retired: map[string]bool{}}
	// The revision is read first: if the rows are newer, they are read again next time.
	if err := tx.QueryRowContext(ctx, `SELECT revision FROM pki_authority_revision WHERE id = 1`).Scan(&l.revision); err != nil {
		return nil, err
	}
	if l.records, err = readAuthorityRows(ctx, tx); err != nil {
		return nil, err
	}
	if err := tx.Rollback(); err != nil {
		return nil, err
	}
	if err := ca.findIssuers(l); err != nil {
		return nil, err
	}
	l.trust, err = ca.trustOf(l, ca.files)
	return l, err
}

// findIssuers opens the keys and decides which one signs: the active one; on a node that cannot open its key, the one that signed before.
func (ca *CA) findIssuers(l *lineage) error {
	now, before := ca.options.Now(), ca.lineage.Load()
	var best *issuer
	rank := -1
	for _, a := range l.records {
		if a.State == AuthorityRetired {
			l.retired[a.ID] = true
		}
		if a.Kind != KindIntermediate {
			continue
		}
		key, err := ca.openAuthorityKey(a)
		if err != nil {
			a.Problem = err.Error()
			if a.Installed && a.State != AuthorityRetired {
				l.problem += map[bool]string{true: "; "}[l.problem != ""] + "the key of intermediate " + a.ID[:16] + " cannot be used: " + err.Error()
			}
			continue
		}
		if a.Certificate == nil || now.After(a.Certificate.NotAfter) && a.State != AuthorityActive {
			continue
		}
		i := before.issuer(a.ID)
		if i == nil {
			i = newIssuer(a.Certificate, key)
		}
		l.issuers = append(l.issuers, i)
		r := map[AuthorityState]int{AuthorityActive: 3, AuthorityRetiring: 1}[a.State]
		if a.State == AuthorityRetiring && before != nil && before.signing() == i {
			r = 2
		}
		if r > rank || r == rank && r > 0 && a.Activated.After(l.record(best.id).Activated) {
			best, rank = i, r
		}
	}
	if best == nil {
		return errors.New("there is no intermediate whose key can be opened" + map[bool]string{true: ": " + l.problem}[l.problem != ""])
	}
	slices.SortStableFunc(l.issuers, func(a, b *issuer) int {
		return map[bool]int{true: -1}[a == best] - map[bool]int{true: -1}[b == best]
	})
	return nil
}

func (l *lineage) issuer(id string) *issuer {
	if l == nil {
		return nil
	}
	for _, i := range l.issuers {
		if i.id == id {
			return i
		}
	}
	return nil
}

// trustOf is what is believed: the roots of this node's directory and those that were installed, less what is retired.
func (ca *CA) trustOf(l *lineage, f files) (*Trust, error) {
	var roots, inters, retired []*x509.Certificate
	add := func(list *[]*x509.Certificate, c *x509.Certificate) {
		if c != nil && !l.retired[fingerprintOf(c)] && !slices.ContainsFunc(*list, c.Equal) {
			*list = append(*list, c)
		}
	}
	for _, c := range f.roots {
		add(&roots, c)
	}
	add(&inters, l.signing().cert)
	add(&inters, f.inter)
	for _, a := range l.records {
		switch {
		case a.Certificate == nil:
		case a.State == AuthorityRetired:
			retired = append(retired, a.Certificate)
		case !a.Installed:
		case a.Kind == KindRoot:
			add(&roots, a.Certificate)
		default:
			add(&inters, a.Certificate)
		}
	}
	for _, i := range l.issuers {
		add(&inters, i.cert)
	}
	trust, err := NewTrust(roots, inters)
	if err != nil {
		return nil, err
	}
	return trust.without(retired), nil
}

// Refresh takes up what was changed of the CA's own certificates, on this node or another one, and tells the other nodes that it has. It reports whether
// anything was changed. A node on a shared database calls it several times a second, and before it follows the registry: then no certificate is bound
// there of whose intermediate the node does not know.
func (ca *CA) Refresh(ctx context.Context) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	select {
	case ca.turn <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	changed, err = ca.refresh(ctx)
	<-ca.turn
	if changed && ca.options.Changed != nil {
		ca.options.Changed(ca)
	}
	if err != nil {
		return changed, fmt.Errorf("reading the CA's own certificates: %w", err)
	}
	return changed, nil
}

func (ca *CA) refresh(ctx context.Context) (changed bool, err error) {
	var revision int64
	if err := ca.options.DB.QueryRowContext(ctx, `SELECT revision FROM pki_authority_revision WHERE id = 1`).Scan(&revision); err != nil {
		return false, err
	}
	if l := ca.lineage.Load(); l == nil || l.revision != revision || l.problem != "" && time.Since(ca.loaded) > retryKeys {
		next, err := ca.load(ctx)
		if err != nil {
			return false, err
		}
		ca.loaded = time.Now()
		changed = l == nil || l.revision != next.revision || l.problem != next.problem
		if l != nil && next.trust.Generation() == l.trust.Generation() {
			next.trust = l.trust // whose TLS tickets stay good
		}
		if err := next.signing().start(ca, next.trust); err != nil {
			return false, err
		}
		for _, i := range next.issuers {
			if err := prepareCRL(ctx, ca.options.DB, i.id); err != nil {
				return false, err
			}
		}
		ca.lineage.Store(next)
	}
	return changed, ca.beat(ctx, changed)
}

// retryKeys is how often a key that could not be opened is tried again.
const retryKeys = 10 * time.Second

// Undecided reports whether there is something that is pending and not yet known to be trusted by every node. See [CA.Agree].
func (ca *CA) Undecided() bool {
	return slices.ContainsFunc(ca.lineage.Load().records, func(a *AuthorityRecord) bool { return a.State == AuthorityPending && a.Trusted.IsZero() })
}

// Problem says why this node cannot issue certificates, or not with the key that it should; "" when it can.
func (ca *CA) Problem() string {
	l := ca.lineage.Load()
	signing := l.record(l.signing().id)
	switch {
	case l.problem != "":
		return l.problem
	case signing != nil && signing.State == AuthorityRetired:
		return "the intermediate that signs is retired: no certificate is issued or renewed"
	}
	return ""
}

// InUse returns the trusted roots and intermediates that are to be kept valid: without those that are retiring, which end in their time.
func (ca *CA) InUse() []*x509.Certificate {
	l := ca.lineage.Load()
	return slices.DeleteFunc(append(l.trust.Roots(), l.trust.intermediates...), func(c *x509.Certificate) bool {
		a := l.record(fingerprintOf(c))
		return a != nil && a.State == AuthorityRetiring
	})
}

// AuthorityState says where one of the CA's own certificates is in its life; "" when it never was known to sign, as a further root in the directory.
func (ca *CA) AuthorityState(c *x509.Certificate) AuthorityState {
	if a := ca.lineage.Load().record(fingerprintOf(c)); a != nil {
		return a.State
	}
	return ""
}
