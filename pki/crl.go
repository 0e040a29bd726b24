package pki

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
)

// A CRL is the current certificate revocation list (RFC 5280 section 5) of one issuer.
type CRL struct {
	// Issuer is the [PublicID] of the intermediate that signed it.
	Issuer string
	// Number grows with each list of the issuer, over restarts and on all nodes.
	Number int64
	// ThisUpdate and NextUpdate are when it was made (less a minute, for clocks that are behind) and when it is stale.
	ThisUpdate, NextUpdate time.Time
	// Entries is how many certificates are on it.
	Entries int
	DER     []byte

	revoked func() map[string]ocspState // what is on it, by serial number; read when it is asked for the first time
}

// due says whether it is time for another list: half of its life is over, or the clock was set back behind its beginning.
func (c *CRL) due(now time.Time) bool {
	return now.Before(c.ThisUpdate) || !now.Before(c.ThisUpdate.Add(c.NextUpdate.Sub(c.ThisUpdate)/2))
}

// CRL returns the revocation list of the intermediate that signs, after it has seen to it that the list is current: when something was revoked
// since it was made, or when half of its life is over, another one is made, signed and stored. Nodes that share a database share the lists; of
// several that find one to be due, one makes it.
//
// Certificates that have expired stay on one more list and are left out of those after it (RFC 5280 section 3.3).
func (ca *CA) CRL(ctx context.Context) (*CRL, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	crl, err := ca.currentCRL(ctx, ca.signing())
	if err != nil {
		return nil, fmt.Errorf("making the revocation list: %w", err)
	}
	return crl, nil
}

// KeepCRLs is [CA.CRL] for every intermediate whose key is here, each list signed by its own: those that have signed before keep theirs for as long as
// they are valid, and one that is retired too, for whoever else has to know what became of its certificates.
func (ca *CA) KeepCRLs(ctx context.Context) error {
	var errs []error
	for _, i := range ca.lineage.Load().issuers {
		if err := ca.keepCRL(ctx, i); err != nil {
			errs = append(errs, fmt.Errorf("making the revocation list of %s: %w", PublicID(i.cert), err))
		}
	}
	return errors.Join(errs...)
}

func (ca *CA) keepCRL(ctx context.Context, i *issuer) error {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	_, err := ca.currentCRL(ctx, i)
	return err
}

// Issues reports whether the CA publishes lists under that public ID.
func (ca *CA) Issues(id string) bool {
	for _, i := range ca.lineage.Load().issuers {
		if PublicID(i.cert) == id {
			return true
		}
	}
	return false
}

// PublishedCRL returns the list of the issuer with that public ID as [CA.CRL] returned it last, without asking the database. It reports false
// for an issuer that is not this CA's, and before the first list.
func (ca *CA) PublishedCRL(id string) (*CRL, bool) {
	for _, i := range ca.lineage.Load().issuers {
		if crl := i.crl.Load(); crl != nil && crl.Issuer == id {
			return crl, true
		}
	}
	return nil, false
}

// prepareCRL makes the row that revocations mark as stale. It must be there before the first of them.
func prepareCRL(ctx context.Context, db *sql.DB, issuer string) error {
	_, err := db.ExecContext(ctx, `INSERT INTO pki_crls (issuer, number) VALUES ($1, 0) ON CONFLICT (issuer) DO NOTHING`, issuer)
	return err
}

func (ca *CA) currentCRL(ctx context.Context, i *issuer) (*CRL, error) {
	for {
		stored, stale, err := readCRLHead(ctx, ca.options.DB, i)
		if err != nil {
			return nil, err
		}
		if stored.Number == 0 || stale || stored.due(ca.options.Now()) {
			made, err := ca.makeCRL(ctx, i, stored.Number)
			if errors.Is(err, sql.ErrNoRows) {
				continue // another node was faster
			}
			if err == nil {
				i.keep(made)
			}
			return made, err
		}
		if known := i.crl.Load(); known != nil && known.Number == stored.Number {
			return known, nil
		}
		err = ca.options.DB.QueryRowContext(ctx, `SELECT der FROM pki_crls WHERE issuer = $1 AND number = $2`, i.id, stored.Number).Scan(&stored.DER)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		i.keep(stored)
		return stored, nil
	}
}

