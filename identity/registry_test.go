package identity_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
)

func openDatabase(t testing.TB, url string) *database.DB {
	t.Helper()
	db, err := database.Open(context.Background(), url)
	if err != nil {
		t.Fatalf("opening the database: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := database.Migrate(context.Background(), db, "identity", identity.Migrations()); err != nil {
		t.Fatalf("migrating: %v", err)
	}
	return db
}

func newSealer(t testing.TB) identity.Sealer {
	t.Helper()
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := identity.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openRegistry(t testing.TB, db *database.DB, s identity.Sealer) *identity.Registry {
	t.Helper()
	r, err := identity.Open(context.Background(), db.DB, s)
	if err != nil {
		t.Fatalf("opening the registry: %v", err)
	}
	return r
}

// change makes a change that must succeed.
func change(t testing.TB, r *identity.Registry, fn func(ctx context.Context, tx *identity.Tx) error) {
	t.Helper()
	ctx := context.Background()
	if err := r.Change(ctx, func(tx *identity.Tx) error { return fn(ctx, tx) }); err != nil {
		t.Fatalf("changing the registry: %v", err)
	}
}

// refuse makes a change that must be refused with the code, a hint, and no trace.
func refuse(t testing.TB, r *identity.Registry, code identity.Code, fn func(ctx context.Context, tx *identity.Tx) error) *identity.Error {
	t.Helper()
	ctx, before := context.Background(), r.Snapshot()
	err := r.Change(ctx, func(tx *identity.Tx) error { return fn(ctx, tx) })
	var e *identity.Error
	if !errors.As(err, &e) || !errors.Is(err, code) {
		t.Fatalf("got error %v, want one with code %q", err, code)
	}
	if e.Hint == "" || e.Message == "" || e.Object == "" {
		t.Errorf("an error without hint, message or object: %#v", e)
	}
	if r.Snapshot() != before {
		t.Error("a refused change published a snapshot")
	}
	return e
}

func tenant(name string) identity.Tenant {
	return identity.Tenant{Name: name, BaseURL: "https://" + name + ".example.com", TokenURL: "https://" + name + ".example.com/oauth/token",
		AuthStyle: identity.AuthBody}
}

func person(name string, roles ...string) identity.Identity {
	return identity.Identity{Name: name, Owner: "Team Integration", Roles: roles}
}

func certificate(owner, seed string) identity.Certificate {
	digest := sha256.Sum256([]byte(seed))
	return identity.Certificate{Fingerprint: digest, Identity: owner, Serial: "5e" + identity.Fingerprint(digest).String()[:8], Subject: "CN=" + owner,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

func secret(owner, tenant string) identity.Credential {
	return identity.Credential{Identity: owner, Tenant: tenant, ClientID: "sb-" + owner, Kind: identity.KindSecret,
		Secret: identity.NewSecret("s3cr3t-of-" + owner)}
}
