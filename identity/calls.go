package identity

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// LastCall is the time of the last call with one certificate, as this process has seen it. Noting one is an atomic load and, once a second, a store; it is safe
// for concurrent use, and on nil it does nothing.
type LastCall struct{ unix atomic.Int64 }

// Note notes a call.
func (l *LastCall) Note(now time.Time) {
	if l == nil {
		return
	}
	if s := now.Unix(); s > l.unix.Load() {
		l.unix.Store(s)
	}
}

// Calls are the last calls with all certificates: in memory while they are new, and in the database to the minute. Safe for concurrent use.
type Calls struct {
	db *sql.DB

	mu    sync.Mutex // guards what follows; never held while the database is asked
	cells map[Fingerprint]*cell
}

type cell struct {
	last    LastCall
	written int64 // what the database has, as far as this process knows
}

const (
	// callGrain is how much newer a call must be than what is stored: one row a certificate and minute at most.
	callGrain = 60
	// cellIdle is for how long a certificate that is not used stays in memory. No connection stays open for so long without a request.
	cellIdle = 24 * 60 * 60
)

// Calls returns the last calls with the certificates of this registry.
func (r *Registry) Calls() *Calls { return r.calls }

// Of returns where to note calls with a certificate. A connection asks once.
func (c *Calls) Of(f Fingerprint) *LastCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.cells[f]
	if one == nil {
		one = &cell{}
		c.cells[f] = one
	}
	return &one.last
}

// OfIdentity returns where to note calls of an identity with certificates of other CAs. Those are known by no binding, come anew every few hours from some CAs,
// and are not kept one by one.
func (c *Calls) OfIdentity(name string) *LastCall { return c.Of(CallsOfIdentity(name)) }

// CallsOfIdentity is under what the calls are kept that [Calls.OfIdentity] notes, for [Calls.After]. It is the fingerprint of no certificate.
func CallsOfIdentity(name string) Fingerprint {
	return sha256.Sum256([]byte("tenantgate identity " + name))
}

// seen is one row to be written.
type seen struct {
	fingerprint Fingerprint
	at          int64
}

// Flush stores what is newer than what is stored by a minute or more, or all that is newer. What it could not store stays for the next time. Several nodes may
// write the same certificate: the latest call counts.
func (c *Calls) Flush(ctx context.Context, all bool) error {
	rows := c.due(all)
	if len(rows) == 0 {
		return nil
	}
	if err := c.write(ctx, rows); err != nil {
		return fmt.Errorf("storing the last calls: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, row := range rows {
		if one := c.cells[row.fingerprint]; one != nil {
			one.written = max(one.written, row.at)
		}
	}
	return nil
}

// due returns what is to be written, and forgets what is written and has not been used for long.
func (c *Calls) due(all bool) []seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	var rows []seen
	idle := time.Now().Unix() - cellIdle
	for f, one := range c.cells {
		last := one.last.unix.Load()
		switch {
		case last >= one.written+callGrain, all && last > one.written:
			rows = append(rows, seen{f, last})
		case last > 0 && last < idle:
			delete(c.cells, f)
		}
	}
	return rows
}

func (c *Calls) write(ctx context.Context, rows []seen) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	statement, err := tx.PrepareContext(ctx, `INSERT INTO last_calls (fingerprint, seen) VALUES ($1, $2)
		ON CONFLICT (fingerprint) DO UPDATE SET seen = excluded.seen WHERE last_calls.seen < excluded.seen`)
	if err != nil {
		return err
	}
	defer func() { _ = statement.Close() }()
	for _, row := range rows {
		if _, err := statement.ExecContext(ctx, row.fingerprint.String(), row.at*1e6); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Since returns when calls were first noted in this database: of the time before nothing is known. It is zero before the first call of Begin.
func (c *Calls) Since(ctx context.Context) (time.Time, error) {
	var since int64
	if err := c.db.QueryRowContext(ctx, `SELECT calls_since FROM registry_policy WHERE id = 1`).Scan(&since); err != nil {
		return time.Time{}, fmt.Errorf("reading since when calls are noted: %w", err)
	}
	return fromMicros(since), nil
}

// Begin notes, the first time, that calls are noted from now on.
func (c *Calls) Begin(ctx context.Context, now time.Time) error {
	if _, err := c.db.ExecContext(ctx, `UPDATE registry_policy SET calls_since = $1 WHERE id = 1 AND calls_since = 0`, micros(now)); err != nil {
		return fmt.Errorf("noting that calls are noted: %w", err)
	}
	return nil
}

// After returns the last calls that were at or after a time, of all nodes as far as they have stored them and of this process up to now.
func (c *Calls) After(ctx context.Context, from time.Time) (map[Fingerprint]time.Time, error) {
	found := map[Fingerprint]time.Time{}
	err := each(ctx, c.db, func(row scanner) error {
		var text string
		var at int64
		if err := row.Scan(&text, &at); err != nil {
			return err
		}
		f, err := ParseFingerprint(text)
		found[f] = fromMicros(at)
		return err
	}, `SELECT fingerprint, seen FROM last_calls WHERE seen >= $1`, micros(from))
	if err != nil {
		return nil, fmt.Errorf("reading the last calls: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for f, one := range c.cells {
		at := time.Unix(one.last.unix.Load(), 0).UTC()
		if at.Unix() > 0 && !at.Before(from) && at.After(found[f]) {
			found[f] = at
		}
	}
	return found, nil
}

// Last returns the last call with each of the certificates, the zero time where none is known.
func (c *Calls) Last(ctx context.Context, certificates []*Certificate) ([]time.Time, error) {
	last := make([]time.Time, len(certificates))
	for i, one := range certificates {
		err := each(ctx, c.db, func(row scanner) error {
			var at int64
			err := row.Scan(&at)
			last[i] = fromMicros(at)
			return err
		}, `SELECT seen FROM last_calls WHERE fingerprint = $1`, one.Fingerprint.String())
		if err != nil {
			return nil, fmt.Errorf("reading the last calls: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, one := range certificates {
		if known := c.cells[one.Fingerprint]; known != nil {
			if at := time.Unix(known.last.unix.Load(), 0).UTC(); at.Unix() > 0 && at.After(last[i]) {
				last[i] = at
			}
		}
	}
	return last, nil
}
