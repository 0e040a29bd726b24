package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
)

// A session at the tenant outlives the password beside it, so that one is never used for another password of an observed user name.
func TestAnObservedLoginHasItsOwnCSRFSessions(t *testing.T) {
	b := newBridge(t)
	b.addRoute(identity.Route{Name: "csrf", Path: "/http/csrf", Tenant: "acme", Role: "orders.send", CSRF: identity.CSRFOn})
	b.addLogin(func(l *identity.Login) { l.Stage = identity.StageObserve })
	callers := []string{right, basicAuth("P2001234567", "another")}
	for _, v := range callers {
		b.tenant.mu.Lock()
		b.tenant.valid[v] = v
		b.tenant.mu.Unlock()
	}
	b.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		mine := "csrf-of-" + r.Header.Get("Authorization")[6:]
		if r.Method == "GET" {
			http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: strings.TrimRight(mine, "="), Path: "/"})
			w.Header().Set("X-CSRF-Token", mine)
			return
		}
		cookie, err := r.Cookie("JSESSIONID")
		if r.Header.Get("X-CSRF-Token") != mine || err != nil || cookie.Value != strings.TrimRight(mine, "=") {
			w.Header().Set("X-CSRF-Token", "required")
			w.WriteHeader(403)
		}
	})
	for range 3 {
		for _, v := range callers {
			if a := b.stranger().do("POST", "/http/csrf", strings.NewReader("x"), "Authorization", v); a.status != 200 || a.header.Get("Set-Cookie") != "" {
				t.Errorf("got %+v", a)
			}
		}
	}
	if n := len(b.tenant.requests()); n != 2+6 {
		t.Errorf("%d requests reached the tenant, want two fetches and six changes", n)
	}
}
