package pki

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/smallstep/certificates/acme"
)

// ACMEState is smallstep's acme.DB on our tables: orders, their authorizations and challenges. Only the methods below are there, which are those that
// acme.Order and acme.Challenge call in the ways in which they are used here; the embedded interface is nil. What has come to an end (valid, invalid)
// never changes again, whoever writes: each statement names the statuses that it may leave.
type ACMEState struct {
	acme.DB
	ca *CA
	q  querier
}

// ACMEState returns the state as a transaction sees it, or as it is, for reading, when tx is nil.
func (ca *CA) ACMEState(tx *sql.Tx) *ACMEState { return &ACMEState{ca: ca, q: ca.querier(tx)} }

// ChangeACMEState runs fn in a transaction of its own: for changes that concern no identity and need no change record.
func (ca *CA) ChangeACMEState(ctx context.Context, fn func(*ACMEState) error) error {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	tx, err := ca.options.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a change of ACME's state: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	if err := fn(ca.ACMEState(tx)); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing a change of ACME's state: %w", err)
	}
	return nil
}

// LockOrder has other transactions that lock the order wait for this one's end. An unknown one is [ErrNotFound].
func (s *ACMEState) LockOrder(ctx context.Context, id string) error {
	result, err := s.q.ExecContext(ctx, `UPDATE pki_acme_orders SET status = status WHERE id = $1`, id)
	if err = one(result, err); errors.Is(err, ErrTaken) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("locking an order: %w", err)
	}
	return nil
}

