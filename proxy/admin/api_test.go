package admin_test

import (
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func subject(name string) pkix.Name { return pkix.Name{CommonName: name} }

// wantError checks that err is an APIError with this status, and that something of its text is there.
func wantError(t *testing.T, err error, status int, texts ...string) *admin.APIError {
	t.Helper()
	e, ok := errors.AsType[*admin.APIError](err)
	if !ok {
		t.Fatalf("error is %v, want an APIError %d", err, status)
	}
	if e.Status != status {
		t.Errorf("status %d (%s), want %d", e.Status, e.Detail, status)
	}
	if len(e.RequestID) != 32 || e.Code == "" || e.Detail == "" {
		t.Errorf("incomplete: %+v", e)
	}
	for _, text := range texts {
		if !strings.Contains(e.Detail+" "+e.Hint, text) {
			t.Errorf("error %q (%q) does not say %q", e.Detail, e.Hint, text)
		}
	}
	return e
}

func TestObjectsFromAddToRemove(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) { objectsFromAddToRemove(t, buildOn(t, create(t))) })
}

func objectsFromAddToRemove(t *testing.T, h *house) {
	h.furnish()
	ctx, c := t.Context(), h.client

	tenant, err := c.SetTenant(ctx, "acme", map[string]any{"timeout": "30s", "description": "production"})
	if err != nil || tenant.Description != "production" || time.Duration(tenant.Timeout) != 30*time.Second || tenant.BaseURL != "https://acme.example.com" {
		t.Errorf("SetTenant: %+v %v", tenant, err)
	}
	if tenant, err = c.SetTenant(ctx, "acme", map[string]any{"description": nil}); err != nil || tenant.Description != "" {
		t.Errorf("null leaves the description %q, %v; want none", tenant.Description, err)
	}
	if got, err := c.Tenant(ctx, "acme"); err != nil || got != tenant {
		t.Errorf("Tenant: %+v %v, want %+v", got, err, tenant)
	}
	route, err := c.SetRoute(ctx, "orders", map[string]any{"methods": []string{"POST"}})
	if err != nil || !slices.Equal(route.Methods, []string{"POST"}) {
		t.Errorf("SetRoute: %+v %v", route, err)
	}
	if _, err := c.SetIdentity(ctx, "erp", map[string]any{"roles": []string{"b", "a"}}); err != nil {
		t.Error(err)
	}
	if i, err := c.DisableIdentity(ctx, "erp"); err != nil || !i.Disabled {
		t.Errorf("DisableIdentity: %+v %v", i, err)
	}
	_, err = c.IssueCertificate(ctx, "erp", admin.CertificateRequest{CSR: h.csr("erp")})
	wantError(t, err, 409, "disabled", "enable")
	if i, err := c.EnableIdentity(ctx, "erp"); err != nil || i.Disabled {
		t.Errorf("EnableIdentity: %+v %v", i, err)
	}
	credential, err := c.AddCredential(ctx, "erp", admin.CredentialRequest{Tenant: "acme", Kind: "secret", ClientID: "sb-1", Secret: "s3cret"})
	if err != nil || credential.ID == "" {
		t.Fatalf("AddCredential: %+v %v", credential, err)
	}
	if stored, ok := h.registry.Snapshot().Credential(credential.ID); !ok || stored.Secret.Reveal() != "s3cret" {
		t.Error("the secret is not in the registry")
	}
	end := time.Date(2031, 6, 30, 0, 0, 0, 0, time.UTC)
	if got, err := c.SetCredentialEnd(ctx, credential.ID, end); err != nil || !got.NotAfter.Equal(end) || got.ClientID != "sb-1" {
		t.Errorf("SetCredentialEnd: %+v %v", got, err)
	}
	issued := h.issue("erp")
	if got, err := c.Certificate(ctx, issued.Serial); err != nil || got.Fingerprint != issued.Fingerprint || got.Identity != "erp" {
		t.Errorf("Certificate: %+v %v", got, err)
	}

	err = c.RemoveIdentity(ctx, "erp", false)
	wantError(t, err, 409, "in use")
	if err := c.RemoveIdentity(ctx, "erp", true); err != nil {
		t.Error(err)
	}
	if r, err := h.pki.CA.Certificate(ctx, issued.Serial); err != nil || r.RevokedAt.IsZero() {
		t.Errorf("the removed identity's certificate is not revoked at the CA: %+v %v", r, err)
	}
	wantError(t, c.RemoveTenant(ctx, "acme"), 409)
	for _, err := range []error{c.RemoveRoute(ctx, "orders"), c.RemoveTenant(ctx, "acme")} {
		if err != nil {
			t.Error(err)
		}
	}
	wantError(t, c.RemoveTenant(ctx, "acme"), 404, "acme")

	want := []string{"tenant.add acme", "route.add orders", "identity.add erp", "tenant.set acme", "tenant.set acme", "route.set orders", "identity.set erp",
		"identity.disable erp", "identity.enable erp", "credential.add " + credential.ID, "credential.set " + credential.ID, "certificate.issue " + issued.Serial, "identity.remove erp",
		"route.remove orders", "tenant.remove acme"}
	var got []string
	for _, r := range h.changes() {
		got = append(got, r.Action+" "+r.Name)
		if !strings.HasPrefix(r.Actor, "unix:uid=") {
			t.Errorf("record %d is by %q", r.Seq, r.Actor)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("change records\n got %q\nwant %q", got, want)
	}
	report, err := c.VerifyChanges(ctx)
	if err != nil || report.Broken != nil || report.Records != int64(len(want)) {
		t.Errorf("VerifyChanges: %+v %v", report, err)
	}
	if again, err := c.VerifyChanges(ctx, report.Head); err != nil || again.Broken != nil {
		t.Errorf("VerifyChanges with the noted head: %+v %v", again, err)
	}
	report.Head.Hash = strings.Repeat("0", 64)
	if again, err := c.VerifyChanges(ctx, report.Head); err != nil || again.Broken == nil {
		t.Errorf("VerifyChanges with a foreign head: %+v %v, want broken", again, err)
	}
}

func TestASetRecordsWhatChanged(t *testing.T) {
	h := build(t)
	h.furnish()
	if _, err := h.client.SetIdentity(t.Context(), "erp", map[string]any{"owner": "team-supply", "roles": []string{"orders.send"}}); err != nil {
		t.Fatal(err)
	}
	all := h.changes()
	if got, want := string(all[len(all)-1].Detail), `{"owner":{"from":"team-erp","to":"team-supply"}}`; got != want {
		t.Errorf("detail %s, want %s", got, want)
	}
}

func TestRefusalsHaveAStatusAndAHintAndChangeNothing(t *testing.T) {
	h := build(t)
	h.furnish()
	before := len(h.changes())
	revision := h.registry.Snapshot().Revision()
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		text               string
	}{
		"a name that exists":            {"POST", "/v1/identities", `{"name":"erp","owner":"team"}`, 409, `"code":"exists"`},
		"an owner that is a person":     {"POST", "/v1/identities", `{"name":"x","owner":"anna@example.com"}`, 422, `"field":"owner"`},
		"a route that overlaps":         {"POST", "/v1/routes", `{"name":"x","path":"/http/orders/new","tenant":"acme","role":"r"}`, 409, "orders"},
		"a route to nowhere":            {"POST", "/v1/routes", `{"name":"x","path":"/y","tenant":"none","role":"r"}`, 422, `"field":"tenant"`},
		"an unknown object":             {"GET", "/v1/identities/nobody", ``, 404, "nobody"},
		"an unknown certificate":        {"POST", "/v1/certificates/abcdef/revoke", `{}`, 404, "serial number"},
		"an unknown reason":             {"POST", "/v1/certificates/abcdef/revoke", `{"reason":"because"}`, 422, "superseded"},
		"a new name":                    {"PATCH", "/v1/identities/erp", `{"name":"erp2"}`, 422, "cannot be changed"},
		"a new birthday":                {"PATCH", "/v1/identities/erp", `{"created":"2020-01-01T00:00:00Z"}`, 422, "set by the server"},
		"a duration that is none":       {"PATCH", "/v1/tenants/acme", `{"timeout":"soon"}`, 422, "30s"},
		"a CSR that is none":            {"POST", "/v1/identities/erp/certificates", `{"csr":"hello"}`, 422, `"field":"csr"`},
		"a service key that is none":    {"POST", "/v1/identities/erp/credentials", `{"tenant":"acme","service_key":{"a":1}}`, 422, `"field":"service_key"`},
		"a service key and a secret":    {"POST", "/v1/identities/erp/credentials", `{"tenant":"acme","secret":"x","service_key":{"clientid":"a","clientsecret":"s"}}`, 422, "only one of the two"},
		"a service key and a client id": {"POST", "/v1/identities/erp/credentials", `{"tenant":"acme","client_id":"x","service_key":{}}`, 422, "beside"},
		"a binding of nothing":          {"POST", "/v1/identities/erp/credentials", `{"tenant":"acme","binding":"x"}`, 422, `"field":"binding"`},
		"a credential for no identity":  {"POST", "/v1/identities/none/credentials", `{"tenant":"acme","kind":"secret","client_id":"a","secret":"b"}`, 404, "none"},
		"credentials of no identity":    {"GET", "/v1/identities/none/credentials", ``, 404, "none"},
		"a limit that is too large":     {"GET", "/v1/changes?limit=10001", ``, 400, "10000"},
		"a state that is none":          {"GET", "/v1/certificates?state=stale", ``, 400, "revoked"},
		"a head that is none":           {"GET", "/v1/changes/verify?head=5", ``, 400, "head"},
		"removing what others rely on":  {"DELETE", "/v1/tenants/acme", ``, 409, `"code":"in_use"`},
		"a certificate for nobody":      {"POST", "/v1/identities/none/certificates", string(mustJSON(admin.CertificateRequest{CSR: h.csr("none")})), 404, "none"},
		"a certificate of another name": {"POST", "/v1/identities/erp/certificates", string(mustJSON(admin.CertificateRequest{CSR: h.csr("other")})), 422, "hint"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := h.send(test.method, test.path, test.body)
			if status != test.status || !strings.Contains(answer, test.text) {
				t.Errorf("%d %s\nwant %d with %s", status, answer, test.status, test.text)
			}
		})
	}
	if n := len(h.changes()); n != before {
		t.Errorf("%d change records for refused requests", n-before)
	}
	if r := h.registry.Snapshot().Revision(); r != revision {
		t.Errorf("the registry went from revision %d to %d", revision, r)
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func TestListsComeInPages(t *testing.T) {
	h := build(t)
	if err := h.registry.Change(t.Context(), func(tx *identity.Tx) error {
		for i := range 25 {
			if _, err := tx.AddIdentity(t.Context(), identity.Identity{Name: fmt.Sprintf("id-%03d", i), Owner: "team"}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var seen []string
	path := "/v1/identities?limit=10"
	for pages := 0; path != ""; pages++ {
		if pages > 3 {
			t.Fatal("the pages do not end")
		}
		response, err := h.client.HTTP.Get("http://tenantgate" + path)
		if err != nil {
			t.Fatal(err)
		}
		var page []identity.Identity
		if err := json.NewDecoder(response.Body).Decode(&page); err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		for _, i := range page {
			seen = append(seen, i.Name)
		}
		path, _, _ = strings.Cut(strings.TrimPrefix(response.Header.Get("Link"), "<"), ">")
	}
	if len(seen) != 25 || !slices.IsSorted(seen) || len(slices.Compact(seen)) != 25 {
		t.Errorf("pages gave %q", seen)
	}
	if all, err := h.client.Identities(t.Context()); err != nil || len(all) != 25 {
		t.Errorf("Identities: %d %v, want 25", len(all), err)
	}
}

func TestCertificatesAreFilteredByIdentityAndState(t *testing.T) {
	h := build(t)
	h.furnish()
	if _, err := h.client.AddIdentity(t.Context(), identity.Identity{Name: "crm", Owner: "team-crm"}); err != nil {
		t.Fatal(err)
	}
	first, second, other := h.issue("erp"), h.issue("erp"), h.issue("crm")
	revoked, err := h.client.RevokeCertificate(t.Context(), first.Serial, "superseded")
	if err != nil || revoked.RevokedAt.IsZero() || revoked.RevocationReason != "superseded" {
		t.Fatalf("RevokeCertificate: %+v %v", revoked, err)
	}
	for name, test := range map[string]struct {
		filter admin.CertificateFilter
		want   []string
	}{
		"all":            {admin.CertificateFilter{}, []string{first.Serial, second.Serial, other.Serial}},
		"of one":         {admin.CertificateFilter{Identity: "erp"}, []string{first.Serial, second.Serial}},
		"valid":          {admin.CertificateFilter{State: "valid"}, []string{second.Serial, other.Serial}},
		"revoked":        {admin.CertificateFilter{State: "revoked"}, []string{first.Serial}},
		"expired":        {admin.CertificateFilter{State: "expired"}, nil},
		"valid, of one":  {admin.CertificateFilter{Identity: "erp", State: "valid"}, []string{second.Serial}},
		"of one unknown": {admin.CertificateFilter{Identity: "nobody"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := h.client.Certificates(t.Context(), test.filter)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, c := range list {
				got[c.Serial] = true
			}
			if len(list) != len(test.want) || !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(slices.Values(test.want))) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestRevokingTwiceKeepsTheFirst(t *testing.T) {
	h := build(t)
	h.furnish()
	issued := h.issue("erp")
	first, err := h.client.RevokeCertificate(t.Context(), issued.Serial, "keyCompromise")
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.client.RevokeCertificate(t.Context(), issued.Serial, "superseded")
	if err != nil || second != first {
		t.Errorf("second revocation: %+v %v, want %+v", second, err, first)
	}
}

func TestAdministratorsCertificatesAreShownAndRevoked(t *testing.T) {
	h := build(t)
	serial := pki.FormatSerial(h.pki.Admin("anna").Leaf.SerialNumber)
	c, err := h.client.Certificate(t.Context(), serial)
	if err != nil || c.Identity != "" || c.Subject != "CN=anna" {
		t.Errorf("Certificate: %+v %v", c, err)
	}
	if c, err = h.client.RevokeCertificate(t.Context(), serial, ""); err != nil || c.RevokedAt.IsZero() || c.RevocationReason != "unspecified" {
		t.Errorf("RevokeCertificate: %+v %v", c, err)
	}
}

// A list that has lost its methods must not open a route to all of them.
func TestARouteIsOpenToAllMethodsOnlyWhenAskedTo(t *testing.T) {
	h := build(t)
	h.furnish()
	route := func(methods string) string {
		return `{"name":"r","path":"/r","tenant":"acme","role":"r"` + methods + `}`
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1/routes", route(`,"methods":[]`), 422, `"field":"methods"`},
		{"POST", "/v1/routes", route(`,"methods":null`), 201, `"name":"r"`},
		{"PATCH", "/v1/routes/r", `{"methods":["GET"]}`, 200, `"methods":["GET"]`},
		{"PATCH", "/v1/routes/r", `{"methods":[]}`, 422, `leave it out (null) for all`},
		{"PATCH", "/v1/routes/r", `{"role":"other"}`, 200, `"methods":["GET"]`},
		{"PATCH", "/v1/routes/r", `{"methods":null}`, 200, `"role":"other"`},
		{"PATCH", "/v1/routes/r", `{"role":"r"}`, 200, `"role":"r"`},
		{"DELETE", "/v1/routes/r", "", 204, ""},
		{"POST", "/v1/routes", route(""), 201, `"name":"r"`},
	} {
		status, answer := h.send(c.method, c.path, c.body)
		if status != c.status || !strings.Contains(answer, c.want) {
			t.Errorf("%s %s: got %d %s, want %d %s", c.method, c.body, status, answer, c.status, c.want)
		}
		if strings.Contains(c.body, "null") && strings.Contains(answer, "methods") {
			t.Errorf("%s: got %s, want all methods", c.body, answer)
		}
	}
}

func TestServiceKeysAreReadAsObjectAndAsText(t *testing.T) {
	h := build(t)
	h.furnish()
	key := `{"oauth":{"createdate":"2026-01-01T00:00:00.000Z","clientid":"sb-9","clientsecret":"top$ecret","tokenurl":"https://auth.example.com/oauth/token","url":"https://acme.example.com"}}`
	text, err := h.client.AddCredential(t.Context(), "erp", admin.CredentialRequest{Tenant: "acme", ServiceKey: key})
	if err != nil || text.ClientID != "sb-9" || text.Kind != identity.KindSecret {
		t.Errorf("as text: %+v %v", text, err)
	}
	status, answer := h.send("POST", "/v1/identities/erp/credentials", `{"tenant":"acme","service_key":`+key+`}`)
	if status != 201 || !strings.Contains(answer, "sb-9") {
		t.Errorf("as an object: %d %s", status, answer)
	}
	for _, c := range h.registry.Snapshot().IdentityCredentials("erp") {
		if c.Secret.Reveal() != "top$ecret" {
			t.Errorf("credential %s has another secret", c.ID)
		}
	}
}

func TestChangesOfOneIdentityDoNotUndoEachOther(t *testing.T) {
	h := build(t)
	h.furnish()
	const writers = 20
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			_, err := h.client.ChangeIdentity(t.Context(), "erp", func(now identity.Identity) map[string]any {
				return map[string]any{"roles": append(slices.Clone(now.Roles), fmt.Sprintf("added.%02d", i))}
			})
			if err != nil {
				t.Errorf("ChangeIdentity: %v", err)
			}
		})
	}
	all.Wait()
	got, err := h.client.Identity(t.Context(), "erp")
	if err != nil {
		t.Fatal(err)
	}
	added := slices.DeleteFunc(slices.Clone(got.Roles), func(r string) bool { return !strings.HasPrefix(r, "added.") })
	if len(added) != writers {
		t.Errorf("%d acknowledged changes left %d roles: %v", writers, len(added), added)
	}
}
