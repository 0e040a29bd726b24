package admin

import (
	"context"
	"database/sql"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// objectCaller is what change records call a caller.
const objectCaller = "caller"

// flushUsage has what was counted a moment ago told, too. When that does not work, what is told is a few seconds old.
func (s *Server) flushUsage(ctx context.Context) {
	if s.FlushUsage == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.FlushUsage(ctx); err != nil {
		s.logger().Warn("usage is told without the last seconds", "error", err)
	}
}

// listedDays is how many days a list has of each caller; one caller is shown with all.
const listedDays = 31

// listCallers lists callers by id.
func listCallers(s *Server, c *call) (any, error) {
	f := usage.Filter{DaysSince: time.Now().AddDate(0, 0, -listedDays)}
	login, byLogin := c.query["login"]
	name, byIdentity := c.query["identity"]
	switch {
	case byLogin && byIdentity:
		return nil, malformed("parameters \"login\" and \"identity\": give one of them")
	case byLogin:
		f.Kind, f.Subject = usage.Login, identity.NormalUser(login)
	case byIdentity:
		f.Kind, f.Subject = usage.Identity, name
	}
	var err error
	if since, given := c.query["since"]; given {
		if f.Since, err = time.Parse(time.DateOnly, since); err != nil {
			return nil, malformed("parameter \"since\" is %q: give a day, 2006-01-02", since)
		}
	}
	s.flushUsage(c.Context())
	callers, err := usage.Callers(c.Context(), s.DB, f)
	if err != nil {
		return nil, err
	}
	if err := s.knownSubject(f, len(callers)); err != nil {
		return nil, err
	}
	sortByID(callers)
	return page(c, callers, func(u usage.Caller) string { return u.ID.String() })
}

// knownSubject refuses a slip of the pen: a login or identity that neither the registry nor the history has.
func (s *Server) knownSubject(f usage.Filter, callers int) error {
	snapshot, known := s.Registry.Snapshot(), true
	switch f.Kind {
	case usage.Login:
		_, known = snapshot.Login(f.Subject)
	case usage.Identity:
		_, known = snapshot.Identity(f.Subject)
	}
	if known || callers > 0 {
		return nil
	}
	return absent(string(f.Kind), f.Subject)
}

// callerID reads the id in the path.
func (c *call) callerID() (usage.ID, error) {
	id, ok := usage.ParseID(c.name)
	if !ok {
		return 0, absent(objectCaller, c.name)
	}
	return id, nil
}

func showCaller(s *Server, c *call) (any, error) {
	id, err := c.callerID()
	if err != nil {
		return nil, err
	}
	s.flushUsage(c.Context())
	return usage.Find(c.Context(), s.DB, id)
}

// changeCaller runs an act on a caller and records it.
func (s *Server) changeCaller(c *call, verb string, detail any, fn func(context.Context, *sql.Tx, usage.ID) (usage.Caller, error)) (any, error) {
	id, err := c.callerID()
	if err != nil {
		return nil, err
	}
	var caller usage.Caller
	err = s.change(c, objectCaller, verb, func(tx *identity.Tx) (act, error) {
		caller, err = fn(c.Context(), tx.SQL(), id)
		return act{id.String(), detail}, err
	})
	return caller, err
}

func nameCaller(s *Server, c *call) (any, error) {
	var q CallerName
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	return s.changeCaller(c, "name", q, func(ctx context.Context, tx *sql.Tx, id usage.ID) (usage.Caller, error) {
		return usage.Rename(ctx, tx, id, q.Name)
	})
}

func mergeCaller(s *Server, c *call) (any, error) {
	var q CallerMerge
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if q.Into == 0 {
		return nil, invalid("into", "the caller to merge into is missing", "caller list shows the ids")
	}
	return s.changeCaller(c, "merge", q, func(ctx context.Context, tx *sql.Tx, id usage.ID) (usage.Caller, error) {
		return usage.Merge(ctx, tx, id, q.Into)
	})
}

func splitCaller(s *Server, c *call) (any, error) {
	if err := c.nothing(); err != nil {
		return nil, err
	}
	return s.changeCaller(c, "split", nil, usage.Split)
}
