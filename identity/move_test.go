package identity_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
)

func move(user, caller, to string) identity.Move {
	return identity.Move{Login: user, Caller: caller, Identity: to, Grace: identity.Duration(time.Hour),
		Looks: []identity.Look{{Source: "10.1.2.3", Fingerprint: "t13", Agent: "curl"}, {Source: "2001:db8::/64", Fingerprint: "t13", Agent: "curl"}}}
}

func testMovesOfRemovedIdentity(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddIdentity(ctx, identity.Identity{Name: "shared", Owner: "Team ERP"})
		_, e2 := tx.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "Team ERP"})
		_, e3 := tx.AddLogin(ctx, login("P1", "shared"))
		_, e4 := tx.AddMove(ctx, move("P1", "c1", "erp"))
		_, e5 := tx.AddMove(ctx, move("P1", "c2", "shared"))
		return errors.Join(e1, e2, e3, e4, e5)
	})
	if e := refuse(t, r, identity.ErrInUse, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.RemoveIdentity(ctx, "erp", false)
		return err
	}); e.Hint == "" {
		t.Errorf("got %v", e)
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.RemoveIdentity(ctx, "erp", true)
		return err
	})
	if left := r.Snapshot().AllMoves(); len(left) != 1 || left[0].Caller != "c2" {
		t.Errorf("got moves %+v", left)
	}
	wantSame(t, db, sealer, r)
}

func testMoves(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "Team ERP"})
		_, e2 := tx.AddLogin(ctx, login("P1", "erp"))
		_, e3 := tx.AddMove(ctx, move("P1", "c1", "erp"))
		return errors.Join(e1, e2, e3)
	})
	for name, m := range map[string]identity.Move{
		"a second time":     move("P1", "c1", "erp"),
		"of no login":       move("P2", "c1", "erp"),
		"to nobody":         move("P1", "c2", "nobody"),
		"of no caller":      move("P1", "", "erp"),
		"without a look":    {Login: "P1", Caller: "c2", Identity: "erp"},
		"of a pseudonym":    {Login: "P1", Caller: "c2", Identity: "erp", Looks: []identity.Look{{Source: "anon-1", Agent: "curl"}}},
		"of everybody else": {Login: "P1", Caller: "c2", Identity: "erp", Looks: []identity.Look{{Source: "other", Agent: "other"}}},
		"with a long grace": {Login: "P1", Caller: "c2", Identity: "erp", Looks: move("", "", "").Looks, Grace: identity.Duration(1000 * time.Hour * 24)},
	} {
		var refused *identity.Error
		if err := r.Change(t.Context(), func(tx *identity.Tx) error { _, err := tx.AddMove(t.Context(), m); return err }); !errors.As(err, &refused) || refused.Hint == "" {
			t.Errorf("a move %s: %v", name, err)
		}
	}
	wantSame(t, db, sealer, r)
	seen := time.Now()
	for n, want := range []bool{true, false} {
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			_, first, err := tx.SeeMove(ctx, "P1", "c1", "10.1.2.3", seen.Add(time.Duration(n)*time.Hour))
			if first != want {
				t.Errorf("time %d: new %v, want %v", n, first, want)
			}
			return err
		})
	}
	moves := r.Snapshot().Moves("P1")
	look := identity.Look{Source: "10.1.2.3", Fingerprint: "t13", Agent: "curl"}
	for _, tc := range []struct {
		name string
		at   time.Duration
		look identity.Look
		want bool
	}{
		{"in the grace", time.Hour - time.Second, look, false},
		{"after it", time.Hour, look, true},
		{"a look that has not been seen yet", time.Hour, identity.Look{Source: "2001:db8::/64", Fingerprint: "t13", Agent: "curl"}, false},
		{"another address", time.Hour, identity.Look{Source: "10.1.2.4", Fingerprint: "t13", Agent: "curl"}, false},
		{"another implementation of TLS", time.Hour, identity.Look{Source: "10.1.2.3", Fingerprint: "t12", Agent: "curl"}, false},
		{"another client", time.Hour, identity.Look{Source: "10.1.2.3", Fingerprint: "t13", Agent: "python-requests"}, false},
	} {
		if got := identity.LockedOut(moves, seen.Add(tc.at), tc.look.Source, tc.look.Fingerprint, tc.look.Agent); got != tc.want {
			t.Errorf("%s: locked %v, want %v", tc.name, got, tc.want)
		}
	}
	wantSame(t, db, sealer, r)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.RemoveMove(ctx, "P1", "c1"); return err })
	if len(r.Snapshot().Moves("P1")) != 0 {
		t.Error("still moved after it was taken back")
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddMove(ctx, move("P1", "c1", "erp"))
		return errors.Join(err, tx.RemoveLogin(ctx, "P1"))
	})
	if len(r.Snapshot().AllMoves()) != 0 {
		t.Error("the login is gone and its move is not")
	}
	wantSame(t, db, sealer, r)
}
