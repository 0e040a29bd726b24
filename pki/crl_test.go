package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// revoke revokes at the CA and commits.
func revoke(t testing.TB, ca *pki.CA, db *sql.DB, serial, reason string, at time.Time) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := ca.Revoke(t.Context(), tx, serial, reason, at); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// currentCRL returns the list, parsed, after its signature was checked.
func currentCRL(t testing.TB, ca *pki.CA) (*pki.CRL, *x509.RevocationList) {
	t.Helper()
	crl, err := ca.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(crl.DER)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(ca.Intermediate()); err != nil {
		t.Fatal(err)
	}
	if list.Number.Int64() != crl.Number || len(list.RevokedCertificateEntries) != crl.Entries || !list.NextUpdate.Equal(crl.NextUpdate) {
		t.Errorf("the list says number %v, %d entries, next %v; its record %+v", list.Number, len(list.RevokedCertificateEntries), list.NextUpdate, crl)
	}
	return crl, list
}

func serialOf(c tls.Certificate) string { return pki.FormatSerial(c.Leaf.SerialNumber) }

func TestTheRevocationListHasReasonsAndIsBelieved(t *testing.T) {
	env := pkitest.New(t)
	good, lost := env.Client("good"), env.Client("lost")
	if _, list := currentCRL(t, env.CA); len(list.RevokedCertificateEntries) != 0 {
		t.Fatalf("%d entries on the first list", len(list.RevokedCertificateEntries))
	}
	now := time.Now()
	var want []int
	for i, reason := range pki.RevocationReasons() {
		revoke(t, env.CA, env.DB, serialOf(env.Client(fmt.Sprintf("r%d", i))), reason, now.Add(time.Duration(i)*time.Second))
		want = append(want, map[string]int{"unspecified": 0, "keyCompromise": 1, "cACompromise": 2, "affiliationChanged": 3, "superseded": 4,
			"cessationOfOperation": 5, "privilegeWithdrawn": 9}[reason])
	}
	revoke(t, env.CA, env.DB, serialOf(lost), "keyCompromise", now.Add(time.Hour))
	_, list := currentCRL(t, env.CA)
	if n := len(list.RevokedCertificateEntries); n != len(want)+1 {
		t.Fatalf("%d entries, want %d", n, len(want)+1)
	}
	for i, code := range want {
		if got := list.RevokedCertificateEntries[i].ReasonCode; got != code {
			t.Errorf("entry %d has reason %d, want %d", i, got, code)
		}
	}
	trust := env.CA.Trust()
	if err := trust.VerifyClient(pkitest.Chain(t, good), time.Now(), list); err != nil {
		t.Errorf("a good certificate: %v", err)
	}
	var rejected *pki.RejectedError
	if err := trust.VerifyClient(pkitest.Chain(t, lost), time.Now(), list); !errors.As(err, &rejected) || rejected.Reason != pki.Revoked {
		t.Errorf("a revoked certificate: %v", err)
	}
}

func TestOpenSSLBelievesTheRevocationList(t *testing.T) {
	openssl := outside.Program(t, "openssl")
	for _, keyType := range []string{pki.P256, pki.P384, pki.RSA2048} {
		env := pkitest.With(t, pkitest.Options{KeyType: keyType})
		good, lost := env.Client("good"), env.Client("lost")
		revoke(t, env.CA, env.DB, serialOf(lost), "superseded", time.Now())
		_, list := currentCRL(t, env.CA)
		dir := t.TempDir()
		write := func(name string, data []byte) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		crl := write("crl.pem", pki.EncodeCRL(list.Raw))
		verify := func(c tls.Certificate) (string, error) {
			out, err := exec.CommandContext(t.Context(), openssl, "verify", "-crl_check", "-CAfile", filepath.Join(env.Dir, "root_ca.crt"),
				"-untrusted", filepath.Join(env.Dir, "intermediate_ca.crt"), "-CRLfile", crl, write("leaf.pem", pkitest.PEM(c))).CombinedOutput()
			return string(out), err
		}
		if out, err := verify(good); err != nil {
			t.Errorf("%s: good: %v\n%s", keyType, err, out)
		}
		if out, err := verify(lost); err == nil {
			t.Errorf("%s: revoked: accepted\n%s", keyType, out)
		}
	}
}

func TestTheRevocationListIsMadeAgainInTime(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	env := pkitest.With(t, pkitest.Options{Now: func() time.Time { return now }, Change: func(o *pki.Options) { o.CRLLifetime = 24 * time.Hour }})
	first, _ := currentCRL(t, env.CA)
	if again, _ := currentCRL(t, env.CA); again != first {
		t.Error("made again without a reason")
	}
	now = now.Add(13 * time.Hour)
	second, _ := currentCRL(t, env.CA)
	if second.Number != first.Number+1 || !second.NextUpdate.After(first.NextUpdate) {
		t.Errorf("after half its life: %+v", second)
	}
	now = now.Add(-12 * time.Hour) // the clock was wrong
	if third, _ := currentCRL(t, env.CA); third.Number != second.Number+1 || third.ThisUpdate.After(now) {
		t.Errorf("after the clock was set back to %v: %+v", now, third)
	}
	if known, ok := env.CA.PublishedCRL(first.Issuer); !ok || known.Number != 3 {
		t.Errorf("published: %+v", known)
	}
	if _, ok := env.CA.PublishedCRL("0123456789abcdef"); ok {
		t.Error("a list of another issuer is published")
	}
}

