package identity_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

func TestWindows(t *testing.T) {
	for _, tt := range []struct{ window, at, zone string }{ // at: + open, - closed
		{"Mon-Fri 06:00-20:00 Europe/Berlin", "-2026-06-01 05:59 +2026-06-01 06:00 +2026-06-05 19:59 -2026-06-05 20:00 -2026-06-06 12:00", "Europe/Berlin"},
		{"Mon-Fri 06:00-20:00 Europe/Berlin", "+2026-01-05 05:00 -2026-01-05 04:59 +2026-07-06 04:00", "UTC"},
		{"daily 22:00-04:00", "+2026-06-01 22:00 +2026-06-02 03:59 -2026-06-02 04:00 -2026-06-02 21:59", "UTC"},
		{"Fri 22:00-04:00 UTC", "+2026-06-05 23:00 +2026-06-06 03:00 -2026-06-05 03:00 -2026-06-06 22:00", "UTC"},
		{"Sat-Mon 00:00-24:00 UTC", "+2026-06-06 00:00 +2026-06-07 12:00 +2026-06-08 23:59 -2026-06-09 00:00", "UTC"},
		{"Sun 01:00-04:00 Europe/Berlin", "+2026-03-29 01:59 +2026-03-29 03:00", "Europe/Berlin"}, // there is no 02:30
	} {
		w, err := identity.ParseWindow(tt.window)
		if err != nil {
			t.Fatal(err)
		}
		zone, err := time.LoadLocation(tt.zone)
		if err != nil {
			t.Fatal(err)
		}
		for rest := tt.at; len(rest) >= 17; rest = rest[min(len(rest), 18):] {
			at, err := time.ParseInLocation("2006-01-02 15:04", rest[1:17], zone)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := w.Contains(at), rest[0] == '+'; got != want {
				t.Errorf("%s at %v: %v", tt.window, at, got)
			}
		}
	}
	if new(identity.Window).Contains(time.Now()) {
		t.Error("the zero window is open")
	}
}

func TestWindowsHaveOneForm(t *testing.T) {
	for in, want := range map[string]string{
		"Mon,Tue,Wed,Thu,Fri 06:00-20:00 Europe/Berlin": "Mon-Fri 06:00-20:00 Europe/Berlin",
		"Mon-Sun 00:00-24:00":                           "daily 00:00-24:00 UTC",
		"Sat-Mon,Wed  22:00-04:00  UTC":                 "Mon,Wed,Sat,Sun 22:00-04:00 UTC",
	} {
		w, err := identity.ParseWindow(in)
		if err != nil || w.String() != want {
			t.Errorf("%s: %q, %v", in, w.String(), err)
		}
	}
	for _, bad := range []string{"", "Mon", "Mon-Fri 6:00-20:00", "Mon-Fri 06:00", "Mon-Fri 06:00-06:00", "Mon-Fri 24:00-06:00",
		"Mon-Fri 06:00-25:00", "Mon-Fri 06:60-07:00",
		"Mon- 06:00-20:00", "Mon-Fri 06:00-20:00 Mars/Olympus", "Mon-Fri 06:00-20:00 Local", "Mon-Fri 06:00-20:00 ../../etc/passwd", "Mon-Fri +6:00-20:00 UTC", "Mon-Fri 06:00-20:00 UTC x"} {
		if w, err := identity.ParseWindow(bad); err == nil {
			t.Errorf("%q is taken for %q", bad, w)
		}
	}
}

