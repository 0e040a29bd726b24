package proxy

import (
	"net"
	"strings"
)

// The productions of RFC 9110, RFC 9112 and RFC 3986 that the guard and the core share.

// validEscapes reports whether every '%' of the path begins a percent-encoding. (net/http answers such a request by itself, without a record.)
func validEscapes(target string) bool {
	path, _, _ := splitTarget(target)
	for i := 0; i < len(path); i++ {
		if path[i] == '%' {
			if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return false
			}
			i += 2
		}
	}
	return true
}

func isVersion(s string) bool {
	return len(s) == len("HTTP/1.1") && s[:5] == "HTTP/" && isDigit(s[5]) && s[6] == '.' && isDigit(s[7])
}

// validChunkExtension judges *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] ) without the white space, which only senders of
// malformed messages use (RFC 9112, section 7.1.1).
func validChunkExtension(b []byte) bool {
	for len(b) > 0 {
		if b[0] != ';' {
			return false
		}
		b = b[1:]
		n := tokenLength(b)
		if n == 0 {
			return false
		}
		if b = b[n:]; len(b) > 0 && b[0] == '=' {
			b = b[1:]
			n = tokenLength(b)
			if n == 0 {
				n = quotedLength(b)
			}
			if n == 0 {
				return false
			}
			b = b[n:]
		}
	}
	return true
}

func tokenLength(b []byte) int {
	n := 0
	for n < len(b) && isTokenByte[b[n]] {
		n++
	}
	return n
}

// quotedLength returns the length of the quoted-string at the start of b, or 0.
func quotedLength(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i++; i >= len(b) {
				return 0
			}
		case c < 0x20 && c != '\t', c == 0x7f:
			return 0
		}
	}
	return 0
}

// parseLength reads a Content-Length: decimal digits and nothing else.
func parseLength(s string) (uint64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return n, true
}

// validAuthority judges "host [ ':' port ]" (RFC 3986, section 3.2) without userinfo and without percent-encoding, which no host name that we serve
// needs.
func validAuthority(s string) bool {
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 || net.ParseIP(s[1:end]) == nil {
			return false
		}
		host, port = s[:end+1], s[end+1:]
		if port != "" && port[0] != ':' {
			return false
		}
		port = strings.TrimPrefix(port, ":")
	} else {
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, port = s[:i], s[i+1:]
			if port == "" {
				return false
			}
		}
		for i := range len(host) {
			if !isHostByte[host[i]] {
				return false
			}
		}
	}
	for i := range len(port) {
		if !isDigit(port[i]) {
			return false
		}
	}
	return host != "" && len(s) <= 261 && len(port) <= 5
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// asciiLower appends name in lower case, cut at the capacity of a reserved name.
func asciiLower(dst, name []byte) []byte {
	for i := 0; i < len(name) && i < maxReservedName; i++ {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

var (
	isTokenByte = asciiSet("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") // tchar, RFC 9110, section 5.6.2
	isHostByte  = asciiSet("-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
)
