package admin

import (
	"context"
	"net/url"
	"slices"
	"strconv"

	"github.com/tenantgate/tenantgate/identity"
)

// The verbs that tenants, routes and identities share. Reads are of the snapshot and touch no database.

// all answers with a page of a list that is sorted by its key.
func all[T any](list func(*identity.Snapshot) []T, key func(T) string) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) { return page(c, list(s.Registry.Snapshot()), key) }
}

// page cuts out of a sorted list what follows the key "after", at most "limit" items. When there are more, a Link header (RFC 8288)
// leads to them.
func page[T any](c *call, sorted []T, key func(T) string) ([]T, error) {
	limit, err := c.query.limit()
	if err != nil {
		return nil, err
	}
	from := 0
	if after, given := c.query["after"]; given {
		at, found := slices.BinarySearchFunc(sorted, after, func(item T, k string) int { return compare(key(item), k) })
		from = at
		if found {
			from++
		}
	}
	rest := sorted[from:]
	if len(rest) <= limit {
		return append([]T{}, rest...), nil
	}
	next := url.Values{}
	for name, value := range c.query {
		next.Set(name, value)
	}
	next.Set("after", key(rest[limit-1]))
	next.Set("limit", strconv.Itoa(limit))
	c.header.Set("Link", "<"+c.URL.Path+"?"+next.Encode()+`>; rel="next"`)
	return rest[:limit], nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// one answers with the object that the path names.
func one[T any](object string, find func(*identity.Snapshot, string) (T, bool)) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		v, ok := find(s.Registry.Snapshot(), c.name)
		if !ok {
			return nil, absent(object, c.name)
		}
		return v, c.tag(v)
	}
}

func absent(object, name string) error {
	return &identity.Error{Code: identity.ErrNotFound, Object: object, Name: name, Message: "does not exist", Hint: "list what there is and look for a slip of the pen"}
}

// add stores the object in the body.
func add[T any](object, collection string, store func(*identity.Tx, context.Context, T) (T, error), name func(*T) string) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		var v T
		if err := c.decode(&v); err != nil {
			return nil, err
		}
		err := s.change(c, object, "add", func(tx *identity.Tx) (_ act, err error) {
			v, err = store(tx, c.Context(), v)
			return act{name(&v), v}, err
		})
		c.header.Set("Location", "/v1/"+collection+"/"+name(&v))
		return v, err
	}
}

// set changes the members that the body names, if the object is still as If-Match says. The body is read before the transaction begins, so that a slow sender holds nobody up.
func set[T any](object string, load func(*identity.Tx, string) (T, error), store func(*identity.Tx, context.Context, T) (T, error)) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		patch, err := c.read()
		if err != nil {
			return nil, err
		}
		var stored T
		err = s.change(c, object, "set", func(tx *identity.Tx) (act, error) {
			before, err := load(tx, c.name)
			if err != nil {
				return act{}, err
			}
			if err := c.matches(before); err != nil {
				return act{}, err
			}
			if stored, err = merge(before, patch); err != nil {
				return act{}, err
			}
			if stored, err = store(tx, c.Context(), stored); err != nil {
				return act{}, err
			}
			changed, err := differences(before, stored)
			return act{c.name, changed}, err
		})
		if err != nil {
			return stored, err
		}
		return stored, c.tag(stored)
	}
}

// remove takes away the object that the path names.
func remove(object string, fn func(*identity.Tx, context.Context, string) error) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		return nil, s.change(c, object, "remove", func(tx *identity.Tx) (act, error) {
			return act{c.name, nil}, fn(tx, c.Context(), c.name)
		})
	}
}

func storedRoute(snapshot *identity.Snapshot, name string) (*identity.Route, bool) {
	e, ok := snapshot.Route(name)
	if !ok {
		return nil, false
	}
	return e.Route, true
}
