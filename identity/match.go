package identity

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// MatchResult says what [Snapshot.MatchPath] found.
type MatchResult uint8

// The results, from nothing to all.
const (
	NoRoute  MatchResult = iota // no route has the host and path: 404
	NoMethod                    // routes have them, for other methods: 405
	Matched                     // a route has host, path and method
)

// RouteEntry is a route made ready for requests, with the defaults of its tenant applied. It is immutable; as long as neither the
// route nor its tenant changes, every snapshot holds the same entry, so that a pointer to it can key what is derived from it.
type RouteEntry struct {
	// Route and Tenant are the objects the entry was made from.
	Route  *Route
	Tenant *Tenant
	// Base is the tenant's base URL; its path does not end in a slash.
	Base *url.URL
	// Prefix is what the path of a prefix route begins with, the last slash included; "" for an exact route.
	Prefix string
	// TenantPath is what replaces the path of an exact route, or Prefix of a prefix route; "" when the path stays as it is.
	TenantPath string
	// CaseSensitive is the case rule in force.
	CaseSensitive bool
	// MaxBody bounds the request's body in bytes; -1 is no bound.
	MaxBody int64
	// ResponseTimeout and IdleTimeout are the bounds in force, never 0.
	ResponseTimeout, IdleTimeout time.Duration

	key string // Prefix, or the path of an exact route; folded unless CaseSensitive
}

// newRouteEntry joins a stored route and its tenant.
func newRouteEntry(r *Route, t *Tenant) *RouteEntry {
	e := &RouteEntry{Route: r, Tenant: t, Base: &url.URL{}, MaxBody: r.MaxBody,
		ResponseTimeout: time.Duration(r.ResponseTimeout), IdleTimeout: time.Duration(r.IdleTimeout)}
	if base, err := url.Parse(t.BaseURL); err == nil { // checked when the tenant was stored
		e.Base = base
	}
	e.key = r.Path
	if prefix, ok := r.Prefix(); ok {
		e.Prefix, e.key = prefix, prefix
	}
	e.TenantPath = strings.TrimSuffix(r.TenantPath, "*")
	e.CaseSensitive = r.Case == CaseSensitive || r.Case == CaseTenant && t.CaseSensitive
	if !e.CaseSensitive {
		e.key = foldASCII(e.key)
	}
	if e.MaxBody == 0 {
		e.MaxBody = DefaultMaxBody
	}
	if e.ResponseTimeout == 0 {
		e.ResponseTimeout = t.effectiveTimeout()
	}
	if e.IdleTimeout == 0 {
		e.IdleTimeout = DefaultIdleTimeout
	}
	return e
}

// allows reports whether the route has the method.
func (e *RouteEntry) allows(method string) bool {
	if len(e.Route.Methods) == 0 {
		return method != "CONNECT" && method != "TRACE"
	}
	return slices.Contains(e.Route.Methods, method)
}

// routeTable finds the route of a request. It relies on routes not overlapping: the first that matches is the only one.
type routeTable struct {
	hosts map[string]*hostRoutes
	any   *hostRoutes
}

// hostRoutes are the routes of one host, by key. Routes of one key differ in their methods.
type hostRoutes struct {
	exact, prefix pathRoutes // case-sensitive
	exactFolded   pathRoutes // keys are folded
	prefixFolded  pathRoutes
}

// pathRoutes are routes by key. Bit n of depths says that some key has n slashes, so that a lookup tries only these and its work is
// bounded by the routes, not by the slashes of the path.
type pathRoutes struct {
	byKey  map[string][]*RouteEntry
	depths uint64
}

func newRouteTable(entries map[string]*RouteEntry) *routeTable {
	t := &routeTable{hosts: map[string]*hostRoutes{}, any: &hostRoutes{}}
	for _, e := range entries {
		t.host(e.Route.Host).add(e)
	}
	return t
}

func (t *routeTable) host(name string) *hostRoutes {
	if name == AnyHost {
		return t.any
	}
	h := t.hosts[name]
	if h == nil {
		h = &hostRoutes{}
		t.hosts[name] = h
	}
	return h
}

func (h *hostRoutes) add(e *RouteEntry) {
	p := &h.exact
	switch {
	case e.Prefix != "" && e.CaseSensitive:
		p = &h.prefix
	case e.Prefix != "":
		p = &h.prefixFolded
	case !e.CaseSensitive:
		p = &h.exactFolded
	}
	if p.byKey == nil {
		p.byKey = map[string][]*RouteEntry{}
	}
	p.byKey[e.key] = append(p.byKey[e.key], e)
	p.depths |= 1 << strings.Count(e.key, "/")
}

func (t *routeTable) match(host string, path, folded []byte, method string) (*RouteEntry, MatchResult) {
	m := matcher{method: method}
	if h := t.hosts[host]; h != nil {
		h.match(&m, path, folded)
	}
	t.any.match(&m, path, folded)
	return m.entry, m.result
}

func (t *routeTable) methods(host string, path, folded []byte) []string {
	m := matcher{collect: true}
	if h := t.hosts[host]; h != nil {
		h.match(&m, path, folded)
	}
	t.any.match(&m, path, folded)
	return sortedSet(m.methods)
}

// matcher is one lookup: the method asked for and what was found so far.
type matcher struct {
	method string
	entry  *RouteEntry
	result MatchResult

	collect bool // gather the methods of all routes of the path instead
	methods []string
}

// take looks at the routes of a key that the path matches.
func (m *matcher) take(entries []*RouteEntry) {
	for _, e := range entries {
		switch {
		case m.collect:
			m.methods = append(m.methods, e.Route.Methods...)
		case m.entry == nil && e.allows(m.method):
			m.entry, m.result = e, Matched
		case m.entry == nil:
			m.result = NoMethod
		}
	}
}

func (h *hostRoutes) match(m *matcher, path, folded []byte) {
	if m.entry == nil && h.exact.byKey != nil {
		m.take(h.exact.byKey[string(path)])
	}
	if m.entry == nil && h.exactFolded.byKey != nil {
		m.take(h.exactFolded.byKey[string(folded)])
	}
	h.prefix.below(m, path)
	h.prefixFolded.below(m, folded)
}

// below looks up each beginning of the path that ends in a slash and is as deep as some key.
func (p *pathRoutes) below(m *matcher, path []byte) {
	rest := p.depths >> 1 // bit 0: some key ends at the next slash
	for i := 0; i < len(path) && rest != 0 && m.entry == nil; i++ {
		if path[i] != '/' {
			continue
		}
		if rest&1 != 0 {
			m.take(p.byKey[string(path[:i+1])])
		}
		rest >>= 1
	}
}

// foldASCII lowers the letters A to Z and nothing else, as the caller of Match does for its folded path.
func foldASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