// keep makes c the list that was seen last.
func (i *issuer) keep(c *CRL) {
	c.revoked = sync.OnceValue(func() map[string]ocspState {
		list, err := x509.ParseRevocationList(c.DER)
		if err != nil { // we have signed it
			return nil
		}
		all := make(map[string]ocspState, len(list.RevokedCertificateEntries))
		for _, e := range list.RevokedCertificateEntries {
			all[FormatSerial(e.SerialNumber)] = ocspState{ocsp.Revoked, e.RevocationTime.UnixMicro(), e.ReasonCode}
		}
		return all
	})
	i.crl.Store(c)
}

// listed looks a certificate up in the list that was seen last, without the database.
func (i *issuer) listed(serial string) (ocspState, bool) {
	c := i.crl.Load()
	if c == nil {
		return ocspState{}, false
	}
	state, ok := c.revoked()[serial]
	return state, ok
}

func readCRLHead(ctx context.Context, q querier, i *issuer) (*CRL, bool, error) {
	var stale, this, next, entries int64
	c := &CRL{Issuer: PublicID(i.cert)}
	err := q.QueryRowContext(ctx, `SELECT number, stale, this_update, next_update, entries FROM pki_crls WHERE issuer = $1`, i.id).
		Scan(&c.Number, &stale, &this, &next, &entries)
	c.ThisUpdate, c.NextUpdate, c.Entries = micros(this), micros(next), int(entries)
	return c, stale != 0, err
}

// makeCRL makes the list that follows number seen, in one transaction that holds the issuer's row: a revocation is either in the list, or marks it as
// stale behind it. [sql.ErrNoRows] says that another node has made it.
func (ca *CA) makeCRL(ctx context.Context, i *issuer, seen int64) (*CRL, error) {
	tx, err := ca.options.DB.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // without effect after the commit
	c := &CRL{Issuer: PublicID(i.cert)}
	var last int64
	err = tx.QueryRowContext(ctx, `UPDATE pki_crls SET number = number + 1, stale = 0 WHERE issuer = $1 AND number = $2
		RETURNING number, this_update`, i.id, seen).Scan(&c.Number, &last)
	if err != nil {
		return nil, err
	}
	entries, err := revokedEntries(ctx, tx, i.id, last)
	if err != nil {
		return nil, err
	}
	now := ca.options.Now().UTC().Truncate(time.Second)
	c.ThisUpdate, c.NextUpdate, c.Entries = now.Add(-backdate), now.Add(ca.options.CRLLifetime), len(entries)
	// Two lists within a second differ in their time too, for caches that compare that.
	if previous := micros(last); !c.ThisUpdate.After(previous) && previous.Sub(c.ThisUpdate) < backdate-time.Second {
		c.ThisUpdate = previous.Add(time.Second)
	}
	c.DER, err = x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(c.Number), ThisUpdate: c.ThisUpdate, NextUpdate: c.NextUpdate, RevokedCertificateEntries: entries,
	}, i.cert, i.signer)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	_, err = tx.ExecContext(ctx, `UPDATE pki_crls SET this_update = $1, next_update = $2, entries = $3, der = $4 WHERE issuer = $5`,
		c.ThisUpdate.UnixMicro(), c.NextUpdate.UnixMicro(), int64(c.Entries), c.DER, i.id)
	if err != nil {
		return nil, err
	}
	return c, tx.Commit()
}

// revokedEntries lists what the issuer has signed, was revoked, and had not expired when its last list was made.
func revokedEntries(ctx context.Context, q querier, issuer string, last int64) ([]x509.RevocationListEntry, error) {
	rows, err := q.QueryContext(ctx, `SELECT serial, revoked_at, revocation_reason FROM pki_certificates
		WHERE issuer = $1 AND revoked_at > 0 AND not_after >= $2 ORDER BY revoked_at, serial`, issuer, last)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []x509.RevocationListEntry
	for rows.Next() {
		var serial, reason string
		var at int64
		if err := rows.Scan(&serial, &at, &reason); err != nil {
			return nil, err
		}
		n, ok := new(big.Int).SetString(serial, 16)
		if !ok {
			return nil, fmt.Errorf("record %q has no serial number", serial)
		}
		list = append(list, x509.RevocationListEntry{SerialNumber: n, RevocationTime: micros(at), ReasonCode: reasonCode(reason)})
	}
	return list, rows.Err()
}
