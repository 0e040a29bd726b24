package admin_test

import (
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// TestAnActWithoutItsRecordDoesNotHappen: the database fails when the change record is written, the last step before the commit.
// Nothing of the act may be left, and for a certificate that means: neither bound, nor in the CA's records, nor in the answer.
func TestAnActWithoutItsRecordDoesNotHappen(t *testing.T) {
	h := build(t)
	h.furnish()
	issued := h.issue("erp")
	before := h.registry.Snapshot()
	records, err := h.pki.CA.Certificates(t.Context(), pki.Filter{Profile: "client"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.Exec(`CREATE TRIGGER broken BEFORE INSERT ON change_records BEGIN SELECT RAISE(ABORT, 'disk on fire'); END`); err != nil {
		t.Fatal(err)
	}
	for name, act := range map[string]struct{ method, path, body string }{
		"issue":   {"POST", "/v1/identities/erp/certificates", string(mustJSON(admin.CertificateRequest{CSR: h.csr("erp")}))},
		"revoke":  {"POST", "/v1/certificates/" + issued.Serial + "/revoke", `{}`},
		"several": {"POST", "/v1/identities/erp/revoke", `{}`},
		"all":     {"POST", "/v1/ca/revoke", `{}`},
		"add":     {"POST", "/v1/identities", `{"name":"x","owner":"team"}`},
		"set":     {"PATCH", "/v1/identities/erp", `{"owner":"other"}`},
		"disable": {"POST", "/v1/identities/erp/disable", ``},
		"secret":  {"POST", "/v1/identities/erp/credentials", `{"tenant":"acme","kind":"secret","client_id":"c","secret":"s"}`},
		"cascade": {"DELETE", "/v1/identities/erp?cascade=true", ``},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := h.send(act.method, act.path, act.body)
			if status != 500 || !strings.Contains(answer, "disk on fire") || strings.Contains(answer, "BEGIN CERTIFICATE") {
				t.Errorf("%d %s, want 500 with the cause", status, answer)
			}
		})
	}
	if h.registry.Snapshot() != before {
		t.Error("a snapshot was published")
	}
	after, err := h.pki.CA.Certificates(t.Context(), pki.Filter{Profile: "client"})
	if err != nil || len(after) != len(records) || !after[0].RevokedAt.IsZero() {
		t.Errorf("the CA's records went from %d to %d: %v", len(records), len(after), err)
	}
	if _, err := h.db.Exec(`DROP TRIGGER broken`); err != nil {
		t.Fatal(err)
	}
	h.issue("erp")
	if report, err := h.client.VerifyChanges(t.Context()); err != nil || report.Broken != nil {
		t.Errorf("afterwards: %+v %v", report.Broken, err)
	}
}
