package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
)

var anyHash = sync.OnceValue(func() identity.PasswordHash {
	h, err := identity.HashPassword("secret")
	if err != nil {
		panic(err)
	}
	return h
})

func login(user, owner string) identity.Login {
	return identity.Login{User: user, Identity: owner, Password: anyHash(), Sunset: time.Now().Add(24 * time.Hour)}
}

func withIdentity(t *testing.T, r *identity.Registry, name string, roles ...string) {
	t.Helper()
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, person(name, roles...))
		return err
	})
}

func testKeepsLogins(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	withIdentity(t, r, "erp", "a", "b")
	full := login("Jürgen Müller@example.com", "erp")
	full.Owner, full.Description, full.Roles, full.Networks = "Team HR", "HR batch", []string{"b", "b"}, []string{"192.0.2.17", "2001:db8::/32", "192.0.2.0/24"}
	full.WarnOn, full.BrownoutFrom, full.CloseOn = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour), time.Now().Add(3*time.Hour)
	full.Brownouts = []string{"Tue 10:00-10:15 Europe/Berlin", "daily 12:00-12:05 UTC"}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddLogin(ctx, full)
		_, e2 := tx.SetLoginPolicy(ctx, identity.LoginPolicy{MaxSunset: identity.Duration(time.Hour), Contact: "Team Integration", Guide: "https://wiki.example.com/c", Realm: "old"})
		return errors.Join(e1, e2)
	})
	b, ok := r.Snapshot().Login(identity.NormalUser("Ju\u0308rgen Mu\u0308ller@example.com"))
	if !ok || b.Identity.Name != "erp" || !b.HasRole("b") || b.HasRole("a") || b.Certificate != nil {
		t.Fatalf("got login %+v, %v", b, ok)
	}
	if _, ok := r.Snapshot().Login("jürgen müller@example.com"); ok {
		t.Error("a user name was found in another case")
	}
	if !slices.Equal(b.Login.Networks, []string{"192.0.2.0/24", "192.0.2.17/32", "2001:db8::/32"}) {
		t.Errorf("got networks %v", b.Login.Networks)
	}
	for addr, want := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.1": true, "2001:db8::1": true, "192.0.3.1": false, "2001:db9::1": false} {
		if got := b.Login.AllowsSource(netip.MustParseAddr(addr)); got != want {
			t.Errorf("from %s: got %v, want %v", addr, got, want)
		}
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.DisableIdentity(ctx, "erp"); return err })
	if b, _ := r.Snapshot().Login(full.User); b.HasRole("b") {
		t.Error("the login of a disabled identity has a role")
	}
	wantSame(t, db, sealer, r)
	if shown := fmt.Sprintf("%v %+v %#v %s", b.Login, b.Login, *b.Login, b.Login.Password); strings.Contains(shown, "argon2id$") {
		t.Errorf("a hash is printed: %s", shown)
	}
}

