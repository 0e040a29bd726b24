package identity

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// Tx is a change in the making, for one goroutine, until the function given to [Registry.Change] returns. Its reads see its own
// writes. A method that returns an error has changed nothing; after an error of the database the transaction can only be given up.
type Tx struct {
	sql      *sql.Tx
	sealer   Sealer
	draft    *draft
	revision int64
	now      time.Time
	others   Changed // what the draft began with beyond the current snapshot
	ended    bool    // the function returned
}

// SQL returns the transaction, so that other packages can write to their tables in it. The registry's own tables are not to be
// written through it.
func (tx *Tx) SQL() *sql.Tx { return tx.sql }

// Revision returns the revision that the change has once it is committed.
func (tx *Tx) Revision() int64 { return tx.revision }

// exec runs a statement that concerns exactly one row.
func (tx *Tx) exec(ctx context.Context, doing, statement string, args ...any) error {
	if tx.ended {
		return errEnded
	}
	result, err := tx.sql.ExecContext(ctx, statement, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch n, err := result.RowsAffected(); {
	case err != nil:
		return fmt.Errorf("%s: %w", doing, err)
	case n != 1:
		return fmt.Errorf("%s: %d rows instead of one: the database was changed by something else", doing, n)
	}
	return nil
}

// finish writes what the transaction touched to the change log, for other nodes.
func (tx *Tx) finish(ctx context.Context) error {
	keys := tx.draft.changed.keys()
	slices.SortFunc(keys, changeKey.compare)
	keys = slices.Compact(keys)
	if len(keys) > 0 {
		statement, err := tx.sql.PrepareContext(ctx, `INSERT INTO registry_changes (revision, object, name) VALUES ($1, $2, $3)`)
		if err != nil {
			return err
		}
		defer func() { _ = statement.Close() }()
		for _, k := range keys {
			if _, err := statement.ExecContext(ctx, tx.revision, k.object, k.name); err != nil {
				return err
			}
		}
	}
	return tx.trim(ctx)
}

// The change log keeps the last logKept revisions and is cut every logTrim. A node that is further behind reads everything anew.
const (
	logKept = 1 << 16
	logTrim = 1 << 10
)

func (tx *Tx) trim(ctx context.Context) error {
	oldest := tx.revision - logKept
	if oldest <= 0 || tx.revision%logTrim != 0 {
		return nil
	}
	if _, err := tx.sql.ExecContext(ctx, `DELETE FROM registry_changes WHERE revision <= $1`, oldest); err != nil {
		return err
	}
	_, err := tx.sql.ExecContext(ctx, `UPDATE registry SET oldest = $1 WHERE id = 1 AND oldest < $1`, oldest)
	return err
}
