package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// shared adds an identity with a credential, three routes and the login P1, which may use two of them.
func shared(t *testing.T, h *house) {
	t.Helper()
	hash, err := identity.HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	err = h.registry.Change(ctx, func(tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, identity.Tenant{Name: "acme", BaseURL: "https://acme.example.com", TokenURL: "https://acme.example.com/token", AuthStyle: "body"})
		errs := []error{e1}
		for _, name := range []string{"orders", "stock", "report"} {
			_, err := tx.AddRoute(ctx, identity.Route{Name: name, Host: "*", Path: "/" + name, Tenant: "acme", Role: name + ".use"})
			errs = append(errs, err)
		}
		_, e2 := tx.AddIdentity(ctx, identity.Identity{Name: "shared", Owner: "team-erp", Roles: []string{"orders.use", "stock.use"}})
		_, e3 := tx.AddCredential(ctx, identity.Credential{Identity: "shared", Tenant: "acme", ClientID: "sb-shared", Kind: identity.KindSecret, Secret: identity.NewSecret("very-secret")})
		_, e4 := tx.AddLogin(ctx, identity.Login{User: "P1", Identity: "shared", Password: hash, Stage: identity.StageOpen, Sunset: time.Now().Add(24 * time.Hour)})
		return errors.Join(append(errs, e2, e3, e4)...)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// saw counts requests and returns the caller that made them.
func saw(t *testing.T, h *house, source, agent string, routes ...string) usage.Caller {
	t.Helper()
	r, err := usage.Open(t.Context(), usage.Options{DB: h.db, Sealer: new(pkitest.Sealer)})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range routes {
		r.Observe(&usage.Observation{Kind: usage.Login, Subject: "P1", Source: netip.MustParseAddr(source), Fingerprint: "t13", Agent: agent, Route: route, Time: time.Now()}, new(usage.Memo))
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := h.client.Callers(t.Context(), "P1", "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(c usage.Caller) bool {
		return c.Agent == usage.NormalAgent(agent) && (c.Source == source || strings.HasPrefix(c.Source, "anon-"))
	})
	if i < 0 {
		t.Fatalf("no caller %s at %s in %+v", agent, source, list)
	}
	return list[i]
}

func TestAMoveGivesExactlyTheRolesOfTheRoutesThatWereUsed(t *testing.T) {
	h := build(t)
	shared(t, h)
	c := saw(t, h, "10.1.2.3", "curl/8", "orders", "report", "gone", "")
	saw(t, h, "10.1.2.3", "python-requests/2", "stock")
	if _, err := h.client.NameCaller(t.Context(), c.ID.String(), "HR batch, host a17"); err != nil {
		t.Fatal(err)
	}
	done, err := h.client.MoveCaller(t.Context(), c.ID.String(), admin.MoveRequest{Login: "P1", Identity: "hr-batch"})
	if err != nil {
		t.Fatal(err)
	}
	if !done.IdentityAdded || fmt.Sprint(done.Roles, done.Routes, done.Granted, done.MissingCredentials) != "[orders.use] [orders] [orders.use] [acme]" {
		t.Errorf("got %+v", done)
	}
	if done.Token == nil || done.Token.Token == "" || done.Move.Grace != identity.Duration(7*24*time.Hour) || done.Move.Looks[0].Source != "10.1.2.3" {
		t.Errorf("got %+v", done)
	}
	warnings := strings.Join(done.Warnings, "\n")
	for _, want := range []string{`route "report", which the login may not use`, `route "gone", which is no more`, "1 other callers come from 10.1.2.3"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("no warning of %q in %s", want, warnings)
		}
	}
	i, ok := h.registry.Snapshot().Identity("hr-batch")
	if !ok || fmt.Sprint(i.Roles) != "[orders.use]" || i.Owner != "team-erp" || i.Description != "HR batch, host a17" {
		t.Errorf("got %+v", i)
	}
	var actions []string
	for _, ch := range h.changes() {
		actions = append(actions, ch.Action)
		if strings.Contains(string(ch.Detail), "10.1.2.3") || strings.Contains(string(ch.Detail), done.Token.Token) {
			t.Errorf("change record holds an address or a token: %s", ch.Detail)
		}
	}
	if want := "caller.name identity.add enrolment_token.add move.add"; strings.Join(actions, " ") != want {
		t.Errorf("got records %v, want %s", actions, want)
	}
	_, err = h.client.MoveCaller(t.Context(), c.ID.String(), admin.MoveRequest{Identity: "hr-batch"})
	wantError(t, err, http.StatusConflict, "already", "migration undo")
	s, err := h.client.Migration(t.Context(), "P1", 0)
	if err != nil || s.Logins[0].Moving != 1 || s.Logins[0].Found != 2 {
		t.Errorf("got %+v, %v", s, err)
	}
	_, err = h.client.UndoMove(t.Context(), c.ID.String(), "P2")
	wantError(t, err, http.StatusNotFound, "not moved")
	if undone, err := h.client.UndoMove(t.Context(), c.ID.String(), "P1"); err != nil || undone.Identity != "hr-batch" {
		t.Errorf("got %+v, %v", undone, err)
	}
	if len(h.registry.Snapshot().Moves("P1")) != 0 {
		t.Error("still moved")
	}
	_, err = h.client.UndoMove(t.Context(), c.ID.String(), "")
	wantError(t, err, http.StatusNotFound, "not moved")
}

func TestAMoveToAnIdentityThatIsThere(t *testing.T) {
	h := build(t)
	shared(t, h)
	one, two := saw(t, h, "10.1.2.3", "curl/8", "orders"), saw(t, h, "10.1.2.4", "curl/8", "stock")
	zero := identity.Duration(0)
	done, err := h.client.MoveCaller(t.Context(), one.ID.String(), admin.MoveRequest{Identity: "hr-batch", Owner: "team-hr", CopyCredentials: true, NoToken: true, Grace: &zero})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(done.CopiedCredentials, done.MissingCredentials) != "[acme] []" || done.Token != nil || done.Move.Grace != 0 {
		t.Errorf("got %+v", done)
	}
	held := h.registry.Snapshot().Credentials("hr-batch", "acme")
	if len(held) != 1 || held[0].ClientID != "sb-shared" || held[0].Secret.Reveal() != "very-secret" {
		t.Errorf("got credentials %+v", held)
	}
	done, err = h.client.MoveCaller(t.Context(), two.ID.String(), admin.MoveRequest{Identity: "hr-batch"})
	if err != nil || done.IdentityAdded || fmt.Sprint(done.Granted) != "[stock.use]" || !strings.Contains(strings.Join(done.Warnings, ""), `role "orders.use" besides`) {
		t.Errorf("got %+v, %v", done, err)
	}
	if i, _ := h.registry.Snapshot().Identity("hr-batch"); fmt.Sprint(i.Roles) != "[orders.use stock.use]" || i.Owner != "team-hr" {
		t.Errorf("got %+v", i)
	}
	for _, ch := range h.changes() {
		if strings.Contains(string(ch.Detail), "very-secret") {
			t.Errorf("a secret is on record: %s", ch.Detail)
		}
	}
}

func TestAMoveIsRefusedAsAWhole(t *testing.T) {
	h := build(t)
	shared(t, h)
	c := saw(t, h, "10.1.2.3", "curl/8", "orders")
	if _, err := h.client.AddIdentity(t.Context(), identity.Identity{Name: "off", Owner: "team"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.DisableIdentity(t.Context(), "off"); err != nil {
		t.Fatal(err)
	}
	long := identity.Duration(1000 * time.Hour * 24)
	before := len(h.changes())
	for name, tc := range map[string]struct {
		caller string
		q      admin.MoveRequest
		status int
		text   string
	}{
		"no identity":          {c.ID.String(), admin.MoveRequest{}, 422, "missing"},
		"a person":             {c.ID.String(), admin.MoveRequest{Identity: "anna@example.com"}, 422, "no person"},
		"a disabled identity":  {c.ID.String(), admin.MoveRequest{Identity: "off"}, 409, "disabled"},
		"another owner":        {c.ID.String(), admin.MoveRequest{Identity: "shared", Owner: "team-x"}, 422, "owner"},
		"another login":        {c.ID.String(), admin.MoveRequest{Identity: "new", Login: "P2"}, 422, "uses login"},
		"nobody":               {"aaaaaaaaaaaab", admin.MoveRequest{Identity: "new"}, 404, "caller"},
		"no id":                {"x", admin.MoveRequest{Identity: "new"}, 404, "does not exist"},
		"a grace of years":     {c.ID.String(), admin.MoveRequest{Identity: "new", Grace: &long}, 422, "90 days"},
		"no address":           {c.ID.String(), admin.MoveRequest{Identity: "new", Addresses: []string{"x"}}, 422, "not an address"},
		"a token for a decade": {c.ID.String(), admin.MoveRequest{Identity: "new", Token: admin.EnrolmentTokenRequest{Valid: long}}, 422, "life"},
	} {
		_, err := h.client.MoveCaller(t.Context(), tc.caller, tc.q)
		if e := wantError(t, err, tc.status); e != nil && !strings.Contains(e.Detail+e.Hint, tc.text) {
			t.Errorf("%s: got %s (%s), want %s", name, e.Detail, e.Hint, tc.text)
		}
	}
	if _, ok := h.registry.Snapshot().Identity("new"); ok || len(h.changes()) != before {
		t.Error("a refused move has changed something")
	}
}

func TestACallerUnderAPseudonymMovesWithItsAddress(t *testing.T) {
	h := build(t)
	shared(t, h)
	c := saw(t, h, "10.1.2.3", "curl/8", "orders")
	done, err := h.client.Pseudonymise(t.Context(), admin.PseudonymiseRequest{})
	if err != nil || !done.Pseudonymous || done.Rewritten != 1 {
		t.Fatalf("got %+v, %v", done, err)
	}
	_, err = h.client.MoveCaller(t.Context(), c.ID.String(), admin.MoveRequest{Identity: "hr"})
	wantError(t, err, 422, "pseudonym")
	_, err = h.client.MoveCaller(t.Context(), c.ID.String(), admin.MoveRequest{Identity: "hr", Addresses: []string{"10.1.2.4"}})
	wantError(t, err, 422, "pseudonym")
	moved, err := h.client.MoveCaller(t.Context(), c.ID.String(), admin.MoveRequest{Identity: "hr", Addresses: []string{"10.1.2.3"}})
	if err != nil || moved.Move.Looks[0].Source != "10.1.2.3" {
		t.Errorf("got %+v, %v", moved, err)
	}
	if s, err := h.client.Migration(t.Context(), "P1", 0); err != nil || !strings.HasPrefix(s.Logins[0].Callers[0].Source, "anon-") {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestThePageIsForBrowsersAndRunsNothing(t *testing.T) {
	h := build(t)
	shared(t, h)
	saw(t, h, "10.1.2.3", `<script>alert(1)</script>`, "orders")
	resp, err := h.client.HTTP.Get(h.client.Base + "/v1/migration/page?login=P1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	policy := resp.Header.Get("Content-Security-Policy")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") ||
		!strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(string(page), "<script") || !strings.Contains(string(page), "&lt;script") {
		t.Errorf("got %d, %v, %s", resp.StatusCode, resp.Header, page)
	}
	for _, query := range []string{"?login=P9", "?identity=nobody", "?login=P1&identity=shared", "?since=today"} {
		if status, _ := h.send("GET", "/v1/callers"+query, ""); status < 400 || status >= 500 {
			t.Errorf("%s: %d", query, status)
		}
	}
	for _, query := range []string{"login=P9", "silent=x", "silent=-1h", "who=P1"} {
		if status, _ := h.send("GET", "/v1/migration?"+query, ""); status < 400 || status >= 500 {
			t.Errorf("%s: %d", query, status)
		}
	}
}

func TestUsageIsForgottenOnlyWhenSomethingSaysWhat(t *testing.T) {
	h := build(t)
	shared(t, h)
	c := saw(t, h, "10.1.2.3", "curl/8", "orders")
	saw(t, h, "10.1.2.4", "curl/8", "orders")
	for _, q := range []admin.ForgetRequest{{}, {Before: "yesterday"}, {Login: "P1", Identity: "x"}} {
		_, err := h.client.ForgetUsage(t.Context(), q)
		wantError(t, err, 422)
	}
	for _, step := range []struct {
		q    admin.ForgetRequest
		gone int
	}{{admin.ForgetRequest{Caller: c.ID}, 1}, {admin.ForgetRequest{Login: "P9"}, 0}, {admin.ForgetRequest{All: true}, 1}} {
		if done, err := h.client.ForgetUsage(context.WithoutCancel(t.Context()), step.q); err != nil || done.Callers != step.gone {
			t.Errorf("%+v: %+v, %v", step.q, done, err)
		}
	}
	if list := h.changes(); list[len(list)-1].Action != "usage.forget" {
		t.Errorf("got %+v", list[len(list)-1])
	}
}
