package enrolment

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// ACMEPath is where an [ACME] server is on the listener.
const ACMEPath = "/acme/"

// ACME answers the requests below [ACMEPath], after the checks that all requests to the listener pass. Package proxy/acme has it.
type ACME interface {
	// Answer does what the request asks for. It fills in the record of the request, but for its time and what the listener knows, and writes nothing to
	// the caller: the record comes first.
	Answer(r *ACMERequest) *ACMEAnswer
}

// ACMERequest is a request and what the listener knows of it.
type ACMERequest struct {
	*http.Request
	// ID is what the access record calls the request, Network whom its address counts for, Access its record.
	ID      string
	Network netip.Prefix
	Access  *record.Access
}

// ACMEAnswer is what the caller gets.
type ACMEAnswer struct {
	Status int
	Header http.Header
	Body   []byte
	// Issued says that a certificate was.
	Issued bool
}

// ACME clients make a dozen requests for a certificate, where others make one.
const (
	acmeRate  = 20 // requests a second from one address
	acmeBurst = 200
)

// acmeProblems are the types (RFC 8555 section 6.7) under which ACME clients are told what the listener refuses by itself.
var acmeProblems = map[string]string{tooOften.Code: "rateLimited", ourFault.Code: "serverInternal"}

// serveACME has the ACME server answer, puts the request on record, and then lets the caller know.
func (s *Server) serveACME(w http.ResponseWriter, c *call, began time.Time) {
	network := networkOf(c.from)
	var err error
	switch {
	case !s.acmeSources.allow(network, time.Now()): // which knows of no jumps of the clock
		err = tooOften.because("")
	case c.URL.RawQuery != "" || c.URL.EscapedPath() != c.URL.Path:
		err = noAddress.because("")
	case fromWebPage(c.Header):
		err = fromPage.because("")
	}
	if err != nil {
		refused := refusalOf(err)
		s.record(c, refused, began)
		refused.Type = "urn:ietf:params:acme:error:" + acmeProblem(refused.Code)
		writeRefusal(w, *refused, c.id)
		return
	}
	answer := s.ACME.Answer(&ACMERequest{Request: c.Request, ID: c.id, Network: network, Access: &c.access})
	c.acme = answer
	s.recordACME(c, answer, began)
	h := w.Header()
	for name, values := range answer.Header {
		h[name] = values
	}
	w.WriteHeader(answer.Status)
	if c.Method != http.MethodHead {
		_, _ = w.Write(answer.Body) // a connection that is gone is the caller's to notice
	}
}

func acmeProblem(code string) string {
	if kind, ok := acmeProblems[code]; ok {
		return kind
	}
	return "malformed"
}

// recordACME puts a request that the ACME server has answered on record.
func (s *Server) recordACME(c *call, answer *ACMEAnswer, began time.Time) {
	c.access.Duration, c.access.Status = s.now().Sub(began), answer.Status
	if answer.Status >= http.StatusInternalServerError {
		s.logger().Error("acme", "request_id", c.id, "path", c.access.Path, "error", c.access.Cause)
	}
	s.Metrics.Enrolment("acme", result(c))
	if s.Record == nil || c.access.Outcome != record.Served && !s.refusals.Allow() {
		return
	}
	s.Record(&c.access)
}

// fromWebPage reports that a browser has sent the request for a page.
func fromWebPage(h http.Header) bool {
	return len(h.Values("Origin")) > 0 || h.Get("Sec-Fetch-Site") != "" && h.Get("Sec-Fetch-Site") != "none"
}

// isACME reports whether the request is one for the ACME server.
func (s *Server) isACME(path string) bool { return s.ACME != nil && strings.HasPrefix(path, ACMEPath) }
