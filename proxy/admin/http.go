package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
)

const maxBody = 1 << 20

// problem is RFC 9457 with a code and a hint.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Hint      string `json:"hint,omitempty"`
	Field     string `json:"field,omitempty"`
	RequestID string `json:"request_id"`
}

func (p *problem) Error() string { return p.Detail }

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := record.NewRequestID()
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	answer, err := s.serve(w, r)
	if err == nil {
		if answer != nil {
			writeJSON(w, http.StatusOK, "application/json", answer)
		}
		return
	}
	p := problemOf(err)
	p.RequestID, p.Type, p.Title = id, "urn:tenantgate:admin:"+p.Code, http.StatusText(p.Status)
	if p.Status >= 500 && s.Logger != nil {
		s.Logger.Error("admin request", "request_id", id, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

func writeJSON(w http.ResponseWriter, status int, kind string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		slog.Error("encoding", "error", err)
		status, b = 500, []byte("{}")
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*identity.Error](err); ok {
		status := map[identity.Code]int{identity.ErrInvalid: 422, identity.ErrNotFound: 404, identity.ErrExists: 409, identity.ErrInUse: 409, identity.ErrOverlap: 409}[e.Code]
		if status != 0 {
			detail := fmt.Sprintf("%s %q", e.Object, e.Name)
			if e.Field != "" {
				detail += ": " + e.Field
			}
			return &problem{Status: status, Code: string(e.Code), Detail: detail + ": " + e.Message, Hint: e.Hint, Field: e.Field}
		}
	}
	if e, ok := errors.AsType[*pki.RequestError](err); ok {
		return &problem{Status: 422, Code: "invalid", Detail: "certificate request: " + e.Field + ": " + e.Problem, Hint: e.Hint, Field: e.Field}
	}
	if e, ok := errors.AsType[*token.KeyError](err); ok {
		return &problem{Status: 422, Code: "invalid", Detail: e.Error(), Field: "service_key"}
	}
	if errors.Is(err, pki.ErrNotFound) {
		return &problem{Status: 404, Code: "not_found", Detail: err.Error()}
	}
	return &problem{Status: 500, Code: "internal", Detail: "the server could not do it; its log says why"}
}

// serve guards and routes.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	path := r.URL.EscapedPath()
	notFound := &problem{Status: 404, Code: "not_found", Detail: "no such address"}
	if path != r.URL.Path || strings.Contains(path, "//") || strings.Contains(path, "/.") || strings.Contains(path, ";") || (len(path) > 1 && strings.HasSuffix(path, "/")) {
		return nil, notFound
	}
	if r.Header.Get("Origin") != "" || strings.HasPrefix(r.Header.Get("Sec-Fetch-Site"), "cross") || r.Header.Get("Sec-Fetch-Site") == "same-site" {
		return nil, &problem{Status: 403, Code: "cross_origin", Detail: "requests of web pages are refused"}
	}
	switch path {
	case "/healthz":
		_, _ = io.WriteString(w, "ok\n")
		return nil, nil
	case "/readyz":
		st := s.status(r)
		if !st.Ready {
			w.WriteHeader(503)
		}
		for _, c := range st.Checks {
			fmt.Fprintf(w, "%s: ok=%v %s\n", c.Name, c.OK, c.Detail)
		}
		return nil, nil
	case "/metrics":
		if s.Metrics == nil {
			return nil, notFound
		}
		s.Metrics.ServeHTTP(w, r)
		return nil, nil
	}
	if !strings.HasPrefix(path, "/v1/") {
		return nil, notFound
	}
	actor, err := s.Actor(r)
	if err != nil {
		return nil, &problem{Status: 401, Code: "unauthenticated", Detail: err.Error(), Hint: "use the admin socket, or a certificate of the admin profile"}
	}
	parts := strings.Split(strings.TrimPrefix(path, "/v1/"), "/")
	if len(parts) > 3 {
		return nil, notFound
	}
	key := r.Method + " " + parts[0]
	name := ""
	if len(parts) > 1 {
		key += "/*"
		name = parts[1]
	}
	if len(parts) > 2 {
		key += "/" + parts[2]
	}
	if key == "GET changes/*" && name == "verify" {
		key, name = "GET verify", ""
	}
	h, ok := handlers()[key]
	if !ok {
		return nil, notFound
	}
	return h(s, &call{r, actor, name})
}

type call struct {
	*http.Request
	actor string
	name  string
}

// decode reads the body, one JSON document, strictly into v.
func (c *call) decode(v any) error {
	b, err := c.read()
	if err != nil {
		return err
	}
	return unmarshal(b, v)
}

// read takes the whole body. It must say that it is JSON: a form of a web page cannot (no request of this API is a "simple" one).
func (c *call) read() ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &problem{Status: http.StatusUnsupportedMediaType, Code: "malformed", Detail: "the body is not declared as JSON", Hint: "send Content-Type: application/json"}
	}
	b, err := io.ReadAll(io.LimitReader(c.Body, maxBody+1))
	if err != nil {
		return nil, &problem{Status: 400, Code: "malformed", Detail: "reading the body: " + err.Error()}
	}
	if len(b) > maxBody {
		return nil, &problem{Status: 413, Code: "too_large", Detail: "the body is larger than 1 MiB"}
	}
	return b, nil
}

// unmarshal refuses unknown members and anything behind the document.
func unmarshal(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &problem{Status: 400, Code: "malformed", Detail: "reading JSON: " + strings.TrimPrefix(err.Error(), "json: ")}
	}
	if _, err := d.Token(); err != io.EOF {
		return &problem{Status: 400, Code: "malformed", Detail: "reading JSON: something follows the document"}
	}
	return nil
}
