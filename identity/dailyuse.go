package identity

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DailyUse is what an identity has used of its quotas on one day.
type DailyUse struct {
	Identity string
	Requests int64
	Octets   int64 // of bodies, both directions
}

// Day is the number of t's day since 1970, in UTC: when a quota begins anew.
func Day(t time.Time) int64 {
	s := t.Unix()
	if s < 0 {
		s -= 24*60*60 - 1
	}
	return s / (24 * 60 * 60)
}

// EndOfDay is when the day ends.
func EndOfDay(day int64) time.Time { return time.Unix((day+1)*24*60*60, 0).UTC() }

// keptDays is for how many days what was used can be looked up.
const keptDays = 35

// SpendDaily adds what was counted on this node to the day's use, in one transaction, and returns what all nodes together have counted, in the same
// order. What was spent long ago is forgotten meanwhile.
func (r *Registry) SpendDaily(ctx context.Context, day int64, spent []DailyUse) ([]DailyUse, error) {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("storing daily use: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	// All nodes lock rows in one order, or two of them would wait for each other.
	order := make([]int, len(spent))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(spent[a].Identity, spent[b].Identity) })
	totals := make([]DailyUse, len(spent))
	for _, i := range order {
		u := DailyUse{Identity: spent[i].Identity}
		err := tx.QueryRowContext(ctx, `INSERT INTO daily_use (identity, day, requests, octets) VALUES ($1, $2, $3, $4)
			ON CONFLICT (identity, day) DO UPDATE SET requests = daily_use.requests + excluded.requests, octets = daily_use.octets + excluded.octets
			RETURNING requests, octets`, u.Identity, day, spent[i].Requests, spent[i].Octets).Scan(&u.Requests, &u.Octets)
		if err != nil {
			return nil, fmt.Errorf("storing daily use: %w", err)
		}
		totals[i] = u
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM daily_use WHERE day < $1`, day-keptDays); err != nil {
		return nil, fmt.Errorf("storing daily use: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("storing daily use: %w", err)
	}
	return totals, nil
}

// DailyUse returns what all identities have used on a day.
func (r *Registry) DailyUse(ctx context.Context, day int64) ([]DailyUse, error) {
	var list []DailyUse
	err := each(ctx, r.db, func(row scanner) error {
		var u DailyUse
		err := row.Scan(&u.Identity, &u.Requests, &u.Octets)
		list = append(list, u)
		return err
	}, `SELECT identity, requests, octets FROM daily_use WHERE day = $1`, day)
	if err != nil {
		return nil, fmt.Errorf("reading daily use: %w", err)
	}
	return list, nil
}

// forgetDailyUse lets whoever is given a removed identity's name begin without its use.
func forgetDailyUse(ctx context.Context, tx *sql.Tx, name string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM daily_use WHERE identity = $1`, name)
	return err
}
