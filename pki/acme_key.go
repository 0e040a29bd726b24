package pki

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An ACMEKey is an external account binding (RFC 8555 section 7.3.4): it lets one ACME account register, which from then on gets certificates of the
// client profile for one name, and for no other. Whether the name is somebody's who may have a certificate is the caller's question.
type ACMEKey struct {
	// ID is what clients call the key identifier; it opens nothing.
	ID string
	// Name is the identity whose certificates the account gets.
	Name string
	// Hosts are the DNS names, in lower case, of which the account may prove that it has them; there is at least one. No wildcards, no addresses.
	Hosts []string
	// Lifetime of the certificates; 0 is the profile's.
	Lifetime time.Duration
	Created  time.Time
	// Expires is until when an account may register. An account that did lives on.
	Expires time.Time
	// Bound is when an account did, Account its ID and AccountStatus its status ("valid", "deactivated"); zero when none did.
	Bound         time.Time
	Account       string
	AccountStatus string
	// Removed is when the key was taken back, and its account with it; zero when it was not.
	Removed time.Time
}

// MaxACMEHosts bounds the names of an [ACMEKey], and with them those of a certificate.
const MaxACMEHosts = 32

// acmeSecretSize is 256 bits, as HS256 wants them (RFC 7518 section 3.2).
const acmeSecretSize = 32

// CheckHosts says whether these DNS names can stand in a certificate of a caller; if not, the error is a *[RequestError].
func CheckHosts(hosts []string) error {
	if len(hosts) == 0 || len(hosts) > MaxACMEHosts {
		return &RequestError{Field: "hosts", Problem: fmt.Sprintf("%d host names", len(hosts)), Hint: fmt.Sprintf("name 1 to %d", MaxACMEHosts)}
	}
	for i, host := range hosts {
		switch {
		case len(host) > 253 || !hostRE.MatchString(host) || !dnsNameRE.MatchString(host) || numeric(host):
			return &RequestError{Field: "hosts", Problem: fmt.Sprintf("%q is not a host name", host),
				Hint: "use lower-case DNS names such as erp.example.com, without wildcard; no addresses"}
		case slices.Contains(hosts[:i], host):
			return &RequestError{Field: "hosts", Problem: fmt.Sprintf("%q is named twice", host), Hint: "name it once"}
		}
	}
	return nil
}

// numeric reports whether the last label of a host is a number: some resolvers take such a name for an IPv4 address (WHATWG URL, section 3.5).
func numeric(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
}

// acmeContext is what the secret of a key is bound to: whoever can write to the database but has no sealing key cannot turn it to another identity.
func (k *ACMEKey) acmeContext() []byte {
	return []byte("tenantgate acme key 1\x00" + k.ID + "\x00" + k.Name + "\x00" + strings.Join(k.Hosts, " "))
}

