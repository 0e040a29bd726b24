package token

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// row is a stored token as it was read: sealed.
type row struct {
	sealed            []byte
	obtained, expires time.Time
	lastUse           time.Time
}

// load reads everything.
func (s *Store) load(ctx context.Context) (rows map[sourceKey]row, refusals map[string][]byte, err error) {
	rows, refusals = map[sourceKey]row{}, map[string][]byte{}
	found, err := s.DB.QueryContext(ctx, `SELECT credential, scope, parameters, obtained, expires, last_use, sealed FROM tokens`)
	if err != nil {
		return nil, nil, fmt.Errorf("reading stored tokens: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var key sourceKey
		var obtained, expires, lastUse int64
		var r row
		if err := found.Scan(&key.id, &key.scope, &key.parameters, &obtained, &expires, &lastUse, &r.sealed); err != nil {
			return nil, nil, fmt.Errorf("reading stored tokens: %w", err)
		}
		r.obtained, r.expires, r.lastUse = time.UnixMicro(obtained), time.UnixMicro(expires), time.UnixMicro(lastUse)
		rows[key] = r
	}
	if err := found.Err(); err != nil {
		return nil, nil, fmt.Errorf("reading stored tokens: %w", err)
	}
	held, err := s.DB.QueryContext(ctx, `SELECT credential, sealed FROM token_refusals`)
	if err != nil {
		return nil, nil, fmt.Errorf("reading stored refusals: %w", err)
	}
	defer func() { _ = held.Close() }()
	for held.Next() {
		var id string
		var sealed []byte
		if err := held.Scan(&id, &sealed); err != nil {
			return nil, nil, fmt.Errorf("reading stored refusals: %w", err)
		}
		refusals[id] = sealed
	}
	return rows, refusals, held.Err()
}

// look reads the token and the refusals of one credential and scope as they are now. Each may be nil.
func (s *Store) look(ctx context.Context, key sourceKey) (*savedToken, *savedRefusal, error) {
	var sealed []byte
	var t *savedToken
	var r *savedRefusal
	err := s.DB.QueryRowContext(ctx, `SELECT sealed FROM tokens WHERE credential = $1 AND scope = $2 AND parameters = $3`, key.id, key.scope, key.parameters).Scan(&sealed)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, nil, fmt.Errorf("looking for a stored token: %w", err)
	}
	if len(sealed) > 0 {
		t, _ = openToken(s.Sealer, key, sealed) // what cannot be read is as good as none
	}
	sealed = nil
	err = s.DB.QueryRowContext(ctx, `SELECT sealed FROM token_refusals WHERE credential = $1`, key.id).Scan(&sealed)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, nil, fmt.Errorf("looking for stored refusals: %w", err)
	}
	if len(sealed) > 0 {
		r, _ = openRefusal(s.Sealer, key.id, sealed)
	}
	return t, r, nil
}

// write writes a batch in one transaction.
func (s *Store) write(ctx context.Context, batch changes) error {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("storing tokens: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	for id := range batch.forgotten {
		for _, statement := range []string{`DELETE FROM tokens WHERE credential = $1`, `DELETE FROM token_refusals WHERE credential = $1`} {
			if _, err := tx.ExecContext(ctx, statement, id); err != nil {
				return fmt.Errorf("forgetting tokens: %w", err)
			}
		}
	}
	for key, c := range batch.rows {
		if err := s.writeRow(ctx, tx, key, c); err != nil {
			return fmt.Errorf("storing a token: %w", err)
		}
	}
	for id, r := range batch.refusals {
		if err := s.writeRefusal(ctx, tx, id, r); err != nil {
			return fmt.Errorf("storing a refusal: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("storing tokens: %w", err)
	}
	return nil
}

// A row that is newer than what is written stays: another node's token. But for one from the future: then the clock was set back.
const notNewer = `(tokens.obtained <= $3 OR tokens.obtained > $4)`

func (s *Store) writeRow(ctx context.Context, tx *sql.Tx, key sourceKey, c rowChange) (err error) {
	future := time.Now().Add(skew).UnixMicro()
	switch c.kind {
	case saveRow, clearRow:
		obtained, expires, sealed := c.until, c.until, []byte{}
		if c.kind == saveRow {
			obtained, expires = c.token.obtained, c.token.expires
			if sealed, err = c.token.seal(s.Sealer, key); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO tokens (credential, scope, parameters, obtained, expires, last_use, sealed) VALUES ($1, $2, $8, $3, $5, $6, $7)
			ON CONFLICT (credential, scope, parameters) DO UPDATE SET obtained = excluded.obtained, expires = excluded.expires, last_use = excluded.last_use,
			sealed = excluded.sealed WHERE `+notNewer,
			key.id, key.scope, obtained.UnixMicro(), future, expires.UnixMicro(), c.lastUse.UnixMicro(), sealed, key.parameters)
	case removeRow:
		_, err = tx.ExecContext(ctx, `DELETE FROM tokens WHERE credential = $1 AND scope = $2 AND parameters = $5 AND `+notNewer,
			key.id, key.scope, c.until.UnixMicro(), future, key.parameters)
	case touchRow:
		_, err = tx.ExecContext(ctx, `UPDATE tokens SET last_use = $3 WHERE credential = $1 AND scope = $2 AND parameters = $4`,
			key.id, key.scope, c.lastUse.UnixMicro(), key.parameters)
	}
	return err
}

func (s *Store) writeRefusal(ctx context.Context, tx *sql.Tx, id string, r *savedRefusal) error {
	if r == nil {
		_, err := tx.ExecContext(ctx, `DELETE FROM token_refusals WHERE credential = $1`, id)
		return err
	}
	sealed, err := r.seal(s.Sealer, id)
	if err != nil {
		return err
	}
	until := int64(0)
	if !r.until.IsZero() {
		until = r.until.UnixMicro()
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO token_refusals (credential, until, sealed) VALUES ($1, $2, $3)
		ON CONFLICT (credential) DO UPDATE SET until = excluded.until, sealed = excluded.sealed`, id, until, sealed)
	return err
}