func TestPoliciesAreStoredAndAsked(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		db, err := database.Open(t.Context(), create(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		if err := database.Migrate(t.Context(), db, "identity", identity.Migrations()); err != nil {
			t.Fatal(err)
		}
		s := newSealer(t)
		r := openRegistry(t, db, s)
		err = r.Change(t.Context(), func(tx *identity.Tx) error {
			_, err := tx.AddIdentity(t.Context(), identity.Identity{Name: "erp", Owner: "team", CertificatesOnly: true, MaxBody: 1 << 20,
				DailyRequests: 10, DailyOctets: 1 << 40,
				CallingWindows: []string{"Sat,Sun 00:00-24:00", "Mon,Tue,Wed,Thu,Fri 06:00-20:00 Europe/Berlin"}, Networks: []string{"2001:db8::/32",
					"10.1.0.0/16", "192.0.2.7"}})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for what, registry := range map[string]*identity.Registry{"the same": r, "another": openRegistry(t, db, s)} {
			i, _ := registry.Snapshot().Identity("erp")
			if !i.CertificatesOnly || i.MaxBody != 1<<20 || i.DailyRequests != 10 || i.DailyOctets != 1<<40 || !i.HasDailyQuota() || len(i.CallingWindows) != 2 || len(i.Networks) != 3 {
				t.Errorf("%s: %+v", what, i)
			}
			p := i.CallPolicy()
			for address, want := range map[string]bool{"10.1.2.3": true, "10.2.0.1": false, "192.0.2.7": true, "192.0.2.8": false,
				"::ffff:10.1.2.3": true, "2001:db8::1%eth0": true, "::1": false} {
				if got := p.AllowsFrom(netip.MustParseAddr(address)); got != want {
					t.Errorf("%s: from %s: %v", what, address, got)
				}
			}
			if p.AllowsFrom(netip.Addr{}) {
				t.Errorf("%s: an address that is not known is allowed", what)
			}
			night := time.Date(2026, 6, 1, 22, 30, 0, 0, time.UTC) // Monday, after midnight in Berlin
			if p.OpenAt(night) {
				t.Errorf("%s: open at night", what)
			}
			if got, want := p.NextOpening(night), time.Date(2026, 6, 2, 4, 0, 0, 0, time.UTC); !got.Equal(want) {
				t.Errorf("%s: opens at %v, want %v", what, got, want)
			}
		}
		if i := (&identity.Identity{}); i.CallPolicy() != nil || i.HasDailyQuota() {
			t.Error("an identity without policies has one")
		}
	})
}

func TestDailyUseOfAllNodesIsAddedUp(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		db, err := database.Open(t.Context(), create(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		if err := database.Migrate(t.Context(), db, "identity", identity.Migrations()); err != nil {
			t.Fatal(err)
		}
		s := newSealer(t)
		one, two := openRegistry(t, db, s), openRegistry(t, db, s)
		add := func(r *identity.Registry, day int64, spent ...identity.DailyUse) []identity.DailyUse {
			t.Helper()
			totals, err := r.SpendDaily(t.Context(), day, spent)
			if err != nil {
				t.Fatal(err)
			}
			return totals
		}
		add(one, 100, identity.DailyUse{Identity: "erp", Requests: 3, Octets: 10}, identity.DailyUse{Identity: "crm", Requests: 1})
		got := add(two, 100, identity.DailyUse{Identity: "erp", Requests: 4, Octets: 5}, identity.DailyUse{Identity: "crm"})
		if got[0] != (identity.DailyUse{Identity: "erp", Requests: 7, Octets: 15}) || got[1] != (identity.DailyUse{Identity: "crm", Requests: 1}) {
			t.Errorf("totals %+v", got)
		}
		if got := add(one, 101, identity.DailyUse{Identity: "erp", Requests: 1}); got[0].Requests != 1 {
			t.Errorf("a new day begins with %+v", got)
		}
		add(one, 200)
		if list, err := one.DailyUse(t.Context(), 100); err != nil || len(list) != 0 {
			t.Errorf("kept for ever: %+v, %v", list, err)
		}
	})
	if identity.Day(time.Unix(-1, 0)) != -1 || identity.Day(time.Unix(0, 0)) != 0 || !identity.EndOfDay(0).Equal(time.Unix(86400, 0)) {
		t.Error("days begin at midnight")
	}
}

func BenchmarkPolicy(b *testing.B) {
	i := identity.Identity{Name: "erp", Owner: "team", CallingWindows: []string{"Mon-Fri 06:00-20:00 Europe/Berlin", "Sat,Sun 00:00-24:00 UTC"},
		Networks: []string{"10.1.0.0/16", "192.0.2.0/24"}}
	p := identity.PolicyOf(&i)
	at, from := time.Date(2026, 6, 6, 12, 0, 0, 0, time.UTC), netip.MustParseAddr("192.0.2.9")
	b.ReportAllocs()
	for b.Loop() {
		if !p.OpenAt(at) || !p.AllowsFrom(from) {
			b.Fatal("refused")
		}
	}
}
