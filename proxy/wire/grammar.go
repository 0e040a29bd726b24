package wire

import (
	"net"
	"strings"
)

// The productions of RFC 9110, RFC 9112 and RFC 3986.

var (
	isTokenByte  = asciiSet("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") // tchar, RFC 9110, section 5.6.2
	isHostByte   = asciiSet("-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
	isValueByte  = valueSet()
	isTargetByte = visibleSet()
)

func asciiSet(s string) (set [256]bool) {
	for i := range len(s) {
		set[s[i]] = true
	}
	return set
}

// valueSet marks what may stand in a field value: VCHAR, obs-text, space and tab (RFC 9110, section 5.5).
func valueSet() (set [256]bool) {
	for c := 0x20; c < 0x100; c++ {
		set[c] = c != 0x7f
	}
	set['\t'] = true
	return set
}

func visibleSet() (set [256]bool) {
	for c := 0x21; c < 0x7f; c++ {
		set[c] = true
	}
	return set
}

// IsToken reports whether s is a token (RFC 9110, section 5.6.2).
func IsToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// ParseLength reads a Content-Length: decimal digits and nothing else, below 10^18.
func ParseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// ValidAuthority judges "host [ ':' port ]" (RFC 3986, section 3.2) without userinfo and without percent-encoding, which no host name that is served
// here needs.
func ValidAuthority(s string) bool {
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 || net.ParseIP(s[1:end]) == nil {
			return false
		}
		host, port = s[:end+1], s[end+1:]
		if port != "" && (port[0] != ':' || len(port) == 1) {
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

// validEscapes reports whether every '%' of the path of target begins a percent-encoding.
func validEscapes(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	for {
		i := strings.IndexByte(path, '%')
		if i < 0 {
			return true
		}
		if i+2 >= len(path) || !IsHex(path[i+1]) || !IsHex(path[i+2]) {
			return false
		}
		path = path[i+3:]
	}
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
			if i++; i >= len(b) || !isValueByte[b[i]] {
				return 0
			}
		case !isValueByte[c]:
			return 0
		}
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// IsHex reports whether c is a hexadecimal digit.
func IsHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// Unhex returns the value of a hexadecimal digit.
func Unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// TrimOWS removes optional white space (RFC 9110, section 5.6.3) from both ends.
func TrimOWS(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// equalFold compares with a string in lower case; only ASCII letters fold.
func equalFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
