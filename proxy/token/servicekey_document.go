package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxServiceKey bounds a document in bytes, maxHeading what may stand before it, maxNesting its depth.
const (
	maxServiceKey = 1 << 20
	maxHeading    = 4 << 10
	maxNesting    = 32
)

// member is a JSON object of the document and where in it it stands. Names are compared exactly.
type member struct {
	path   string // "" for the document itself
	fields map[string]any
}

func (m member) at(name string) string {
	if m.path == "" {
		return name
	}
	return m.path + "." + name
}

// text returns a member that must be a string; a null is a missing one.
func (m member) text(name string) (string, error) {
	switch v := m.fields[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	}
	return "", &KeyError{Field: m.at(name), Problem: "it has the wrong JSON type"}
}

// object returns a member that must be an object; a null is a missing one.
func (m member) object(name string) (_ member, there bool, _ error) {
	switch v := m.fields[name].(type) {
	case nil:
		return member{}, false, nil
	case map[string]any:
		return member{m.at(name), v}, true, nil
	}
	return member{}, false, &KeyError{Field: m.at(name), Problem: "it has the wrong JSON type"}
}

func (m member) has(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return m.fields[name] != nil })
}

// readDocument finds the one JSON object in what people paste, and reads it.
func readDocument(b []byte) (member, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // the byte order mark of Windows editors
	switch {
	case len(b) > maxServiceKey:
		return member{}, &KeyError{Problem: fmt.Sprintf("it is larger than %d bytes", maxServiceKey)}
	case len(bytes.TrimSpace(b)) == 0:
		return member{}, &KeyError{Problem: "it is empty"}
	case !utf8.Valid(b): // a byte that is replaced would be another secret
		return member{}, &KeyError{Problem: "it is not UTF-8", Hint: "save it as UTF-8; PowerShell writes UTF-16"}
	case bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")):
		return member{}, &KeyError{Problem: "it is a PEM file and no service key", Hint: "give the whole JSON document"}
	}
	b, err := withoutHeading(b)
	if err != nil {
		return member{}, err
	}
	fields, err := readObject(escapeBreaks(b))
	return member{fields: fields}, err
}

// withoutHeading takes off what the cf command prints before the document, "Getting key ... as ...". It holds nothing that JSON could hold.
func withoutHeading(b []byte) ([]byte, error) {
	start := bytes.IndexByte(b, '{')
	if start < 0 || bytes.ContainsAny(b[:start], "[]}\"") {
		return nil, &KeyError{Problem: "it is no JSON object", Hint: "give the key as the cockpit or cf service-key shows it"}
	}
	if start > maxHeading {
		return nil, &KeyError{Problem: "too much stands before the JSON document", Hint: "give the JSON document alone"}
	}
	return b[start:], nil
}

// escapeBreaks writes line breaks and tabs within strings as JSON wants them: who has replaced \n by line breaks, as the vendor's documentation
// says, did so in the whole document (TENANTS.md 1.3).
func escapeBreaks(b []byte) []byte {
	var out bytes.Buffer
	inString, escaped := false, false
	for _, c := range b {
		switch {
		case escaped:
			escaped = false
		case inString && c == '\\':
			escaped = true
		case c == '"':
			inString = !inString
		case inString && c == '\n':
			out.WriteString(`\n`)
			continue
		case inString && c == '\r':
			out.WriteString(`\r`)
			continue
		case inString && c == '\t':
			out.WriteString(`\t`)
			continue
		}
		out.WriteByte(c)
	}
	return out.Bytes()
}

// readObject reads one JSON object and nothing behind it.
func readObject(b []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := readValue(dec, 0)
	if err != nil {
		return nil, readProblem(err, b)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &KeyError{Problem: "something follows the JSON document", Hint: "give one service key at a time"}
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, &KeyError{Problem: "it is no JSON object"}
	}
	return fields, nil
}

// readProblem says where the document is broken, and never with what: the decoder's text quotes it.
func readProblem(err error, b []byte) error {
	if known, ok := errors.AsType[*KeyError](err); ok {
		return known
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &KeyError{Problem: "it is cut off: the JSON document does not end"}
	}
	var whole any // a decoder of tokens counts the offset otherwise
	if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(b, &whole)); ok {
		return &KeyError{Problem: fmt.Sprintf("it is no JSON: broken at byte %d of the document", syntax.Offset)}
	}
	return &KeyError{Problem: "it is no JSON"}
}

// readValue reads one value. (json.Unmarshal would take the last of two members of one name.)
func readValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, &KeyError{Problem: fmt.Sprintf("it is nested more than %d deep", maxNesting)}
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return readFields(dec, depth)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := readValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	return token, nil
}

func readFields(dec *json.Decoder, depth int) (map[string]any, error) {
	fields := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // the decoder takes nothing else here
		if _, twice := fields[name]; twice {
			e := &KeyError{Problem: "a member is given twice", Hint: "remove the one that is not meant"}
			if slices.Contains(knownMembers, name) { // any other may be something that has slipped
				e.Field, e.Problem = name, "it is given twice"
			}
			return nil, e
		}
		if fields[name], err = readValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return fields, err
}

// knownMembers are the members that service keys have and that may be named.
var knownMembers = []string{"oauth", "credentials", "uaa", "clientid", "clientsecret", "tokenurl", "url", "certurl", "certificate", "key",
	"credential-type", "createdate",
	"certificatedetails", "domains", "endpoints", "grant_type", "xsappname", "uaadomain", "VCAP_SERVICES"}

// word reports whether a name out of the document may be shown: the names of services and members, which no secret and no key looks like.
func word(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return name != "" && len(name) <= 40 && strings.Trim(name, allowed) == ""
}