func testLoginRefusals(t *testing.T, db *database.DB) {
	r := openRegistry(t, db, newSealer(t))
	withIdentity(t, r, "erp", "a")
	withIdentity(t, r, "off", "a")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.DisableIdentity(ctx, "off")
		_, e2 := tx.AddLogin(ctx, login("P1", "erp"))
		return errors.Join(e1, e2)
	})
	for _, tc := range []struct {
		field string
		code  identity.Code
		edit  func(l *identity.Login)
	}{
		{"", identity.ErrExists, func(l *identity.Login) { l.User = "P1" }},
		{"user", identity.ErrInvalid, func(l *identity.Login) { l.User = "" }},
		{"user", identity.ErrInvalid, func(l *identity.Login) { l.User = "a:b" }},
		{"user", identity.ErrInvalid, func(l *identity.Login) { l.User = "a\nb" }},
		{"user", identity.ErrInvalid, func(l *identity.Login) { l.User = "a\u0085b" }},
		{"user", identity.ErrInvalid, func(l *identity.Login) { l.User = "a\xff" }},
		{"user", identity.ErrInvalid, func(l *identity.Login) { l.User = strings.Repeat("x", 257) }},
		{"identity", identity.ErrInvalid, func(l *identity.Login) { l.Identity = "nobody" }},
		{"identity", identity.ErrInvalid, func(l *identity.Login) { l.Identity = "off" }},
		{"owner", identity.ErrInvalid, func(l *identity.Login) { l.Owner = "jane@example.com" }},
		{"roles", identity.ErrInvalid, func(l *identity.Login) { l.Roles = []string{"b"} }},
		{"routes", identity.ErrInvalid, func(l *identity.Login) { l.Routes = []string{"nowhere"} }},
		{"networks", identity.ErrInvalid, func(l *identity.Login) { l.Networks = []string{"192.0.2.1/24"} }},
		{"networks", identity.ErrInvalid, func(l *identity.Login) { l.Networks = []string{"fe80::1%eth0"} }},
		{"password", identity.ErrInvalid, func(l *identity.Login) { l.Password = identity.PasswordHash{} }},
		{"sunset", identity.ErrInvalid, func(l *identity.Login) { l.Sunset = time.Time{} }},
		{"sunset", identity.ErrInvalid, func(l *identity.Login) { l.Sunset = time.Now().Add(-time.Second) }},
		{"sunset", identity.ErrInvalid, func(l *identity.Login) { l.Sunset = time.Now().Add(366 * 24 * time.Hour) }},
		{"close_on", identity.ErrInvalid, func(l *identity.Login) { l.CloseOn = l.Sunset.Add(time.Hour) }},
		{"warn_on", identity.ErrInvalid, func(l *identity.Login) { l.WarnOn, l.CloseOn = l.Sunset, l.Sunset.Add(-time.Hour) }},
		{"brownouts", identity.ErrInvalid, func(l *identity.Login) { l.BrownoutFrom = l.Sunset }},
		{"brownouts", identity.ErrInvalid, func(l *identity.Login) { l.Brownouts = []string{"Tue 10:00-09:00 UTC"} }},
		{"stage", identity.ErrInvalid, func(l *identity.Login) { l.Stage = "ajar" }},
	} {
		l := login("P2", "erp")
		tc.edit(&l)
		e := refuse(t, r, tc.code, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.AddLogin(ctx, l); return err })
		if e.Field != tc.field {
			t.Errorf("got field %q for %+v, want %q: %v", e.Field, l, tc.field, e)
		}
	}
}

func testStageIsRecordedOnce(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	one, two := openRegistry(t, db, sealer), openRegistry(t, db, sealer)
	withIdentity(t, one, "erp", "a")
	soon := login("P1", "erp")
	soon.WarnOn = time.Now().Add(20 * time.Millisecond)
	change(t, one, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.AddLogin(ctx, soon); return err })
	for time.Now().Before(soon.WarnOn) {
		time.Sleep(time.Until(soon.WarnOn))
	}
	steps := 0
	for _, r := range []*identity.Registry{one, two, one, two} {
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			before, now, err := tx.RecordStage(ctx, "P1", time.Minute)
			if before != now {
				steps++
				if before != identity.StageOpen || now != identity.StageWarned {
					t.Errorf("got a step from %s to %s", before, now)
				}
			}
			return err
		})
	}
	if steps != 1 {
		t.Errorf("the step was recorded %d times", steps)
	}
}

func testLoginBack(t *testing.T, db *database.DB) {
	r := openRegistry(t, db, newSealer(t))
	withIdentity(t, r, "erp", "a")
	now := time.Now()
	l := login("P1", "erp")
	l.WarnOn, l.BrownoutFrom, l.CloseOn = now.Add(-3*time.Hour), now.Add(-2*time.Hour), now.Add(time.Hour)
	l.Brownouts = []string{"Tue 10:00-10:15 Europe/Berlin"}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.AddLogin(ctx, l); return err })
	stage := func() identity.Stage { b, _ := r.Snapshot().Login("P1"); return b.Login.StageAt(time.Now()) }
	if got := stage(); got != identity.StageBrownout {
		t.Fatalf("got stage %s at first", got)
	}
	refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error {
		changed := l
		changed.Stage = identity.StageWarned
		_, err := tx.SetLogin(ctx, changed)
		return err
	})
	back := func(until time.Time) (got identity.Login) {
		change(t, r, func(ctx context.Context, tx *identity.Tx) (err error) {
			got, err = tx.BackLogin(ctx, "P1", until)
			return err
		})
		return got
	}
	if got := back(time.Time{}); got.StageAt(l.Sunset.Add(-time.Second)) != identity.StageWarned || !got.CloseOn.IsZero() || got.WarnOn.IsZero() {
		t.Errorf("a step back does not hold: %+v", got)
	}
	if got := back(now.Add(time.Hour)); got.StageAt(now) != identity.StageOpen || got.StageAt(now.Add(2*time.Hour)) != identity.StageWarned {
		t.Errorf("a step back does not end on its date: %+v", got)
	}
	refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.BackLogin(ctx, "P1", time.Time{})
		return err
	})
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.CloseLogin(ctx, "P1"); return err })
	if got := back(time.Time{}); got.StageAt(now) != identity.StageBrownout {
		t.Errorf("closed was taken back to %+v", got)
	}
}

