package identity

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// validation collects the first fault of one object's fields.
type validation struct {
	object, name string
	failed       *Error
}

func (v *validation) fail(field, message, hint string) {
	if v.failed == nil {
		v.failed = &Error{Code: ErrInvalid, Object: v.object, Name: shortened(v.name), Field: field, Message: message, Hint: hint}
	}
}

func (v *validation) err() error {
	if v.failed == nil {
		return nil
	}
	return v.failed
}

// key checks the name that an object is known by.
func (v *validation) key(field, s string) {
	const hint = "use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
	switch {
	case s == "":
		v.fail(field, "missing", hint)
	case strings.Contains(s, "@"):
		v.fail(field, "holds an '@'", "no person in a name: "+hint)
	case len(s) > 63 || !wordOf(s, false):
		v.fail(field, quoted(s)+" is not a name", hint)
	}
}

func (v *validation) role(field, s string) {
	if s == "" || len(s) > 128 || !wordOf(s, true) {
		v.fail(field, quoted(s)+" is not a role", "use 1 to 128 letters, digits, '.', '_' and '-', beginning with a letter or digit, like orders.send")
	}
}

// wordOf reports whether s is letters, digits, '.', '_' and '-', beginning with a letter or digit.
func wordOf(s string, capitals bool) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case capitals && c >= 'A' && c <= 'Z':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return s != ""
}

// team checks an owner: a team's name in any script, never a person's address.
func (v *validation) team(field, s string) {
	switch {
	case strings.TrimSpace(s) == "":
		v.fail(field, "missing", "name the team that answers for the identity")
	case strings.Contains(s, "@"):
		v.fail(field, "holds an '@'", "an owner is a team, not a person's address")
	case len(s) > 128 || !printable(s):
		v.fail(field, "longer than 128 bytes or with control characters", "give the team's name")
	}
}

// text checks free text for people.
func (v *validation) text(field, s string) {
	switch {
	case len(s) > 1024:
		v.fail(field, "too long", "use at most 1024 bytes")
	case !printable(s):
		v.fail(field, "holds a control character or is no UTF-8", "write one line of plain text")
	}
}

func (v *validation) date(field string, d Date) {
	if _, err := d.Time(); err != nil {
		v.fail(field, quoted(string(d))+" is not a date", "write year-month-day, like 2027-03-31")
	}
}

// timeout checks a bound on time; a day is more than any exchange may take.
func (v *validation) timeout(field string, d Duration) {
	if d < 0 || time.Duration(d) > 24*time.Hour {
		v.fail(field, d.String()+" is out of bounds", "give 0 for the default, or up to 24h")
	}
}

// scope checks an OAuth scope: tokens with one space between (RFC 6749, 3.3).
func (v *validation) scope(field, s string) {
	if s == "" {
		return
	}
	for token := range strings.SplitSeq(s, " ") {
		bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
		if token == "" || strings.ContainsFunc(token, bad) || len(s) > 4096 {
			v.fail(field, quoted(s)+" is not an OAuth scope", "write tokens of printable ASCII with one space between")
			return
		}
	}
}

// host checks a name that requests are compared with: lower case, no port.
func (v *validation) host(field, s string) {
	const hint = "give a lower-case host name or an IP address without a port, or * for any"
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" && addr.String() == s {
		return
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) > 63 || !wordOf(label, false) || strings.Contains(label, "_") || strings.HasSuffix(label, "-") {
			v.fail(field, quoted(s)+" is not a host name", hint)
			return
		}
	}
	if len(s) > 253 {
		v.fail(field, "too long", hint)
	}
}

// url checks an address that secrets or tokens are sent to.
func (v *validation) url(field, s string) {
	const form = "write it like https://tenant.example.com"
	u, err := url.Parse(s)
	switch {
	case s == "":
		v.fail(field, "missing", form)
	case err != nil || u.Opaque != "" || u.Hostname() == "" || len(s) > 2048 || !printable(s):
		v.fail(field, "not an absolute URL", form) // the text may hold a password, so it is not quoted
	case !validPort(u.Port()):
		v.fail(field, "has no port between 1 and 65535", form)
	case u.User != nil:
		v.fail(field, "holds a user name or password", "remove what stands before the '@': credentials are objects of their own")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		v.fail(field, "holds a query or fragment", "remove everything from the '?' or '#' on")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		v.fail(field, "not https", "use https: tokens and secrets never travel in the clear (only a loopback host may use http)")
	case u.Scheme != "http" && u.Scheme != "https":
		v.fail(field, "neither https nor http", form)
	case u.RawPath != "" || strings.ContainsAny(s, `;\%`) || strings.Contains(u.Path, "//") || dotted(u.Path):
		v.fail(field, "has a path that can be read in two ways", `remove '%', ';', '\', '//', '/./' and '/../'`)
	}
}

// validPort reports whether the port of a URL, "" when it names none, can be connected to.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

func dotted(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// loopback reports whether the host is this machine by its name or address (RFC 6761, 6.3).
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// printable reports whether s is valid UTF-8 without control characters.
func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return false
		}
	}
	return utf8.ValidString(s)
}
