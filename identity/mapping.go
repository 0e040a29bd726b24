package identity

import (
	"strings"
	"time"
)

// Mapping is a rule that says for which identity a certificate of an authority stands. Without one, it stands for nobody.
type Mapping struct {
	// Kind is what is compared; see the kinds below.
	Kind string `json:"kind"`
	// Value is what the certificate must have, exactly.
	Value string `json:"value"`
	// Identity is the name of an identity or, where Value holds [Placeholder], [AnyIdentity].
	Identity string `json:"identity"`
	// Created is set by the registry.
	Created time.Time `json:"created,omitzero"`
}

// The kinds of a [Mapping].
const (
	MapFingerprint = "fingerprint" // SHA-256 of the whole certificate, in lower-case hexadecimal digits
	MapSPIFFE      = "spiffe"      // the one URI alternative name, octet by octet
	MapDNS         = "dns"         // one of the DNS alternative names; wildcards match nothing
	MapSubject     = "subject"     // the whole subject, as RFC 4514 writes it
)

const (
	// Placeholder stands in a template for the name of the identity: for a whole segment of a SPIFFE path, or the whole value of an attribute.
	Placeholder = "{identity}"
	// AnyIdentity is whose a template is that is for whichever identity it names.
	AnyIdentity = "*"
)

// Marks are what a certificate can be mapped by. Fields that it lacks, or has in a form that could be read in two ways, are empty.
type Marks struct {
	Fingerprint Fingerprint
	SPIFFE      string   // "" unless there is exactly one URI alternative name and it is a SPIFFE ID
	DNS         []string // lower case
	Subject     Name     // nil unless its form is clear
}

// NewMapping returns the rule in the form in which it is stored: a placeholder in a rule of one identity is that identity's name.
func NewMapping(authority, kind, value, identity string) (Mapping, error) {
	fail := func(field, message, hint string) (Mapping, error) {
		return Mapping{}, &Error{Code: ErrInvalid, Object: ObjectAuthority, Name: shortened(authority), Field: field, Message: message, Hint: hint}
	}
	if identity != AnyIdentity {
		v := validation{object: ObjectAuthority, name: authority}
		if v.key("identity", identity); v.err() != nil {
			return Mapping{}, v.err()
		}
	}
	template := strings.Contains(value, "{") || strings.Contains(value, "}")
	switch {
	case template && strings.Count(value, Placeholder) != 1 || strings.Count(value, "{")+strings.Count(value, "}") > 2:
		return fail("value", "braces are for one "+Placeholder, "write "+Placeholder+" once, or escape nothing and leave braces out")
	case template && kind != MapSPIFFE && kind != MapSubject:
		return fail("value", "only spiffe and subject take "+Placeholder, "write the value out")
	case !template && identity == AnyIdentity:
		return fail("identity", "a rule for any identity must say where its name stands", "put "+Placeholder+" into the value, or name one identity")
	}
	m := Mapping{Kind: kind, Value: value, Identity: identity}
	switch kind {
	case MapFingerprint:
		f, err := ParseFingerprint(value)
		if err != nil {
			return fail("value", "not a SHA-256 fingerprint", "openssl x509 -in FILE -noout -fingerprint -sha256")
		}
		m.Value = f.String()
	case MapSPIFFE:
		if problem := spiffeProblem(value); problem != "" {
			return fail("value", quoted(value)+" is no SPIFFE ID: "+problem, "write it like spiffe://example.org/ns/prod/erp")
		}
	case MapDNS:
		m.Value = strings.ToLower(value)
		v := validation{object: ObjectAuthority, name: authority}
		if v.host("value", m.Value); v.err() != nil || !strings.ContainsFunc(m.Value, func(r rune) bool { return r >= 'a' && r <= 'z' }) {
			return fail("value", quoted(value)+" is no host name", "write it like erp.example.com, without wildcard and port")
		}
	case MapSubject:
		name, err := ParseName(value)
		if err != nil {
			return fail("value", err.Error(), "openssl x509 -in FILE -noout -subject -nameopt RFC2253,-esc_msb,utf8 prints it")
		}
		m.Value = name.String()
	default:
		return fail("kind", quoted(kind)+" is unknown", "give fingerprint, spiffe, dns or subject")
	}
	if identity != AnyIdentity {
		m.Value = strings.Replace(m.Value, Placeholder, identity, 1) // a name of an identity needs no escaping
	}
	return m, nil
}

// Matches returns the name of the identity that the rule gives to a certificate with these marks, and whether it gives one. For a template that is
// what stands in its place, which may be nobody's name.
func (m *Mapping) Matches(marks *Marks) (string, bool) {
	switch m.Kind {
	case MapFingerprint:
		return m.Identity, marks.Fingerprint.String() == m.Value
	case MapDNS:
		for _, name := range marks.DNS {
			if name == m.Value {
				return m.Identity, true
			}
		}
	case MapSPIFFE:
		return m.capture(marks.SPIFFE, marks.SPIFFE != "")
	case MapSubject:
		return m.captureName(marks.Subject)
	}
	return "", false
}