func testLoginsOfRemovedIdentity(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	withIdentity(t, r, "erp", "a")
	withIdentity(t, r, "crm", "a")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddLogin(ctx, login("P1", "erp"))
		_, e2 := tx.AddLogin(ctx, login("P2", "erp"))
		_, e3 := tx.SetLogin(ctx, login("P2", "crm"))
		return errors.Join(e1, e2, e3)
	})
	refuse(t, r, identity.ErrInUse, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.RemoveIdentity(ctx, "erp", false)
		return err
	})
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.RemoveIdentity(ctx, "erp", true)
		return err
	})
	if _, ok := r.Snapshot().Login("P1"); ok {
		t.Error("the login of a removed identity is still there")
	}
	if _, ok := r.Snapshot().Login("P2"); !ok {
		t.Error("the login of another identity is gone")
	}
	wantSame(t, db, sealer, r)
}

func testLoginUses(t *testing.T, db *database.DB) {
	r := openRegistry(t, db, newSealer(t))
	withIdentity(t, r, "erp", "a")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddLogin(ctx, login("P1", "erp"))
		return err
	})
	at := time.Now().UTC().Truncate(time.Microsecond)
	for _, when := range []time.Time{at, at.Add(-time.Hour)} {
		if err := r.NoteLoginUses(t.Context(), map[string]time.Time{"P1": when, "gone": when}); err != nil {
			t.Fatal(err)
		}
	}
	uses, err := r.LoginUses(t.Context())
	if err != nil || len(uses) != 1 || !uses["P1"].Equal(at) {
		t.Errorf("got %v, %v", uses, err)
	}
}

func TestPasswordHash(t *testing.T) {
	for _, password := range []string{"secret", "pass:word", "pässwörd", strings.Repeat("x", identity.MaxPassword)} {
		h, err := identity.HashPassword(password)
		if err != nil || !h.Fits(password) || h.Fits(password+"x") || h.Fits("") || h.Stale() || h.Kind() != "argon2id" {
			t.Errorf("%q: %v", password, err)
		}
	}
	if h := anyHash(); h.Fits("Secret") {
		t.Error("another password fits")
	}
	umlaut, err := identity.HashPassword("pa\u0308ss")
	if err != nil || !umlaut.Fits("päss") {
		t.Errorf("a password fits only in the form in which it was given: %v", err)
	}
	for _, password := range []string{"", "a\x00b", "line\n", "\xff", strings.Repeat("x", identity.MaxPassword+1)} {
		if _, err := identity.HashPassword(password); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%q: got %v", password, err)
		}
	}
	if (identity.PasswordHash{}).Fits("") {
		t.Error("the zero hash fits the empty password")
	}
}

