package admin_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/check"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
	"github.com/tenantgate/tenantgate/proxy/token"
)

const checkedSecret = "s3cret+/=$"

// simulated furnishes the house with tenant "acme" at a simulated one, and with identities erp and crm that have a credential each; returns their ids.
func (h *house) simulated() (sim *tenantsim.Sim, erp, crm string) {
	h.t.Helper()
	sim, err := tenantsim.New(tenantsim.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = sim.Close() })
	sim.AddClient(tenantsim.Client{ID: "sb-erp", Secret: checkedSecret})
	sim.AddClient(tenantsim.Client{ID: "sb-crm", Secret: checkedSecret})
	h.furnish()
	ctx := h.t.Context()
	if _, err := h.client.SetTenant(ctx, "acme", map[string]any{"base_url": sim.BaseURL(), "token_url": sim.TokenURL(),
		"ca_bundle": string(sim.CAPEM())}); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.client.AddIdentity(ctx, identity.Identity{Name: "crm", Owner: "team-crm"}); err != nil {
		h.t.Fatal(err)
	}
	add := func(name string) string {
		stored, err := h.client.AddCredential(ctx, name, admin.CredentialRequest{Tenant: "acme", Kind: identity.KindSecret, ClientID: "sb-" + name,
			Secret: checkedSecret})
		if err != nil {
			h.t.Fatal(err)
		}
		return stored.ID
	}
	return sim, add("erp"), add("crm")
}

// way reaches a tenant as the data plane would, directly.
func way(t *identity.Tenant, c *identity.Credential, route *identity.Route) (check.Way, error) {
	base, err := url.Parse(t.BaseURL)
	if err != nil {
		return check.Way{}, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(t.CABundle)) {
		return check.Way{}, errors.New("no CA")
	}
	scope := ""
	if route != nil {
		scope = route.Scope
	}
	w := check.Way{Address: base.Host, Dial: (&net.Dialer{}).DialContext, TLS: &tls.Config{RootCAs: roots, ServerName: base.Hostname(),
		MinVersion: tls.VersionTLS12}}
	if c != nil {
		w.Credential = token.Credential{ID: c.ID, TokenURL: t.TokenURL, Style: token.Style(t.AuthStyle), ClientID: c.ClientID, Scope: scope,
			Secret: token.NewSecret(c.Secret.Reveal()), RootCAs: roots}
	}
	return w, nil
}

func TestACheckTriesEachCredentialOnceAndIsRecorded(t *testing.T) {
	h := build(t)
	sim, erp, crm := h.simulated()
	before := len(h.changes())
	report, err := h.client.CheckTenant(t.Context(), "acme", admin.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if report.State != check.OK || len(report.Credentials) != 2 || report.Credentials[0].ID != crm || report.Credentials[1].ID != erp || len(report.Steps) == 0 {
		t.Errorf("got %+v", report)
	}
	if report.Credentials[1].Claims == nil || report.Credentials[1].Claims.Client != "sb-erp" {
		t.Errorf("got claims %+v", report.Credentials[1].Claims)
	}
	if n := len(sim.TokenRequests()); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
	if n := len(sim.Requests()); n != 0 {
		t.Errorf("%d requests reached the tenant, want none", n)
	}
	changes := h.changes()
	if len(changes) != before+1 {
		t.Fatalf("%d records more, want 1", len(changes)-before)
	}
	last := changes[len(changes)-1]
	if last.Action != "tenant.check" || last.Name != "acme" || !strings.Contains(string(last.Detail), erp) {
		t.Errorf("got record %+v", last)
	}
	answer, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(answer), string(last.Detail), h.log.String()} {
		if strings.Contains(text, checkedSecret) || strings.Contains(text, "eyJ") {
			t.Errorf("secret or token is shown: %s", text)
		}
	}
}

