package proxy

import (
	"strings"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// On SAP Cloud Integration a query parameter is appended to the header of the same name, so a reserved header name is reserved in the query too
// (law 2). The pair is cut out; every other octet of the query stays as it was, also with twelve thousand parameters and with semicolons, which some
// servers take for separators.

// cleanQuery returns query without the pairs whose name is reserved. It returns query itself, without allocating, when there are none. The cause is
// not empty when the query cannot be read unambiguously.
func cleanQuery(query string) (cleaned, cause string) {
	for i := range len(query) {
		if c := query[i]; c <= 0x20 || c >= 0x7f || c == '#' {
			return "", "query has a character that must be percent-encoded"
		}
	}
	return cutPairs(query, reservedParameter), ""
}

// cutParameter is query without the pairs whose name could become the header of this name.
func cutParameter(query, header string) string {
	return cutPairs(query, func(raw string) bool {
		var buf [maxReservedName]byte
		name, whole := foldParameter(buf[:0], raw)
		return whole && sameHeader(string(name), header)
	})
}

// cutPairs is query without the pairs whose raw name is unwanted; it is query itself when there are none.
func cutPairs(query string, unwanted func(raw string) bool) string {
	var out []byte
	kept := 0 // query[:kept] is dealt with once out is in use
	for start := 0; start <= len(query); {
		end := start + strings.IndexAny(query[start:], "&;")
		if end < start {
			end = len(query)
		}
		name, _, _ := strings.Cut(query[start:end], "=")
		if unwanted(name) {
			if out == nil {
				out = make([]byte, 0, len(query))
			}
			out = append(out, query[kept:start]...)
			// The separator behind the pair goes with it; for the last pair it is the one before.
			kept = end + 1
			if end == len(query) {
				kept = end
				if n := len(out); n > 0 {
					out = out[:n-1]
				}
			}
		}
		start = end + 1
	}
	if out == nil {
		return query
	}
	return string(append(out, query[min(kept, len(query)):]...))
}

// reservedParameter reports whether a parameter of this raw name could become a reserved header at the tenant.
func reservedParameter(raw string) bool {
	var buf [maxReservedName]byte
	name, whole := foldParameter(buf[:0], raw)
	if !whole {
		return hasReservedPrefix(name)
	}
	return reservedName(name) || string(name) == "access-token" || string(name) == "jsessionid"
}

// foldParameter appends to name, which is empty, what a parameter of this raw name could become as the name of a header: percent-decoded as often as it can
// be, with '+' as a space, and folded like a header name. It is not whole when it is longer than name has room for.
func foldParameter(name []byte, raw string) (folded []byte, whole bool) {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		for c == '%' && i+2 < len(raw) && wire.IsHex(raw[i+1]) && wire.IsHex(raw[i+2]) {
			c = wire.Unhex(raw[i+1])<<4 | wire.Unhex(raw[i+2])
			i += 2
			if c == '%' { // encoded twice: the next two digits belong to this one
				continue
			}
			break
		}
		if c == '+' || c == ' ' || c < 0x20 || c == 0x7f {
			continue // white space around or inside a name aliases the name without it
		}
		if len(name) == maxReservedName {
			return name, false
		}
		name = append(name, foldName(c))
	}
	return name, true
}
