package admin

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// call is one request to /v1 on its way to a handler.
type call struct {
	*http.Request
	actor  string
	name   string // what stands for {name}, {id} or {serial} in the path; "" when nothing does
	query  query
	header http.Header // of the answer
}

// ServeHTTP implements [http.Handler]. Its order is the order of the checks: path and origin, address, sender, method, query, and then the
// handler, which reads the body.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := record.NewRequestID()
	secure(w.Header(), id)
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				panic(v)
			}
			s.logger().Error("admin request panicked", "request_id", id, "method", r.Method, "path", r.URL.Path, "panic", v)
			writeProblem(w, problem{Status: http.StatusInternalServerError, Code: "internal", Detail: "a defect of the server; its log has more"}, id)
		}
	}()
	if err := guard(r); err != nil {
		writeProblem(w, problemOf(err), id)
		return
	}
	var err error
	switch r.URL.Path {
	case "/healthz", "/readyz", "/metrics":
		err = s.serveOpen(w, r)
	default:
		err = s.serveAPI(w, r)
	}
	if err == nil {
		return
	}
	p := problemOf(err)
	if p.Status >= 500 {
		s.logger().Error("admin request", "request_id", id, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	writeProblem(w, p, id)
}

// secure sets what every answer has: it is not kept, not guessed at, and can do nothing in a browser.
func secure(h http.Header, requestID string) {
	h.Set("X-Request-Id", requestID)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
}

// serveAPI serves /v1. Who is no administrator learns nothing about it, not even which addresses it has.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) error {
	if !strings.HasPrefix(r.URL.Path, "/v1/") {
		return errNoAddress
	}
	actor, err := s.Actor(r)
	if err != nil {
		s.logger().Warn("admin request refused", "request_id", w.Header().Get("X-Request-Id"), "source", r.RemoteAddr, "path", r.URL.Path, "cause", err)
		return errNobody
	}
	e, name, err := find(r.Method, r.URL.Path)
	if err != nil {
		return err
	}
	c := &call{Request: r, actor: actor, name: name, header: w.Header()}
	if c.query, err = parseQuery(r.URL.RawQuery, e.query); err != nil {
		return err
	}
	if r.Method == http.MethodPost || r.Method == http.MethodPatch {
		if err := declaredJSON(r); err != nil {
			return err
		}
		r.Body = http.MaxBytesReader(w, r.Body, e.limit())
	}
	answer, err := e.serve(s, c)
	if err != nil {
		return err
	}
	switch out := answer.(type) {
	case *stream:
		return s.serveStream(w, r, out)
	case htmlPage:
		out.write(w)
		return nil
	}
	return writeJSON(w, e.status, "application/json", answer)
}

// writeJSON answers. Its error is from encoding, before anything was written; a connection that is gone is nobody's concern any more.
func writeJSON(w http.ResponseWriter, status int, kind string, v any) error {
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return nil
	}
	b, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if b, err = json.Marshal(v); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
	return nil
}

func writeProblem(w http.ResponseWriter, p problem, requestID string) {
	p.Type, p.Title, p.RequestID = "urn:tenantgate:admin:"+p.Code, http.StatusText(p.Status), requestID
	if p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	_ = writeJSON(w, p.Status, record.ProblemContentType, p) // strings and a number: cannot fail to encode
}
