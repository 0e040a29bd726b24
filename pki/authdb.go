package pki

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/smallstep/certificates/db"
)

// store is smallstep's AuthDB on database/sql. Its methods carry no context and no transaction, so an issue announces
// itself here first, under the serial number it has chosen; see the package comment.
type store struct {
	db      *sql.DB
	timeout time.Duration
	issuer  string // fingerprint of the signing intermediate

	mu      sync.Mutex // guards pending; never held across the database
	pending map[string]*pendingIssue
}

var _ db.AuthDB = (*store)(nil)

// pendingIssue is one call of CA.Issue. Only the goroutine of that call uses it: the authority stores synchronously.
type pendingIssue struct {
	ctx           context.Context
	tx            *sql.Tx
	profile, name string
	now           time.Time
	stored        bool
	err           error
}

func newStore(db *sql.DB, timeout time.Duration, issuer string) *store {
	return &store{db: db, timeout: timeout, issuer: issuer, pending: make(map[string]*pendingIssue)}
}

func (s *store) expect(ctx context.Context, tx *sql.Tx, serial *big.Int, profile, name string, now time.Time) *pendingIssue {
	p := &pendingIssue{ctx: ctx, tx: tx, profile: profile, name: name, now: now}
	s.mu.Lock()
	s.pending[FormatSerial(serial)] = p
	s.mu.Unlock()
	return p
}

func (s *store) forget(serial *big.Int) {
	s.mu.Lock()
	delete(s.pending, FormatSerial(serial))
	s.mu.Unlock()
}

// StoreCertificateChain is found by the authority by type assertion and called after signing, before the certificate is
// returned. An error here makes the signing fail.
func (s *store) StoreCertificateChain(chain ...*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("no certificate to record")
	}
	serial := FormatSerial(chain[0].SerialNumber)
	s.mu.Lock()
	p := s.pending[serial]
	s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("certificate %s was not asked for through Issue", serial)
	}
	ctx, cancel := context.WithTimeout(p.ctx, s.timeout)
	defer cancel()
	sum := sha256.Sum256(chain[0].Raw)
	key, err := KeyFingerprint(chain[0].PublicKey)
	if err != nil {
		p.err = err
		return err
	}
	_, p.err = p.tx.ExecContext(ctx, `INSERT INTO pki_certificates
		(serial, fingerprint, issuer, profile, name, not_before, not_after, created, der, key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		serial, hex.EncodeToString(sum[:]), s.issuer, p.profile, p.name,
		chain[0].NotBefore.UnixMicro(), chain[0].NotAfter.UnixMicro(), p.now.UnixMicro(), chain[0].Raw, key)
	p.stored = p.err == nil
	return p.err
}

// StoreRenewedCertificate refuses: renewal is a new issue, with a new judgement. RenewContext would sign whatever
// certificate it is handed, even a foreign one.
func (s *store) StoreRenewedCertificate(*x509.Certificate, ...*x509.Certificate) error {
	return errors.New("renewing is not offered, issue a new certificate")
}

// IsRevoked is asked with the serial number in decimal.
func (s *store) IsRevoked(sn string) (bool, error) {
	serial, err := decimalSerial(sn)
	if err != nil {
		return true, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	var at int64
	err = s.db.QueryRowContext(ctx, `SELECT revoked_at FROM pki_certificates WHERE serial = $1`, serial).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return true, ErrNotFound // a certificate the CA does not know is not one to believe
	}
	return at != 0 || err != nil, err
}

// Revoke is smallstep's; ours is [CA.Revoke], in the caller's transaction.
func (s *store) Revoke(rci *db.RevokedCertificateInfo) error {
	serial, err := decimalSerial(rci.Serial)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	return revoke(ctx, s.db, serial, rci.Reason, rci.RevokedAt)
}

// GetCertificate returns a recorded certificate by its serial number in decimal.
func (s *store) GetCertificate(sn string) (*x509.Certificate, error) {
	serial, err := decimalSerial(sn)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	r, err := readRecord(ctx, s.db, serial)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(r.DER)
}

// UseToken refuses every one-time token: no provisioner is configured that could have made one.
func (s *store) UseToken(string, string) (bool, error) { return false, nil }

// IsSSHRevoked says that every SSH certificate is revoked: none was issued.
func (s *store) IsSSHRevoked(string) (bool, error) { return true, nil }

// RevokeSSH refuses: there are no SSH certificates.
func (s *store) RevokeSSH(*db.RevokedCertificateInfo) error { return db.ErrNotImplemented }

// IsSSHHost knows no SSH host.
func (s *store) IsSSHHost(string) (bool, error) { return false, nil }

// GetSSHHostPrincipals knows no SSH host.
func (s *store) GetSSHHostPrincipals() ([]string, error) { return nil, nil }

// Shutdown does nothing: the database belongs to the caller.
func (s *store) Shutdown() error { return nil }

func decimalSerial(sn string) (string, error) {
	n, ok := new(big.Int).SetString(sn, 10)
	if !ok || n.Sign() <= 0 {
		return "", fmt.Errorf("serial number %q is not a positive decimal number", sn)
	}
	return FormatSerial(n), nil
}
