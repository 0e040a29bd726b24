package tenantsim

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// Flow is what stands behind an address of the runtime or the API. The zero Flow reads its message and answers 200.
type Flow struct {
	Role    string           // required; "" means RoleSend
	Status  int              // of the answer; 0 means Switches.FlowStatus
	Body    string           // of the answer; "" means a default for the status
	CSRF    bool             // protected even without Switches.CSRF
	Handler http.HandlerFunc // answers in place of all that; the message is not read for it
}

// SetFlow puts a flow at a path such as /http/orders. Case does not matter, as on a real tenant. Paths without a flow of
// their own have the zero Flow; so have they all but /http/echo, /http/sink, /http/stream, /http/early and /http/trailer at
// the beginning.
func (s *Sim) SetFlow(path string, f Flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flows[strings.ToLower(path)] = f
}

func (s *Sim) serveRuntime(w http.ResponseWriter, r *http.Request) {
	path := strings.ToLower(r.URL.Path)
	if strings.HasPrefix(path, "/http/") || strings.HasPrefix(path, "/cxf/") || (s.options.OneHost && strings.HasPrefix(path, "/api/v1/")) {
		s.serveFlow(w.(*exchange), r, path)
		return
	}
	writeNotFound(w) // wrong servlet: Tomcat's page, and no message processing log
}

func (s *Sim) serveAPI(w http.ResponseWriter, r *http.Request) {
	path := strings.ToLower(r.URL.Path)
	if strings.HasPrefix(path, "/api/v1/") {
		s.serveFlow(w.(*exchange), r, path)
		return
	}
	writeNotFound(w)
}

// serveFlow is the way of one request: who, may he, CSRF, execute.
func (s *Sim) serveFlow(x *exchange, r *http.Request, path string) {
	sw := s.switches.Load()
	if !s.pause(r, sw.FlowDelay) {
		return
	}
	f := s.flow(path)
	user, opened, refusal := s.identify(r, sw)
	if refusal != nil {
		refusal(x)
		return
	}
	x.as(user.client, !opened)
	if opened && !sw.NoCookies {
		user.setCookies(x)
	}
	role := f.Role
	if role == "" {
		role = RoleSend
	}
	if !slices.Contains(user.roles, role) {
		writeHTML(x, http.StatusForbidden, "<!doctype html><html lang=\"en\"><head><title>HTTP Status 403 – Forbidden</title></head><body><h1>HTTP Status 403 – Forbidden</h1></body></html>")
		return
	}
	if (f.CSRF || sw.CSRF) && !csrf(x, r, user, sw.CSRFStatus) {
		return
	}
	x.execute(r, f, sw)
}

func (s *Sim) flow(path string) Flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.flows[path]; ok {
		return f
	}
	return builtin(path)
}

// identify finds the user: by session, which wins over the token unless the leak is mended, or by token.
func (s *Sim) identify(r *http.Request, sw *Switches) (user *session, opened bool, refusal func(http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reject > 0 {
		s.reject--
		return nil, false, unauthenticated
	}
	known := s.sessions.find(r)
	if known != nil && !sw.NoSessionLeak {
		return known, false, nil
	}
	value, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		if len(r.TLS.PeerCertificates) > 0 {
			leaf := r.TLS.PeerCertificates[0]
			return nil, false, func(w http.ResponseWriter) {
				http.Error(w, fmt.Sprintf("Unauthorized. Subject and issuer (subject: %s; issuer: %s) of the provided certificate is not contained in the accepted subjectAndIssuers list of the integration flow.", leaf.Subject, leaf.Issuer), http.StatusForbidden)
			}
		}
		return nil, false, unauthenticated
	}
	t, ok := s.issuer.issued[value]
	if !ok || time.Now().After(t.expires) || s.clients[t.client] == nil {
		if sw.ExpiredStatus == http.StatusInternalServerError {
			return nil, false, func(w http.ResponseWriter) { writeFailure(w, newMPLID()) }
		}
		return nil, false, unauthenticated
	}
	if known != nil && known.client == t.client {
		return known, false, nil
	}
	return s.sessions.open(t.client, cookiePath(strings.ToLower(r.URL.Path)), t.roles), true, nil
}

