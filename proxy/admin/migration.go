package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/migration"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// migrationStatus is how far the login that the request names is, or all of them.
func (s *Server) migrationStatus(c *call) (migration.Status, error) {
	snapshot := s.Registry.Snapshot()
	f := migration.Facts{Now: time.Now(), Registry: snapshot}
	if login, given := c.query["login"]; given {
		f.Login = identity.NormalUser(login)
		if _, ok := snapshot.Login(f.Login); !ok {
			return migration.Status{}, absent(identity.ObjectLogin, login)
		}
	}
	if silent, given := c.query["silent"]; given {
		d, err := time.ParseDuration(silent)
		if err != nil || d <= 0 {
			return migration.Status{}, malformed("parameter \"silent\" is %q: give a duration such as 336h", silent)
		}
		f.Silent = d
	}
	s.flushUsage(c.Context())
	return s.computeMigration(c.Context(), f)
}

func (s *Server) computeMigration(ctx context.Context, f migration.Facts) (migration.Status, error) {
	var err error
	if f.Callers, err = usage.Callers(ctx, s.DB, usage.Filter{Kind: usage.Login, Subject: f.Login, DaysSince: f.Now.AddDate(0, 0, -migration.Days)}); err != nil {
		return migration.Status{}, err
	}
	if f.Form, err = usage.Matcher(ctx, s.DB, s.Sealer); err != nil {
		return migration.Status{}, err
	}
	return migration.Compute(f), nil
}

func showMigration(s *Server, c *call) (any, error) { return s.migrationStatus(c) }

func showPlan(s *Server, c *call) (any, error) {
	status, err := s.migrationStatus(c)
	return status.Plan(), err
}

// htmlPage is an answer for people.
type htmlPage []byte

func (p htmlPage) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", migration.PagePolicy+"; frame-ancestors 'none'")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(p)
}

func showPage(s *Server, c *call) (any, error) {
	status, err := s.migrationStatus(c)
	if err != nil {
		return nil, err
	}
	page, err := status.Page()
	return htmlPage(page), err
}
