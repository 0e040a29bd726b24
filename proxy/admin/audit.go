package admin

import (
	"strconv"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// listChanges lists change records, oldest first, after the number "after".
func listChanges(s *Server, c *call) (any, error) {
	after, err := c.query.number("after", 0)
	if err != nil {
		return nil, err
	}
	limit, err := c.query.limit()
	if err != nil {
		return nil, err
	}
	list, err := record.Changes(c.Context(), s.DB, after, limit)
	if err == nil && len(list) == limit {
		c.header.Set("Link", "<"+c.URL.Path+"?after="+strconv.FormatInt(list[limit-1].Seq, 10)+"&limit="+strconv.Itoa(limit)+`>; rel="next"`)
	}
	return list, err
}

// verifyChanges checks the chain of change records, against a head that was noted before when there is one.
func verifyChanges(s *Server, c *call) (any, error) {
	var remembered []record.Head
	if noted, given := c.query["head"]; given {
		head, err := record.ParseHead(noted)
		if err != nil {
			return nil, malformed("parameter \"head\": %v", err)
		}
		remembered = append(remembered, head)
	}
	return record.Verify(c.Context(), s.DB, remembered...)
}
