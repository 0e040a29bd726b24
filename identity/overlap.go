package identity

import (
	"slices"
	"strings"
)

// overlap reports whether some request could match both routes: a common host, a common method and a common path.
func overlap(a, b *RouteEntry) bool {
	return hostsOverlap(a.Route.Host, b.Route.Host) && pathsOverlap(a, b) && methodsOverlap(a.Route.Methods, b.Route.Methods)
}

func hostsOverlap(a, b string) bool { return a == b || a == AnyHost || b == AnyHost }

// methodsOverlap treats no methods as all. That includes none that a route could not name.
func methodsOverlap(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	return slices.ContainsFunc(a, func(m string) bool { return slices.Contains(b, m) })
}

// pathsOverlap compares the keys, folded when either route folds: a path that one route takes in one spelling the other takes in all.
func pathsOverlap(a, b *RouteEntry) bool {
	x, y := a.key, b.key
	if a.CaseSensitive != b.CaseSensitive {
		x, y = foldASCII(x), foldASCII(y)
	}
	return x == y && (a.Prefix != "") == (b.Prefix != "") ||
		a.Prefix != "" && strings.HasPrefix(y, x) ||
		b.Prefix != "" && strings.HasPrefix(x, y)
}

// overlapError refuses a route and names the one in its way.
func overlapError(e, other *RouteEntry) error {
	o := other.Route
	methods := "any method"
	if len(o.Methods) > 0 {
		methods = strings.Join(o.Methods, ", ")
	}
	return &Error{Code: ErrOverlap, Object: ObjectRoute, Name: e.Route.Name, Field: "path",
		Message: "overlaps route " + quoted(o.Name) + " (" + methods + " on host " + o.Host + ", path " + o.Path + ")",
		Hint: "two routes may not match one request: give them different hosts, methods or paths; a route for any host overlaps all hosts, " +
			"a prefix everything below it, and letters' case counts only where both tenants tell it apart"}
}
