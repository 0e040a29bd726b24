package proxy

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// A path is matched on what the tenant will see and forwarded byte for byte (law 8). That is only possible for a path which every parser reads in
// the same way: whatever two parsers could read differently is refused here, with a cause that names it.

// rawPath is a request path in the three forms that the core needs.
type rawPath struct {
	raw     string // as the caller sent it, without the query
	decoded []byte // percent-decoded once
	folded  []byte // decoded, with ASCII letters in lower case
}

// splitTarget separates an origin-form request target (RFC 9112, section 3.2.1) into path and query. query is without its question mark; hasQuery
// tells an empty query from none.
func splitTarget(target string) (path, query string, hasQuery bool) {
	return strings.Cut(target, "?")
}

// parse reads raw into p, reusing its buffers. The returned cause is empty when the path is unambiguous.
func (p *rawPath) parse(raw string) (cause string) {
	p.raw, p.decoded, p.folded = raw, p.decoded[:0], p.folded[:0]
	if raw == "" || raw[0] != '/' {
		return "path does not begin with a slash"
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '%':
			if i+2 >= len(raw) || !wire.IsHex(raw[i+1]) || !wire.IsHex(raw[i+2]) {
				return "path has an incomplete percent-encoding"
			}
			c = wire.Unhex(raw[i+1])<<4 | wire.Unhex(raw[i+2])
			i += 2
			if cause := encodedCause(c); cause != "" {
				return cause
			}
		case !isPathByte[c]:
			return rawCause(c)
		}
		p.decoded = append(p.decoded, c)
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		p.folded = append(p.folded, c)
	}
	if !utf8.Valid(p.decoded) {
		return "path is not valid UTF-8"
	}
	return segmentsCause(p.decoded)
}

// encodedCause says why the percent-encoded octet c may not stand in a path.
func encodedCause(c byte) string {
	switch {
	case c == '/':
		return "path has an encoded slash"
	case c == '\\':
		return "path has an encoded backslash"
	case c == '%':
		return "path is encoded twice"
	case c == ';':
		return "path has an encoded semicolon"
	case c < 0x20 || c == 0x7f:
		return "path has an encoded control character"
	}
	return ""
}

// rawCause says why the octet c may not stand in a path as it is.
func rawCause(c byte) string {
	switch {
	case c == ';':
		return "path has a semicolon (path parameters are not accepted)"
	case c == '\\':
		return "path has a backslash"
	case c < 0x20 || c == 0x7f:
		return "path has a control character"
	case c >= 0x80:
		return "path has an octet that must be percent-encoded"
	}
	return "path has a character that RFC 3986 does not allow"
}

// segmentsCause refuses empty and dot segments: "//", "/./", "/../", also when they were encoded.
func segmentsCause(decoded []byte) string {
	rest := decoded[1:]
	for {
		segment, after, more := bytes.Cut(rest, slash)
		switch {
		case len(segment) == 0 && more:
			return "path has an empty segment"
		case len(segment) == 1 && segment[0] == '.', len(segment) == 2 && segment[0] == '.' && segment[1] == '.':
			return "path has a dot segment"
		}
		if !more {
			return ""
		}
		rest = after
	}
}

// rawOffset returns the offset in raw at which the first n decoded octets end.
func rawOffset(raw string, n int) int {
	i := 0
	for ; n > 0 && i < len(raw); n-- {
		if raw[i] == '%' {
			i += 3
		} else {
			i++
		}
	}
	return i
}

var slash = []byte{'/'}

// isPathByte marks pchar and "/" of RFC 3986, section 3.3, without the semicolon.
var isPathByte = asciiSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@/")

func asciiSet(s string) (set [256]bool) {
	for i := range len(s) {
		set[s[i]] = true
	}
	return set
}
