package pki

import (
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

// crlJump is more revocation lists than are made between a backup and its restore, beside one for each second.
const crlJump = 1_000_000

// Restored tells the CA's tables that they were put back to how they were at a time. The numbers of revocation lists go on above all that may have been
// published since (RFC 5280, 5.2.3), and a new list is due. Locks of those who held them then are gone, and so are the nodes of then, for which nobody is to wait. With withdraw, all enrolment tokens that look
// unused are withdrawn, because one may have been used since; how many is returned.
func Restored(ctx context.Context, tx *sql.Tx, backedUp, now time.Time, withdraw bool) (withdrawn int, err error) {
	jump := int64(crlJump)
	if since := int64(now.Sub(backedUp) / time.Second); since > 0 {
		jump += since
	}
	if _, err := tx.ExecContext(ctx, `UPDATE pki_crls SET number = number + $1, stale = 1 WHERE number > 0`, jump); err != nil {
		return 0, fmt.Errorf("raising the numbers of revocation lists: %w", err)
	}
	// A list that was never made may have been since.
	if _, err := tx.ExecContext(ctx, `UPDATE pki_crls SET number = $1, stale = 1, der = NULL WHERE number = 0`, jump); err != nil {
		return 0, fmt.Errorf("raising the numbers of revocation lists: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM pki_locks`); err != nil {
		return 0, fmt.Errorf("removing locks: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM pki_nodes`); err != nil {
		return 0, fmt.Errorf("forgetting nodes: %w", err)
	}
	if !withdraw {
		return 0, nil
	}
	result, err := tx.ExecContext(ctx, `UPDATE pki_enrolment_tokens SET withdrawn = $1
		WHERE withdrawn = 0 AND expires > $1 AND id NOT IN (SELECT token FROM pki_enrolments)`, now.UnixMicro())
	if err != nil {
		return 0, fmt.Errorf("withdrawing enrolment tokens: %w", err)
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// CheckPassphrase reports, by a *[FileError], whether one of the passphrases opens an encrypted private key as [Init] writes them. name is how the error calls
// the key.
func CheckPassphrase(name string, pem []byte, passphrases ...[]byte) error {
	_, err := openKey(name, pem, passphrases...)
	return err
}

// CheckStoredKeys reports, by a *[FileError], whether the master key and one of the passphrases open the intermediates' keys in the database: those that may
// have to sign. That of the directory may be another one's by then, or gone.
func CheckStoredKeys(ctx context.Context, tx *sql.Tx, sealer Sealer, passphrases ...[]byte) error {
	records, err := readAuthorityRows(ctx, tx)
	if err != nil {
		return fmt.Errorf("reading the CA's tables: %w", err)
	}
	for _, a := range records {
		if a.Location != LocationDatabase || a.State == AuthorityRetired {
			continue
		}
		name := "intermediate " + a.ID[:16]
		pem, err := a.unseal(sealer)
		if err != nil {
			return &FileError{Path: name, Problem: "opening the key", Err: err}
		}
		if err := CheckPassphrase(name, pem, passphrases...); err != nil {
			return err
		}
	}
	return nil
}

// RevokeListed revokes, as of the times and for the reasons that a revocation list gives, the certificates on it that are not revoked, and returns them.
// One of the CA's own certificates must have signed it: of those in files, or of those in the database. The error is a *[FileError] when none has.
func RevokeListed(ctx context.Context, tx *sql.Tx, list *x509.RevocationList, files []*x509.Certificate) ([]Record, error) {
	records, err := readAuthorityRows(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("reading the CA's tables: %w", err)
	}
	for _, a := range records {
		if a.Certificate != nil {
			files = append(files[:len(files):len(files)], a.Certificate)
		}
	}
	if !slices.ContainsFunc(files, func(c *x509.Certificate) bool { return list.CheckSignatureFrom(c) == nil }) {
		return nil, &FileError{Path: "the revocation list of " + list.Issuer.String(), Problem: "it is not signed by the CA in the backup",
			Hint: "give the lists of its intermediates"}
	}
	var revoked []Record
	for _, e := range list.RevokedCertificateEntries {
		serial := FormatSerial(e.SerialNumber)
		var text string
		err := tx.QueryRowContext(ctx, `UPDATE pki_certificates SET revoked_at = $1, revocation_reason = $2 WHERE serial = $3 AND revoked_at = 0
			RETURNING fingerprint`, e.RevocationTime.UnixMicro(), reasonName(e.ReasonCode), serial).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) {
			continue // revoked already, or issued after the backup: then nobody knows it
		}
		if err != nil {
			return nil, fmt.Errorf("revoking certificate %s: %w", serial, err)
		}
		r := Record{Serial: serial, RevokedAt: e.RevocationTime, RevocationReason: reasonName(e.ReasonCode)}
		if _, err := hex.Decode(r.Fingerprint[:], []byte(text)); err != nil {
			return nil, fmt.Errorf("revoking certificate %s: its record has no fingerprint", serial)
		}
		revoked = append(revoked, r)
	}
	return revoked, nil
}