// CreateOrder stores a new order for the account with an authorization for each identifier and the challenges http-01 and tls-alpn-01 for each of
// those, all pending. It sets the IDs.
func (s *ACMEState) CreateOrder(ctx context.Context, o *acme.Order) error {
	o.ID, o.Status = newACMEID(), acme.StatusPending
	_, err := s.q.ExecContext(ctx, `INSERT INTO pki_acme_orders (id, account, status, created, expires) VALUES ($1, $2, $3, $4, $5)`,
		o.ID, o.AccountID, string(o.Status), s.ca.options.Now().UnixMicro(), o.ExpiresAt.UnixMicro())
	if err != nil {
		return fmt.Errorf("storing an order: %w", err)
	}
	o.AuthorizationIDs = nil
	for i, identifier := range o.Identifiers {
		id := newACMEID()
		_, err := s.q.ExecContext(ctx, `INSERT INTO pki_acme_authorizations (id, order_id, account, place, host, token, status, expires)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			id, o.ID, o.AccountID, i, identifier.Value, newACMEToken(), string(acme.StatusPending), o.ExpiresAt.UnixMicro())
		if err != nil {
			return fmt.Errorf("storing an authorization: %w", err)
		}
		for _, kind := range []acme.ChallengeType{acme.HTTP01, acme.TLSALPN01} {
			_, err := s.q.ExecContext(ctx, `INSERT INTO pki_acme_challenges (authorization_id, type, status) VALUES ($1, $2, $3)`,
				id, string(kind), string(acme.StatusPending))
			if err != nil {
				return fmt.Errorf("storing a challenge: %w", err)
			}
		}
		o.AuthorizationIDs = append(o.AuthorizationIDs, id)
	}
	return nil
}

// newACMEToken is what a client proves a name with. Some clients decode it (certbot), so that it is the encoding of something (RFC 8555 section 8.3).
func newACMEToken() string {
	token := make([]byte, 24)
	rand.Read(token) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(token)
}

// GetOrder returns an order, or [ErrNotFound]. One whose time is over is invalid, whatever is stored.
func (s *ACMEState) GetOrder(ctx context.Context, id string) (*acme.Order, error) {
	o := &acme.Order{ID: id}
	var status, problem string
	var expires int64
	err := s.q.QueryRowContext(ctx, `SELECT account, status, problem, expires, serial FROM pki_acme_orders WHERE id = $1`, id).
		Scan(&o.AccountID, &status, &problem, &expires, &o.CertificateID)
	if err != nil {
		return nil, absentState("an order", err)
	}
	o.Status, o.ExpiresAt, o.Error = acme.Status(status), micros(expires), storedProblem(problem)
	rows, err := s.q.QueryContext(ctx, `SELECT id, host FROM pki_acme_authorizations WHERE order_id = $1 ORDER BY place`, id)
	if err != nil {
		return nil, fmt.Errorf("reading an order: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var az, host string
		if err := rows.Scan(&az, &host); err != nil {
			return nil, fmt.Errorf("reading an order: %w", err)
		}
		o.AuthorizationIDs = append(o.AuthorizationIDs, az)
		o.Identifiers = append(o.Identifiers, acme.Identifier{Type: acme.DNS, Value: host})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading an order: %w", err)
	}
	if (o.Status == acme.StatusPending || o.Status == acme.StatusReady) && !s.ca.options.Now().Before(o.ExpiresAt) {
		o.Status, o.Error = acme.StatusInvalid, &acme.Error{Type: "urn:ietf:params:acme:error:malformed", Detail: "the order has expired: make a new one"}
	}
	return o, nil
}

// UpdateOrder stores status and error of an order that has not come to its end.
func (s *ACMEState) UpdateOrder(ctx context.Context, o *acme.Order) error {
	result, err := s.q.ExecContext(ctx, `UPDATE pki_acme_orders SET status = $1, problem = $2 WHERE id = $3 AND status IN ('pending', 'ready')`,
		string(o.Status), problemText(o.Error), o.ID)
	if err := one(result, err); err != nil {
		return fmt.Errorf("changing an order: %w", err)
	}
	return nil
}

// CreateCertificate notes the certificate of an order and its key; the certificate itself is in the CA's records already.
func (s *ACMEState) CreateCertificate(ctx context.Context, c *acme.Certificate) error {
	key, err := KeyFingerprint(c.Leaf.PublicKey)
	if err != nil {
		return err
	}
	c.ID = FormatSerial(c.Leaf.SerialNumber)
	result, err := s.q.ExecContext(ctx, `UPDATE pki_acme_orders SET serial = $1, key = $2 WHERE id = $3 AND status = 'ready' AND serial = ''`,
		c.ID, key, c.OrderID)
	if err := one(result, err); err != nil {
		return fmt.Errorf("noting an order's certificate: %w", err)
	}
	return nil
}

// OrderKey returns the fingerprint of the key that an order was finalized with; "" when it was not.
func (s *ACMEState) OrderKey(ctx context.Context, id string) (key string, err error) {
	err = s.q.QueryRowContext(ctx, `SELECT key FROM pki_acme_orders WHERE id = $1`, id).Scan(&key)
	return key, absentState("an order", err)
}

// Orders returns the IDs of the account's orders that are pending or ready, the newest first (RFC 8555 section 7.1.2.1).
func (s *ACMEState) Orders(ctx context.Context, account string) ([]string, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT id FROM pki_acme_orders WHERE account = $1 AND status IN ('pending', 'ready') AND expires > $2
		ORDER BY created DESC, id`, account, s.ca.options.Now().UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("listing orders: %w", err)
	}
	defer rows.Close()
	ids := []string{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("listing orders: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// OrdersSince counts the orders that the account has begun since then, whatever became of them.
func (s *ACMEState) OrdersSince(ctx context.Context, account string, since time.Time) (n int, err error) {
	err = s.q.QueryRowContext(ctx, `SELECT COUNT(*) FROM pki_acme_orders WHERE account = $1 AND created > $2`, account, since.UnixMicro()).Scan(&n)
	return n, absentState("the number of orders", err)
}

// AccountOf returns the account for which a certificate was issued, or [ErrNotFound].
func (s *ACMEState) AccountOf(ctx context.Context, serial string) (account string, err error) {
	err = s.q.QueryRowContext(ctx, `SELECT account FROM pki_acme_orders WHERE serial = $1 AND serial <> ''`, serial).Scan(&account)
	return account, absentState("a certificate", err)
}

// maxHeld bounds the certificates of an account that [ACMEState.Held] returns.
const maxHeld = 100

// Held returns the certificates that the account has got and that are not revoked and end after since, the newest first.
func (s *ACMEState) Held(ctx context.Context, account string, since time.Time) ([]*x509.Certificate, error) {
	rows, err := s.q.QueryContext(ctx, `SELECT c.der FROM pki_acme_orders o JOIN pki_certificates c ON c.serial = o.serial
		WHERE o.account = $1 AND o.serial <> '' AND c.revoked_at = 0 AND c.not_after > $2 ORDER BY o.created DESC, o.id LIMIT $3`,
		account, since.UnixMicro(), maxHeld)
	if err != nil {
		return nil, fmt.Errorf("listing an account's certificates: %w", err)
	}
	defer rows.Close()
	var held []*x509.Certificate
	for rows.Next() {
		var der []byte
		if err := rows.Scan(&der); err != nil {
			return nil, fmt.Errorf("listing an account's certificates: %w", err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("listing an account's certificates: %w", err)
		}
		held = append(held, c)
	}
	return held, rows.Err()
}

// OrderOf returns the order that an authorization belongs to, or [ErrNotFound].
func (s *ACMEState) OrderOf(ctx context.Context, authorization string) (order string, err error) {
	err = s.q.QueryRowContext(ctx, `SELECT order_id FROM pki_acme_authorizations WHERE id = $1`, authorization).Scan(&order)
	return order, absentState("an authorization", err)
}

// GetAuthorization returns an authorization with its challenges, or [ErrNotFound]. One that is pending when its time is over is invalid.
func (s *ACMEState) GetAuthorization(ctx context.Context, id string) (*acme.Authorization, error) {
	az := &acme.Authorization{ID: id, Identifier: acme.Identifier{Type: acme.DNS}}
	var status string
	var expires int64
	err := s.q.QueryRowContext(ctx, `SELECT account, host, token, status, expires FROM pki_acme_authorizations WHERE id = $1`, id).
		Scan(&az.AccountID, &az.Identifier.Value, &az.Token, &status, &expires)
	if err != nil {
		return nil, absentState("an authorization", err)
	}
	az.Status, az.ExpiresAt = acme.Status(status), micros(expires)
	if az.Status == acme.StatusPending && !s.ca.options.Now().Before(az.ExpiresAt) {
		az.Status = acme.StatusInvalid
	}
	rows, err := s.q.QueryContext(ctx, `SELECT type, status, problem, validated FROM pki_acme_challenges WHERE authorization_id = $1 ORDER BY type`, id)
	if err != nil {
		return nil, fmt.Errorf("reading an authorization: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		ch := &acme.Challenge{AccountID: az.AccountID, AuthorizationID: id, Value: az.Identifier.Value, Token: az.Token}
		var kind, status, problem string
		var validated int64
		if err := rows.Scan(&kind, &status, &problem, &validated); err != nil {
			return nil, fmt.Errorf("reading an authorization: %w", err)
		}
		ch.ID, ch.Type, ch.Status, ch.Error = kind, acme.ChallengeType(kind), acme.Status(status), storedProblem(problem)
		if validated != 0 {
			ch.ValidatedAt = micros(validated).Format(time.RFC3339)
		}
		az.Challenges = append(az.Challenges, ch)
	}
	return az, rows.Err()
}

// UpdateAuthorization stores the status of an authorization that is pending.
func (s *ACMEState) UpdateAuthorization(ctx context.Context, az *acme.Authorization) error {
	result, err := s.q.ExecContext(ctx, `UPDATE pki_acme_authorizations SET status = $1 WHERE id = $2 AND status = 'pending'`, string(az.Status), az.ID)
	if err := one(result, err); err != nil {
		return fmt.Errorf("changing an authorization: %w", err)
	}
	return nil
}

// UpdateChallenge stores the outcome of a challenge that is pending.
func (s *ACMEState) UpdateChallenge(ctx context.Context, ch *acme.Challenge) error {
	var validated int64
	if at, err := time.Parse(time.RFC3339, ch.ValidatedAt); err == nil {
		validated = at.UnixMicro()
	}
	result, err := s.q.ExecContext(ctx, `UPDATE pki_acme_challenges SET status = $1, problem = $2, validated = $3
		WHERE authorization_id = $4 AND type = $5 AND status = 'pending'`,
		string(ch.Status), problemText(ch.Error), validated, ch.AuthorizationID, string(ch.Type))
	if err := one(result, err); err != nil {
		return fmt.Errorf("changing a challenge: %w", err)
	}
	return nil
}

// GiveUp has an account give up what it has proved, or was to prove (RFC 8555 section 7.5.2); the order is over, unless it has its certificate.
func (s *ACMEState) GiveUp(ctx context.Context, authorization string) error {
	_, err := s.q.ExecContext(ctx, `UPDATE pki_acme_authorizations SET status = 'deactivated' WHERE id = $1 AND status IN ('pending', 'valid')`, authorization)
	if err != nil {
		return fmt.Errorf("giving up an authorization: %w", err)
	}
	_, err = s.q.ExecContext(ctx, `UPDATE pki_acme_orders SET status = 'invalid' WHERE status IN ('pending', 'ready') AND id =
		(SELECT order_id FROM pki_acme_authorizations WHERE id = $1 AND status = 'deactivated')`, authorization)
	if err != nil {
		return fmt.Errorf("giving up an order: %w", err)
	}
	return nil
}

// keepOrders is for how long after its end an order without a certificate, and what was proved for one, is remembered.
const keepOrders = 7 * 24 * time.Hour

// Forget deletes what nobody can ask for any more: nonces, authorizations and orders that ended long ago. An order with a certificate stays as long as
// that is valid, because its account may revoke it.
func (s *ACMEState) Forget(ctx context.Context) error {
	now := s.ca.options.Now()
	old := now.Add(-keepOrders).UnixMicro()
	for _, one := range []struct {
		statement string
		arg       int64
	}{
		{`DELETE FROM pki_acme_nonces WHERE used < $1`, now.Add(-keepNonces).UnixMicro()},
		{`DELETE FROM pki_acme_challenges WHERE authorization_id IN (SELECT id FROM pki_acme_authorizations WHERE expires < $1)`, old},
		{`DELETE FROM pki_acme_authorizations WHERE expires < $1`, old},
		{`DELETE FROM pki_acme_orders WHERE expires < $1 AND (serial = '' OR serial IN (SELECT serial FROM pki_certificates WHERE not_after < $1))`, old},
	} {
		if _, err := s.q.ExecContext(ctx, one.statement, one.arg); err != nil {
			return fmt.Errorf("forgetting what ACME has ended: %w", err)
		}
	}
	return nil
}

func absentState(what string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	return nil
}

// problemText is an error as it is stored: what the client is told, without the cause.
func problemText(e *acme.Error) string {
	if e == nil {
		return ""
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(b)
}

func storedProblem(text string) *acme.Error {
	var e acme.Error
	if text == "" || json.Unmarshal([]byte(text), &e) != nil {
		return nil
	}
	return &e
}