// AddACMEKey makes and stores a key, and forgets those that ended a month ago. ID, Name, Hosts and Expires are required. The secret is returned here
// and nowhere else: whoever has it can register an account.
func (ca *CA) AddACMEKey(ctx context.Context, tx *sql.Tx, k ACMEKey) (ACMEKey, []byte, error) {
	if err := ClientProfile().CheckName(k.Name); err != nil {
		return ACMEKey{}, nil, err
	}
	if err := CheckHosts(k.Hosts); err != nil {
		return ACMEKey{}, nil, err
	}
	if _, err := ClientProfile().lifetime(k.Lifetime); err != nil {
		return ACMEKey{}, nil, err
	}
	if ca.options.Sealer == nil {
		return ACMEKey{}, nil, errors.New("adding an ACME key: no sealer given")
	}
	now := ca.options.Now().UTC().Truncate(time.Microsecond)
	k.Created, k.Expires = now, k.Expires.UTC().Truncate(time.Microsecond)
	secret := make([]byte, acmeSecretSize)
	rand.Read(secret) // never fails (crypto/rand)
	sealed, err := ca.options.Sealer.Seal(secret, k.acmeContext())
	if err != nil {
		return ACMEKey{}, nil, fmt.Errorf("sealing an ACME key: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	if err := forgetACMEKeys(ctx, tx, now.Add(-keepTokens)); err != nil {
		return ACMEKey{}, nil, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO pki_acme_keys (id, name, hosts, secret, lifetime, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		k.ID, k.Name, strings.Join(k.Hosts, " "), sealed, int64(k.Lifetime), k.Created.UnixMicro(), k.Expires.UnixMicro())
	if err != nil {
		return ACMEKey{}, nil, fmt.Errorf("storing an ACME key: %w", err)
	}
	return k, secret, nil
}

// forgetACMEKeys deletes keys that nobody has used or can use since before.
func forgetACMEKeys(ctx context.Context, tx *sql.Tx, before time.Time) error {
	const old = `(removed <> 0 AND removed < $1 OR bound = 0 AND expires < $1)`
	for _, statement := range []string{
		`DELETE FROM pki_acme_accounts WHERE binding IN (SELECT id FROM pki_acme_keys WHERE ` + old + `)`,
		`DELETE FROM pki_acme_keys WHERE ` + old,
	} {
		if _, err := tx.ExecContext(ctx, statement, before.UnixMicro()); err != nil {
			return fmt.Errorf("forgetting old ACME keys: %w", err)
		}
	}
	return nil
}

const selectACMEKeys = `SELECT k.id, k.name, k.hosts, k.lifetime, k.created, k.expires, k.bound, k.removed, COALESCE(a.id, ''), COALESCE(a.status, '')
	FROM pki_acme_keys k LEFT JOIN pki_acme_accounts a ON a.binding = k.id`

func scanACMEKey(row interface{ Scan(...any) error }) (ACMEKey, error) {
	var k ACMEKey
	var hosts string
	var created, expires, bound, removed int64
	err := row.Scan(&k.ID, &k.Name, &hosts, &k.Lifetime, &created, &expires, &bound, &removed, &k.Account, &k.AccountStatus)
	k.Hosts, k.Created, k.Expires, k.Bound, k.Removed = strings.Fields(hosts), micros(created), micros(expires), micros(bound), micros(removed)
	return k, err
}

// ACMEKeys lists the keys by ID: those of a name, or all when it is "".
func (ca *CA) ACMEKeys(ctx context.Context, name string) ([]ACMEKey, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	rows, err := ca.options.DB.QueryContext(ctx, selectACMEKeys+` WHERE $1 = '' OR k.name = $1 ORDER BY k.id`, name)
	if err != nil {
		return nil, fmt.Errorf("listing ACME keys: %w", err)
	}
	defer rows.Close()
	list := []ACMEKey{}
	for rows.Next() {
		k, err := scanACMEKey(rows)
		if err != nil {
			return nil, fmt.Errorf("listing ACME keys: %w", err)
		}
		list = append(list, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing ACME keys: %w", err)
	}
	return list, nil
}

// ACMEKey returns the key with this ID, or [ErrNotFound]. With a transaction the answer is as of that; tx may be nil.
func (ca *CA) ACMEKey(ctx context.Context, tx *sql.Tx, id string) (ACMEKey, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	k, err := scanACMEKey(ca.querier(tx).QueryRowContext(ctx, selectACMEKeys+` WHERE k.id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return ACMEKey{}, fmt.Errorf("reading an ACME key: %w", err)
	}
	return k, nil
}

// ACMEKeySecret returns the MAC key, or nil when it was erased: a key that an account has registered with, or that was removed, opens nothing more.
func (ca *CA) ACMEKeySecret(ctx context.Context, tx *sql.Tx, k *ACMEKey) ([]byte, error) {
	if ca.options.Sealer == nil {
		return nil, errors.New("reading the secret of an ACME key: no sealer given")
	}
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	var sealed []byte
	if err := ca.querier(tx).QueryRowContext(ctx, `SELECT secret FROM pki_acme_keys WHERE id = $1`, k.ID).Scan(&sealed); err != nil {
		return nil, fmt.Errorf("reading the secret of an ACME key: %w", err)
	}
	if len(sealed) == 0 {
		return nil, nil
	}
	secret, err := ca.options.Sealer.Open(sealed, k.acmeContext())
	if err != nil {
		return nil, fmt.Errorf("opening the secret of ACME key %s: %w", k.ID, err)
	}
	return secret, nil
}

// RemoveACMEKey takes a key back, and the account that has registered with it: neither gets anything any more. Certificates stay. Removing again keeps
// the first time. An unknown one is [ErrNotFound].
func (ca *CA) RemoveACMEKey(ctx context.Context, tx *sql.Tx, id string) (ACMEKey, error) {
	if _, err := ca.removeACMEKeys(ctx, tx, `id`, id); err != nil {
		return ACMEKey{}, err
	}
	return ca.ACMEKey(ctx, tx, id)
}

// RemoveACMEKeys takes back all keys of a name and says how many: whoever is given the name next must not get certificates by them.
func (ca *CA) RemoveACMEKeys(ctx context.Context, tx *sql.Tx, name string) (int, error) {
	return ca.removeACMEKeys(ctx, tx, `name`, name)
}

func (ca *CA) removeACMEKeys(ctx context.Context, tx *sql.Tx, column, value string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	result, err := tx.ExecContext(ctx, `UPDATE pki_acme_keys SET removed = $1, secret = NULL WHERE removed = 0 AND `+column+` = $2`,
		ca.options.Now().UnixMicro(), value)
	if err != nil {
		return 0, fmt.Errorf("removing an ACME key: %w", err)
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// querier is the transaction, or the database when there is none.
func (ca *CA) querier(tx *sql.Tx) querier {
	if tx == nil {
		return ca.options.DB
	}
	return tx
}
