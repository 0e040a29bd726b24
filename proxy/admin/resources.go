package admin

import (
	"context"

	"github.com/tenantgate/tenantgate/identity"
)

// The verbs that tenants, routes and identities share.

// all answers with a list.
func all[T any](list func(*identity.Snapshot) []T) handler {
	return func(s *Server, _ *call) (any, error) { return orEmpty(list(s.Registry.Snapshot())), nil }
}

// one answers with the object of the name in the path.
func one[T any](object string, find func(*identity.Snapshot, string) (T, bool)) handler {
	return func(s *Server, c *call) (any, error) {
		return get(func(name string) (T, bool) { return find(s.Registry.Snapshot(), name) }, object, c.name)
	}
}

// add stores the object in the body.
func add[T any](object string, store func(*identity.Tx, context.Context, T) (T, error), name func(T) string) handler {
	return func(s *Server, c *call) (any, error) {
		var v T
		if err := c.decode(&v); err != nil {
			return nil, err
		}
		err := s.change(c.Context(), c.actor, "add", object, func(tx *identity.Tx) (_ string, _ any, err error) {
			v, err = store(tx, c.Context(), v)
			return name(v), v, err
		})
		return v, err
	}
}

// set changes the members that the body names; the name itself stays. The body is read before the transaction begins.
func set[T any](object string, load func(*identity.Tx, string) (T, error), store func(*identity.Tx, context.Context, T) (T, error), name func(*T) *string) handler {
	return func(s *Server, c *call) (any, error) {
		body, err := c.read()
		if err != nil {
			return nil, err
		}
		var v T
		err = s.change(c.Context(), c.actor, "set", object, func(tx *identity.Tx) (_ string, _ any, err error) {
			if v, err = load(tx, c.name); err != nil {
				return "", nil, err
			}
			if err = unmarshal(body, &v); err != nil {
				return "", nil, err
			}
			*name(&v) = c.name
			v, err = store(tx, c.Context(), v)
			return c.name, v, err
		})
		return v, err
	}
}

// remove takes the object of the name in the path away.
func remove(object string, fn func(*identity.Tx, context.Context, string) error) handler {
	return func(s *Server, c *call) (any, error) {
		return struct{}{}, s.change(c.Context(), c.actor, "remove", object, func(tx *identity.Tx) (string, any, error) {
			return c.name, nil, fn(tx, c.Context(), c.name)
		})
	}
}

func orEmpty[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func get[T any](find func(string) (T, bool), object, name string) (any, error) {
	v, ok := find(name)
	if !ok {
		return nil, &identity.Error{Code: identity.ErrNotFound, Object: object, Name: name, Message: "does not exist", Hint: "tenantgate " + object + " list"}
	}
	return v, nil
}
