package identity_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

func TestPeopleAreNoIdentitiesAndNoOwners(t *testing.T) {
	for _, tc := range []struct {
		name, owner, field string // field is the one that is refused, "" for none
	}{
		{"p1234567890", "Team ERP", "name"}, {"s0012345678", "Team ERP", "name"}, {"cpi-p1234567890", "Team ERP", "name"},
		{"i012345", "Team ERP", "name"}, {"d1234567", "Team ERP", "name"}, {"c123456", "Team ERP", "name"},
		{"anna.schmidt_at_example.com", "Team ERP", "name"}, {"anna@example.com", "Team ERP", "name"},
		{"erp", "P1234567890", "owner"}, {"erp", "Team of S0012345678", "owner"}, {"erp", "I012345", "owner"}, {"erp", "anna＠example.com", "owner"},
		{"erp", "anna (at) example.com", "owner"}, {"erp", "anna.schmidt[at]example.com", "owner"},
		// What only resembles them are names of systems and teams.
		{"s4-erp", "Team S/4", ""}, {"p01", "P01", ""}, {"c4c", "C4C", ""}, {"i18n-batch", "I18N", ""}, {"d123", "D123", ""}, {"s123456789", "Team 7", ""},
		{"batch-d202611", "Team Walldorf", ""}, {"look_at_me", "Team at Walldorf", ""}, {"p12345678901", "Équipe 12", ""}, {"erp.at.example.com", "IT Support", ""},
	} {
		r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
		err := r.Change(t.Context(), func(tx *identity.Tx) error {
			_, err := tx.AddIdentity(t.Context(), identity.Identity{Name: tc.name, Owner: tc.owner})
			return err
		})
		refused, _ := errors.AsType[*identity.Error](err)
		if got := ""; refused != nil {
			if got = refused.Field; got != tc.field || refused.Hint == "" {
				t.Errorf("identity %q, owner %q: got %v, want a refusal of %q with a hint", tc.name, tc.owner, err, tc.field)
			}
		} else if err != nil || tc.field != "" {
			t.Errorf("identity %q, owner %q: got %v, want a refusal of %q", tc.name, tc.owner, err, tc.field)
		}
	}
}

// What an earlier release has taken goes on: it can be changed, and its callers are let in, though its owner counts as none.
func testKeepsPeopleOfBefore(t *testing.T, db *database.DB) {
	ctx := t.Context()
	if _, err := db.ExecContext(ctx, `INSERT INTO identities (name, owner, description, roles, disabled, review_date, created, updated)
		VALUES ('p1234567890', 'S0012345678', '', 'orders.send', 0, '', 0, 0)`); err != nil {
		t.Fatal(err)
	}
	r := openRegistry(t, db, newSealer(t))
	var stored identity.Identity
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		i, err := tx.Identity("p1234567890")
		if err != nil {
			return err
		}
		i.Roles = append(i.Roles, "stock.read")
		stored, err = tx.SetIdentity(ctx, i)
		return err
	})
	if stored.HasTeam() {
		t.Error("a person counts as a team")
	}
	err := r.Change(ctx, func(tx *identity.Tx) error {
		stored.Owner = "D012345"
		_, err := tx.SetIdentity(ctx, stored)
		return err
	})
	if !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("another person as the owner: got %v", err)
	}
	err = r.Change(ctx, func(tx *identity.Tx) error {
		_, err := tx.BindCertificate(ctx, certificate("p1234567890", "one"))
		return err
	})
	if !errors.Is(err, identity.ErrRefused) {
		t.Errorf("a certificate although nobody answers for it: got %v", err)
	}
}

// testPolicy binds certificates under each policy, in each state of the identity.
func testPolicy(t *testing.T, db *database.DB) {
	s := newSealer(t)
	r, other := openRegistry(t, db, s), openRegistry(t, db, s)
	if got := r.Snapshot().Policy(); got != identity.DefaultPolicy() {
		t.Fatalf("a new registry has the policy %+v", got)
	}
	date := func(d time.Duration) identity.Date {
		return identity.Date(time.Now().UTC().Add(d).Format(time.DateOnly))
	}
	const day = 24 * time.Hour
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		for name, review := range map[string]identity.Date{"due": date(0), "late": date(-2 * day), "very-late": date(-100 * day), "free": ""} {
			if _, err := tx.AddIdentity(ctx, identity.Identity{Name: name, Owner: "team", ReviewDate: review}); err != nil {
				return err
			}
		}
		return nil
	})
	set := func(word string, grace time.Duration) {
		t.Helper()
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			p, _ := tx.Policy()
			p.RefusePastReview, p.ReviewGrace = word, identity.Duration(grace)
			_, err := tx.SetPolicy(ctx, p)
			return err
		})
	}
	// may asks another node, which has to have followed.
	may := func(name string, renewal bool) bool {
		t.Helper()
		err := other.Change(t.Context(), func(tx *identity.Tx) error { return tx.MayHaveCertificate(name, renewal) })
		if err != nil && !errors.Is(err, identity.ErrRefused) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, tc := range []struct {
		word             string
		grace            time.Duration
		name             string
		fresh, renewable bool
	}{
		{identity.RefuseNew, 0, "due", true, true}, {identity.RefuseNew, 0, "late", false, true}, {identity.RefuseNew, 0, "free", true, true},
		{identity.RefuseNone, 0, "very-late", true, true},
		{identity.RefuseAll, 30 * day, "late", false, true}, {identity.RefuseAll, 30 * day, "very-late", false, false}, {identity.RefuseAll, 0, "late", false, false},
		{identity.RefuseAll, 30 * day, "due", true, true},
	} {
		set(tc.word, tc.grace)
		if fresh, renewable := may(tc.name, false), may(tc.name, true); fresh != tc.fresh || renewable != tc.renewable {
			t.Errorf("%s with a grace of %v: %s may have a certificate: %v, renew one: %v; want %v, %v", tc.word, tc.grace, tc.name, fresh, renewable, tc.fresh, tc.renewable)
		}
	}
	if got := openRegistry(t, db, s).Snapshot().Policy(); got.RefusePastReview != identity.RefuseAll || got.ReviewGrace != identity.Duration(30*day) {
		t.Errorf("after a restart the policy is %+v", got)
	}
}

