package migration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/migration"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// house is a registry with the login P2001 of the identity shared.
func house(t *testing.T) *identity.Registry {
	t.Helper()
	db, err := database.Open(t.Context(), databasetest.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := database.Migrate(t.Context(), db, "identity", identity.Migrations()); err != nil {
		t.Fatal(err)
	}
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := identity.Open(t.Context(), db.DB, sealer)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := identity.HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	err = r.Change(t.Context(), func(tx *identity.Tx) error {
		ctx := t.Context()
		_, e1 := tx.AddIdentity(ctx, identity.Identity{Name: "shared", Owner: "team-erp"})
		_, e2 := tx.AddIdentity(ctx, identity.Identity{Name: "hr-batch", Owner: "team-hr"})
		_, e3 := tx.AddLogin(ctx, identity.Login{User: "P2001 <b>", Identity: "shared", Password: hash, Stage: identity.StageOpen, Sunset: time.Now().Add(60 * 24 * time.Hour)})
		return errors.Join(e1, e2, e3)
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// caller was last seen some days ago, and on each of so many days before.
func caller(id usage.ID, name, source string, lastSeen, days int) usage.Caller {
	now := time.Now().UTC()
	c := usage.Caller{ID: id, Kind: usage.Login, Subject: "P2001 <b>", Name: name, Source: source, Fingerprint: "t13", Agent: "curl",
		LastSeen: now.AddDate(0, 0, -lastSeen), FirstSeen: now.AddDate(0, 0, -lastSeen-days+1),
		Routes: []usage.RouteUse{{Route: "orders", Requests: int64(7 * days)}}}
	for d := days - 1; d >= 0; d-- {
		c.Days = append(c.Days, usage.DayUse{Day: now.AddDate(0, 0, -lastSeen-d).Format(time.DateOnly), Requests: 7})
	}
	return c
}

func moveTo(t *testing.T, r *identity.Registry, c usage.Caller, to string, seen time.Time, grace ...time.Duration) {
	t.Helper()
	err := r.Change(t.Context(), func(tx *identity.Tx) error {
		ctx := context.WithoutCancel(t.Context())
		m := identity.Move{Login: c.Subject, Caller: c.ID.String(), Identity: to, Looks: []identity.Look{{Source: c.Source, Fingerprint: c.Fingerprint, Agent: c.Agent}}}
		for _, g := range grace {
			m.Grace = identity.Duration(g)
		}
		_, err := tx.AddMove(ctx, m)
		if err == nil && !seen.IsZero() {
			_, _, err = tx.SeeMove(ctx, c.Subject, c.ID.String(), c.Source, seen)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// status has a caller in each state.
func status(t *testing.T) migration.Status {
	r := house(t)
	now := time.Now()
	idle, moved, both, moving, silent := caller(1, "", "10.0.0.1", 0, 10), caller(2, "HR batch", "10.0.0.2", 5, 10), caller(3, "both", "10.0.0.3", 0, 10),
		caller(4, "moving", "10.0.0.4", 0, 2), caller(5, "<script>alert(1)</script>", "10.0.0.1", 30, 3)
	moveTo(t, r, moved, "hr-batch", now.AddDate(0, 0, -4))
	moveTo(t, r, both, "hr-batch", now.AddDate(0, 0, -4), 5*24*time.Hour)
	moveTo(t, r, moving, "hr-batch", time.Time{})
	idle.Agent = `"><img src=x onerror=alert(1)>`
	return migration.Compute(migration.Facts{Now: now, Registry: r.Snapshot(), Callers: []usage.Caller{idle, moved, both, moving, silent}})
}

// A system of two hosts has moved when both have: one that goes on with the password would be refused with it.
func TestACallerWithPartsHasMovedWhenAllHave(t *testing.T) {
	r := house(t)
	now := time.Now()
	c := caller(1, "cluster", "10.0.0.1", 0, 10)
	c.Own = now.Add(time.Minute)
	c.Parts = []usage.Part{{ID: 2, Source: "10.0.0.2", Fingerprint: "t13", Agent: "curl", FirstSeen: c.FirstSeen, LastSeen: now.AddDate(0, 0, -1)}}
	err := r.Change(t.Context(), func(tx *identity.Tx) error {
		m := identity.Move{Login: c.Subject, Caller: c.ID.String(), Identity: "hr-batch"}
		for _, source := range c.Sources() {
			m.Looks = append(m.Looks, identity.Look{Source: source, Fingerprint: "t13", Agent: "curl"})
		}
		_, e1 := tx.AddMove(t.Context(), m)
		_, _, e2 := tx.SeeMove(t.Context(), c.Subject, c.ID.String(), "10.0.0.2", now)
		return errors.Join(e1, e2)
	})
	if err != nil {
		t.Fatal(err)
	}
	l := migration.Compute(migration.Facts{Now: now.Add(time.Hour), Registry: r.Snapshot(), Callers: []usage.Caller{c}}).Logins[0]
	if l.Callers[0].State != migration.Moving || len(l.Breaks) != 1 {
		t.Errorf("one host still sends the password: got %s, %d would break", l.Callers[0].State, len(l.Breaks))
	}
	c.Own = now.AddDate(0, 0, -1)
	l = migration.Compute(migration.Facts{Now: now.Add(time.Hour), Registry: r.Snapshot(), Callers: []usage.Caller{c}}).Logins[0]
	if l.Callers[0].State != migration.Moved {
		t.Errorf("got %s", l.Callers[0].State)
	}
}

func TestStatusCountsEachCallerOnce(t *testing.T) {
	s := status(t)
	if len(s.Logins) != 1 {
		t.Fatalf("got %d logins", len(s.Logins))
	}
	l := s.Logins[0]
	got := fmt.Sprint(l.Found, l.Moved, l.Both, l.Moving, l.Password, l.Silent, l.OnPassword)
	if got != "5 1 1 1 1 1 3" {
		t.Errorf("got %s", got)
	}
	// What has its certificate does not break, and what is silent is not known to.
	if len(l.Breaks) != 2 || l.Breaks[0].Caller != 1 || l.Breaks[1].Caller != 4 || l.Breaks[0].Routes[0] != "orders" || l.Breaks[0].Daily != 7 {
		t.Errorf("breaks %+v", l.Breaks)
	}
	if first := l.Callers[0]; first.Neighbours != 1 {
		t.Errorf("%s has %d neighbours, want the one at its address", first.Label(), first.Neighbours)
	}
	last := l.BurnDown[len(l.BurnDown)-1]
	if last.Left != 3 || last.Active != 3 || last.Requests != 21 {
		t.Errorf("today: %+v", last)
	}
	if at := l.BurnDown[len(l.BurnDown)-6]; at.Left != 4 {
		t.Errorf("before the moves: %+v", at)
	}
}

func TestPlanBeginsWithWhatBreaksFirst(t *testing.T) {
	p := status(t).Plan()
	var about []string
	for n, s := range p.Steps {
		if s.Number != n+1 || len(s.Commands) == 0 || s.Who != "team-erp" || s.Why == "" {
			t.Errorf("step %+v", s)
		}
		about = append(about, s.About)
	}
	if want := `both|moving|"><img src=x onerror=alert(1)> at 10.0.0.1|<script>alert(1)</script>|`; strings.Join(about, "|") != want {
		t.Errorf("order %s, want %s", strings.Join(about, "|"), want)
	}
	text, _ := json.Marshal(p)
	for _, want := range []string{`migration move 'P2001 \u003cb\u003e' `, "login schedule"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestPageIsTextWhateverCallersSend(t *testing.T) {
	page, err := status(t).Page()
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, bad := range []string{"<img", "<script", "P2001 <b>", "ZgotmplZ", "http://", "https://", " style="} {
		if strings.Contains(text, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if !strings.Contains(text, "&lt;script&gt;alert(1)&lt;/script&gt;") || !strings.Contains(text, "onerror=alert(1)&gt;") {
		t.Error("what the callers sent is not shown as text")
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(text)
	if style == nil || !strings.Contains(migration.PagePolicy, migration.StyleHash(style[1])) {
		t.Error("the style is not the one that the policy allows")
	}
	if !strings.Contains(text, "<svg") || !strings.Contains(text, `class="ideal"`) {
		t.Error("no burn-down")
	}
	empty, err := migration.Status{}.Page()
	if err != nil || !strings.Contains(string(empty), "There is no login") {
		t.Errorf("an empty page: %v", err)
	}
}
