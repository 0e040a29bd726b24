package pki

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// An EnrolmentToken lets whoever holds its text have one certificate of the client profile, for one name. The CA keeps its rules and the
// hash of its text. Whether the name is somebody's who may have a certificate is the caller's question.
type EnrolmentToken struct {
	// ID names the token in lists and records; it opens nothing.
	ID string
	// Name is the identity whose certificate the token is good for.
	Name string
	// Source is the host name, address or network (CIDR) from which alone the token may be used; "" is anywhere.
	Source string
	// Key is the fingerprint ([KeyFingerprint]) of the one key that is certified; "" is any.
	Key string
	// Lifetime of the certificate; 0 is the profile's.
	Lifetime time.Duration
	Created  time.Time
	Expires  time.Time
	// Withdrawn is when the token was taken back; zero when it was not.
	Withdrawn time.Time
	// Used is when the token was used, UsedKey the fingerprint of the key and Serial the serial number of the certificate; zero when it was not.
	Used    time.Time
	UsedKey string
	Serial  string
}

// ErrTaken is the answer to a claim that somebody else has made before.
var ErrTaken = errors.New("taken already")

// keepTokens is for how long after its end a token is remembered, so that it can be said what became of it.
const keepTokens = 30 * 24 * time.Hour

// AddEnrolmentToken stores a token whose text has the given SHA-256, and forgets those that ended a month ago. ID, Name and Expires are
// required.
func (ca *CA) AddEnrolmentToken(ctx context.Context, tx *sql.Tx, t EnrolmentToken, hash [32]byte) (EnrolmentToken, error) {
	if err := ClientProfile().CheckName(t.Name); err != nil {
		return EnrolmentToken{}, err
	}
	if _, err := ClientProfile().lifetime(t.Lifetime); err != nil {
		return EnrolmentToken{}, err
	}
	now := ca.options.Now().UTC().Truncate(time.Microsecond)
	t.Created, t.Expires = now, t.Expires.UTC().Truncate(time.Microsecond)
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	old := now.Add(-keepTokens).UnixMicro()
	for _, statement := range []string{
		`DELETE FROM pki_enrolments WHERE token IN (SELECT id FROM pki_enrolment_tokens WHERE expires < $1)`,
		`DELETE FROM pki_enrolment_tokens WHERE expires < $1`,
	} {
		if _, err := tx.ExecContext(ctx, statement, old); err != nil {
			return EnrolmentToken{}, fmt.Errorf("forgetting old enrolment tokens: %w", err)
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO pki_enrolment_tokens (id, hash, name, source, key, lifetime, created, expires)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		t.ID, hex.EncodeToString(hash[:]), t.Name, t.Source, t.Key, int64(t.Lifetime), t.Created.UnixMicro(), t.Expires.UnixMicro())
	if err != nil {
		return EnrolmentToken{}, fmt.Errorf("storing an enrolment token: %w", err)
	}
	return t, nil
}

const selectTokens = `SELECT t.id, t.name, t.source, t.key, t.lifetime, t.created, t.expires, t.withdrawn,
	COALESCE(e.used, 0), COALESCE(e.key, ''), COALESCE(e.serial, '')
	FROM pki_enrolment_tokens t LEFT JOIN pki_enrolments e ON e.token = t.id`

func scanToken(row interface{ Scan(...any) error }) (EnrolmentToken, error) {
	var t EnrolmentToken
	var created, expires, withdrawn, used int64
	err := row.Scan(&t.ID, &t.Name, &t.Source, &t.Key, &t.Lifetime, &created, &expires, &withdrawn, &used, &t.UsedKey, &t.Serial)
	t.Created, t.Expires, t.Withdrawn, t.Used = micros(created), micros(expires), micros(withdrawn), micros(used)
	return t, err
}

// EnrolmentTokens lists the tokens by ID: those of a name, or all when it is "".
func (ca *CA) EnrolmentTokens(ctx context.Context, name string) ([]EnrolmentToken, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	rows, err := ca.options.DB.QueryContext(ctx, selectTokens+` WHERE $1 = '' OR t.name = $1 ORDER BY t.id`, name)
	if err != nil {
		return nil, fmt.Errorf("listing enrolment tokens: %w", err)
	}
	defer rows.Close()
	list := []EnrolmentToken{}
	for rows.Next() {
		t, err := scanToken(rows)
		if err != nil {
			return nil, fmt.Errorf("listing enrolment tokens: %w", err)
		}
		list = append(list, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing enrolment tokens: %w", err)
	}
	return list, nil
}

// EnrolmentToken returns the token with this ID, or [ErrNotFound].
func (ca *CA) EnrolmentToken(ctx context.Context, id string) (EnrolmentToken, error) {
	return ca.token(ctx, ca.options.DB, `t.id`, id)
}

// EnrolmentTokenOf returns the token whose text has the given SHA-256, or [ErrNotFound]. It is found by the hash, so that nothing about the
// text can be learnt from the time that takes. With a transaction the answer is as of that; tx may be nil.
func (ca *CA) EnrolmentTokenOf(ctx context.Context, tx *sql.Tx, hash [32]byte) (EnrolmentToken, error) {
	q := querier(ca.options.DB)
	if tx != nil {
		q = tx
	}
	return ca.token(ctx, q, `t.hash`, hex.EncodeToString(hash[:]))
}

func (ca *CA) token(ctx context.Context, q querier, column, value string) (EnrolmentToken, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	t, err := scanToken(q.QueryRowContext(ctx, selectTokens+` WHERE `+column+` = $1`, value))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return EnrolmentToken{}, fmt.Errorf("reading an enrolment token: %w", ErrNotFound)
	case err != nil:
		return EnrolmentToken{}, fmt.Errorf("reading an enrolment token: %w", err)
	}
	return t, nil
}

// WithdrawEnrolmentToken takes a token back: nothing is had for it any more, not even the certificate that it was used for. Withdrawing again
// keeps the first time. An unknown one is [ErrNotFound].
func (ca *CA) WithdrawEnrolmentToken(ctx context.Context, tx *sql.Tx, id string) (EnrolmentToken, error) {
	_, err := ca.withdraw(ctx, tx, `id`, id)
	if err != nil {
		return EnrolmentToken{}, err
	}
	return ca.token(ctx, tx, `t.id`, id)
}

// WithdrawEnrolmentTokens takes back all tokens of a name and says how many: whoever is given the name next must not be enrolled by them.
func (ca *CA) WithdrawEnrolmentTokens(ctx context.Context, tx *sql.Tx, name string) (int, error) {
	return ca.withdraw(ctx, tx, `name`, name)
}

func (ca *CA) withdraw(ctx context.Context, tx *sql.Tx, column, value string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	result, err := tx.ExecContext(ctx, `UPDATE pki_enrolment_tokens SET withdrawn = $1 WHERE withdrawn = 0 AND `+column+` = $2`,
		ca.options.Now().UnixMicro(), value)
	if err != nil {
		return 0, fmt.Errorf("withdrawing an enrolment token: %w", err)
	}
	n, err := result.RowsAffected()
	return int(n), err
}