func testBindsRenewals(t *testing.T, db *database.DB) {
	r := openRegistry(t, db, newSealer(t))
	first := certificate("erp", "one")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e0 := tx.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team"})
		_, e1 := tx.AddIdentity(ctx, identity.Identity{Name: "crm", Owner: "team"})
		_, e2 := tx.BindCertificate(ctx, first)
		return errors.Join(e0, e1, e2)
	})
	bind := func(c identity.Certificate, old identity.Fingerprint) error {
		return r.Change(t.Context(), func(tx *identity.Tx) error { _, err := tx.BindRenewal(t.Context(), c, old); return err })
	}
	if err := bind(certificate("crm", "two"), first.Fingerprint); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("the certificate of another identity was renewed: %v", err)
	}
	if err := bind(certificate("erp", "three"), certificate("erp", "unknown").Fingerprint); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("an unknown certificate was renewed: %v", err)
	}
	if err := bind(certificate("erp", "four"), first.Fingerprint); err != nil {
		t.Error(err)
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.RevokeCertificate(ctx, first.Fingerprint, "", time.Time{})
		return err
	})
	if err := bind(certificate("erp", "five"), first.Fingerprint); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("a revoked certificate was renewed: %v", err)
	}
}

// testLastCalls has two nodes note calls: the latest counts, and little is written.
func testLastCalls(t *testing.T, db *database.DB) {
	s, ctx := newSealer(t), t.Context()
	r, other := openRegistry(t, db, s), openRegistry(t, db, s)
	cert := certificate("erp", "one")
	at := time.Now().UTC().Truncate(time.Second)
	last := func(r *identity.Registry) time.Time {
		t.Helper()
		got, err := r.Calls().Last(ctx, []*identity.Certificate{&cert})
		if err != nil {
			t.Fatal(err)
		}
		return got[0]
	}
	flush := func(r *identity.Registry, all bool) {
		t.Helper()
		if err := r.Calls().Flush(ctx, all); err != nil {
			t.Fatal(err)
		}
	}
	if got := last(r); !got.IsZero() {
		t.Errorf("before the first call: %v", got)
	}
	cell := r.Calls().Of(cert.Fingerprint)
	cell.Note(at)
	cell.Note(at.Add(-time.Hour)) // a clock that was set back
	if got := last(r); !got.Equal(at) {
		t.Errorf("got %v, want %v", got, at)
	}
	flush(r, false)
	if got := last(other); !got.Equal(at) {
		t.Errorf("another node has %v, want %v", got, at)
	}
	cell.Note(at.Add(30 * time.Second))
	flush(r, false)
	if got := last(other); !got.Equal(at) {
		t.Errorf("half a minute later it was written again: %v", got)
	}
	flush(r, true)
	other.Calls().Of(cert.Fingerprint).Note(at.Add(-time.Hour))
	flush(other, true)
	if got, err := other.Calls().After(ctx, at); err != nil || !got[cert.Fingerprint].Equal(at.Add(30*time.Second)) {
		t.Errorf("an earlier call won: %v, %v", got, err)
	}
	if got, err := r.Calls().After(ctx, at.Add(time.Hour)); err != nil || len(got) != 0 {
		t.Errorf("got calls %v, %v", got, err)
	}
	for _, when := range []time.Time{at, at.Add(time.Hour)} {
		if err := r.Calls().Begin(ctx, when); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Calls().Since(ctx); err != nil || !got.Equal(at) {
		t.Errorf("calls are noted since %v, %v", got, err)
	}
}

func TestNotingACallTakesNoMemory(t *testing.T) {
	r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
	cell, now := r.Calls().Of(certificate("erp", "one").Fingerprint), time.Now()
	if n := testing.AllocsPerRun(100, func() { cell.Note(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	(*identity.LastCall)(nil).Note(now)
}
