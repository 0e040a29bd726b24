package pki

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Record is what the CA remembers of a certificate it signed.
type Record struct {
	Serial           string // lower-case hex
	Fingerprint      [32]byte
	Issuer           string // fingerprint of the intermediate that signed it, lower-case hex
	Profile          string // client, admin, server, outbound
	Name             string
	NotBefore        time.Time
	NotAfter         time.Time
	Created          time.Time
	RevokedAt        time.Time // zero: not revoked
	RevocationReason string
	DER              []byte
}

// Filter narrows [CA.Certificates]; zero fields do not.
type Filter struct {
	Profile, Name string
	// ExpiresAfter leaves out certificates that have expired by then.
	ExpiresAfter time.Time
	// Revoked lists only revoked certificates.
	Revoked bool
	// Limit bounds the answer; 0 means 1000.
	Limit int
}

// querier is *sql.DB or *sql.Tx.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

const recordColumns = `serial, fingerprint, issuer, profile, name, not_before, not_after, created, revoked_at, revocation_reason, der`

// Certificates lists what the CA has signed, newest first.
func (ca *CA) Certificates(ctx context.Context, f Filter) ([]Record, error) {
	where, args := []string{"1 = 1"}, []any{}
	add := func(cond string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(cond, len(args)))
	}
	if f.Profile != "" {
		add("profile = $%d", f.Profile)
	}
	if f.Name != "" {
		add("name = $%d", f.Name)
	}
	if !f.ExpiresAfter.IsZero() {
		add("not_after > $%d", f.ExpiresAfter.UnixMicro())
	}
	if f.Revoked {
		add("revoked_at > $%d", int64(0))
	}
	if f.Limit <= 0 {
		f.Limit = 1000
	}
	args = append(args, int64(f.Limit))
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	rows, err := ca.options.DB.QueryContext(ctx, `SELECT `+recordColumns+` FROM pki_certificates WHERE `+strings.Join(where, " AND ")+
		fmt.Sprintf(` ORDER BY created DESC, serial LIMIT $%d`, len(args)), args...)
	if err != nil {
		return nil, fmt.Errorf("listing certificates: %w", err)
	}
	defer rows.Close()
	var all []Record
	for rows.Next() {
		r, err := scanRecord(rows)
		if err != nil {
			return nil, fmt.Errorf("listing certificates: %w", err)
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing certificates: %w", err)
	}
	return all, nil
}

// Certificate returns the record of a serial number in lower-case hex, or [ErrNotFound].
func (ca *CA) Certificate(ctx context.Context, serial string) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	return readRecord(ctx, ca.options.DB, serial)
}

// Revoke records in tx that the certificate is revoked from at on. Revoking twice keeps the first time and reason and is
// no error. An unknown serial number is [ErrNotFound].
func (ca *CA) Revoke(ctx context.Context, tx *sql.Tx, serial, reason string, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	return revoke(ctx, tx, serial, reason, at)
}

// RevokeAll records in tx that everything the CA has signed for callers and administrators, that has not been revoked by then and has not ended more than
// grace before, is revoked from at on: for so long an expired certificate can still be renewed. It returns the records as they are now, by name, without DER. With issuers, only what those intermediates have signed, by their IDs.
// Certificates of our own listeners stay: nobody shows them to us.
func (ca *CA) RevokeAll(ctx context.Context, tx *sql.Tx, reason string, at time.Time, grace time.Duration, issuers ...string) ([]Record, error) {
	ended := at.Add(-grace).UnixMicro()
	of := ""
	for _, id := range issuers {
		if !isFingerprint(id) {
			return nil, fmt.Errorf("revoking all certificates of %q: not an ID", id)
		}
		of += ", '" + id + "'"
	}
	if of != "" {
		of = " AND issuer IN (" + of[2:] + ")"
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+recordColumns+` FROM pki_certificates
		WHERE revoked_at = 0 AND not_after > $1 AND profile IN ('client', 'admin')`+of+` ORDER BY profile DESC, name, serial`, ended)
	if err != nil {
		return nil, fmt.Errorf("revoking all certificates: %w", err)
	}
	defer rows.Close()
	var all []Record
	for rows.Next() {
		r, err := scanRecord(rows)
		if err != nil {
			return nil, fmt.Errorf("revoking all certificates: %w", err)
		}
		r.DER, r.RevokedAt, r.RevocationReason = nil, at.UTC(), reason
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("revoking all certificates: %w", err)
	}
	_, err = tx.ExecContext(ctx, `UPDATE pki_certificates SET revoked_at = $1, revocation_reason = $2
		WHERE revoked_at = 0 AND not_after > $3 AND profile IN ('client', 'admin')`+of, at.UnixMicro(), reason, ended)
	if err == nil {
		_, err = tx.ExecContext(ctx, `UPDATE pki_crls SET stale = 1 WHERE issuer IN (SELECT issuer FROM pki_certificates WHERE revoked_at = $1)`, at.UnixMicro())
	}
	if err != nil {
		return nil, fmt.Errorf("revoking all certificates: %w", err)
	}
	return all, nil
}

