package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxBody bounds a request's body: 1 MiB, some twenty times the largest CA bundle that makes sense.
const maxBody = 1 << 20

// declaredJSON refuses a request that may change something and does not say that its body, even an empty one, is JSON. A page can make a
// browser send a form or plain text to another site, but not this (https://fetch.spec.whatwg.org/#cors-safelisted-request-header).
func declaredJSON(r *http.Request) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &problem{Status: http.StatusUnsupportedMediaType, Code: "not_json", Detail: "the body is not declared as JSON",
			Hint: "send Content-Type: application/json"}
	}
	return nil
}

// read takes the whole body.
func (c *call) read() ([]byte, error) {
	b, err := io.ReadAll(c.Body)
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Detail: fmt.Sprintf("the body is larger than %d MiB", e.Limit>>20)}
	}
	if err != nil {
		return nil, malformed("the body was broken off")
	}
	return b, nil
}

// decode reads the body, one JSON object, into v, a pointer to a struct.
func (c *call) decode(v any) error {
	b, err := c.read()
	if err != nil {
		return err
	}
	if _, err := parseObject(b, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	return unmarshal(b, v)
}

// decodeIfAny is decode for a body that may be empty.
func (c *call) decodeIfAny(v any) error {
	b, err := c.read()
	if err != nil || len(b) == 0 {
		return err
	}
	if _, err := parseObject(b, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	return unmarshal(b, v)
}

// nothing takes the body of a request that has nothing to say: none at all, or {}.
func (c *call) nothing() error {
	b, err := c.read()
	if err != nil || len(b) == 0 {
		return err
	}
	_, err = parseObject(b, reflect.TypeFor[struct{}]())
	return err
}

// parseObject reads one JSON object and nothing behind it, whose members must be of the struct type t, by their exact names and each
// once. (encoding/json alone would take "NAME" for "name" and the last of two.)
func parseObject(b []byte, t reflect.Type) (map[string]json.RawMessage, error) {
	if !utf8.Valid(b) {
		return nil, malformed("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, malformed("the body is not a JSON object")
	}
	known := members(t)
	object := make(map[string]json.RawMessage)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		name := token.(string) // the decoder takes nothing else here
		if !slices.Contains(known, name) {
			return nil, unknownMember(name, known)
		}
		if _, twice := object[name]; twice {
			return nil, malformed("member %q is given twice", name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, notJSON(err)
		}
		object[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed("something follows the JSON object")
	}
	return object, nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("the body is not JSON: it ends too early")
	}
	return malformed("the body is not JSON: %v", err)
}

func unknownMember(name string, known []string) error {
	p := malformed("member %q is unknown", name)
	p.Field, p.Hint = name, "the members are "+strings.Join(known, ", ")
	if len(known) == 0 {
		p.Hint = "the address takes no members"
	}
	return p
}

// members lists the JSON names of a struct type's fields, those of embedded structs included.
func members(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			names = append(names, members(f.Type)...)
		case name != "" && name != "-":
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unmarshal reads JSON that parseObject has passed. Its error names the member and never repeats the value, which may be a secret.
func unmarshal(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &problem{Status: http.StatusBadRequest, Code: "malformed", Field: e.Field, Detail: "member \"" + e.Field + "\" is not a " + jsonType(e.Type)}
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return notJSON(err)
	}
	if problemOf(err).Status < http.StatusInternalServerError {
		return err // a member's own type, such as a duration, has said what is wrong
	}
	return malformed("a member has the wrong form: %v", err)
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "truth value"
	case reflect.Int, reflect.Int64:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list"
	case reflect.Struct, reflect.Map:
		return "JSON object"
	default:
		return "string"
	}
}
