package identity_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// withRoutes returns a registry with a tenant of each case rule, "sensitive" and "folding", and the routes.
func withRoutes(t *testing.T, routes ...identity.Route) *identity.Registry {
	t.Helper()
	r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		sensitive := tenant("sensitive")
		sensitive.CaseSensitive = true
		for _, tenant := range []identity.Tenant{sensitive, tenant("folding")} {
			if _, err := tx.AddTenant(ctx, tenant); err != nil {
				return err
			}
		}
		for n, route := range routes {
			if _, err := tx.AddRoute(ctx, complete(route, fmt.Sprintf("route%d", n))); err != nil {
				return err
			}
		}
		return nil
	})
	return r
}

func complete(r identity.Route, name string) identity.Route {
	if r.Name == "" {
		r.Name = name
	}
	if r.Tenant == "" {
		r.Tenant = "folding"
	}
	r.Role = "role"
	return r
}

func TestMatch(t *testing.T) {
	s := withRoutes(t,
		identity.Route{Name: "exact", Host: "a.example", Path: "/http/Orders", Methods: []string{"GET"}},
		identity.Route{Name: "exact-post", Host: "a.example", Path: "/http/Orders", Methods: []string{"POST"}},
		identity.Route{Name: "below", Host: "a.example", Path: "/http/orders/*"},
		identity.Route{Name: "strict", Host: "a.example", Path: "/Odata/V4/*", Tenant: "sensitive"},
		identity.Route{Name: "strict-exact", Path: "/Only/This", Tenant: "sensitive", Methods: []string{"GET"}},
		identity.Route{Name: "made-folding", Path: "/Made/*", Tenant: "sensitive", Case: identity.CaseInsensitive, Methods: []string{"GET"}},
		identity.Route{Name: "made-strict", Path: "/Strict", Tenant: "folding", Case: identity.CaseSensitive, Methods: []string{"GET"}},
		identity.Route{Name: "root", Host: "b.example", Path: "/"},
		identity.Route{Name: "all", Host: "c.example", Path: "/*", Methods: []string{"PURGE"}},
	).Snapshot()
	for _, tc := range []struct {
		method, host, path string
		want               string
		result             identity.MatchResult
	}{
		{"GET", "a.example", "/http/Orders", "exact", identity.Matched},
		{"GET", "a.example", "/HTTP/orders", "exact", identity.Matched},
		{"POST", "a.example", "/http/orders", "exact-post", identity.Matched},
		{"PUT", "a.example", "/http/orders", "", identity.NoMethod},
		{"get", "a.example", "/http/orders", "", identity.NoMethod},
		{"PUT", "a.example", "/http/orders/", "below", identity.Matched},
		{"PUT", "a.example", "/Http/ORDERS/7/items", "below", identity.Matched},
		{"TRACE", "a.example", "/http/orders/7", "", identity.NoMethod},
		{"CONNECT", "a.example", "/http/orders/7", "", identity.NoMethod},
		{"GET", "a.example", "/http/orders2", "", identity.NoRoute},
		{"GET", "a.example", "/http", "", identity.NoRoute},
		{"GET", "a.example", "", "", identity.NoRoute},
		{"GET", "b.example", "/http/orders", "", identity.NoRoute},
		{"GET", "A.example", "/http/orders", "", identity.NoRoute},
		{"GET", "a.example", "/Odata/V4/x", "strict", identity.Matched},
		{"GET", "a.example", "/odata/v4/x", "", identity.NoRoute},
		{"GET", "any.example", "/Only/This", "strict-exact", identity.Matched},
		{"GET", "any.example", "/only/this", "", identity.NoRoute},
		{"GET", "a.example", "/Only/This", "strict-exact", identity.Matched},
		{"GET", "x.example", "/mADE/1", "made-folding", identity.Matched},
		{"GET", "x.example", "/Strict", "made-strict", identity.Matched},
		{"GET", "x.example", "/strict", "", identity.NoRoute},
		{"GET", "b.example", "/", "root", identity.Matched},
		{"GET", "b.example", "/x", "", identity.NoRoute},
		{"PURGE", "c.example", "/", "all", identity.Matched},
		{"PURGE", "c.example", "/any/thing", "all", identity.Matched},
		{"POST", "c.example", "/any/thing", "", identity.NoMethod},
	} {
		e, result := s.MatchPath(tc.host, []byte(tc.path), []byte(strings.ToLower(tc.path)), tc.method)
		name := ""
		if e != nil {
			name = e.Route.Name
		}
		if name != tc.want || result != tc.result {
			t.Errorf("%s %s %s: got %q, %v, want %q, %v", tc.method, tc.host, tc.path, name, result, tc.want, tc.result)
		}
		if e2, ok := s.Match(tc.host, []byte(tc.path), []byte(strings.ToLower(tc.path)), tc.method); e2 != e || ok != (e != nil) {
			t.Errorf("%s %s %s: Match and MatchPath differ", tc.method, tc.host, tc.path)
		}
	}
	path := []byte("/http/orders")
	if got, want := s.Methods("a.example", path, path), []string{"GET", "POST"}; !slices.Equal(got, want) {
		t.Errorf("got methods %v, want %v", got, want)
	}
}

