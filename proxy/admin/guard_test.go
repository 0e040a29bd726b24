package admin_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestPathsAreTakenExactly: rights and routes are by the exact path (Caddy CVE-2026-45692, CVE-2026-27589). What could be read in two ways
// is no address.
func TestPathsAreTakenExactly(t *testing.T) {
	h := build(t)
	h.furnish()
	before := len(h.changes())
	for _, path := range []string{
		"/v1//identities", "//v1/identities", "/v1/identities/", "/v1/identities/erp/", "/v1/./identities", "/v1/../v1/identities", "/v1/identities/../tenants",
		"/v1/identities%2ferp", "/v1/identities/%65rp", "/v1%2fidentities", "/v1/identities/erp%00", "/v1/identities/erp;x=1", "/v1;/identities", "/v1/identities/erp%3f",
		"/V1/identities", "/v1/Identities", "/v1/identities/ERP", "/v1", "/v1/", "/v2/identities", "/v1identities", "/v1/identitiesx", "/v1/identities/erp/x",
		"/v1/identities/erp/credentials/x/y", "/healthz/", "/healthz/x", "//healthz", "/healthz/../v1/identities", "/metrics/../v1/identities", "/healthz%2f..%2fv1/identities",
		"/", "/v1/identities\\erp", "/v1/changes/verify/", "/v1/certificates/0", "/v1/certificates/00ab", "/v1/certificates/0xab", "/v1/identities/+erp",
	} {
		t.Run(path, func(t *testing.T) {
			answer := h.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(answer, "HTTP/1.1 404 ") && !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
				t.Errorf("answered %.60q, want 404 or 400", answer)
			}
			if answer := h.raw("DELETE " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); strings.HasPrefix(answer, "HTTP/1.1 2") {
				t.Errorf("DELETE answered %.60q", answer)
			}
		})
	}
	if n := len(h.changes()); n != before {
		t.Errorf("%d changes", n-before)
	}
}

// TestAbsoluteTargetsAndOddHostsChangeNothing: the host is not looked at, and an absolute target is only its path.
func TestAbsoluteTargetsAndOddHostsChangeNothing(t *testing.T) {
	h := build(t)
	for _, head := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: evil.example.com", "GET http://evil.example.com/v1/status HTTP/1.1\r\nHost: x", "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9443",
	} {
		if answer := h.raw(head + "\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
			t.Errorf("%q answered %.60q, want 200", head, answer)
		}
	}
	for _, head := range []string{"CONNECT x:443 HTTP/1.1\r\nHost: x", "OPTIONS * HTTP/1.1\r\nHost: x", "TRACE /v1/status HTTP/1.1\r\nHost: x", "GET /v1/status HTTP/1.1\r\nHost: x\r\nOrigin: "} {
		if answer := h.raw(head + "\r\nConnection: close\r\n\r\n"); strings.HasPrefix(answer, "HTTP/1.1 200 ") && !strings.HasPrefix(head, "OPTIONS") {
			t.Errorf("%q answered %.60q", head, answer)
		}
	}
}

// TestWebPagesAreRefused: a page that an administrator has open can not administer (Caddy GHSA-gx7w-56w6-g48x).
func TestWebPagesAreRefused(t *testing.T) {
	h := build(t)
	const identity = `{"name":"evil","owner":"team"}`
	for name, test := range map[string]struct {
		method, path, body string
		header             []string
		status             int
	}{
		"Origin on a POST":           {"POST", "/v1/identities", identity, []string{"Origin: https://evil.example.com"}, 403},
		"Origin of this host":        {"POST", "/v1/identities", identity, []string{"Origin: http://tenantgate"}, 403},
		"Origin null":                {"POST", "/v1/identities", identity, []string{"Origin: null"}, 403},
		"Origin on a GET":            {"GET", "/v1/status", "", []string{"Origin: https://evil.example.com"}, 403},
		"Origin on health":           {"GET", "/healthz", "", []string{"Origin: https://evil.example.com"}, 403},
		"cross-site":                 {"POST", "/v1/identities", identity, []string{"Sec-Fetch-Site: cross-site"}, 403},
		"same-site":                  {"POST", "/v1/identities", identity, []string{"Sec-Fetch-Site: same-site"}, 403},
		"same-origin":                {"POST", "/v1/identities", identity, []string{"Sec-Fetch-Site: same-origin"}, 403},
		"form, by an old browser":    {"POST", "/v1/identities", identity, []string{"Content-Type: application/x-www-form-urlencoded"}, 415},
		"text, by an old browser":    {"POST", "/v1/identities", identity, []string{"Content-Type: text/plain"}, 415},
		"upload, by an old browser":  {"POST", "/v1/identities", identity, []string{"Content-Type: multipart/form-data; boundary=x"}, 415},
		"no type":                    {"POST", "/v1/identities", identity, []string{"Content-Type: "}, 415},
		"no type, no body":           {"POST", "/v1/identities/erp/disable", "", []string{"Content-Type: "}, 415},
		"a type that only resembles": {"POST", "/v1/identities", identity, []string{"Content-Type: application/json-patch"}, 415},
		"preflight":                  {"OPTIONS", "/v1/identities", "", []string{"Origin: https://evil.example.com", "Access-Control-Request-Method: POST"}, 403},
		"method override":            {"POST", "/v1/identities/erp", "{}", []string{"X-HTTP-Method-Override: DELETE"}, 405},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := h.send(test.method, test.path, test.body, test.header...)
			if status != test.status {
				t.Errorf("%d %s, want %d", status, answer, test.status)
			}
		})
	}
	if n := len(h.changes()); n != 0 {
		t.Errorf("%d changes", n)
	}
	if status, answer := h.send("GET", "/v1/status", "", "Sec-Fetch-Site: none"); status != 200 {
		t.Errorf("an address typed into a browser: %d %s, want 200", status, answer)
	}
}

