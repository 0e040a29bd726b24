package identity

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Finding is how many requests of a login in stage observe would have ended in one way with its identity.
type Finding struct {
	User  string    `json:"user"`
	Route string    `json:"route"`
	Would string    `json:"would"`           // an outcome; served: it would have worked; unknown: nobody came to know
	Cause string    `json:"cause,omitempty"` // why not
	Count int64     `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// FindingKey is what findings are told apart by.
type FindingKey struct{ user, route, would, cause string }

// Key returns what the finding is told apart by.
func (f Finding) Key() FindingKey { return FindingKey{f.User, f.Route, f.Would, f.Cause} }

// Plus returns both findings, of one key, as one. The zero value is nothing.
func (f Finding) Plus(o Finding) Finding {
	if f.Count == 0 {
		return o
	}
	f.Count += o.Count
	if o.First.Before(f.First) {
		f.First = o.First
	}
	if o.Last.After(f.Last) {
		f.Last = o.Last
	}
	return f
}

// maxFindingRows bounds the findings of one login, and maxFindingCause a cause in octets.
const (
	maxFindingRows  = 500
	maxFindingCause = 200
)

// NoteLoginFindings adds what was found out to what is known. It is no change: it takes no revision and no turn. Findings of logins that are no more are passed
// over; when a login has too many that differ, those that come on top have no cause.
func (r *Registry) NoteLoginFindings(ctx context.Context, list []Finding) error {
	slices.SortFunc(list, func(a, b Finding) int { // nodes that write at once take the rows in one order
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Route, b.Route), cmp.Compare(a.Would, b.Would), cmp.Compare(a.Cause, b.Cause))
	})
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("noting findings: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	const upsert = `INSERT INTO login_findings (user_name, route, would, cause, count, first, last) SELECT user_name, $2, $3, $4, $5, $6, $7 FROM logins ` +
		`WHERE user_name = $1 ON CONFLICT (user_name, route, would, cause) DO UPDATE SET count = login_findings.count + excluded.count, last = excluded.last`
	for _, f := range list {
		cause := f.Cause
		if len(cause) > maxFindingCause {
			cause = cause[:maxFindingCause]
		}
		var rows int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM login_findings WHERE user_name = $1`, f.User).Scan(&rows); err != nil {
			return fmt.Errorf("noting findings: %w", err)
		}
		if rows >= maxFindingRows {
			cause = "other"
		}
		if _, err := tx.ExecContext(ctx, upsert, f.User, f.Route, f.Would, strings.ToValidUTF8(cause, "?"), f.Count, micros(f.First), micros(f.Last)); err != nil {
			return fmt.Errorf("noting findings: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("noting findings: %w", err)
	}
	return nil
}

// LoginFindings returns what was found out about a login while it was in stage observe, by route, the most frequent first. The nodes write it down every few
// seconds.
func (r *Registry) LoginFindings(ctx context.Context, user string) ([]Finding, error) {
	list := []Finding{}
	err := each(ctx, r.db, func(row scanner) error {
		f := Finding{User: user}
		var first, last int64
		err := row.Scan(&f.Route, &f.Would, &f.Cause, &f.Count, &first, &last)
		f.First, f.Last = fromMicros(first), fromMicros(last)
		list = append(list, f)
		return err
	}, `SELECT route, would, cause, count, first, last FROM login_findings WHERE user_name = $1 ORDER BY route, count DESC, would, cause`, user)
	if err != nil {
		return nil, fmt.Errorf("reading findings: %w", err)
	}
	return list, nil
}

// ForgetLoginFindings begins anew, when a login is observed anew.
func (tx *Tx) ForgetLoginFindings(ctx context.Context, user string) error {
	if tx.ended {
		return errEnded
	}
	if _, err := tx.sql.ExecContext(ctx, `DELETE FROM login_findings WHERE user_name = $1`, user); err != nil {
		return fmt.Errorf("forgetting findings: %w", err)
	}
	return nil
}
