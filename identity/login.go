package identity

import (
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Login is a legacy user name and password that still stands for an identity, until its sunset.
type Login struct {
	// User is the legacy user name and the login's key: 1 to 256 octets of UTF-8 without ':' (RFC 7617, 2) and control characters. It is stored in
	// normalization form C and otherwise compared octet by octet: P2001234567 and p2001234567 are two logins.
	User string `json:"user"`
	// Identity is the name of the identity that the login stands for.
	Identity string `json:"identity"`
	// Owner is the team that moves the callers of the login; "" is the owner of the identity. It holds no '@'.
	Owner string `json:"owner,omitempty"`
	// Description is free text of at most 1024 bytes.
	Description string `json:"description,omitempty"`
	// Roles are those of the identity's roles that the login may use, sorted; none is all of them. A role that the identity does not hold (any more) is
	// of no use here either.
	Roles []string `json:"roles"`
	// Routes are the names of the routes that the login may use, sorted; none is every route whose role it has.
	Routes []string `json:"routes"`
	// Networks are the networks from which the login is accepted, sorted, as 192.0.2.0/24 or 2001:db8::/32; none is any.
	Networks []string `json:"networks"`
	// Password is what the password is compared with; the zero value only in stage observe and, of one that was
	// observed, in stage closed. It never leaves the registry.
	Password PasswordHash `json:"-"`
	// Sunset is when the login ends whatever its stage says. It is required.
	Sunset time.Time `json:"sunset"`
	// Stage is what an administrator set last. Look at StageAt: the dates below go on from there.
	Stage Stage `json:"stage"`
	// WarnOn, BrownoutFrom and CloseOn are when the stages warned, brownout and closed begin; zero is never. None is later than the next.
	WarnOn       time.Time `json:"warn_on,omitzero"`
	BrownoutFrom time.Time `json:"brownout_from,omitzero"`
	CloseOn      time.Time `json:"close_on,omitzero"`
	// Brownouts are the windows in which stage brownout refuses, at most 16 (see [ParseWindow]).
	Brownouts []string `json:"brownouts,omitempty"`
	// StageRecorded is the last stage that is on record (see [Tx.RecordStage]). The registry sets it.
	StageRecorded Stage `json:"-"`
	// Version is the revision of the last change to the login. The registry sets it.
	Version int64 `json:"version"`
	// Created and Updated are when the login was added and last changed. The registry sets them.
	Created time.Time `json:"created,omitzero"`
	Updated time.Time `json:"updated,omitzero"`

	networks []netip.Prefix // of Networks
	windows  []Window       // of Brownouts
}

// The bounds of a login.
const (
	maxUser      = 256 // octets
	maxBrownouts = 16
	maxNetworks  = 64
)

// NormalUser returns a user name as logins have it: in normalization form C. An ASCII name is returned as it is, without an allocation.
func NormalUser(user string) string { return norm.NFC.String(user) }

// AllowsSource reports whether the login is accepted from an address. It allocates nothing.
func (l *Login) AllowsSource(addr netip.Addr) bool {
	if len(l.networks) == 0 {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, n := range l.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// AllowsRoute reports whether the login may use the route of this name, its role apart. It allocates nothing.
func (l *Login) AllowsRoute(route string) bool {
	if len(l.Routes) == 0 {
		return true
	}
	_, ok := slices.BinarySearch(l.Routes, route)
	return ok
}

// hasRole reports whether the role is among those that the login may use, whatever the identity holds.
func (l *Login) hasRole(role string) bool {
	if len(l.Roles) == 0 {
		return true
	}
	_, ok := slices.BinarySearch(l.Roles, role)
	return ok
}

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil. Whether the identity and the routes exist and the
// policy allows the sunset is for [Tx.AddLogin] to say.
func (l Login) Validate() error {
	v := validation{object: ObjectLogin, name: l.User}
	v.user("user", l.User)
	v.key("identity", l.Identity)
	if l.Owner != "" {
		v.team("owner", l.Owner)
	}
	v.text("description", l.Description)
	for _, role := range l.Roles {
		v.role("roles", role)
	}
	for _, route := range l.Routes {
		v.key("routes", route)
	}
	v.networks("networks", l.Networks)
	v.schedule(&l)
	if l.Password.IsZero() && l.Stage != StageObserve && l.Stage != StageClosed {
		v.fail("password", "missing", "give the password that the callers send; only a login in stage observe needs none")
	}
	return v.err()
}

// user checks a legacy user name.
func (v *validation) user(field, s string) {
	switch {
	case s == "":
		v.fail(field, "missing", "give the user name that the callers send")
	case len(s) > maxUser:
		v.fail(field, "too long", "a user name has at most 256 octets")
	case !utf8.ValidString(s):
		v.fail(field, "is no UTF-8", "give the user name in UTF-8, whatever its callers send it in")
	case strings.Contains(s, ":"):
		v.fail(field, "holds a ':'", "HTTP Basic cannot carry such a user name (RFC 7617, section 2); look for a slip of the pen")
	case !printable(s):
		v.fail(field, "holds a control character", "look for a line end or tab that was copied along")
	}
}

// networks checks a list of source networks.
func (v *validation) networks(field string, list []string) {
	if len(list) > maxNetworks {
		v.fail(field, "too many", "give at most 64 networks")
	}
	for _, s := range list {
		if _, ok := parseNetwork(s); !ok {
			v.fail(field, quoted(s)+" is not a network", "write an address or a network without host bits, like 192.0.2.17 or 192.0.2.0/24")
		}
	}
}

// parseNetwork reads a network or an address, which is a network of one. Host bits and zones are refused: nobody can say what was meant.
func parseNetwork(s string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() || p != p.Masked() {
		return netip.Prefix{}, false
	}
	return p, true
}

// normal returns a valid login as it is stored.
func (l Login) normal() Login {
	l.User, l.Owner = NormalUser(l.User), strings.TrimSpace(l.Owner)
	l.Roles, l.Routes = sortedSet(l.Roles), sortedSet(l.Routes)
	networks := make([]string, 0, len(l.Networks))
	for _, s := range l.Networks {
		p, _ := parseNetwork(s)
		networks = append(networks, p.String())
	}
	l.Networks, l.Brownouts = sortedSet(networks), slices.Clone(l.Brownouts)
	l.Sunset, l.WarnOn, l.BrownoutFrom, l.CloseOn = stored(l.Sunset), stored(l.WarnOn), stored(l.BrownoutFrom), stored(l.CloseOn)
	l.compile()
	return l
}

// compile makes of the texts what requests are compared with.
func (l *Login) compile() {
	l.networks, l.windows = nil, nil
	for _, s := range l.Networks {
		if p, ok := parseNetwork(s); ok {
			l.networks = append(l.networks, p)
		}
	}
	for _, s := range l.Brownouts {
		if w, err := ParseWindow(s); err == nil {
			l.windows = append(l.windows, w)
		}
	}
}

// clone returns a login whose lists are its own.
func (l *Login) clone() Login {
	c := *l
	c.Roles, c.Routes, c.Networks = slices.Clone(l.Roles), slices.Clone(l.Routes), slices.Clone(l.Networks)
	c.Brownouts = slices.Clone(l.Brownouts)
	return c
}
