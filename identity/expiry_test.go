package identity_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

func TestWarningsComeAsLongBeforeTheEndAsTheLifetimeSuggests(t *testing.T) {
	const day = 24 * time.Hour
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct{ lifetime, warning time.Duration }{
		{730 * day, 30 * day}, {365 * day, 30 * day}, {155 * day, 30 * day}, {154 * day, 7 * day}, {32 * day, 7 * day},
		{31 * day, 3 * day}, {15 * day, 3 * day}, {14 * day, day}, {2 * day, day}, {day, 12 * time.Hour},
	} {
		end := created.Add(tc.lifetime)
		c := identity.Credential{Created: created, NotAfter: end}
		if got := end.Sub(c.WarnFrom()); got != tc.warning {
			t.Errorf("a life of %v: warned %v before its end, want %v", tc.lifetime, got, tc.warning)
		}
		for at, want := range map[time.Time]bool{c.WarnFrom().Add(-time.Second): false, c.WarnFrom(): true, end.Add(day): true} {
			if got := c.EndsSoon(at); got != want {
				t.Errorf("a life of %v, %v before its end: got %v", tc.lifetime, end.Sub(at), got)
			}
		}
		if c.Expired(end.Add(-1)) || !c.Expired(end) {
			t.Errorf("a life of %v has not ended at its end", tc.lifetime)
		}
	}
	if c := (identity.Credential{Created: created}); c.EndsSoon(created.Add(9999*day)) || c.Expired(created.Add(9999*day)) || !c.WarnFrom().IsZero() {
		t.Error("a credential without a known end ends")
	}
}

// A certificate lives from its own beginning on, however late it was added.
func TestACertificatesWarningGoesByItsOwnLifetime(t *testing.T) {
	leaf := pkitest.New(t).Client("erp")
	c := identity.Credential{Certificate: string(pkitest.PEM(leaf)), Created: leaf.Leaf.NotAfter.Add(-time.Hour), NotAfter: leaf.Leaf.NotAfter}
	lifetime := leaf.Leaf.NotAfter.Sub(leaf.Leaf.NotBefore)
	if got, want := c.NotAfter.Sub(c.WarnFrom()), 7*24*time.Hour; got != want {
		t.Errorf("a certificate of %v, added in its last hour: warned %v before its end, want %v", lifetime, got, want)
	}
}

func TestACredentialWithASuccessorNeedsNone(t *testing.T) {
	r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
	now := time.Now()
	add := func(end time.Time) (c identity.Credential) {
		change(t, r, func(ctx context.Context, tx *identity.Tx) (err error) {
			c = secret("erp", "cpi")
			c.NotAfter = end
			c, err = tx.AddCredential(ctx, c)
			return err
		})
		return c
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, tenant("cpi"))
		_, e2 := tx.AddIdentity(ctx, person("erp"))
		return errors.Join(e1, e2)
	})
	old := add(now.Add(time.Hour))
	if !r.Snapshot().NeedsSuccessor(&old, now) {
		t.Error("nobody is warned of the only credential's end")
	}
	next := add(now.Add(2 * time.Hour))
	if !r.Snapshot().NeedsSuccessor(&old, now) {
		t.Error("a successor that ends as soon is taken for one")
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { return tx.RemoveCredential(ctx, next.ID) })
	add(time.Time{})
	if r.Snapshot().NeedsSuccessor(&old, now) {
		t.Error("somebody is warned although a successor is there")
	}
}
