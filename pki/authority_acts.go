package pki

import (
	"context"
	"crypto/x509"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// Activate has the intermediate with that ID sign, and makes its root the one that callers are to pin. The one that signs now is retiring from then on: what it
// has signed stays good. Call [CA.Agree] before, and [CA.Refresh] after the commit.
func (ca *CA) Activate(ctx context.Context, tx *sql.Tx, id string) (*AuthorityRecord, error) {
	if _, err := touchAuthorities(ctx, tx); err != nil {
		return nil, err
	}
	a, err := readAuthorityRow(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	switch {
	case a.Kind != KindIntermediate:
		return nil, &AuthorityError{Conflict: true, Problem: "a root does not sign certificates of callers", Hint: "name its intermediate"}
	case a.State == AuthorityRequested:
		return nil, &AuthorityError{Conflict: true, Problem: "it has no certificate yet", Hint: "have the request signed (tenantgate ca csr), then: tenantgate ca install FILE"}
	case a.State == AuthorityRetired:
		return nil, &AuthorityError{Conflict: true, Problem: "it is retired, which is final", Hint: "tenantgate ca rotate intermediate makes another one"}
	case a.State == AuthorityActive:
		return a, nil
	case !ca.options.Now().Before(a.Certificate.NotAfter):
		return nil, &AuthorityError{Conflict: true, Problem: "it has expired", Hint: "tenantgate ca rotate intermediate makes another one"}
	}
	now := ca.options.Now().UnixMicro()
	for _, id := range []string{a.ID, a.Parent} {
		if _, err := tx.ExecContext(ctx, `UPDATE pki_authorities SET state = $1, activated = $2 WHERE id = $3 AND state <> $1 AND state <> $4`,
			string(AuthorityActive), now, id, string(AuthorityRetired)); err != nil {
			return nil, err
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE pki_authorities SET state = $1 WHERE state = $2 AND id <> $3 AND id <> $4`,
		string(AuthorityRetiring), string(AuthorityActive), a.ID, a.Parent); err != nil {
		return nil, err
	}
	return readAuthorityRow(ctx, tx, id)
}

// compromised says whether a reason is one for which nothing is waited for.
func compromised(reason string) bool { return reason == "keyCompromise" || reason == "cACompromise" }

// Retire ends the belief in the root or intermediate with that ID, and in every intermediate below a root; what is only requested is forgotten. It returns the IDs of
// the intermediates that are retired: their certificates are to be revoked in the same transaction ([CA.RevokeAll]).
//
// Without force it refuses to retire what signs now, and, unless the reason is a compromise, what somebody still depends on.
func (ca *CA) Retire(ctx context.Context, tx *sql.Tx, id, reason string, force bool) (ids []string, err error) {
	if _, err := touchAuthorities(ctx, tx); err != nil {
		return nil, err
	}
	a, err := readAuthorityRow(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if a.State == AuthorityRequested {
		_, err := tx.ExecContext(ctx, `DELETE FROM pki_authorities WHERE id = $1`, id)
		return nil, err
	}
	if a.State == AuthorityRetired {
		return nil, nil
	}
	records, err := readAuthorityRows(ctx, tx)
	if err != nil {
		return nil, err
	}
	if !force {
		if err := ca.mayRetire(ctx, tx, a, records, reason); err != nil {
			return nil, err
		}
	}
	if reason == "" {
		reason = "unspecified"
	}
	others := slices.ContainsFunc(ca.Trust().roots, func(root *x509.Certificate) bool { return fingerprintOf(root) != id })
	if a.Kind == KindRoot && !others {
		return nil, &AuthorityError{Conflict: true, Problem: "it is the only root: without one nobody could connect", Hint: "make another one first: tenantgate ca rotate root"}
	}
	for _, one := range records {
		if one.ID != a.ID && one.Parent != a.ID || one.State == AuthorityRetired {
			continue
		}
		if one.Kind == KindIntermediate {
			ids = append(ids, one.ID)
		}
		if _, err := tx.ExecContext(ctx, `UPDATE pki_authorities SET state = $1, retired = $2, reason = $3 WHERE id = $4`,
			string(AuthorityRetired), ca.options.Now().UnixMicro(), reason, one.ID); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// mayRetire says who still depends on a.
func (ca *CA) mayRetire(ctx context.Context, tx *sql.Tx, a *AuthorityRecord, records []*AuthorityRecord, reason string) error {
	for _, one := range records {
		if one.State == AuthorityActive && one.Kind == KindIntermediate && (one.ID == a.ID || one.Parent == a.ID) {
			return &AuthorityError{Conflict: true, Problem: "it signs now: without it no certificate is issued or renewed",
				Hint: "have another one sign first (tenantgate ca rotate intermediate, or root); --force retires it all the same"}
		}
	}
	if compromised(reason) || a.State == AuthorityPending {
		return nil
	}
	live := int64(0)
	for _, one := range records {
		if one.ID != a.ID && one.Parent != a.ID {
			continue
		}
		n, err := liveUnder(ctx, tx, one.ID, ca.options.Now())
		if err != nil {
			return err
		}
		live += n
	}
	if live > 0 {
		return &AuthorityError{Conflict: true, Problem: fmt.Sprintf("%d certificates under it are valid: whoever has one would not be served any more", live),
			Hint: "wait until they are renewed or have ended (tenantgate ca status); --force retires it all the same"}
	}
	if a.Kind != KindRoot {
		return nil
	}
	for _, root := range records {
		if root.Kind != KindRoot || root.State != AuthorityActive {
			continue
		}
		without, err := ca.withoutRoot(ctx, tx, root)
		if err != nil {
			return err
		}
		if len(without) > 0 {
			return &AuthorityError{Conflict: true, Problem: fmt.Sprintf("%d callers may not have the new root: they could not verify this server any more", len(without)),
				Hint: "tenantgate ca status names them; --force retires it all the same"}
		}
	}
	return nil
}

// liveUnder counts the certificates of an intermediate that others depend on: those of our own listeners are made anew.
func liveUnder(ctx context.Context, q querier, id string, now time.Time) (n int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT COUNT(*) FROM pki_certificates WHERE issuer = $1 AND revoked_at = 0 AND not_after > $2 AND profile <> 'server'`,
		id, now.UnixMicro()).Scan(&n)
	return n, err
}

// A Holder is a caller or administrator with certificates from before a root was trusted everywhere, which were not renewed since: he may not have that root.
type Holder struct {
	Profile, Name string
	Certificates  int
}

// withoutRoot lists who may not have a root. Everybody who was given a certificate since it is trusted was given the root with it.
func (ca *CA) withoutRoot(ctx context.Context, q querier, root *AuthorityRecord) ([]Holder, error) {
	since := storedTime(root.Trusted)
	if since == 0 {
		since = 1 << 62 // nobody has it yet
	}
	rows, err := q.QueryContext(ctx, `SELECT profile, name, COUNT(*) FROM pki_certificates c WHERE profile IN ('client', 'admin') AND revoked_at = 0 AND not_after > $1
		AND created < $2 AND NOT EXISTS (SELECT 1 FROM pki_renewals r WHERE r.renewed = c.serial AND r.serial <> '' AND r.at >= $2)
		GROUP BY profile, name ORDER BY profile DESC, name`, ca.options.Now().UnixMicro(), since)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := []Holder{}
	for rows.Next() {
		var h Holder
		if err := rows.Scan(&h.Profile, &h.Name, &h.Certificates); err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, rows.Err()
}

// WithoutRoot lists who may not have the root with that ID yet, callers first.
func (ca *CA) WithoutRoot(ctx context.Context, id string) ([]Holder, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	root, err := readAuthorityRow(ctx, ca.options.DB, id)
	if err == nil && root.Kind != KindRoot {
		err = &AuthorityError{NotFound: true, Problem: id + " is not a root"}
	}
	if err != nil {
		return nil, err
	}
	list, err := ca.withoutRoot(ctx, ca.options.DB, root)
	if err != nil {
		return nil, fmt.Errorf("listing who has the root: %w", err)
	}
	return list, nil
}

// Authorities lists the CA's own certificates, oldest first, as the database has them; Problem is this node's.
func (ca *CA) Authorities(ctx context.Context) ([]*AuthorityRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	list, err := readAuthorityRows(ctx, ca.options.DB)
	if err != nil {
		return nil, fmt.Errorf("listing the CA's own certificates: %w", err)
	}
	l := ca.lineage.Load()
	for _, a := range list {
		if known := l.record(a.ID); known != nil {
			a.Problem = known.Problem
		}
		if a.Kind == KindRoot && a.Location == LocationFile && !fileThere(ca.options.Dir, rootKeyFile) {
			a.Location = LocationOffline
		}
	}
	return list, nil
}

// Live counts, by intermediate, the certificates that are valid and not revoked, but for those of our own listeners.
func (ca *CA) Live(ctx context.Context) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	rows, err := ca.options.DB.QueryContext(ctx, `SELECT issuer, COUNT(*) FROM pki_certificates WHERE revoked_at = 0 AND not_after > $1 AND profile <> 'server' GROUP BY issuer`,
		ca.options.Now().UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("counting certificates: %w", err)
	}
	defer rows.Close()
	all := map[string]int64{}
	for rows.Next() {
		var issuer string
		var n int64
		if err := rows.Scan(&issuer, &n); err != nil {
			return nil, fmt.Errorf("counting certificates: %w", err)
		}
		all[issuer] = n
	}
	return all, rows.Err()
}

// FindAuthority returns the ID of the root or intermediate whose ID begins with prefix, of at least eight digits.
func (ca *CA) FindAuthority(ctx context.Context, prefix string) (string, error) {
	list, err := ca.Authorities(ctx)
	if err != nil {
		return "", err
	}
	var found []string
	for _, a := range list {
		if len(prefix) >= 8 && len(a.ID) >= len(prefix) && a.ID[:len(prefix)] == prefix {
			found = append(found, a.ID)
		}
	}
	if len(found) != 1 {
		return "", &AuthorityError{NotFound: true, Problem: fmt.Sprintf("%d roots or intermediates begin with %q", len(found), prefix), Hint: "give at least eight digits of an id of tenantgate ca list"}
	}
	return found[0], nil
}
