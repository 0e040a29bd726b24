package pki_test

import (
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

func addToken(t *testing.T, env *pkitest.Env, token pki.EnrolmentToken, text string) {
	t.Helper()
	err := inTx(t, env.DB, func(tx *sql.Tx) error {
		_, err := env.CA.AddEnrolmentToken(t.Context(), tx, token, sha256.Sum256([]byte(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// claimAndIssue is what a use of a token does in one transaction, and returns the certificate's serial number.
func claimAndIssue(t *testing.T, env *pkitest.Env, token, key string) (serial string, err error) {
	t.Helper()
	err = inTx(t, env.DB, func(tx *sql.Tx) error {
		claim, err := env.CA.ClaimToken(t.Context(), tx, token, key)
		if err != nil {
			return err
		}
		if serial = claim.Serial; serial != "" {
			return nil
		}
		issued, err := env.CA.Issue(t.Context(), tx, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "erp", PublicKey: env.Key(pki.P256).Public()})
		if err != nil {
			return err
		}
		serial = issued.Serial
		return env.CA.Settle(t.Context(), tx, claim, serial)
	})
	return serial, err
}

func testATokenIsUsedOnce(t *testing.T, db *sql.DB) {
	env := pkitest.With(t, pkitest.Options{DB: db})
	for round := range 5 {
		token := fmt.Sprintf("round%d", round)
		addToken(t, env, pki.EnrolmentToken{ID: token, Name: "erp", Expires: time.Now().Add(time.Hour)}, token)
		serials := make([]string, 8)
		var users sync.WaitGroup
		for i := range serials {
			users.Go(func() {
				serial, err := claimAndIssue(t, env, token, fmt.Sprint("key", i))
				switch {
				case err == nil:
					serials[i] = serial
				case !errors.Is(err, pki.ErrTaken):
					t.Error(err)
				}
			})
		}
		users.Wait()
		if got := len(strings.Fields(strings.Join(serials, " "))); got != 1 {
			t.Errorf("%d certificates for one token, want 1", got)
		}
	}
	if all, err := env.CA.Certificates(t.Context(), pki.Filter{Name: "erp"}); err != nil || len(all) != 5 {
		t.Errorf("%d certificates for 5 tokens, %v", len(all), err)
	}
}

func testAClaimThatFailsUsesNothingUp(t *testing.T, db *sql.DB) {
	env := pkitest.With(t, pkitest.Options{DB: db})
	addToken(t, env, pki.EnrolmentToken{ID: "one", Name: "erp", Expires: time.Now().Add(time.Hour)}, "text")
	refused := errors.New("refused")
	err := inTx(t, db, func(tx *sql.Tx) error {
		if _, err := env.CA.ClaimToken(t.Context(), tx, "one", "a"); err != nil {
			return err
		}
		return refused
	})
	if !errors.Is(err, refused) {
		t.Fatal(err)
	}
	first, err := claimAndIssue(t, env, "one", "b")
	if err != nil || first == "" {
		t.Fatalf("after a use that was rolled back: %v", err)
	}
	again, err := claimAndIssue(t, env, "one", "b")
	if err != nil || again != first {
		t.Errorf("the same key got %q, %v, want the same certificate %q", again, err, first)
	}
	err = inTx(t, db, func(tx *sql.Tx) error {
		before, err := env.CA.IssuedBefore(t.Context(), tx, first)
		if err == nil && (before.Serial != first || len(before.Chain) != 2) {
			t.Errorf("got %+v", before)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if got, err := env.CA.EnrolmentToken(t.Context(), "one"); err != nil || got.Serial != first || got.UsedKey != "b" || got.Used.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
}

func testTokensAreFoundByHashAndWithdrawn(t *testing.T, db *sql.DB) {
	env := pkitest.With(t, pkitest.Options{DB: db})
	now := time.Now()
	addToken(t, env, pki.EnrolmentToken{ID: "a", Name: "erp", Source: "10.0.0.0/8", Key: "ab", Lifetime: time.Hour, Expires: now.Add(time.Hour)}, "text a")
	addToken(t, env, pki.EnrolmentToken{ID: "b", Name: "erp", Expires: now.Add(time.Hour)}, "text b")
	addToken(t, env, pki.EnrolmentToken{ID: "c", Name: "shop", Expires: now.Add(time.Hour)}, "text c")
	got, err := env.CA.EnrolmentTokenOf(t.Context(), nil, sha256.Sum256([]byte("text a")))
	if err != nil || got.ID != "a" || got.Source != "10.0.0.0/8" || got.Key != "ab" || got.Lifetime != time.Hour || !got.Expires.Equal(now.Add(time.Hour).UTC().Truncate(time.Microsecond)) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := env.CA.EnrolmentTokenOf(t.Context(), nil, sha256.Sum256([]byte("text A"))); !errors.Is(err, pki.ErrNotFound) {
		t.Errorf("another text: %v", err)
	}
	err = inTx(t, db, func(tx *sql.Tx) error {
		n, err := env.CA.WithdrawEnrolmentTokens(t.Context(), tx, "erp")
		if n != 2 {
			t.Errorf("%d withdrawn, want 2", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, withdrawn := range map[string]bool{"a": true, "b": true, "c": false} {
		if got, err := env.CA.EnrolmentToken(t.Context(), id); err != nil || got.Withdrawn.IsZero() == withdrawn {
			t.Errorf("%s: got %+v, %v", id, got, err)
		}
	}
	if list, err := env.CA.EnrolmentTokens(t.Context(), "shop"); err != nil || len(list) != 1 || list[0].ID != "c" {
		t.Errorf("got %+v, %v", list, err)
	}
}

func testOldTokensAreForgotten(t *testing.T, db *sql.DB) {
	now := time.Now()
	env := pkitest.With(t, pkitest.Options{DB: db, Now: func() time.Time { return now }})
	addToken(t, env, pki.EnrolmentToken{ID: "old", Name: "erp", Expires: now.Add(time.Hour)}, "old")
	if _, err := claimAndIssue(t, env, "old", "key"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(32 * 24 * time.Hour)
	addToken(t, env, pki.EnrolmentToken{ID: "new", Name: "erp", Expires: now.Add(time.Hour)}, "new")
	if list, err := env.CA.EnrolmentTokens(t.Context(), ""); err != nil || len(list) != 1 || list[0].ID != "new" {
		t.Errorf("got %+v, %v", list, err)
	}
}

func testARenewalIsKnownByItsKey(t *testing.T, db *sql.DB) {
	env := pkitest.With(t, pkitest.Options{DB: db})
	renew := func(key string) (before string, err error) {
		err = inTx(t, db, func(tx *sql.Tx) error {
			claim, err := env.CA.ClaimRenewal(t.Context(), tx, "0a", key)
			if before = claim.Serial; err != nil || before != "" {
				return err
			}
			return env.CA.Settle(t.Context(), tx, claim, "new-"+key)
		})
		return before, err
	}
	for i, want := range []struct{ key, before string }{{"a", ""}, {"a", "new-a"}, {"b", ""}, {"b", "new-b"}} {
		if got, err := renew(want.key); err != nil || got != want.before {
			t.Errorf("renewal %d with key %s: got %q, %v, want %q", i, want.key, got, err, want.before)
		}
	}
}

func TestKeysAreNamedAsOpenSSLNamesThem(t *testing.T) {
	env := pkitest.New(t)
	for _, kind := range []string{pki.P256, pki.P384, pki.RSA2048, pki.Ed25519} {
		key := env.Key(kind)
		if got := pki.KeyType(key.Public()); got != kind {
			t.Errorf("got %q, want %q", got, kind)
		}
		fingerprint, err := pki.KeyFingerprint(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		pem, err := pki.EncodePrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath("openssl"); err != nil {
			t.Skip("SKIPPED: openssl is not installed")
		}
		command := exec.Command("sh", "-c", "openssl pkey -pubout -outform DER | openssl sha256")
		command.Stdin = strings.NewReader(string(pem))
		if out, err := command.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), fingerprint) {
			t.Errorf("%s: %s, %v, want %s", kind, out, err, fingerprint)
		}
	}
}

func TestARenewedCertificateLivesAsLongAsTheOne(t *testing.T) {
	env := pkitest.New(t)
	for _, lifetime := range []time.Duration{time.Hour, 30 * 24 * time.Hour} {
		old := env.Issue(pki.ClientProfile(), "erp", lifetime).Leaf
		if got := env.CA.Trust().RenewalLifetime(old); got != lifetime {
			t.Errorf("got %v, want %v", got, lifetime)
		}
	}
	end := env.CA.Intermediate().NotAfter
	cut := env.Sign(env.Key(pki.P256), &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-24 * time.Hour), NotAfter: end}).Leaf
	if got := env.CA.Trust().RenewalLifetime(cut); got != 0 {
		t.Errorf("one that was cut to its issuer's end: got %v, want the profile's", got)
	}
}