// capture compares a whole string with a value that may hold a placeholder for one segment.
func (m *Mapping) capture(s string, there bool) (string, bool) {
	if !there {
		return "", false
	}
	if m.Identity != AnyIdentity {
		return m.Identity, s == m.Value
	}
	before, after, _ := strings.Cut(m.Value, Placeholder)
	rest, ok := strings.CutPrefix(s, before)
	if !ok || len(rest) <= len(after) || !strings.HasSuffix(rest, after) {
		return "", false
	}
	name := rest[:len(rest)-len(after)]
	return name, isKey(name)
}

// captureName compares a subject with a value that may hold a placeholder for one attribute's value.
func (m *Mapping) captureName(subject Name) (string, bool) {
	want, err := ParseName(m.Value)
	if err != nil || subject == nil || len(want) != len(subject) {
		return "", false
	}
	found := m.Identity
	for i, a := range want {
		switch got := subject[i]; {
		case a.Type != got.Type:
			return "", false
		case m.Identity == AnyIdentity && a.Value == Placeholder:
			found = got.Value
		case a.Value != got.Value:
			return "", false
		}
	}
	return found, found != AnyIdentity && isKey(found)
}

// collides reports whether a certificate can be made that both rules give to different identities by the same mark, as far as that can be told.
func (m *Mapping) collides(o *Mapping) bool {
	if m.Kind != o.Kind {
		return false
	}
	if m.Identity != AnyIdentity && o.Identity != AnyIdentity {
		return m.Value == o.Value && m.Identity != o.Identity
	}
	if m.Identity != AnyIdentity {
		return o.collides(m)
	}
	switch {
	case o.Identity != AnyIdentity: // is o's one value also another identity's by the template?
		name, ok := m.Matches(&Marks{SPIFFE: o.Value, Subject: mustName(o)})
		return ok && name != o.Identity
	case m.Kind == MapSPIFFE:
		return templatesCollide(segments(m.Value), segments(o.Value))
	default:
		return templatesCollide(attributes(m.Value), attributes(o.Value))
	}
}

// templatesCollide reports whether something fits both templates and has different names in their places.
func templatesCollide(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if _, inA := placeholderIn(a[i]); inA {
			if typ, inB := placeholderIn(b[i]); inB && typ == strings.TrimSuffix(a[i], Placeholder) {
				return false // the same place: always the same name
			}
		}
		if !fits(a[i], b[i]) && !fits(b[i], a[i]) {
			return false
		}
	}
	return true
}

// fits reports whether value fits a part of a template.
func fits(part, value string) bool {
	before, ok := placeholderIn(part)
	return part == value || ok && strings.HasPrefix(value, before)
}

func placeholderIn(part string) (before string, ok bool) { return strings.CutSuffix(part, Placeholder) }

func segments(id string) []string { return strings.Split(strings.TrimPrefix(id, spiffeScheme), "/") }

func attributes(name string) []string {
	var all []string
	for _, a := range mustName(&Mapping{Kind: MapSubject, Value: name}) {
		all = append(all, a.Type+"="+a.Value)
	}
	return all
}

// mustName is the name of a stored subject rule; nil for other kinds.
func mustName(m *Mapping) Name {
	if m.Kind != MapSubject {
		return nil
	}
	name, _ := ParseName(m.Value)
	return name
}

// isKey reports whether s could be an identity's name.
func isKey(s string) bool { return s != "" && len(s) <= 63 && wordOf(s, false) }

const spiffeScheme = "spiffe://"

// SPIFFETrustDomain returns the trust domain of a SPIFFE ID in the one form that we take; ok is false for everything else.
func SPIFFETrustDomain(id string) (domain string, ok bool) {
	if strings.Contains(id, "{") || spiffeProblem(id) != "" {
		return "", false
	}
	domain, _, _ = strings.Cut(strings.TrimPrefix(id, spiffeScheme), "/")
	return domain, true
}

// spiffeProblem says why s is not a SPIFFE ID with a path (SPIFFE-ID section 2), in which the placeholder may be one whole segment; "" when it is one.
func spiffeProblem(s string) string {
	rest, ok := strings.CutPrefix(s, spiffeScheme)
	domain, path, hasPath := strings.Cut(rest, "/")
	switch {
	case !ok:
		return "it does not begin with spiffe:// in lower case"
	case len(s) > 2048:
		return "it is longer than 2048 octets"
	case domain == "" || len(domain) > 255 || strings.ContainsFunc(domain, func(r rune) bool { return !isLower(r) && !strings.ContainsRune("0123456789.-_", r) }):
		return "the trust domain may have a-z, 0-9, '.', '-' and '_' only"
	case !hasPath:
		return "it has no path: a trust domain by itself is nobody"
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == Placeholder:
		case segment == "" || segment == "." || segment == "..":
			return "a segment of the path is empty or made of dots"
		case strings.ContainsFunc(segment, func(r rune) bool {
			return !isLower(r) && (r < 'A' || r > 'Z') && !strings.ContainsRune("0123456789.-_", r)
		}):
			return "a segment may have letters, digits, '.', '-' and '_' only"
		}
	}
	return ""
}

func isLower(r rune) bool { return r >= 'a' && r <= 'z' }
