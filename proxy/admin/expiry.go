package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/proxy/expiry"
)

// listExpiry answers with what ends, the next end first: all of it, what ends within a time or has ended, or what is near by its own measure.
func listExpiry(s *Server, c *call) (any, error) {
	now := time.Now()
	keep, err := endsWithin(c, now)
	if err != nil {
		return nil, err
	}
	list := s.Expiry
	if list == nil {
		list = &expiry.List{}
	}
	kind, oneKind := c.query["kind"]
	after := c.query["after"]
	items, err := list.Items(c.Context(), now, func(i *expiry.Item) bool {
		return keep(i) && (!oneKind || i.Kind == kind) && (after == "" || i.Key() > after)
	})
	if err != nil {
		return nil, err
	}
	return page(c, items, func(i expiry.Item) string { return i.Key() })
}

// endsWithin reads the parameter "within" as a condition.
func endsWithin(c *call, now time.Time) (func(*expiry.Item) bool, error) {
	within, given := c.query["within"]
	switch {
	case !given:
		return func(*expiry.Item) bool { return true }, nil
	case within == expiringSoon:
		return func(i *expiry.Item) bool { return i.State.Due() }, nil
	}
	d, err := c.query.duration("within", 0)
	return func(i *expiry.Item) bool { return i.Expires.Sub(now) <= d }, err
}
