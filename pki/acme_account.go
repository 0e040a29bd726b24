package pki

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// An ACMEAccount is an account (RFC 8555 section 7.1.2) and the key that it was registered with, in whose name it acts. Contacts are not kept: they are
// people's.
type ACMEAccount struct {
	ID         string
	Binding    string // the ACMEKey's ID
	Thumbprint string // RFC 7638, SHA-256, base64url
	JWK        string // the public key, JSON
	Status     string // "valid" or "deactivated"
	Created    time.Time
}

// The statuses of an account.
const (
	ACMEValid       = "valid"
	ACMEDeactivated = "deactivated"
)

// AddACMEAccount registers an account with a key, which is used up and whose secret is erased. The database decides who is first: when the key was used or
// removed, or the account's key is known already, the error is [ErrTaken].
func (ca *CA) AddACMEAccount(ctx context.Context, tx *sql.Tx, a ACMEAccount) (ACMEAccount, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	now := ca.options.Now().UTC().Truncate(time.Microsecond)
	a.ID, a.Status, a.Created = newACMEID(), ACMEValid, now
	used, err := tx.ExecContext(ctx, `UPDATE pki_acme_keys SET bound = $1, secret = NULL WHERE id = $2 AND bound = 0 AND removed = 0`,
		now.UnixMicro(), a.Binding)
	if err := one(used, err); err != nil {
		return ACMEAccount{}, fmt.Errorf("using an ACME key: %w", err)
	}
	added, err := tx.ExecContext(ctx, `INSERT INTO pki_acme_accounts (id, binding, thumbprint, jwk, status, created)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`, a.ID, a.Binding, a.Thumbprint, a.JWK, a.Status, now.UnixMicro())
	if err := one(added, err); err != nil {
		return ACMEAccount{}, fmt.Errorf("storing an ACME account: %w", err)
	}
	return a, nil
}

// one is nil when a statement has changed one row, and [ErrTaken] when it has changed none.
func one(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return ErrTaken
}

// newACMEID names an account, an order or an authorization: 128 bits, which nobody guesses.
func newACMEID() string { return strings.ToLower(rand.Text()) }

// ACMEAccount returns the account with this ID, or [ErrNotFound]; tx may be nil.
func (ca *CA) ACMEAccount(ctx context.Context, tx *sql.Tx, id string) (ACMEAccount, error) {
	return ca.acmeAccount(ctx, tx, `id`, id)
}

// ACMEAccountOf returns the account whose key has this thumbprint, or [ErrNotFound]; tx may be nil.
func (ca *CA) ACMEAccountOf(ctx context.Context, tx *sql.Tx, thumbprint string) (ACMEAccount, error) {
	return ca.acmeAccount(ctx, tx, `thumbprint`, thumbprint)
}

func (ca *CA) acmeAccount(ctx context.Context, tx *sql.Tx, column, value string) (ACMEAccount, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	var a ACMEAccount
	var created int64
	err := ca.querier(tx).QueryRowContext(ctx, `SELECT id, binding, thumbprint, jwk, status, created FROM pki_acme_accounts WHERE `+column+` = $1`, value).
		Scan(&a.ID, &a.Binding, &a.Thumbprint, &a.JWK, &a.Status, &created)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return ACMEAccount{}, fmt.Errorf("reading an ACME account: %w", err)
	}
	a.Created = micros(created)
	return a, nil
}

// DeactivateACMEAccount ends an account for good (RFC 8555 section 7.3.6). Certificates stay.
func (ca *CA) DeactivateACMEAccount(ctx context.Context, tx *sql.Tx, id string) error {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	if _, err := tx.ExecContext(ctx, `UPDATE pki_acme_accounts SET status = $1 WHERE id = $2`, ACMEDeactivated, id); err != nil {
		return fmt.Errorf("deactivating an ACME account: %w", err)
	}
	return nil
}

// ReplaceACMEAccountKey gives an account another key (RFC 8555 section 7.3.5). When it has not the old one any more, the error is [ErrTaken]; whoever
// gives a key that another account has is refused by the database.
func (ca *CA) ReplaceACMEAccountKey(ctx context.Context, tx *sql.Tx, id, old, thumbprint, jwk string) error {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	changed, err := tx.ExecContext(ctx, `UPDATE pki_acme_accounts SET thumbprint = $1, jwk = $2 WHERE id = $3 AND thumbprint = $4`, thumbprint, jwk, id, old)
	if err := one(changed, err); err != nil {
		return fmt.Errorf("replacing an ACME account's key: %w", err)
	}
	return nil
}

// Nonces are made without a write, so that whoever reaches the listener cannot fill the database with them: a nonce is the time of its making, sealed.
// What is stored is that it was used.
const (
	nonceLife = time.Hour
	// keepNonces is longer than nonceLife, so that a clock that jumps by less than it makes none good again.
	keepNonces = 48 * time.Hour
)

var nonceContext = []byte("tenantgate acme nonce 1")

// NewACMENonce returns what is good for one request within an hour, on every node that has the same sealing key.
func (ca *CA) NewACMENonce() ([]byte, error) {
	if ca.options.Sealer == nil {
		return nil, errors.New("making a nonce: no sealer given")
	}
	nonce, err := ca.options.Sealer.Seal(binary.BigEndian.AppendUint64(nil, uint64(ca.options.Now().UnixMicro())), nonceContext)
	if err != nil {
		return nil, fmt.Errorf("making a nonce: %w", err)
	}
	return nonce, nil
}

// UseACMENonce uses a nonce up; whoever is not the first, is late, or shows one that is none, gets [ErrTaken]. A primary key decides, on any number of
// nodes.
func (ca *CA) UseACMENonce(ctx context.Context, nonce []byte) error {
	if ca.options.Sealer == nil {
		return errors.New("using a nonce: no sealer given")
	}
	text, err := ca.options.Sealer.Open(nonce, nonceContext)
	if err != nil || len(text) != 8 {
		return ErrTaken
	}
	now := ca.options.Now()
	if age := now.Sub(time.UnixMicro(int64(binary.BigEndian.Uint64(text)))); age > nonceLife || age < -nonceLife {
		return ErrTaken
	}
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	sum := sha256.Sum256(nonce)
	used, err := ca.options.DB.ExecContext(ctx, `INSERT INTO pki_acme_nonces (nonce, used) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
		hex.EncodeToString(sum[:]), now.UnixMicro())
	if err := one(used, err); err != nil {
		return fmt.Errorf("using a nonce: %w", err)
	}
	return nil
}
