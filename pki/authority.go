package pki

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// An AuthorityState is where a root or an intermediate of the CA is in its life.
type AuthorityState string

// The states, in their order.
const (
	// AuthorityRequested: an intermediate's key is there, its certificate is not: a root has to sign its request.
	AuthorityRequested AuthorityState = "requested"
	// AuthorityPending: it is trusted on every node that knows it, and signs nothing yet.
	AuthorityPending AuthorityState = "pending"
	// AuthorityActive: the intermediate signs; of a root, its intermediate does.
	AuthorityActive AuthorityState = "active"
	// AuthorityRetiring: another one has taken its place; what it has signed is good until it ends.
	AuthorityRetiring AuthorityState = "retiring"
	// AuthorityRetired: nothing that leads to it is accepted any more. This is final.
	AuthorityRetired AuthorityState = "retired"
)

// The kinds of an [AuthorityRecord].
const (
	KindRoot         = "root"
	KindIntermediate = "intermediate"
)

// Where the key of an [AuthorityRecord] is, if not at the URI of a KMS.
const (
	LocationFile     = "file"     // encrypted in the CA's directory
	LocationDatabase = "database" // encrypted in the database
	LocationOffline  = "offline"  // not here
)

// An AuthorityRecord is what the CA knows of one of its own certificates.
type AuthorityRecord struct {
	// ID is the SHA-256 of the certificate in lower-case hex, and of the public key while there is no certificate.
	ID string
	// Kind is KindRoot or KindIntermediate.
	Kind  string
	State AuthorityState
	// Parent is the ID of the root that has signed it; "" of a root, and while that is not known.
	Parent string
	// Certificate is nil while it is requested; Request, its PKCS#10 request in DER, is nil afterwards.
	Certificate *x509.Certificate
	Request     []byte
	// Crossed has the same name and key, signed by the root before; nil when there is none.
	Crossed *x509.Certificate
	// Location is where the key is: a Location constant, or the URI of a KMS. Problem is why this node cannot use it; "" when it can, and of roots.
	Location, Problem string
	// Installed says that every node on the database believes it; one that is not was found in a node's directory.
	Installed bool
	// Created is when it was made known here, Trusted since when every node has it, Activated since when it signs and Retired since when it is not
	// believed any more, for Reason. Zero when that has not happened.
	Created, Trusted, Activated, Retired time.Time
	Reason                               string

	sealed []byte
}

// name is the subject, of a request too.
func (a *AuthorityRecord) name() string {
	if a.Certificate != nil {
		return subjectOf(a.Certificate)
	}
	if request, err := x509.ParseCertificateRequest(a.Request); err == nil {
		return request.Subject.String()
	}
	return a.ID
}

// Subject returns the distinguished name, of what is requested too.
func (a *AuthorityRecord) Subject() string { return a.name() }

// An AuthorityError says why something about the CA's own certificates was not done. Its text is for an administrator.
type AuthorityError struct {
	Problem, Hint string
	// NotFound says that there is no such authority; Conflict that the request is in order and the state does not allow it.
	NotFound, Conflict bool
}

// Error returns problem and hint in one line.
func (e *AuthorityError) Error() string {
	if e.Hint == "" {
		return e.Problem
	}
	return e.Problem + " (" + e.Hint + ")"
}

func fingerprintOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

const authorityColumns = `id, kind, state, parent, installed, der, request, crossed, location, sealed, created, trusted, activated, retired, reason`

// readAuthorityRows reads all, oldest first.
func readAuthorityRows(ctx context.Context, q querier) ([]*AuthorityRecord, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+authorityColumns+` FROM pki_authorities ORDER BY created, kind DESC, id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*AuthorityRecord
	for rows.Next() {
		a, err := scanAuthority(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, rows.Err()
}

func readAuthorityRow(ctx context.Context, q querier, id string) (*AuthorityRecord, error) {
	a, err := scanAuthority(q.QueryRowContext(ctx, `SELECT `+authorityColumns+` FROM pki_authorities WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &AuthorityError{NotFound: true, Problem: "the CA has no root or intermediate " + id, Hint: "tenantgate ca list shows them"}
	}
	return a, err
}

func scanAuthority(row interface{ Scan(...any) error }) (*AuthorityRecord, error) {
	a := &AuthorityRecord{}
	var der, crossed []byte
	var installed, created, trusted, activated, retired int64
	err := row.Scan(&a.ID, &a.Kind, &a.State, &a.Parent, &installed, &der, &a.Request, &crossed, &a.Location, &a.sealed, &created, &trusted, &activated, &retired, &a.Reason)
	if err != nil {
		return nil, err
	}
	a.Installed = installed != 0
	a.Created, a.Trusted, a.Activated, a.Retired = micros(created), micros(trusted), micros(activated), micros(retired)
	if len(der) > 0 {
		if a.Certificate, err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("authority %s: %w", a.ID, err)
		}
		if fingerprintOf(a.Certificate) != a.ID {
			return nil, fmt.Errorf("authority %s: the certificate stored there is another one", a.ID)
		}
	}
	if len(crossed) > 0 {
		if a.Crossed, err = x509.ParseCertificate(crossed); err != nil {
			return nil, fmt.Errorf("authority %s: crossed: %w", a.ID, err)
		}
	}
	return a, nil
}

// insertAuthority stores a new one; one that is there stays as it is.
func insertAuthority(ctx context.Context, q querier, a *AuthorityRecord) error {
	var der, crossed []byte
	if a.Certificate != nil {
		der = a.Certificate.Raw
	}
	if a.Crossed != nil {
		crossed = a.Crossed.Raw
	}
	installed := int64(0)
	if a.Installed {
		installed = 1
	}
	_, err := q.ExecContext(ctx, `INSERT INTO pki_authorities (`+authorityColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
		ON CONFLICT (id) DO NOTHING`,
		a.ID, a.Kind, string(a.State), a.Parent, installed, der, a.Request, crossed, a.Location, a.sealed,
		storedTime(a.Created), storedTime(a.Trusted), storedTime(a.Activated), storedTime(a.Retired), a.Reason)
	return err
}

func storedTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// touchAuthorities takes the next revision. In a transaction it comes first: it makes all others wait that would change the authorities.
func touchAuthorities(ctx context.Context, q querier) (revision int64, err error) {
	err = q.QueryRowContext(ctx, `UPDATE pki_authority_revision SET revision = revision + 1 WHERE id = 1 RETURNING revision`).Scan(&revision)
	return revision, err
}

func sameName(a, b *x509.Certificate) bool { return bytes.Equal(a.RawSubject, b.RawSubject) }
