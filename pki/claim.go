package pki

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
)

// A Claim is the one use of an enrolment token, or one renewal of a certificate: taken in a transaction before anything is signed, and
// settled in the same one. If the transaction is rolled back, nothing was used up.
type Claim struct {
	// Serial is the certificate that the same claim has led to before, "" when this is the first time: it is to be handed out again.
	Serial string

	settle []any
	table  string
}

// ClaimToken takes the one use of a token, for a key given by its fingerprint. The database decides who is first, by a primary key. Whoever
// comes again with the same key gets the claim with its Serial; with another one, [ErrTaken].
func (ca *CA) ClaimToken(ctx context.Context, tx *sql.Tx, id, key string) (Claim, error) {
	c := Claim{table: `pki_enrolments SET serial = $1 WHERE token = $2`, settle: []any{id}}
	first, err := ca.claim(ctx, tx, `INSERT INTO pki_enrolments (token, key, serial, used) VALUES ($1, $2, '', $3) ON CONFLICT DO NOTHING`, id, key)
	if err != nil || first {
		return c, err
	}
	var holder string
	if err := tx.QueryRowContext(ctx, `SELECT key, serial FROM pki_enrolments WHERE token = $1`, id).Scan(&holder, &c.Serial); err != nil {
		return c, fmt.Errorf("reading who used the token: %w", err)
	}
	if holder != key {
		return Claim{}, ErrTaken
	}
	return c, nil
}

// ClaimRenewal takes the renewal of a certificate, given by its serial number, with a key, given by its fingerprint. Whoever comes again
// with the same key gets the claim with its Serial.
func (ca *CA) ClaimRenewal(ctx context.Context, tx *sql.Tx, serial, key string) (Claim, error) {
	c := Claim{table: `pki_renewals SET serial = $1 WHERE renewed = $2 AND key = $3`, settle: []any{serial, key}}
	first, err := ca.claim(ctx, tx, `INSERT INTO pki_renewals (renewed, key, serial, at) VALUES ($1, $2, '', $3) ON CONFLICT DO NOTHING`, serial, key)
	if err != nil || first {
		return c, err
	}
	if err := tx.QueryRowContext(ctx, `SELECT serial FROM pki_renewals WHERE renewed = $1 AND key = $2`, serial, key).Scan(&c.Serial); err != nil {
		return c, fmt.Errorf("reading the renewal: %w", err)
	}
	return c, nil
}

// claim reports whether the row was the first of its key.
func (ca *CA) claim(ctx context.Context, tx *sql.Tx, insert string, args ...any) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	result, err := tx.ExecContext(ctx, insert, append(args, ca.options.Now().UnixMicro())...)
	if err != nil {
		return false, fmt.Errorf("claiming a certificate: %w", err)
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// Settle notes which certificate a first claim has led to. Without it the transaction must not be committed.
func (ca *CA) Settle(ctx context.Context, tx *sql.Tx, c Claim, serial string) error {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	result, err := tx.ExecContext(ctx, `UPDATE `+c.table, append([]any{serial}, c.settle...)...)
	if err != nil {
		return fmt.Errorf("settling a claim: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("settling a claim: %d rows instead of one: %w", n, errors.Join(err, errors.New("it was not taken in this transaction")))
	}
	return nil
}

// IssuedBefore returns a certificate that was issued earlier, with its chain, for whoever has lost it. An unknown serial number is
// [ErrNotFound]. It says nothing about revocation. With a transaction the answer is as of that; tx may be nil.
func (ca *CA) IssuedBefore(ctx context.Context, tx *sql.Tx, serial string) (*Issued, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	r, err := readRecord(ctx, ca.querier(tx), serial)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(r.DER)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s: %w", serial, err)
	}
	for _, inter := range append([]*x509.Certificate{ca.Intermediate()}, ca.Trust().intermediates...) {
		if fingerprintOf(inter) == r.Issuer {
			return &Issued{Leaf: leaf, Chain: []*x509.Certificate{leaf, inter}, Serial: serial, Fingerprint: r.Fingerprint}, nil
		}
	}
	return nil, fmt.Errorf("reading certificate %s: the intermediate that signed it is not there any more", serial)
}

// SigningRoot returns the root that the intermediate which signs leads to: what a first contact is to pin.
func (ca *CA) SigningRoot() *x509.Certificate {
	l := ca.lineage.Load()
	if root := signerOf(l.signing().cert, l.trust.roots); root != nil {
		return root
	}
	return l.trust.roots[0] // the one that signs is retired
}
