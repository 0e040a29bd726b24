package identity

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Attribute is one attribute of a [Name]: its type by short name, or as dotted numbers where it has none here, and its value.
type Attribute struct{ Type, Value string }

// Name is a distinguished name that can be read in one way only, in the order of RFC 4514: the last of the encoded sequence comes first.
type Name []Attribute

// attributeTypes are the short names of RFC 4514 section 3, and those that CAs are given besides.
var attributeTypes = map[string]string{
	"CN": "2.5.4.3", "SN": "2.5.4.4", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8", "STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11",
	"DC": "0.9.2342.19200300.100.1.25", "UID": "0.9.2342.19200300.100.1.1",
}

var attributeNames = func() map[string]string {
	names := make(map[string]string, len(attributeTypes))
	for name, id := range attributeTypes {
		names[id] = name
	}
	return names
}()

// maxAttributes bounds a name.
const maxAttributes = 32

// String returns the name as RFC 4514 section 2 writes it, in one form.
func (n Name) String() string {
	var b strings.Builder
	for i, a := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(a.Type + "=" + escapeValue(a.Value))
	}
	return b.String()
}

func escapeValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if strings.IndexByte(`"+,;<>\`, c) >= 0 || c == ' ' && (i == 0 || i == len(s)-1) || c == '#' && i == 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// ParseName reads RFC 4514. What could be read in two ways is refused: several values in one RDN, an attribute twice (but for DC), values in
// hexadecimal ('#'), spaces around separators.
func ParseName(s string) (Name, error) {
	var n Name
	for rest := s; ; {
		typ, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, fmt.Errorf("%s has no '=' after %q", quoted(s), shortened(rest))
		}
		id, known := attributeTypes[strings.ToUpper(typ)]
		if !known {
			if id = typ; !dottedNumbers(typ) {
				return nil, fmt.Errorf("%s is no attribute that is known: write its number, like 2.5.4.97", quoted(typ))
			}
		}
		value, end, err := readValue(after)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", typ, err)
		}
		n = append(n, Attribute{typeName(id), value})
		if end == len(after) {
			break
		}
		rest = after[end+1:]
	}
	return n, n.check()
}

// readValue reads a value up to an unescaped comma.
func readValue(s string) (value string, end int, err error) {
	var b []byte
	if strings.HasPrefix(s, "#") {
		return "", 0, errors.New("values in hexadecimal are not taken")
	}
	escaped := -1 // where the last escaped octet stands in b
	for end < len(s) && s[end] != ',' {
		switch c := s[end]; {
		case c == '+':
			return "", 0, errors.New("an RDN with several attributes can be read in two ways; a '+' in a value is escaped")
		case strings.IndexByte(`";<>`, c) >= 0:
			return "", 0, fmt.Errorf("%q must be escaped with a '\\'", c)
		case c != '\\':
			b = append(b, c)
			end++
			continue
		case end+1 < len(s) && strings.IndexByte(` "#+,;<=>\`, s[end+1]) >= 0:
			b = append(b, s[end+1])
			end += 2
		default:
			pair, err := hex.DecodeString(s[min(end+1, len(s)):min(end+3, len(s))])
			if err != nil || len(pair) != 1 {
				return "", 0, errors.New("a '\\' is followed by a special character or two hexadecimal digits")
			}
			b = append(b, pair[0])
			end += 3
		}
		escaped = len(b) - 1
	}
	if len(b) > 0 && (b[0] == ' ' && s[0] != '\\' || b[len(b)-1] == ' ' && escaped != len(b)-1) {
		return "", 0, errors.New("spaces around a value must be escaped, or left out")
	}
	return string(b), end, nil
}

// SubjectName reads a subject as a certificate has it (RawSubject). It returns nil for one that could be read in two ways: an RDN with several
// attributes, an attribute twice (but for DC), a value that is neither PrintableString nor UTF8String (IA5String for DC) or holds what its type
// does not allow.
func SubjectName(raw []byte) Name {
	var sequence cryptobyte.String
	in := cryptobyte.String(raw)
	if !in.ReadASN1(&sequence, cryptobyteasn1.SEQUENCE) || !in.Empty() {
		return nil
	}
	var n Name
	for !sequence.Empty() {
		var set, pair, value cryptobyte.String
		var id asn1.ObjectIdentifier
		var tag cryptobyteasn1.Tag
		ok := sequence.ReadASN1(&set, cryptobyteasn1.SET) && set.ReadASN1(&pair, cryptobyteasn1.SEQUENCE) && set.Empty() &&
			pair.ReadASN1ObjectIdentifier(&id) && pair.ReadAnyASN1(&value, &tag) && pair.Empty()
		if !ok || !plain(string(value), tag, id.String() == attributeTypes["DC"]) {
			return nil
		}
		n = append(Name{{typeName(id.String()), string(value)}}, n...)
		if len(n) > maxAttributes {
			return nil
		}
	}
	if n.check() != nil {
		return nil
	}
	return n
}

// plain reports whether a value holds what its string type allows.
func plain(s string, tag cryptobyteasn1.Tag, component bool) bool {
	switch tag {
	case cryptobyteasn1.UTF8String:
		return utf8.ValidString(s) && printable(s)
	case cryptobyteasn1.PrintableString:
		return !strings.ContainsFunc(s, func(r rune) bool {
			return !isLower(r) && (r < 'A' || r > 'Z') && !strings.ContainsRune("0123456789 '()+,-./:=?", r)
		})
	case cryptobyteasn1.IA5String:
		return component && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
	}
	return false
}

// check refuses names that say something twice, or nothing.
func (n Name) check() error {
	seen := map[string]bool{}
	for _, a := range n {
		switch {
		case seen[a.Type] && a.Type != "DC":
			return fmt.Errorf("%s stands twice in the name", a.Type)
		case a.Value == "" || !printable(a.Value) || len(a.Value) > 1024:
			return fmt.Errorf("the value of %s is empty, too long or not printable", a.Type)
		}
		if strings.Contains(a.Value, Placeholder) && a.Value != Placeholder {
			return fmt.Errorf("%s must be the whole value of %s", Placeholder, a.Type)
		}
		seen[a.Type] = true
	}
	if len(n) == 0 || len(n) > maxAttributes {
		return errors.New("the name is empty or has too many attributes")
	}
	return nil
}

func typeName(id string) string {
	if name, ok := attributeNames[id]; ok {
		return name
	}
	return id
}

func dottedNumbers(s string) bool {
	parts := strings.Split(s, ".")
	for _, p := range parts {
		if p == "" || len(p) > 10 || len(p) > 1 && p[0] == '0' || strings.ContainsFunc(p, func(r rune) bool { return r < '0' || r > '9' }) {
			return false
		}
	}
	return len(parts) > 2
}