// isFingerprint reports whether s is a SHA-256 in lower-case hex.
func isFingerprint(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && s == strings.ToLower(s)
}

func revoke(ctx context.Context, q querier, serial, reason string, at time.Time) error {
	if at.IsZero() || at.UnixMicro() <= 0 {
		return errors.New("revoking certificate: no time given")
	}
	if reason == "" {
		reason = "unspecified"
	}
	// One statement decides, so that of two nodes the first keeps its time and reason.
	res, err := q.ExecContext(ctx, `UPDATE pki_certificates SET
		revocation_reason = CASE WHEN revoked_at = 0 THEN $1 ELSE revocation_reason END,
		revoked_at = CASE WHEN revoked_at = 0 THEN $2 ELSE revoked_at END WHERE serial = $3`, reason, at.UnixMicro(), serial)
	if err != nil {
		return fmt.Errorf("revoking certificate %s: %w", serial, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("revoking certificate %s: %w", serial, err)
	}
	if n == 0 {
		return fmt.Errorf("revoking certificate %s: %w", serial, ErrNotFound)
	}
	// The row is taken last, as makeCRL takes it first: either its list has this revocation, or this statement waits and marks the list.
	_, err = q.ExecContext(ctx, `UPDATE pki_crls SET stale = 1 WHERE issuer =
		(SELECT issuer FROM pki_certificates WHERE serial = $1 AND revoked_at = $2)`, serial, at.UnixMicro())
	if err != nil {
		return fmt.Errorf("revoking certificate %s: marking the revocation list: %w", serial, err)
	}
	return nil
}

func readRecord(ctx context.Context, q querier, serial string) (Record, error) {
	r, err := scanRecord(q.QueryRowContext(ctx, `SELECT `+recordColumns+` FROM pki_certificates WHERE serial = $1`, serial))
	if errors.Is(err, sql.ErrNoRows) {
		return Record{}, fmt.Errorf("reading certificate %s: %w", serial, ErrNotFound)
	}
	if err != nil {
		return Record{}, fmt.Errorf("reading certificate %s: %w", serial, err)
	}
	return r, nil
}

func scanRecord(row interface{ Scan(...any) error }) (Record, error) {
	var r Record
	var fingerprint string
	var notBefore, notAfter, created, revoked int64
	if err := row.Scan(&r.Serial, &fingerprint, &r.Issuer, &r.Profile, &r.Name, &notBefore, &notAfter, &created, &revoked, &r.RevocationReason, &r.DER); err != nil {
		return Record{}, err
	}
	sum, err := hex.DecodeString(fingerprint)
	if err != nil || len(sum) != len(r.Fingerprint) {
		return Record{}, fmt.Errorf("record %s has the fingerprint %q", r.Serial, fingerprint)
	}
	copy(r.Fingerprint[:], sum)
	r.NotBefore, r.NotAfter, r.Created, r.RevokedAt = micros(notBefore), micros(notAfter), micros(created), micros(revoked)
	return r, nil
}

func micros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
