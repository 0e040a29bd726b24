package admin

import (
	"context"
	"io"
	"net/http"
)

// serveOpen serves the three addresses that everybody may ask who reaches the listener. They say nothing that must be kept from them.
func (s *Server) serveOpen(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", allow: "GET", Detail: "the address takes GET"}
	}
	switch {
	case r.URL.Path == "/healthz":
		// The process lives and takes requests. Nothing else is looked at: a restart mends no database.
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok\n")
		return nil
	case r.URL.Path == "/readyz":
		return s.serveReady(w, r)
	case s.Metrics == nil:
		return errNoAddress
	}
	s.Metrics.ServeHTTP(w, r)
	return nil
}

// serveReady answers 200 when callers may be sent to this node and 503 when not, with the checks' names and results.
func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) error {
	ready, checks := s.checks(r.Context())
	for i := range checks {
		if !checks[i].Public {
			checks[i].Detail = "" // may name files and addresses
		}
	}
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	return writeJSON(w, status, "application/json", struct {
		Ready  bool    `json:"ready"`
		Checks []Check `json:"checks"`
	}{ready, checks})
}

func (s *Server) checks(ctx context.Context) (ready bool, checks []Check) {
	ready, checks = true, []Check{}
	if s.Ready != nil {
		checks = append(checks, s.Ready(ctx)...)
	}
	for _, c := range checks {
		ready = ready && c.OK
	}
	return ready, checks
}

func showStatus(s *Server, c *call) (any, error) {
	ready, checks := s.checks(c.Context())
	snapshot := s.Registry.Snapshot()
	return Status{ready, checks, snapshot.Revision(), snapshot.Counts()}, nil
}
