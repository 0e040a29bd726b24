package admin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// withHR is a house with an identity hr.
func withHR(t *testing.T) *house {
	t.Helper()
	h := build(t)
	if _, err := h.client.AddIdentity(t.Context(), identity.Identity{Name: "hr", Owner: "Team HR", Roles: []string{"flows.call"}}); err != nil {
		t.Fatal(err)
	}
	return h
}

func loginRequest(user string) admin.LoginRequest {
	return admin.LoginRequest{Login: identity.Login{User: user, Identity: "hr", Sunset: time.Now().Add(24 * time.Hour)}, Password: "s3cret"}
}

func refused(t *testing.T, err error, status int, field string) {
	t.Helper()
	e, ok := errors.AsType[*admin.APIError](err)
	if !ok || e.Status != status || e.Field != field {
		t.Errorf("got %v, want status %d and field %q", err, status, field)
	}
}

func TestLoginsFromAddToRemove(t *testing.T) {
	h := withHR(t)
	ctx := t.Context()
	for _, user := range []string{"P1", "jane.doe@example.com", "a/b?c#d %2F", "..", "Jürgen"} {
		l, err := h.client.AddLogin(ctx, loginRequest(user))
		if err != nil || l.User != user || l.CurrentStage != identity.StageOpen || l.Hash != "argon2id" || l.Team != "Team HR" {
			t.Fatalf("%q: got %+v, %v", user, l, err)
		}
		if got, err := h.client.Login(ctx, user); err != nil || got.User != user {
			t.Errorf("%q: got %+v, %v", user, got, err)
		}
	}
	if all, err := h.client.Logins(ctx, "hr", identity.StageOpen); err != nil || len(all) != 5 {
		t.Errorf("got %d logins, %v", len(all), err)
	}
	if none, err := h.client.Logins(ctx, "", identity.StageClosed); err != nil || len(none) != 0 {
		t.Errorf("got %d closed logins, %v", len(none), err)
	}
	changed, err := h.client.SetLogin(ctx, "P1", map[string]any{"description": "HR batch", "password": "another", "warn_on": time.Now().Add(-time.Hour)})
	if err != nil || changed.Description != "HR batch" || changed.CurrentStage != identity.StageWarned {
		t.Fatalf("got %+v, %v", changed, err)
	}
	b, _ := h.registry.Snapshot().Login("P1")
	if !b.Login.Password.Fits("another") || b.Login.Password.Fits("s3cret") {
		t.Error("the password was not changed")
	}
	if _, err := h.client.SetLogin(ctx, "P1", map[string]any{"description": ""}); err != nil {
		t.Error(err)
	}
	if b, _ := h.registry.Snapshot().Login("P1"); !b.Login.Password.Fits("another") {
		t.Error("the password was lost by another change")
	}
	if l, err := h.client.CloseLogin(ctx, "P1"); err != nil || l.CurrentStage != identity.StageClosed {
		t.Errorf("got %+v, %v", l, err)
	}
	if l, err := h.client.BackLogin(ctx, "P1", time.Time{}); err != nil || l.CurrentStage != identity.StageWarned {
		t.Errorf("got %+v, %v", l, err)
	}
	if l, err := h.client.ObserveLogin(ctx, "Jürgen"); err != nil || l.CurrentStage != identity.StageObserve {
		t.Errorf("got %+v, %v", l, err)
	}
	if err := h.client.RemoveLogin(ctx, ".."); err != nil {
		t.Error(err)
	}
	_, err = h.client.Login(ctx, "..")
	refused(t, err, 404, "")

	if err := h.client.RemoveIdentity(ctx, "hr", true); err != nil {
		t.Error(err)
	}
	changes, err := h.client.Changes(ctx, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(changes)
	for _, action := range []string{"login.add", "login.set", "login.close", "login.back", "login.observe", "login.remove", `"logins":["Jürgen","P1","a/b?c#d %2F","jane.doe@example.com"]`} {
		if !bytes.Contains(text, []byte(action)) {
			t.Errorf("no record of %s", action)
		}
	}
	for _, secret := range []string{"s3cret", "another", "argon2id$"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("a record holds %q", secret)
		}
	}
}