// RFC 5280 section 3.3: an entry stays until it was on a list that was made after the certificate's end.
func TestExpiredCertificatesLeaveAfterOneMoreList(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	env := pkitest.With(t, pkitest.Options{Now: func() time.Time { return now }})
	short := env.Issue(pki.ClientProfile(), "short", time.Hour)
	revoke(t, env.CA, env.DB, serialOf(short), "superseded", now)
	for i, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {2 * time.Hour, 1}, {3 * time.Hour, 0}} {
		now = now.Add(c.after)
		revoke(t, env.CA, env.DB, serialOf(env.Client("long")), "superseded", now) // has a list made
		_, list := currentCRL(t, env.CA)
		got := 0
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(short.Leaf.SerialNumber) == 0 {
				got++
			}
		}
		if got != c.want {
			t.Errorf("list %d: %d times, want %d", i, got, c.want)
		}
	}
}

// A list holds what its own issuer has signed: after a change of the intermediate the old one's certificates are not on the new one's list.
func TestTheRevocationListIsOfOneIssuer(t *testing.T) {
	db := pkitest.Database(t)
	before, after := pkitest.With(t, pkitest.Options{DB: db}), pkitest.With(t, pkitest.Options{DB: db})
	old, current := before.Client("old"), after.Client("current")
	revoke(t, after.CA, db, serialOf(old), "superseded", time.Now())
	if _, list := currentCRL(t, after.CA); len(list.RevokedCertificateEntries) != 0 {
		t.Error("another issuer's certificate is on the list")
	}
	if _, list := currentCRL(t, before.CA); len(list.RevokedCertificateEntries) != 1 {
		t.Error("revoked through another CA, and not on the list of its issuer")
	}
	revoke(t, after.CA, db, serialOf(current), "superseded", time.Now())
	_, list := currentCRL(t, after.CA)
	if len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(current.Leaf.SerialNumber) != 0 {
		t.Error("its own certificate is not on the list, or not alone")
	}
}

func testCRLNumbers(t *testing.T, db *sql.DB) {
	var options pki.Options
	env := pkitest.With(t, pkitest.Options{DB: db, Change: func(o *pki.Options) { options = *o }})
	nodes := []*pki.CA{env.CA}
	for range 3 {
		ca, err := pki.Open(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, ca)
	}
	seen := map[int64]string{}
	for round := range 5 {
		revoke(t, env.CA, db, serialOf(env.Client("c")), "superseded", time.Now())
		var wg sync.WaitGroup
		lists := make([]*pki.CRL, len(nodes))
		for i, ca := range nodes {
			wg.Go(func() { lists[i], _ = ca.CRL(t.Context()) })
		}
		wg.Wait()
		for i, crl := range lists {
			if crl == nil {
				t.Fatalf("round %d, node %d: no list", round, i)
			}
			if other, ok := seen[crl.Number]; ok && other != string(crl.DER) {
				t.Errorf("two lists have the number %d", crl.Number)
			}
			seen[crl.Number] = string(crl.DER)
			if crl.Number != int64(round+1) || crl.Entries != round+1 {
				t.Errorf("round %d, node %d: number %d, %d entries", round, i, crl.Number, crl.Entries)
			}
		}
	}
}

// Revocations and lists are made at once on several nodes: when all is quiet, everything is on the list.
func testNoRevocationIsMissed(t *testing.T, db *sql.DB) {
	var options pki.Options
	env := pkitest.With(t, pkitest.Options{DB: db, Change: func(o *pki.Options) { options = *o }})
	other, err := pki.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	var certs []tls.Certificate
	for range 24 {
		certs = append(certs, env.Client("c"))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards last
	last := map[*pki.CA]int64{}
	for i, c := range certs {
		ca := []*pki.CA{env.CA, other}[i%2]
		wg.Go(func() {
			revoke(t, ca, db, serialOf(c), "superseded", time.Now())
			crl, err := ca.CRL(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			list, err := x509.ParseRevocationList(crl.DER)
			found := err == nil
			if found {
				found = false
				for _, e := range list.RevokedCertificateEntries {
					found = found || e.SerialNumber.Cmp(c.Leaf.SerialNumber) == 0
				}
			}
			if !found {
				t.Errorf("revoked, and not on the list that was asked for afterwards (number %d): %v", crl.Number, err)
			}
			mu.Lock()
			last[ca] = max(last[ca], crl.Number)
			mu.Unlock()
		})
	}
	wg.Wait()
	if crl, _ := currentCRL(t, env.CA); crl.Entries != len(certs) || crl.Number < last[env.CA] {
		t.Errorf("%d entries, want %d; number %d after %d", crl.Entries, len(certs), crl.Number, last[env.CA])
	}
}

func TestWithoutItsDatabaseTheLastListStaysPublished(t *testing.T) {
	env := pkitest.New(t)
	crl, _ := currentCRL(t, env.CA)
	env.DB.Close()
	if _, err := env.CA.CRL(t.Context()); err == nil {
		t.Error("no error")
	}
	if known, ok := env.CA.PublishedCRL(crl.Issuer); !ok || known != crl {
		t.Errorf("published: %+v", known)
	}
}