func TestRouteEntryHasTheDefaults(t *testing.T) {
	r := withRoutes(t,
		identity.Route{Name: "plain", Path: "/a/*", TenantPath: "/b/*"},
		identity.Route{Name: "own", Path: "/c", TenantPath: "/d", MaxBody: -1, ResponseTimeout: 5, IdleTimeout: 6})
	plain, _ := r.Snapshot().Route("plain")
	own, _ := r.Snapshot().Route("own")
	if plain.Prefix != "/a/" || plain.TenantPath != "/b/" || plain.MaxBody != identity.DefaultMaxBody ||
		plain.ResponseTimeout != identity.DefaultTenantTimeout || plain.IdleTimeout != identity.DefaultIdleTimeout ||
		plain.Base.String() != "https://folding.example.com" || plain.CaseSensitive {
		t.Errorf("got %+v", plain)
	}
	if own.Prefix != "" || own.TenantPath != "/d" || own.MaxBody != -1 || own.ResponseTimeout != 5 || own.IdleTimeout != 6 {
		t.Errorf("got %+v", own)
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, person("erp"))
		return err
	})
	if e, _ := r.Snapshot().Route("plain"); e != plain {
		t.Error("an entry was made anew though neither route nor tenant changed")
	}
}

func TestOverlap(t *testing.T) {
	get, post := []string{"GET"}, []string{"POST"}
	for _, tc := range []struct {
		name string
		a, b identity.Route
		want bool
	}{
		{"same path", identity.Route{Path: "/a"}, identity.Route{Path: "/a"}, true},
		{"other path", identity.Route{Path: "/a"}, identity.Route{Path: "/b"}, false},
		{"case folds", identity.Route{Path: "/a"}, identity.Route{Path: "/A"}, true},
		{"one folds", identity.Route{Path: "/a", Tenant: "sensitive"}, identity.Route{Path: "/A"}, true},
		{"none folds", identity.Route{Path: "/a", Tenant: "sensitive"}, identity.Route{Path: "/A", Tenant: "sensitive"}, false},
		{"made to fold", identity.Route{Path: "/a", Tenant: "sensitive", Case: "insensitive"}, identity.Route{Path: "/A", Tenant: "sensitive"}, true},
		{"below a prefix", identity.Route{Path: "/a/*"}, identity.Route{Path: "/a/b"}, true},
		{"prefix below a prefix", identity.Route{Path: "/a/b/*"}, identity.Route{Path: "/A/*"}, true},
		{"prefix itself", identity.Route{Path: "/a/*"}, identity.Route{Path: "/a"}, false},
		{"like a prefix", identity.Route{Path: "/a/*"}, identity.Route{Path: "/ab/c"}, false},
		{"everything", identity.Route{Path: "/*"}, identity.Route{Path: "/"}, true},
		{"same prefix", identity.Route{Path: "/a/*"}, identity.Route{Path: "/a/*"}, true},
		{"other hosts", identity.Route{Host: "a.example", Path: "/a"}, identity.Route{Host: "b.example", Path: "/a"}, false},
		{"same host", identity.Route{Host: "a.example", Path: "/a"}, identity.Route{Host: "a.example", Path: "/a"}, true},
		{"any host", identity.Route{Host: "a.example", Path: "/a"}, identity.Route{Host: "*", Path: "/a"}, true},
		{"no host is any host", identity.Route{Host: "a.example", Path: "/a"}, identity.Route{Path: "/a"}, true},
		{"other methods", identity.Route{Path: "/a", Methods: get}, identity.Route{Path: "/a", Methods: post}, false},
		{"a common method", identity.Route{Path: "/a", Methods: get}, identity.Route{Path: "/a", Methods: []string{"POST", "GET"}}, true},
		{"no methods are all", identity.Route{Path: "/a", Methods: get}, identity.Route{Path: "/a"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, pair := range [][2]identity.Route{{tc.a, tc.b}, {tc.b, tc.a}} {
				r := withRoutes(t, pair[0])
				add := func(ctx context.Context, tx *identity.Tx) error {
					_, err := tx.AddRoute(ctx, complete(pair[1], "second"))
					return err
				}
				if !tc.want {
					change(t, r, add)
				} else if e := refuse(t, r, identity.ErrOverlap, add); !strings.Contains(e.Message, `"route0"`) {
					t.Errorf("the other route is not named: %v", e)
				}
			}
		})
	}
}

func TestChangedRouteMayNotOverlapButReplacesItself(t *testing.T) {
	r := withRoutes(t, identity.Route{Name: "one", Path: "/a"}, identity.Route{Name: "two", Path: "/b"})
	refuse(t, r, identity.ErrOverlap, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.SetRoute(ctx, complete(identity.Route{Name: "two", Path: "/A"}, ""))
		return err
	})
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.SetRoute(ctx, complete(identity.Route{Name: "two", Path: "/B"}, ""))
		return err
	})
}

func TestTenantsCaseRuleMayNotMakeRoutesOverlap(t *testing.T) {
	folding := tenant("sensitive")
	for name, routes := range map[string][]identity.Route{
		"within the tenant":   {{Path: "/a", Tenant: "sensitive"}, {Path: "/A", Tenant: "sensitive"}},
		"with another tenant": {{Path: "/a", Tenant: "sensitive"}, {Path: "/A/*", Tenant: "sensitive"}, {Path: "/A", Tenant: "folding", Case: "sensitive"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := withRoutes(t, routes...)
			refuse(t, r, identity.ErrOverlap, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.SetTenant(ctx, folding); return err })
		})
	}
	r := withRoutes(t, identity.Route{Path: "/a", Tenant: "sensitive"}, identity.Route{Path: "/b", Tenant: "sensitive"})
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.SetTenant(ctx, folding); return err })
	if _, ok := r.Snapshot().Match("h", []byte("/A"), []byte("/a"), "GET"); !ok {
		t.Error("the new rule is not in force")
	}
}