func TestLoginRefusalsNameTheField(t *testing.T) {
	h := withHR(t)
	for _, tc := range []struct {
		field  string
		status int
		edit   func(r *admin.LoginRequest)
	}{
		{"password", 422, func(r *admin.LoginRequest) { r.Password = "" }},
		{"password", 422, func(r *admin.LoginRequest) { r.Password = strings.Repeat("x", 1025) }},
		{"password_hash", 422, func(r *admin.LoginRequest) { r.PasswordHash = "x" }},
		{"password", 422, func(r *admin.LoginRequest) { r.Password, r.PasswordHash = "", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=" }},
		{"user", 422, func(r *admin.LoginRequest) { r.User = "a:b" }},
		{"sunset", 422, func(r *admin.LoginRequest) { r.Sunset = time.Now().Add(-time.Hour) }},
		{"identity", 422, func(r *admin.LoginRequest) { r.Identity = "nobody" }},
	} {
		r := loginRequest("P1")
		tc.edit(&r)
		_, err := h.client.AddLogin(t.Context(), r)
		refused(t, err, tc.status, tc.field)
	}
	if _, err := h.client.AddLogin(t.Context(), loginRequest("P1")); err != nil {
		t.Fatal(err)
	}
	_, err := h.client.SetLogin(t.Context(), "P1", map[string]any{"user": "P2"})
	refused(t, err, 422, "user")
	_, err = h.client.SetLogin(t.Context(), "P1", map[string]any{"sunset": nil})
	refused(t, err, 422, "sunset")
	_, err = h.client.SetLogin(t.Context(), "P1", map[string]any{"current_stage": "closed"})
	refused(t, err, 400, "current_stage")
}

func TestAnImportIsAllOrNothing(t *testing.T) {
	h := withHR(t)
	hash, err := identity.HashPassword("s3cret")
	if err != nil {
		t.Fatal(err)
	}
	row := func(line int, user string) admin.ImportedLogin {
		r := loginRequest(user)
		r.Password, r.PasswordHash = "", hash.Reveal()
		return admin.ImportedLogin{LoginRequest: r, Line: line}
	}
	bad := row(3, "P2")
	bad.Identity = "nobody"
	plain := row(4, "P3")
	plain.Password = "s3cret"
	result, err := h.client.ImportLogins(t.Context(), admin.LoginImport{Logins: []admin.ImportedLogin{row(1, "P1"), row(2, "P1"), bad, plain}})
	if err != nil || len(result.Added) != 0 || len(result.Problems) != 3 {
		t.Fatalf("got %+v, %v", result, err)
	}
	for i, want := range []admin.LoginProblem{{Line: 2, User: "P1", Field: "user"}, {Line: 3, User: "P2", Field: "identity"}, {Line: 4, User: "P3", Field: "password"}} {
		if got := result.Problems[i]; got.Line != want.Line || got.User != want.User || got.Field != want.Field || got.Detail == "" || got.Hint == "" {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	good := []admin.ImportedLogin{row(1, "P1"), row(2, "P2")}
	if result, err = h.client.ImportLogins(t.Context(), admin.LoginImport{DryRun: true, Logins: good}); err != nil || len(result.Added) != 2 {
		t.Errorf("got %+v, %v", result, err)
	}
	if n := h.registry.Snapshot().LoginCount(); n != 0 {
		t.Fatalf("%d logins are there", n)
	}
	if result, err = h.client.ImportLogins(t.Context(), admin.LoginImport{Logins: good}); err != nil || len(result.Added) != 2 || h.registry.Snapshot().LoginCount() != 2 {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestLoginPolicyAndFindings(t *testing.T) {
	h := withHR(t)
	ctx := t.Context()
	p, err := h.client.SetLoginPolicy(ctx, map[string]any{"max_sunset": "48h", "contact": "Team Integration"})
	if err != nil || time.Duration(p.MaxSunset) != 48*time.Hour || p.Realm != "tenantgate" {
		t.Errorf("got %+v, %v", p, err)
	}
	_, err = h.client.SetLoginPolicy(ctx, map[string]any{"guide": "http://example.com/<x>"})
	refused(t, err, 422, "guide")
	r := loginRequest("P1")
	r.Sunset = time.Now().Add(72 * time.Hour)
	_, err = h.client.AddLogin(ctx, r)
	refused(t, err, 422, "sunset")
	if _, err := h.client.AddLogin(ctx, loginRequest("P1")); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	for range 2 {
		err = h.registry.NoteLoginFindings(ctx, []identity.Finding{
			{User: "P1", Route: "flows", Would: "served", Count: 2, First: now, Last: now}, {User: "gone", Route: "flows", Would: "served", Count: 1, First: now, Last: now},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	found, err := h.client.LoginFindings(ctx, "P1")
	if err != nil || len(found) != 1 || found[0].Count != 4 || !found[0].First.Equal(now) {
		t.Errorf("got %+v, %v", found, err)
	}
	if _, err := h.client.ObserveLogin(ctx, "P1"); err != nil {
		t.Fatal(err)
	}
	if found, err = h.client.LoginFindings(ctx, "P1"); err != nil || len(found) != 0 {
		t.Errorf("observed anew: got %+v, %v", found, err)
	}
}
