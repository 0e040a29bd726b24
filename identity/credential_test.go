package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// keyPair returns a self-signed certificate and its key as PEM.
func keyPair(t *testing.T, notAfter time.Time) (certificate, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func TestCertificateCredential(t *testing.T) {
	db, sealer := openDatabase(t, databasetest.SQLite(t)), newSealer(t)
	r := openRegistry(t, db, sealer)
	mtls := tenant("cpi")
	mtls.AuthStyle = identity.AuthMTLS
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, mtls)
		_, e2 := tx.AddIdentity(ctx, person("erp"))
		return errors.Join(e1, e2)
	})
	end := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	cert, key := keyPair(t, end)
	_, otherKey := keyPair(t, end)
	expired, expiredKey := keyPair(t, time.Now().Add(-time.Hour))
	of := func(cert, key string) identity.Credential {
		return identity.Credential{Identity: "erp", Tenant: "cpi", ClientID: "sb", Kind: identity.KindCertificate, Certificate: cert, Secret: identity.NewSecret(key)}
	}
	for name, c := range map[string]identity.Credential{
		"another key": of(cert, otherKey), "expired": of(expired, expiredKey), "no key": of(cert, cert), "a secret for mtls": secret("erp", "cpi"),
	} {
		t.Run(name, func(t *testing.T) {
			e := refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.AddCredential(ctx, c); return err })
			for line := range strings.Lines(key + otherKey) {
				if !strings.HasPrefix(line, "-") && strings.Contains(e.Error(), strings.TrimSpace(line)) {
					t.Errorf("the message quotes a key: %v", e)
				}
			}
		})
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		mtls.ClientCertificate = identity.ShowCredential
		if _, err := tx.SetTenant(ctx, mtls); err != nil {
			t.Errorf("a tenant that is shown certificates: %v", err)
		}
		stored, err := tx.AddCredential(ctx, of(cert, key))
		if !stored.NotAfter.Equal(end) {
			t.Errorf("got the end %v, want the certificate's %v", stored.NotAfter, end)
		}
		return err
	})
	wantSame(t, db, sealer, r)
}

func TestCredentialsAreTheTenantsNewestFirst(t *testing.T) {
	r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, tenant("a"))
		_, e2 := tx.AddTenant(ctx, tenant("b"))
		_, e3 := tx.AddIdentity(ctx, person("erp"))
		return errors.Join(e1, e2, e3)
	})
	added := map[string][]string{}
	for _, where := range []string{"b", "a", "b", "a"} {
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			c, err := tx.AddCredential(ctx, secret("erp", where))
			added[where] = append([]string{c.ID}, added[where]...)
			return err
		})
	}
	for where, want := range added {
		var got []string
		for _, c := range r.Snapshot().Credentials("erp", where) {
			got = append(got, c.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", where, got, want)
		}
	}
	if got := r.Snapshot().Credentials("erp", "c"); len(got) != 0 {
		t.Errorf("got %v for a tenant without any", got)
	}
}

func TestFullDiskChangesNothing(t *testing.T) {
	db, sealer := openDatabase(t, databasetest.SQLite(t)), newSealer(t)
	db.SetMaxOpenConns(1) // the pragma below is one connection's
	r := openRegistry(t, db, sealer)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, person("erp"))
		return err
	})
	if _, err := db.Exec(`PRAGMA max_page_count = 1`); err != nil { // SQLite takes the present size instead
		t.Fatal(err)
	}
	before := r.Snapshot()
	err := r.Change(t.Context(), func(tx *identity.Tx) error {
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			i := person(name)
			i.Description = strings.Repeat("x", 1000)
			if _, err := tx.AddIdentity(t.Context(), i); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, database.ErrFull) || !strings.Contains(err.Error(), db.Name) {
		t.Errorf("got %v, want a full disk and the file's name", err)
	}
	if r.Snapshot() != before {
		t.Error("the failed change was published")
	}
	wantSame(t, db, sealer, r)
	if _, err := db.Exec(`PRAGMA max_page_count = 1000000`); err != nil {
		t.Fatal(err)
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, person("a"))
		return err
	})
	wantSame(t, db, sealer, r)
}

// A tenant that is to be shown the credential's certificate takes no other credentials, and a tenant that has others is not to be shown any.
func TestACertificateThatIsShownMustBeThere(t *testing.T) {
	r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
	shown, plain := tenant("shown"), tenant("plain")
	shown.ClientCertificate = identity.ShowCredential
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, shown)
		_, e2 := tx.AddTenant(ctx, plain)
		_, e3 := tx.AddIdentity(ctx, person("erp"))
		_, e4 := tx.AddCredential(ctx, secret("erp", "plain"))
		return errors.Join(e1, e2, e3, e4)
	})
	e := refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddCredential(ctx, secret("erp", "shown"))
		return err
	})
	if e.Field != "kind" {
		t.Errorf("got %+v", e)
	}
	plain.ClientCertificate = identity.ShowCredential
	refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.SetTenant(ctx, plain); return err })
}

// A proxy must not see a secret: neither a credential nor its tenant can be changed so that it would.
func TestNoSecretGoesThroughAProxyInTheClear(t *testing.T) {
	r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
	direct, proxied := tenant("direct"), tenant("proxied")
	proxied.HTTPProxy = "http://proxy.example.com:3128"
	plain := func(name string) identity.Credential {
		c := secret("erp", name)
		c.TokenURL = "http://localhost:8080/token"
		return c
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, direct)
		_, e2 := tx.AddTenant(ctx, proxied)
		_, e3 := tx.AddIdentity(ctx, person("erp"))
		_, e4 := tx.AddCredential(ctx, plain("direct"))
		return errors.Join(e1, e2, e3, e4)
	})
	e := refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddCredential(ctx, plain("proxied"))
		return err
	})
	if e.Field != "token_url" {
		t.Errorf("got %+v", e)
	}
	direct.HTTPProxy = proxied.HTTPProxy
	refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.SetTenant(ctx, direct); return err })
}
