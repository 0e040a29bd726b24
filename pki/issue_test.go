package pki_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// issue issues and commits.
func issue(t testing.TB, env *pkitest.Env, o pki.IssueOptions) (*pki.Issued, error) {
	t.Helper()
	tx, err := env.DB.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	issued, err := env.CA.Issue(context.Background(), tx, o)
	if err != nil {
		return nil, err
	}
	return issued, tx.Commit()
}

func testIssueRecordsWhatItSigns(t *testing.T, db *sql.DB) {
	env := pkitest.With(t, pkitest.Options{DB: db})
	issued, err := issue(t, env, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", PublicKey: env.Key(pki.RSA2048).Public()})
	if err != nil {
		t.Fatal(err)
	}
	checkProfile(t, issued.Leaf, "client", "orders")
	if len(issued.Serial) != 32 || issued.Leaf.SerialNumber.Sign() <= 0 || len(issued.Chain) != 2 {
		t.Errorf("serial %s, chain of %d", issued.Serial, len(issued.Chain))
	}
	if d := time.Since(issued.Leaf.NotBefore); d < time.Minute || d > 2*time.Minute {
		t.Errorf("backdated by %v", d)
	}
	r, err := env.CA.Certificate(t.Context(), issued.Serial)
	if err != nil || r.Name != "orders" || r.Profile != "client" || r.Fingerprint != issued.Fingerprint || string(r.DER) != string(issued.Leaf.Raw) ||
		!r.NotAfter.Equal(issued.Leaf.NotAfter) || !r.RevokedAt.IsZero() {
		t.Errorf("record %+v, %v", r, err)
	}
	all, err := env.CA.Certificates(t.Context(), pki.Filter{Profile: "client", Name: "orders", ExpiresAfter: time.Now(), Limit: 10})
	if err != nil || len(all) != 1 || all[0].Serial != issued.Serial {
		t.Errorf("listing: %d, %v", len(all), err)
	}
}

func testRevokeKeepsTheFirstTimeAndReason(t *testing.T, db *sql.DB) {
	env := pkitest.With(t, pkitest.Options{DB: db})
	serial := pki.FormatSerial(env.Client("orders").Leaf.SerialNumber)
	first := time.Now().Truncate(time.Microsecond)
	for i, reason := range []string{"keyCompromise", "superseded"} {
		if err := inTx(t, env.DB, func(tx *sql.Tx) error {
			return env.CA.Revoke(t.Context(), tx, serial, reason, first.Add(time.Duration(i)*time.Hour))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := env.CA.Certificate(t.Context(), serial); err != nil || !r.RevokedAt.Equal(first) || r.RevocationReason != "keyCompromise" {
		t.Errorf("got %v %q, %v", r.RevokedAt, r.RevocationReason, err)
	}
	if all, err := env.CA.Certificates(t.Context(), pki.Filter{Revoked: true}); err != nil || len(all) != 1 {
		t.Errorf("revoked: %d, %v", len(all), err)
	}
	err := inTx(t, env.DB, func(tx *sql.Tx) error { return env.CA.Revoke(t.Context(), tx, "1234", "", first) })
	if !errors.Is(err, pki.ErrNotFound) {
		t.Errorf("unknown serial: got %v", err)
	}
}

func inTx(t testing.TB, db *sql.DB, fn func(*sql.Tx) error) error {
	t.Helper()
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func count(t testing.TB, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRow(`SELECT COUNT(*) FROM pki_certificates`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The database fails at every point of an issue: no certificate is returned, and no record is left behind.
func TestIssueWithAFailingDatabaseLeavesNothing(t *testing.T) {
	env := pkitest.New(t)
	o := pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", PublicKey: env.Key(pki.P256).Public()}
	t.Run("transaction is over", func(t *testing.T) {
		tx, err := env.DB.Begin()
		if err != nil {
			t.Fatal(err)
		}
		tx.Rollback()
		if issued, err := env.CA.Issue(t.Context(), tx, o); err == nil || issued != nil || !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("got %v, %v", issued, err)
		}
	})
	t.Run("context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tx, err := env.DB.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		cancel()
		if issued, err := env.CA.Issue(ctx, tx, o); err == nil || issued != nil {
			t.Errorf("got %v, %v", issued, err)
		}
	})
	t.Run("rolled back after signing", func(t *testing.T) {
		err := inTx(t, env.DB, func(tx *sql.Tx) error {
			if _, err := env.CA.Issue(t.Context(), tx, o); err != nil {
				t.Fatal(err)
			}
			return errors.New("the binding failed")
		})
		if err == nil {
			t.Error("no error")
		}
	})
	t.Run("statement fails", func(t *testing.T) {
		// The insert itself is refused by the database, as on a full disk.
		if _, err := env.DB.Exec(`CREATE TRIGGER full BEFORE INSERT ON pki_certificates BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`); err != nil {
			t.Fatal(err)
		}
		if issued, err := issue(t, env, o); err == nil || issued != nil {
			t.Errorf("got %v, %v", issued, err)
		}
		if _, err := env.DB.Exec(`DROP TRIGGER full`); err != nil {
			t.Fatal(err)
		}
	})
	if n := count(t, env.DB); n != 0 {
		t.Errorf("%d records left", n)
	}
	if _, err := issue(t, env, o); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Many issues at once on one database: each returned certificate has exactly its own record.
func testConcurrentIssues(t *testing.T, db *sql.DB) {
	env := pkitest.With(t, pkitest.Options{DB: db})
	const workers, each = 8, 10
	serials := make(chan string, workers*each)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			name := fmt.Sprintf("worker-%d", w)
			request, err := pki.ParseRequest(env.Request(env.Key(pki.P256), &x509.CertificateRequest{}))
			if err != nil {
				t.Error(err)
				return
			}
			for i := range each {
				err := inTx(t, env.DB, func(tx *sql.Tx) error {
					issued, err := env.CA.Issue(t.Context(), tx, pki.IssueOptions{Profile: pki.ClientProfile(), Name: name, Request: request})
					if err != nil {
						return err
					}
					if issued.Leaf.Subject.CommonName != name {
						t.Errorf("%s got the certificate of %s", name, issued.Leaf.Subject.CommonName)
					}
					if i%2 == 1 {
						return errors.New("roll back")
					}
					serials <- issued.Serial
					return nil
				})
				if err != nil && i%2 == 0 {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(serials)
	n := 0
	for serial := range serials {
		n++
		if _, err := env.CA.Certificate(t.Context(), serial); err != nil {
			t.Error(err)
		}
	}
	if got := count(t, env.DB); got != n || n != workers*each/2 {
		t.Errorf("%d records for %d certificates", got, n)
	}
}

func TestLifetimes(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	env := pkitest.With(t, pkitest.Options{Now: func() time.Time { return now }})
	key := env.Key(pki.P256).Public()
	start := now
	for _, c := range []struct {
		after, asked, want time.Duration // want 0 = refused
	}{
		{0, 0, 90 * 24 * time.Hour},
		{0, 5 * time.Minute, 5 * time.Minute},
		{0, 4 * time.Minute, 0},
		{0, -time.Hour, 0},
		{0, 398 * 24 * time.Hour, 398 * 24 * time.Hour},
		{0, 399 * 24 * time.Hour, 0},
		{5*365*24*time.Hour - 24*time.Hour, 0, 24 * time.Hour}, // cut to the intermediate's
		{5*365*24*time.Hour - time.Minute, 0, 0},
		{6 * 365 * 24 * time.Hour, 0, 0},
	} {
		now = start.Add(c.after)
		issued, err := issue(t, env, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", PublicKey: key, Lifetime: c.asked})
		if (err == nil) != (c.want != 0) {
			t.Errorf("%v after %v: %v", c.asked, c.after, err)
			continue
		}
		if err == nil && !issued.Leaf.NotAfter.Equal(now.Add(c.want)) {
			t.Errorf("%v after %v: until %v, want %v", c.asked, c.after, issued.Leaf.NotAfter, now.Add(c.want))
		}
		if err == nil && c.asked == 0 && c.want < 90*24*time.Hour && len(issued.Dropped) == 0 {
			t.Errorf("%v after %v: cut without a message", c.asked, c.after)
		}
	}
}

func TestIssueRefusesNamesThatAreNone(t *testing.T) {
	env := pkitest.New(t)
	key := env.Key(pki.P256).Public()
	for profile, names := range map[string][]string{
		"client": {"", "jane@example.com", "Orders", "a/b", "..", "-x", "a b", "a\x00b", "ö", string(make([]byte, 64))},
		"server": {"", "*", "*.example.com", "a b", "-", "example..com", "EXAMPLE.com"},
	} {
		p, err := pki.ParseProfile(profile)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			var re *pki.RequestError
			if _, err := issue(t, env, pki.IssueOptions{Profile: p, Name: name, PublicKey: key}); !errors.As(err, &re) || re.Field != "name" {
				t.Errorf("%s %q: got %v", profile, name, err)
			}
		}
	}
	if _, err := issue(t, env, pki.IssueOptions{Name: "orders", PublicKey: key}); err == nil {
		t.Error("the zero profile issued a certificate")
	}
	if n := count(t, env.DB); n != 0 {
		t.Errorf("%d records", n)
	}
}

func BenchmarkIssue(b *testing.B) {
	env := pkitest.New(b)
	key := env.Key(pki.P256).Public()
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if _, err := issue(b, env, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", PublicKey: key}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.SetParallelism(2)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := issue(b, env, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", PublicKey: key}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

func TestOnlyAllowedKeyTypesGetCertificates(t *testing.T) {
	env := pkitest.With(t, pkitest.Options{Change: func(o *pki.Options) { o.KeyTypes = []string{pki.P384, pki.RSA3072} }})
	csr := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "erp"}}
	for keyType, want := range map[string]bool{pki.P256: false, pki.P384: true, pki.RSA2048: false, pki.RSA3072: true, pki.RSA4096: true, pki.Ed25519: false} {
		key := env.Key(keyType)
		for name, o := range map[string]pki.IssueOptions{
			"key":     {Profile: pki.ClientProfile(), Name: "erp", PublicKey: key.Public()},
			"request": {Profile: pki.AdminProfile(), Name: "erp", Request: parseRequest(t, env.Request(key, csr))},
		} {
			_, err := issue(t, env, o)
			var refused *pki.RequestError
			if got := err == nil; got != want || !want && (!errors.As(err, &refused) || refused.Field != "key" || !strings.Contains(refused.Hint, "P-384, RSA-3072")) {
				t.Errorf("%s, by %s: %v", keyType, name, err)
			}
		}
	}
	env.Server("localhost") // has P-256
}

func parseRequest(t testing.TB, b []byte) *pki.Request {
	t.Helper()
	r, err := pki.ParseRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