func TestACheckIsNarrowedToWhatIsNamed(t *testing.T) {
	h := build(t)
	sim, erp, crm := h.simulated()
	ctx := t.Context()
	for name, c := range map[string]struct {
		q     admin.CheckRequest
		ids   string
		state check.State
	}{
		"an identity":              {admin.CheckRequest{Identity: "erp"}, erp, check.OK},
		"a credential":             {admin.CheckRequest{Credential: crm}, crm, check.OK},
		"a route":                  {admin.CheckRequest{Route: "orders", Identity: "erp"}, erp, check.OK},
		"a route without the role": {admin.CheckRequest{Route: "orders", Identity: "crm"}, crm, check.Fail},
		"a probe":                  {admin.CheckRequest{Identity: "erp", ProbePath: "/http/ping"}, erp, check.OK},
	} {
		sim.Forget()
		report, err := h.client.CheckTenant(ctx, "acme", c.q)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var ids []string
		for _, one := range report.Credentials {
			ids = append(ids, one.ID)
		}
		if got := fmt.Sprint(ids); got != "["+c.ids+"]" || report.State != c.state {
			t.Errorf("%s: got %s, %s, want %s, %s", name, got, report.State, c.ids, c.state)
		}
		want := 0
		if c.q.ProbePath != "" {
			want = 1
		}
		if n := len(sim.Requests()); n != want {
			t.Errorf("%s: %d requests reached the tenant, want %d", name, n, want)
		}
	}
}

func TestADisabledIdentitysSecretIsNotUsed(t *testing.T) {
	h := build(t)
	sim, _, _ := h.simulated()
	if _, err := h.client.DisableIdentity(t.Context(), "erp"); err != nil {
		t.Fatal(err)
	}
	report, err := h.client.CheckTenant(t.Context(), "acme", admin.CheckRequest{Identity: "erp"})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(sim.TokenRequests()); n != 0 || report.State != check.Warn || !strings.Contains(report.Credentials[0].Steps[0].Detail, "disabled") {
		t.Errorf("%d token requests, %+v", n, report)
	}
}

func TestATenantWithoutCredentialsFailsItsCheck(t *testing.T) {
	h := build(t)
	_, erp, crm := h.simulated()
	for _, id := range []string{erp, crm} {
		if err := h.client.RemoveCredential(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	report, err := h.client.CheckTenant(t.Context(), "acme", admin.CheckRequest{})
	if err != nil || report.State != check.Fail || report.Credentials == nil {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestChecksThatCannotBeMadeAreRefused(t *testing.T) {
	h := build(t)
	_, erp, _ := h.simulated()
	if _, err := h.client.AddTenant(t.Context(), identity.Tenant{Name: "other", BaseURL: "https://other.example.com",
		TokenURL: "https://other.example.com/t", AuthStyle: "body"}); err != nil {
		t.Fatal(err)
	}
	before := len(h.changes())
	for name, c := range map[string]struct{ tenant, body, want string }{
		"no such tenant":         {"none", `{}`, `"code":"not_found"`},
		"no such identity":       {"acme", `{"identity":"none"}`, `"code":"not_found"`},
		"no such credential":     {"acme", `{"credential":"none"}`, `"code":"not_found"`},
		"no such route":          {"acme", `{"route":"none"}`, `"code":"not_found"`},
		"another's route":        {"other", `{"route":"orders"}`, `"field":"route"`},
		"another's credential":   {"other", `{"credential":"` + erp + `"}`, `"field":"credential"`},
		"two that do not fit":    {"acme", `{"identity":"crm","credential":"` + erp + `"}`, `"field":"credential"`},
		"a method that acts":     {"acme", `{"probe_path":"/x","probe_method":"POST"}`, `"field":"probe_method"`},
		"a method for nothing":   {"acme", `{"probe_method":"GET"}`, `"field":"probe_method"`},
		"a path elsewhere":       {"acme", `{"probe_path":"//evil.example.com/x"}`, `"field":"probe_path"`},
		"a URL":                  {"acme", `{"probe_path":"https://evil.example.com/x"}`, `"field":"probe_path"`},
		"a path that leads out":  {"acme", `{"probe_path":"/a/../b"}`, `"field":"probe_path"`},
		"a path of another host": {"acme", `{"probe_path":"@evil.example.com/x"}`, `"field":"probe_path"`},
		"an unknown member":      {"acme", `{"force":true}`, `unknown`},
	} {
		if status, answer := h.send("POST", "/v1/tenants/"+c.tenant+"/check", c.body); status < 400 || !strings.Contains(answer, c.want) {
			t.Errorf("%s: got %d %s, want %s", name, status, answer, c.want)
		}
	}
	if n := len(h.changes()); n != before {
		t.Errorf("%d records of refused checks", n-before)
	}
}
