package identity

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// entryOf compiles a route as storing it would, or returns nil when it is invalid.
func entryOf(host, path, methods, rule string, sensitive bool) *RouteEntry {
	r := Route{Name: "r", Host: host, Path: path, Tenant: "t", Role: "x", Case: rule}
	if methods != "" {
		r.Methods = words(methods)
	}
	if r.Validate() != nil {
		return nil
	}
	r = r.normal()
	return newRouteEntry(&r, &Tenant{Name: "t", BaseURL: "https://t.example", CaseSensitive: sensitive})
}

// alone returns a table with one route.
func alone(e *RouteEntry) *routeTable { return newRouteTable(map[string]*RouteEntry{"r": e}) }

func matches(table *routeTable, host, path, method string) bool {
	_, result := table.match(host, []byte(path), []byte(foldASCII(path)), method)
	return result == Matched
}

// FuzzRouteOverlapAgreesWithMatch: two routes that are accepted together never both match one request; two that are refused could,
// shown by a request that both match; and a table of both finds what tables of one find.
func FuzzRouteOverlapAgreesWithMatch(f *testing.F) {
	f.Add("a.example", "/x/*", "GET", uint8(0), "*", "/X/y", "", uint8(3), "/x/Y", "GET")
	f.Add("a.example", "/x", "GET", uint8(1), "b.example", "/x", "GET", uint8(1), "/x", "GET")
	f.Add("*", "/*", "", uint8(2), "*", "/", "POST", uint8(2), "/", "POST")
	f.Add("*", "/a/*", "GET POST", uint8(0), "*", "/a", "GET", uint8(0), "/a/", "GET")
	f.Add("*", "/ä/Ö", "", uint8(0), "*", "/ä/ö", "", uint8(0), "/Ä/ö", "PUT")
	f.Add("*", "/K", "", uint8(0), "*", "/k", "", uint8(0), "/k", "PUT") // the Kelvin sign is no K
	f.Fuzz(func(t *testing.T, hostA, pathA, methodsA string, flagsA uint8, hostB, pathB, methodsB string, flagsB uint8, path, method string) {
		rules := []string{CaseTenant, CaseSensitive, CaseInsensitive, CaseTenant}
		a := entryOf(hostA, pathA, methodsA, rules[flagsA%4], flagsA%4 == 3)
		b := entryOf(hostB, pathB, methodsB, rules[flagsB%4], flagsB%4 == 3)
		if a == nil || b == nil || method == "" {
			t.Skip()
		}
		agree(t, a, b, path, method)
	})
}

// agree holds two routes' overlap against what each matches.
func agree(t *testing.T, a, b *RouteEntry, path, method string) {
	t.Helper()
	if overlap(a, b) != overlap(b, a) {
		t.Fatalf("overlap is not symmetric: %+v, %+v", a.Route, b.Route)
	}
	onlyA, onlyB := alone(a), alone(b)
	if overlap(a, b) {
		host, path, method := witness(a, b)
		if !matches(onlyA, host, path, method) || !matches(onlyB, host, path, method) {
			t.Fatalf("refused together, but not both match %s %s %s: %+v, %+v", method, host, path, a.Route, b.Route)
		}
		return
	}
	both := newRouteTable(map[string]*RouteEntry{"a": a, "b": b})
	for _, host := range []string{a.Route.Host, b.Route.Host, "other.example"} {
		for _, p := range []string{path, sample(a), sample(b), foldASCII(sample(a)), strings.ToUpper(sample(b)), a.key + path, b.key + path} {
			for _, m := range append(append([]string{method}, a.Route.Methods...), b.Route.Methods...) {
				inA, inB := matches(onlyA, host, p, m), matches(onlyB, host, p, m)
				if inA && inB {
					t.Fatalf("accepted together, but both match %s %s %q: %+v, %+v", m, host, p, a.Route, b.Route)
				}
				got, result := both.match(host, []byte(p), []byte(foldASCII(p)), m)
				if (result == Matched) != (inA || inB) || inA && got != a || inB && got != b {
					t.Fatalf("%s %s %q: got %+v, %v from both, want %v or %v", m, host, p, got, result, inA, inB)
				}
			}
		}
	}
}

// TestRouteOverlapAgreesWithMatch does what the fuzz test does for all pairs of some hundred routes that are near each other.
func TestRouteOverlapAgreesWithMatch(t *testing.T) {
	var entries []*RouteEntry
	for _, host := range []string{"*", "a.example", "b.example"} {
		for _, path := range []string{"/", "/*", "/a", "/A", "/a/*", "/A/*", "/a/b", "/a/B/*", "/ab"} {
			for _, methods := range []string{"", "GET", "POST"} {
				for _, rule := range []string{CaseSensitive, CaseInsensitive} {
					entries = append(entries, entryOf(host, path, methods, rule, false))
				}
			}
		}
	}
	for i, a := range entries {
		for _, b := range entries[i:] {
			if a != b || overlap(a, b) {
				agree(t, a, b, "/A/b/c", "GET")
			}
		}
	}
}

// sample returns a path that the route matches.
func sample(e *RouteEntry) string { return strings.TrimSuffix(e.Route.Path, "*") }

// witness returns a request that both of two overlapping routes match.
func witness(a, b *RouteEntry) (host, path, method string) {
	host = a.Route.Host
	if host == AnyHost {
		host = b.Route.Host
	}
	path = sample(a)
	if len(sample(b)) > len(path) || b.CaseSensitive && len(sample(b)) == len(path) {
		path = sample(b)
	}
	// What the shorter, case-sensitive one asks for must stand at the beginning.
	for _, e := range []*RouteEntry{a, b} {
		if e.CaseSensitive {
			path = sample(e) + path[min(len(path), len(sample(e))):]
		}
	}
	switch {
	case len(a.Route.Methods) == 0 && len(b.Route.Methods) == 0:
		return host, path, "GET"
	case len(a.Route.Methods) == 0:
		return host, path, b.Route.Methods[0]
	case len(b.Route.Methods) == 0:
		return host, path, a.Route.Methods[0]
	}
	i := slices.IndexFunc(a.Route.Methods, func(m string) bool { return slices.Contains(b.Route.Methods, m) })
	return host, path, a.Route.Methods[i]
}

// TestLookupIsBoundedByTheRoutes holds that a path of many slashes costs no lookup for each of them.
func TestLookupIsBoundedByTheRoutes(t *testing.T) {
	table := newRouteTable(map[string]*RouteEntry{"r": entryOf("*", "/a/b/*", "", CaseSensitive, false)})
	path := []byte(strings.Repeat("/x", 1<<16))
	best := time.Hour
	for range 10 {
		begin := time.Now()
		table.match("h.example", path, path, "GET")
		best = min(best, time.Since(begin))
	}
	if best > 5*time.Millisecond { // an exact lookup hashes the path; a lookup for each slash would take seconds
		t.Errorf("got %v for a path of 65,536 slashes", best)
	}
}