func TestImportedHash(t *testing.T) {
	made, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	h, err := identity.ParsePasswordHash("$2y" + string(made[3:])) // as htpasswd writes it
	if err != nil {
		t.Fatal(err)
	}
	if h.Kind() != "bcrypt" || !h.Stale() || !h.Fits("secret") || h.Fits("other") {
		t.Errorf("got %s, stale %v", h.Kind(), h.Stale())
	}
	for _, bad := range []string{
		"", "secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "$apr1$x$y", "$1$x$y", "$2y$13$" + strings.Repeat("a", 53), "$2y$04$short",
		"$argon2id$v=19$m=1048576,t=2,p=1$c2FsdHNhbHRzYWx0$a2V5a2V5a2V5a2V5a2V5", "$argon2id$v=19$m=1024,t=99,p=1$c2FsdHNhbHRzYWx0$a2V5a2V5a2V5a2V5a2V5",
		"$argon2id$v=19$m=1024,t=2,p=1$c2Fs$a2V5a2V5a2V5a2V5a2V5", "$argon2i$v=19$m=1024,t=2,p=1$c2FsdHNhbHRzYWx0$a2V5a2V5a2V5a2V5a2V5",
	} {
		var e *identity.Error
		if _, err := identity.ParsePasswordHash(bad); !errors.As(err, &e) || e.Hint == "" || bad != "" && strings.Contains(e.Error(), bad) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestStageFollowsFromTheClock(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2027, 3, n, 0, 0, 0, 0, time.UTC) }
	l := identity.Login{Stage: identity.StageOpen, WarnOn: day(5), BrownoutFrom: day(10), CloseOn: day(20), Sunset: day(25)}
	for n, want := range map[int]identity.Stage{4: "open", 5: "warned", 9: "warned", 10: "brownout", 20: "closed", 30: "closed"} {
		if got := l.StageAt(day(n)); got != want {
			t.Errorf("day %d: got %s, want %s", n, got, want)
		}
	}
	if next, ok := l.NextStep(day(7)); !ok || next != (identity.Step{Stage: identity.StageBrownout, At: day(10)}) {
		t.Errorf("got next step %v, %v", next, ok)
	}
	l.Stage = identity.StageObserve
	for n, want := range map[int]identity.Stage{4: "observe", 12: "observe", 20: "closed"} {
		if got := l.StageAt(day(n)); got != want {
			t.Errorf("observed, day %d: got %s, want %s", n, got, want)
		}
	}
	l.CloseOn = time.Time{}
	if got := l.StageAt(day(25)); got != identity.StageClosed {
		t.Errorf("at the sunset: got %s", got)
	}
	l = identity.Login{Stage: identity.StageOpen, StageRecorded: identity.StageWarned, WarnOn: day(5), Sunset: day(25)}
	if l.StageDue(day(5).Add(-time.Second), time.Minute) || !l.StageDue(day(4), time.Minute) {
		t.Error("a clock that is a little behind takes a step back, or one that is far behind does not")
	}
}

func TestWindow(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tc := range []struct {
		window, at string
		in         bool
		next       string // the beginning after at, "" for none
	}{
		{"Tue 10:00-10:15 Europe/Berlin", "2026-11-24T09:00:00Z", true, "2026-12-01T09:00:00Z"},
		{"Tue 10:00-10:15 Europe/Berlin", "2026-11-24T09:14:59Z", true, "2026-12-01T09:00:00Z"},
		{"Tue 10:00-10:15 Europe/Berlin", "2026-11-24T09:15:00Z", false, "2026-12-01T09:00:00Z"},
		{"Tue 10:00-10:15 Europe/Berlin", "2026-07-07T08:00:00Z", true, "2026-07-14T08:00:00Z"},
		{"Sat-Mon 23:50-24:00 Asia/Tokyo", "2026-11-23T14:55:00Z", true, "2026-11-28T14:50:00Z"},
		{"mon,wed 00:00-00:10 America/New_York", "2026-11-25T05:05:00Z", true, "2026-11-30T05:00:00Z"},
		{"daily 12:00-12:05 UTC", "2026-11-25T12:04:00Z", true, "2026-11-26T12:00:00Z"},
		{"2026-11-25 12:00-12:05 UTC", "2026-11-25T12:00:00Z", true, ""},
		{"2026-11-25 12:00-12:05 UTC", "2026-11-24T12:00:00Z", false, "2026-11-25T12:00:00Z"},
	} {
		w, err := identity.ParseWindow(tc.window)
		if err != nil {
			t.Errorf("%s: %v", tc.window, err)
			continue
		}
		if _, in := w.Contains(at(tc.at)); in != tc.in {
			t.Errorf("%s at %s: got %v", tc.window, tc.at, in)
		}
		next, ok := w.Next(at(tc.at))
		if ok != (tc.next != "") || ok && !next.Equal(at(tc.next)) {
			t.Errorf("%s after %s: got %v, %v, want %s", tc.window, tc.at, next, ok, tc.next)
		}
	}
	for _, bad := range []string{"", "Tue", "Tue 10:00-10:15", "Tue 10:00 UTC", "Tue 9:00-9:15 UTC", "Tue 10:15-10:00 UTC", "Tue 10:00-10:00 UTC", "Die 10:00-10:15 UTC",
		"Tue 10:00-15:00 UTC", "Tue 23:50-24:10 UTC", "Tue 10:00-10:15 Local", "Tue 10:00-10:15 Mars/Olympus", "2026-02-30 10:00-10:15 UTC", "Tue-Foo 10:00-10:15 UTC"} {
		if _, err := identity.ParseWindow(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