// unauthenticated is a 401. Its form is assumed: SAP does not document it.
func unauthenticated(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="sim", error="invalid_token"`)
	writeHTML(w, http.StatusUnauthorized, "<!doctype html><html lang=\"en\"><head><title>HTTP Status 401 – Unauthorized</title></head><body><h1>HTTP Status 401 – Unauthorized</h1></body></html>")
}

// csrf is the exchange of TENANTS.md 3.2; it reports whether the flow is to be executed. A token is good only in the session that it was given to.
func csrf(w http.ResponseWriter, r *http.Request, user *session, status int) bool {
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	token := r.Header.Get("X-CSRF-Token")
	switch {
	case safe && strings.EqualFold(token, "fetch"):
		w.Header().Set("X-CSRF-Token", user.csrf)
		w.WriteHeader(http.StatusOK)
		return false
	case safe || r.Method == http.MethodOptions || token == user.csrf:
		return true
	}
	if status != 0 && status != http.StatusForbidden {
		writeHTML(w, status, "<!doctype html><html lang=\"en\"><head><title>HTTP Status "+http.StatusText(status)+"</title></head></html>")
		return false
	}
	w.Header().Set("X-CSRF-Token", "required")
	if w.Header().Get("Set-Cookie") == "" { // three of them, not six
		user.setCookies(w)
	}
	writeHTML(w, http.StatusForbidden, "<!doctype html><html lang=\"en\"><head><title>HTTP Status 403 – Forbidden</title></head><body><h1>HTTP Status 403 – Forbidden</h1></body></html>")
	return false
}

// execute runs the flow.
func (x *exchange) execute(r *http.Request, f Flow, sw *Switches) {
	if f.Handler != nil {
		x.executed()
		x.Header().Set("X-Correlationid", newUUID())
		f.Handler(x, r)
		return
	}
	source := io.Reader(r.Body)
	if sw.MaxBody > 0 {
		source = io.LimitReader(r.Body, sw.MaxBody+1)
	}
	n, err := io.Copy(io.Discard, source)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.Header().Set("Connection", "close")
		http.Error(x, "The request was cancelled: its body paused for too long", http.StatusRequestTimeout)
		return
	case err != nil:
		return // the client went away: nothing was executed
	case sw.MaxBody > 0 && n > sw.MaxBody:
		http.Error(x, fmt.Sprintf("Message body exceeds configured size limit (%.1f MB)", float64(sw.MaxBody)/(1<<20)), http.StatusInternalServerError)
		return
	}
	id := x.executed()
	status := f.Status
	if status == 0 {
		status = sw.FlowStatus
	}
	x.answer(status, f.Body, id)
}

// answer writes the result of a flow.
func (x *exchange) answer(status int, body, id string) {
	switch status {
	case 0:
		status = http.StatusOK
	case http.StatusNoContent:
		x.Header().Set("X-Correlationid", newUUID())
		x.WriteHeader(status)
		return
	case http.StatusInternalServerError:
		if body == "" {
			writeFailure(x, id)
			return
		}
	}
	if body == "" {
		body = http.StatusText(status) + "\n"
	}
	x.Header().Set("X-Correlationid", newUUID())
	x.Header().Set("Content-Type", "text/plain")
	x.WriteHeader(status)
	_, _ = io.WriteString(x, body)
}

// writeFailure is what a failed message looks like; the misspelling is SAP's.
func writeFailure(w http.ResponseWriter, id string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = io.WriteString(w, "An internal server error occured: The MPL ID for the failed message is : "+id)
}

// newMPLID makes a message processing log id: 28 base64url characters that begin with AG.
func newMPLID() string { return "AG" + base64.RawURLEncoding.EncodeToString(random(20))[:26] }

func newUUID() string {
	b := random(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
