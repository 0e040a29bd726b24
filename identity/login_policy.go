package identity

import (
	"context"
	"strings"
	"time"
)

// LoginPolicy is what holds for all logins.
type LoginPolicy struct {
	// MaxSunset is how far ahead the sunset of a login may be set: at least an hour, at most 5 years; a year unless it was changed. It bounds what is set
	// from now on; a sunset that was set before stays.
	MaxSunset Duration `json:"max_sunset"`
	// Contact is the team that helps callers over to certificates. Callers whose login is refused are told it; "" tells the owner of the login.
	Contact string `json:"contact,omitempty"`
	// Guide is the address of a page that says how a caller comes by a certificate; "" is none. Callers are told it.
	Guide string `json:"guide,omitempty"`
	// Realm is what callers are told in WWW-Authenticate (RFC 7617, 2): 1 to 64 characters of printable ASCII without '"' and '\'.
	Realm string `json:"realm"`
}

// DefaultLoginPolicy returns the policy of a new registry.
func DefaultLoginPolicy() LoginPolicy {
	return LoginPolicy{MaxSunset: Duration(365 * day), Realm: "tenantgate"}
}

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil.
func (p LoginPolicy) Validate() error {
	v := validation{object: ObjectLoginPolicy, name: loginPolicyName}
	if d := time.Duration(p.MaxSunset); d < time.Hour || d > 5*365*day {
		v.fail("max_sunset", d.String()+" is out of bounds", "give between 1h and 43800h (5 years)")
	}
	if p.Contact != "" {
		v.team("contact", p.Contact)
	}
	if p.Guide != "" {
		v.guide("guide", p.Guide)
	}
	bad := func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
	if p.Realm == "" || len(p.Realm) > 64 || strings.ContainsFunc(p.Realm, bad) {
		v.fail("realm", "not 1 to 64 characters of printable ASCII without quotes and backslashes", "give a short name such as tenantgate")
	}
	return v.err()
}

// guide checks an address that callers are told in a Link field (RFC 8288).
func (v *validation) guide(field, s string) {
	v.url(field, s)
	if strings.ContainsAny(s, "<>\" ") || !isASCII(s) {
		v.fail(field, "not an address that fits into a header field", "write it like https://wiki.example.com/certificates")
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// loginPolicyName is the policy's name in the change log: there is only one.
const loginPolicyName = "policy"

const (
	selectLoginPolicy = `SELECT max_sunset, contact, guide, realm FROM login_policy WHERE id = 1`
	updateLoginPolicy = `UPDATE login_policy SET max_sunset = $1, contact = $2, guide = $3, realm = $4 WHERE id = 1`
)

// LoginPolicy returns what holds for all logins.
func (s *Snapshot) LoginPolicy() *LoginPolicy { return s.loginPolicy }

// LoginPolicy returns what holds for all logins as the transaction sees it.
func (tx *Tx) LoginPolicy() LoginPolicy { return *tx.draft.loginPolicy }

// SetLoginPolicy replaces what holds for all logins and returns it as stored.
func (tx *Tx) SetLoginPolicy(ctx context.Context, p LoginPolicy) (LoginPolicy, error) {
	p.Contact = strings.TrimSpace(p.Contact)
	if err := p.Validate(); err != nil {
		return LoginPolicy{}, err
	}
	if err := tx.exec(ctx, "storing the policy of logins", updateLoginPolicy, int64(p.MaxSunset), p.Contact, p.Guide, p.Realm); err != nil {
		return LoginPolicy{}, err
	}
	stored := p
	tx.draft.putLoginPolicy(&stored)
	return p, nil
}
