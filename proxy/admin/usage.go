package admin

import (
	"cmp"
	"slices"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// objectUsage is what change records call the usage history as a whole.
const objectUsage = "usage"

func sortByID(callers []usage.Caller) {
	slices.SortFunc(callers, func(a, b usage.Caller) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
}

func listNetworks(s *Server, c *call) (any, error) {
	list, err := usage.ReadNetworks(c.Context(), s.DB)
	return NetworkList{list}, err
}

// setNetworks replaces the list of networks that have a name.
func setNetworks(s *Server, c *call) (any, error) {
	var q NetworkList
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if q.Networks == nil {
		q.Networks = usage.Networks{}
	}
	return q, s.change(c, "networks", "set", func(tx *identity.Tx) (act, error) {
		return act{"networks", q}, usage.SetNetworks(c.Context(), tx.SQL(), q.Networks)
	})
}

func showUsage(s *Server, c *call) (any, error) { return usage.ReadSettings(c.Context(), s.DB) }

// pseudonymise has addresses kept as pseudonyms, or their key replaced, or addresses kept again.
func pseudonymise(s *Server, c *call) (any, error) {
	var q PseudonymiseRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	verb := "pseudonymise"
	if q.KeepAddresses {
		verb = "keep_addresses"
	}
	s.flushUsage(c.Context())
	var done PseudonymiseResult
	err := s.change(c, objectUsage, verb, func(tx *identity.Tx) (_ act, err error) {
		if q.KeepAddresses {
			err = usage.KeepAddresses(c.Context(), tx.SQL())
		} else {
			done.Rewritten, err = usage.Pseudonymise(c.Context(), tx.SQL(), s.Sealer)
		}
		if err != nil {
			return act{}, err
		}
		done.Settings, err = usage.ReadSettings(c.Context(), tx.SQL())
		return act{objectUsage, done}, err
	})
	if err == nil {
		s.flushUsage(c.Context()) // this node follows at once
	}
	return done, err
}

// forgetUsage takes callers out of the history.
func forgetUsage(s *Server, c *call) (any, error) {
	var q ForgetRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	f := usage.Filter{ID: q.Caller}
	switch {
	case q.Login != "" && q.Identity != "":
		return nil, invalid("identity", "a login and an identity are given", "give one of them")
	case q.Login != "":
		f.Kind, f.Subject = usage.Login, identity.NormalUser(q.Login)
	case q.Identity != "":
		f.Kind, f.Subject = usage.Identity, q.Identity
	case q.Caller == 0 && q.Before == "" && !q.All:
		return nil, invalid("all", "nothing says what to forget", "give login, identity, caller or before, or all: true")
	}
	var before time.Time
	if q.Before != "" {
		var err error
		if before, err = time.Parse(time.DateOnly, q.Before); err != nil {
			return nil, invalid("before", "this is not a day", "write it like 2026-03-31")
		}
	}
	s.flushUsage(c.Context())
	var done ForgetResult
	err := s.change(c, objectUsage, "forget", func(tx *identity.Tx) (_ act, err error) {
		done.Callers, err = usage.Forget(c.Context(), tx.SQL(), f, before)
		return act{objectUsage, struct {
			ForgetRequest
			Callers int `json:"callers"`
		}{q, done.Callers}}, err
	})
	return done, err
}