// TestBodiesAndQueriesAreTakenStrictly: nothing is guessed, folded or normalised.
func TestBodiesAndQueriesAreTakenStrictly(t *testing.T) {
	h := build(t)
	h.furnish()
	before := len(h.changes())
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		text               string
	}{
		"unknown member":             {"POST", "/v1/identities", `{"name":"x","owner":"t","admin":true}`, 400, `member \"admin\" is unknown`},
		"member in other case":       {"POST", "/v1/identities", `{"Name":"x","owner":"t"}`, 400, `member \"Name\" is unknown`},
		"member twice":               {"POST", "/v1/identities", `{"name":"x","owner":"t","name":"y"}`, 400, "twice"},
		"member twice, escaped":      {"POST", "/v1/identities", `{"name":"x","owner":"t","n\u0061me":"y"}`, 400, "twice"},
		"two documents":              {"POST", "/v1/identities", `{"name":"x","owner":"t"}{}`, 400, "follows"},
		"something behind":           {"POST", "/v1/identities", `{"name":"x","owner":"t"} x`, 400, "follows"},
		"cut off":                    {"POST", "/v1/identities", `{"name":"x","owner":`, 400, "too early"},
		"null":                       {"POST", "/v1/identities", `null`, 400, "not a JSON object"},
		"a list":                     {"POST", "/v1/identities", `[{"name":"x","owner":"t"}]`, 400, "not a JSON object"},
		"nothing":                    {"POST", "/v1/identities", ``, 400, "not a JSON object"},
		"not UTF-8":                  {"POST", "/v1/identities", "{\"name\":\"x\",\"owner\":\"\xff\"}", 400, "UTF-8"},
		"number for a string":        {"POST", "/v1/identities", `{"name":1,"owner":"t"}`, 400, "name"},
		"string for a number":        {"PATCH", "/v1/routes/orders", `{"max_body":"1"}`, 400, "max_body"},
		"number with an exponent":    {"PATCH", "/v1/routes/orders", `{"max_body":1e3}`, 400, "max_body"},
		"number with a fraction":     {"PATCH", "/v1/routes/orders", `{"max_body":1000.0}`, 400, "max_body"},
		"number too large":           {"PATCH", "/v1/routes/orders", `{"max_body":99999999999999999999}`, 400, "max_body"},
		"unknown member in a patch":  {"PATCH", "/v1/identities/erp", `{"rolls":[]}`, 400, "the members are"},
		"patch that is null":         {"PATCH", "/v1/identities/erp", `null`, 400, "not a JSON object"},
		"member of a bare act":       {"POST", "/v1/identities/erp/disable", `{"why":"x"}`, 400, "takes no members"},
		"too large":                  {"POST", "/v1/identities", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "1 MiB"},
		"unknown parameter":          {"DELETE", "/v1/identities/erp?casade=true", ``, 400, "cascade"},
		"parameter of another":       {"GET", "/v1/identities?cascade=true", ``, 400, "after, limit"},
		"parameter twice":            {"DELETE", "/v1/identities/erp?cascade=true&cascade=false", ``, 400, "twice"},
		"truth in another spelling":  {"DELETE", "/v1/identities/erp?cascade=1", ``, 400, "true or false"},
		"truth in capitals":          {"DELETE", "/v1/identities/erp?cascade=TRUE", ``, 400, "true or false"},
		"number with a sign":         {"GET", "/v1/changes?after=%2B1", ``, 400, "whole number"},
		"number with zeros in front": {"GET", "/v1/changes?after=007", ``, 400, "whole number"},
		"number below zero":          {"GET", "/v1/changes?after=-1", ``, 400, "whole number"},
		"number in hex":              {"GET", "/v1/changes?limit=0x10", ``, 400, "whole number"},
		"limit of nothing":           {"GET", "/v1/changes?limit=0", ``, 400, "limit"},
		"semicolons in the query":    {"GET", "/v1/changes?after=1;limit=2", ``, 400, "query"},
		"broken escape":              {"GET", "/v1/changes?after=%zz", ``, 400, "query"},
		"parameters where none are":  {"GET", "/v1/status?x=1", ``, 400, "takes none"},
		"wrong method":               {"PUT", "/v1/identities/erp", `{}`, 405, "DELETE, GET, PATCH"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := h.send(test.method, test.path, test.body)
			if status != test.status || !strings.Contains(answer, test.text) {
				t.Errorf("%d %.300s\nwant %d with %s", status, answer, test.status, test.text)
			}
		})
	}
	if n := len(h.changes()); n != before {
		t.Errorf("%d changes", n-before)
	}
}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	h := build(t)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/status", "/v1/none", "/none"} {
		response, err := h.client.HTTP.Get("http://tenantgate" + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		got := fmt.Sprint(response.Header.Get("Cache-Control"), " ", response.Header.Get("X-Content-Type-Options"), " ", response.Header.Get("Content-Security-Policy"))
		if want := "no-store nosniff default-src 'none'; frame-ancestors 'none'"; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if len(response.Header.Get("X-Request-Id")) != 32 || response.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", path, response.Header)
		}
	}
}

// FuzzNoOddPathIsServed: a path that is not made of plain segments reaches no handler, whatever it looks like.
func FuzzNoOddPathIsServed(f *testing.F) {
	for _, s := range []string{"/v1/identities", "/v1//identities", "/v1/%69dentities", "/healthz/..;/v1/status", "/v1/status#", "/v1/status?x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) { checkOddPath(t, path) })
}
