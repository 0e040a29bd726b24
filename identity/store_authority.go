package identity

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	authorityColumns = `name, description, ca, intermediates, intermediate_anchor, disabled, crl_required, crl_urls, crl_refresh, crl_on_stale, ` +
		`ocsp_url, ocsp_from_certificate, ocsp_on_failure, created, updated`
	insertAuthority = `INSERT INTO authorities (` + authorityColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`
	updateAuthority = `UPDATE authorities SET description = $2, ca = $3, intermediates = $4, intermediate_anchor = $5, disabled = $6, crl_required = $7, crl_urls = $8, ` +
		`crl_refresh = $9, crl_on_stale = $10, ocsp_url = $11, ocsp_from_certificate = $12, ocsp_on_failure = $13, created = $14, updated = $15 WHERE name = $1`
	deleteAuthority = `DELETE FROM authorities WHERE name = $1`

	insertMapping = `INSERT INTO authority_mappings (authority, kind, value, identity, created) VALUES ($1, $2, $3, $4, $5)`
	deleteMapping = `DELETE FROM authority_mappings WHERE authority = $1 AND kind = $2 AND value = $3`
	insertBlock   = `INSERT INTO authority_blocks (authority, kind, value, reason, created) VALUES ($1, $2, $3, $4, $5)`
	deleteBlock   = `DELETE FROM authority_blocks WHERE authority = $1 AND kind = $2 AND value = $3`
	listColumns   = `authority, source, issuer, number, this_update, next_update, entries, fetched, der`
	insertList    = `INSERT INTO authority_crls (` + listColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	deleteList    = `DELETE FROM authority_crls WHERE authority = $1 AND source = $2`
)

func authorityArgs(a *Authority) []any {
	return []any{a.Name, a.Description, a.CA, a.Intermediates, flag(a.IntermediateAnchor), flag(a.Disabled), flag(a.CRLRequired), strings.Join(a.CRLURLs, " "),
		int64(a.CRLRefresh), a.CRLOnStale, a.OCSPURL, flag(a.OCSPFromCertificate), a.OCSPOnFailure, micros(a.Created), micros(a.Updated)}
}

func scanAuthority(row scanner) (*Authority, error) {
	a := &Authority{}
	var anchor, disabled, required, fromCertificate, created, updated int64
	var urls string
	err := row.Scan(&a.Name, &a.Description, &a.CA, &a.Intermediates, &anchor, &disabled, &required, &urls, &a.CRLRefresh, &a.CRLOnStale,
		&a.OCSPURL, &fromCertificate, &a.OCSPOnFailure, &created, &updated)
	a.IntermediateAnchor, a.Disabled, a.CRLRequired, a.OCSPFromCertificate = anchor != 0, disabled != 0, required != 0, fromCertificate != 0
	a.CRLURLs, a.Created, a.Updated = words(urls), fromMicros(created), fromMicros(updated)
	return a, err
}

// readAuthorities reads authorities with all that hangs on them, all or those that the condition leaves.
func readAuthorities(ctx context.Context, q querier, touched string, args ...any) ([]*AuthorityEntry, error) {
	var list []*AuthorityEntry
	byName := map[string]*AuthorityEntry{}
	err := each(ctx, q, func(row scanner) error {
		a, err := scanAuthority(row)
		if err == nil {
			list = append(list, &AuthorityEntry{Authority: a})
			byName[a.Name] = list[len(list)-1]
		}
		return err
	}, `SELECT `+authorityColumns+` FROM authorities`+where("name", ObjectAuthority, touched), args...)
	if err != nil {
		return nil, fmt.Errorf("reading authorities: %w", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	condition := where("authority", ObjectAuthority, touched)
	var name string
	var created int64
	err = each(ctx, q, func(row scanner) error {
		var m Mapping
		err := row.Scan(&name, &m.Kind, &m.Value, &m.Identity, &created)
		m.Created = fromMicros(created)
		if e := byName[name]; e != nil {
			e.Mappings = append(e.Mappings, m)
		}
		return err
	}, `SELECT authority, kind, value, identity, created FROM authority_mappings`+condition, args...)
	if err != nil {
		return nil, fmt.Errorf("reading mappings: %w", err)
	}
	err = each(ctx, q, func(row scanner) error {
		var b Block
		err := row.Scan(&name, &b.Kind, &b.Value, &b.Reason, &created)
		b.Created = fromMicros(created)
		if e := byName[name]; e != nil {
			e.Blocks = append(e.Blocks, b)
		}
		return err
	}, `SELECT authority, kind, value, reason, created FROM authority_blocks`+condition, args...)
	if err != nil {
		return nil, fmt.Errorf("reading blocks: %w", err)
	}
	err = each(ctx, q, func(row scanner) error {
		l := &RevocationList{}
		var this, next, fetched int64
		err := row.Scan(&name, &l.Source, &l.Issuer, &l.Number, &this, &next, &l.Entries, &fetched, &l.DER)
		l.ThisUpdate, l.NextUpdate, l.Fetched = fromMicros(this), fromMicros(next), fromMicros(fetched)
		if e := byName[name]; e != nil {
			e.Lists = append(e.Lists, l)
		}
		return err
	}, `SELECT `+listColumns+` FROM authority_crls`+condition, args...)
	if err != nil {
		return nil, fmt.Errorf("reading revocation lists: %w", err)
	}
	return list, nil
}

// Fetch is how fetching the list of one source stands, on all nodes together.
type Fetch struct {
	Authority string    `json:"-"`
	Source    string    `json:"source"`
	Attempted time.Time `json:"attempted,omitzero"`
	Next      time.Time `json:"next,omitzero"`
	Failures  int       `json:"failures"` // since the last that went well
	Error     string    `json:"error,omitempty"`
}

// Fetches returns how fetching stands. It asks the database.
func (r *Registry) Fetches(ctx context.Context) ([]Fetch, error) {
	var list []Fetch
	err := each(ctx, r.db, func(row scanner) error {
		var f Fetch
		var attempted, next int64
		err := row.Scan(&f.Authority, &f.Source, &attempted, &next, &f.Failures, &f.Error)
		f.Attempted, f.Next = fromMicros(attempted), fromMicros(next)
		list = append(list, f)
		return err
	}, `SELECT authority, source, attempted, next_attempt, failures, error FROM authority_fetches ORDER BY authority, source`)
	if err != nil {
		return nil, fmt.Errorf("reading how fetching stands: %w", err)
	}
	return list, nil
}

// ClaimFetch takes the turn to fetch a source, until the time until, unless another node has it or it is not due at now. Whoever gets it fetches and then
// calls EndFetch; if he dies, the turn is free again at until.
func (r *Registry) ClaimFetch(ctx context.Context, authority, source string, now, until time.Time) (bool, error) {
	_, err := r.db.ExecContext(ctx, `INSERT INTO authority_fetches (authority, source, attempted, next_attempt, failures, error) VALUES ($1, $2, 0, 0, 0, '')
		ON CONFLICT (authority, source) DO NOTHING`, authority, source)
	if err != nil {
		return false, fmt.Errorf("taking the turn to fetch: %w", err)
	}
	result, err := r.db.ExecContext(ctx, `UPDATE authority_fetches SET attempted = $3, next_attempt = $4 WHERE authority = $1 AND source = $2 AND next_attempt <= $3`,
		authority, source, micros(now), micros(until))
	if err != nil {
		return false, fmt.Errorf("taking the turn to fetch: %w", err)
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// EndFetch notes what came of a fetch, "" for success, and when the next is due.
func (r *Registry) EndFetch(ctx context.Context, authority, source, problem string, next time.Time) error {
	_, err := r.db.ExecContext(ctx, `UPDATE authority_fetches SET next_attempt = $3, error = $4, failures = CASE WHEN $4 = '' THEN 0 ELSE failures + 1 END
		WHERE authority = $1 AND source = $2`, authority, source, micros(next), shortenedTo(problem, 500))
	if err != nil {
		return fmt.Errorf("noting a fetch: %w", err)
	}
	return nil
}

// ForgetFetch removes how fetching stands of a source that is no more, or of one that is to be fetched at once.
func (r *Registry) ForgetFetch(ctx context.Context, authority, source string) error {
	_, err := r.db.ExecContext(ctx, `DELETE FROM authority_fetches WHERE authority = $1 AND source = $2`, authority, source)
	return err
}

func shortenedTo(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
