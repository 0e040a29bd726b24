package admin_test

import (
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func TestReadyzSaysNoWhenAPartFails(t *testing.T) {
	h := build(t)
	h.checks = func() []admin.Check {
		return []admin.Check{{Name: "database", OK: true}, {Name: "record", Detail: "/var/log/access.log: no space left"}, {Name: "configuration", OK: true, Warning: true},
			{Name: "token_servers", OK: true, Warning: true, Detail: "login.test: failing", Public: true}}
	}
	status, answer := h.send("GET", "/readyz", "")
	if want := `{"ready":false,"checks":[{"name":"database","ok":true},{"name":"record","ok":false},{"name":"configuration","ok":true,"warning":true},` +
		`{"name":"token_servers","ok":true,"warning":true,"detail":"login.test: failing"}]}`; status != 503 || strings.TrimSpace(answer) != want {
		t.Errorf("%d %s\nwant 503 %s", status, answer, want)
	}
	if status, answer := h.send("GET", "/healthz", ""); status != 200 || answer != "ok\n" {
		t.Errorf("/healthz: %d %s; a failing part is no reason to restart", status, answer)
	}
	s, err := h.client.Status(t.Context())
	if err != nil || s.Ready || s.Checks[1].Detail == "" {
		t.Errorf("Status: %+v %v, want the detail", s, err)
	}
	h.checks = nil
	if status, answer := h.send("GET", "/readyz", ""); status != 200 || strings.TrimSpace(answer) != `{"ready":true,"checks":[]}` {
		t.Errorf("%d %s, want 200", status, answer)
	}
	if status, _ := h.send("POST", "/healthz", "{}"); status != 405 {
		t.Errorf("POST /healthz: %d, want 405", status)
	}
	if status, answer := h.send("HEAD", "/readyz", ""); status != 200 || answer != "" {
		t.Errorf("HEAD /readyz: %d %q, want 200 without a body", status, answer)
	}
}
