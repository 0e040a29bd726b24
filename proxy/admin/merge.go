package admin

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// fixed are members that a PATCH cannot change.
var fixed = []struct{ member, problem, hint string }{
	{"name", "is the object's key and cannot be changed", "add an object of the new name and remove the old one"},
	{"user", "is the login's key and cannot be changed", "add a login of the new name and remove the old one"},
	{"version", "is set by the server", "leave it out"},
	{"created", "is set by the server", "leave it out"},
	{"updated", "is set by the server", "leave it out"},
}

// merge applies a JSON merge patch (RFC 7396) to an object: members that the patch names are replaced, and those that it sets to null
// return to their zero value.
func merge[T any](object T, patch []byte) (T, error) {
	var next T
	changes, err := parseObject(patch, reflect.TypeFor[T]())
	if err != nil {
		return next, err
	}
	all, err := fields(object)
	if err != nil {
		return next, err
	}
	for _, f := range fixed {
		if value, given := changes[f.member]; given && !bytes.Equal(value, all[f.member]) {
			return next, invalid(f.member, "member \""+f.member+"\" "+f.problem, f.hint)
		}
	}
	for name, value := range changes {
		if string(value) == "null" {
			delete(all, name)
		} else {
			all[name] = value
		}
	}
	whole, err := json.Marshal(all)
	if err != nil {
		return next, err
	}
	return next, unmarshal(whole, &next)
}

// fields are an object's members as JSON.
func fields(object any) (map[string]json.RawMessage, error) {
	b, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	return all, json.Unmarshal(b, &all)
}

// difference is one changed member in a change record; null is the zero value.
type difference struct {
	From json.RawMessage `json:"from"`
	To   json.RawMessage `json:"to"`
}

// differences compares two states of an object, for the change record. When it was updated is not told: the record has its own time.
func differences(before, after any) (map[string]difference, error) {
	from, err := fields(before)
	if err != nil {
		return nil, err
	}
	to, err := fields(after)
	if err != nil {
		return nil, err
	}
	delete(from, "updated")
	delete(to, "updated")
	changed := make(map[string]difference)
	for name, value := range from {
		if !bytes.Equal(value, to[name]) {
			changed[name] = difference{value, to[name]}
		}
	}
	for name, value := range to {
		if _, both := from[name]; !both {
			changed[name] = difference{nil, value}
		}
	}
	return changed, nil
}
