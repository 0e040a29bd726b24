package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// revisionJump is more changes than are lost with a database.
const revisionJump = 1 << 32

// KeyCheck returns what tells whether a key is the database's, sealed (see [OpenKeyCheck]), as a transaction sees it. A database that no registry was
// opened on has none, which is an error.
func KeyCheck(ctx context.Context, tx *sql.Tx) ([]byte, error) {
	var sealed []byte
	if err := tx.QueryRowContext(ctx, `SELECT key_check FROM registry WHERE id = 1`).Scan(&sealed); err != nil {
		return nil, fmt.Errorf("reading the key check: %w", err)
	}
	if sealed == nil {
		return nil, errors.New("reading the key check: no server has used this database yet")
	}
	return sealed, nil
}

// Restored tells a database that it was put back to an earlier state: revisions go on above all that were ever taken, so that a process which
// knows a later state reads everything anew, instead of taking the numbers for its own.
func Restored(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, `UPDATE registry SET revision = revision + $1 WHERE id = 1`, int64(revisionJump)); err != nil {
		return fmt.Errorf("raising the registry's revision: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE registry SET oldest = revision WHERE id = 1`); err != nil {
		return fmt.Errorf("raising the registry's revision: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM registry_changes`); err != nil {
		return fmt.Errorf("forgetting the registry's log: %w", err)
	}
	return nil
}

// RevokeRestored revokes a certificate that a revocation list names, in a database that no registry has open. One that belongs to no identity is left out.
func RevokeRestored(ctx context.Context, tx *sql.Tx, f Fingerprint, reason string, at time.Time) error {
	if _, err := tx.ExecContext(ctx, `UPDATE certificates SET revoked_at = $1, revocation_reason = $2 WHERE fingerprint = $3 AND revoked_at = 0`,
		micros(at), reason, f.String()); err != nil {
		return fmt.Errorf("revoking certificate %s: %w", f, err)
	}
	return nil
}
