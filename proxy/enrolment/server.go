package enrolment

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// The bounds of what the listener may cost, beside those of its connections ([Bound], [Server.HTTP]).
const (
	maxBody      = 64 << 10         // of a request, as package pki has it
	actTimeout   = 10 * time.Second // for all that a request does in the database
	maxActs      = 16               // certificates being issued at the same time; whoever comes beyond waits outside
	sourceRate   = 5                // requests a second from one address
	sourceBurst  = 50               // and so many at once: a rack of callers behind one NAT that starts at the same time
	recordedRate = 50               // refusals on record a second; the metrics count all
)

// MaxValid bounds the valid certificates that an identity's callers may get by themselves: whoever holds a certificate, or has stolen one, could
// otherwise fill the database by renewing without end. An administrator may issue more.
const MaxValid = 64

// Server answers callers who want a certificate. Fields without a stated zero value are required, and none may be changed after the first
// request. Safe for concurrent use.
type Server struct {
	// Registry has the identities, and CA issues. The CA's tables and the change records are in the registry's database.
	Registry *identity.Registry
	CA       *pki.CA
	// Trust is what a certificate that is to be renewed must chain to, asked for each request.
	Trust func() *pki.Trust
	// Proxy is the address at which callers use their certificates, for them to know; nil does not tell it.
	Proxy func() string
	// ProxyRoots are what the proxy's certificate leads to where that is not the CA, so that callers can verify it; system says that it is a CA which callers
	// trust anyway. nil, and no roots without system, is the CA.
	ProxyRoots func() (roots []*x509.Certificate, system bool)
	// Record takes one record of each request, whether a certificate came of it or not; nil takes none. What the requests of one address beyond
	// its rate, and a flood of refusals from many, would add is left out.
	Record func(*record.Access)
	// Metrics counts all of them; nil does not.
	Metrics *record.Metrics
	// Logger is told of what fails for a fault of ours; nil discards it.
	Logger *slog.Logger
	// Resolve finds the addresses of the host that a token is bound to; nil asks the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// ACME serves clients of ACME; nil serves none.
	ACME ACME
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	once        sync.Once
	sources     paces
	acmeSources paces
	refusals    *rate.Limiter
	acts        chan struct{}
}

func (s *Server) start() {
	s.once.Do(func() {
		s.sources, s.acmeSources = newPaces(sourceRate, sourceBurst), newPaces(acmeRate, acmeBurst)
		s.refusals = rate.NewLimiter(recordedRate, recordedRate)
		s.acts = make(chan struct{}, maxActs)
	})
}

func (s *Server) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// call is one request on its way.
type call struct {
	*http.Request
	id      string
	from    netip.Addr
	answers *Answer // what came of it
	roots   bool    // the roots were asked for
	acme    *ACMEAnswer
	access  record.Access
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.start()
	began := s.now()
	c := &call{Request: r, id: record.NewRequestID(), from: addressOf(r.RemoteAddr)}
	c.access = record.Access{Time: began, RequestID: c.id, Protocol: r.Proto, Source: r.RemoteAddr, Method: r.Method, Host: r.Host, Path: withoutToken(r.URL.Path)}
	h := w.Header()
	h.Set("X-Request-Id", c.id)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if s.isACME(r.URL.Path) {
		s.serveACME(w, c, began)
		return
	}
	err := s.serve(w, c)
	if err != nil {
		refused := refusalOf(err)
		s.record(c, refused, began)
		writeRefusal(w, *refused, c.id)
		return
	}
	s.record(c, nil, began) // before the caller can know
	if c.roots {
		writePEM(w, s.roots())
		return
	}
	writeAnswer(w, r, c.answers)
}

// withoutToken is a path as it may be on record: somebody may have put his token into it.
func withoutToken(path string) string {
	if before, _, ok := strings.Cut(path, tokenPrefix); ok {
		return before + redacted
	}
	return path
}

// record puts the request, and what came of it, on record.
func (s *Server) record(c *call, refused *Refusal, began time.Time) {
	c.access.Duration = s.now().Sub(began)
	c.access.Outcome, c.access.Status = record.Served, http.StatusOK
	if refused != nil {
		c.access.Outcome, c.access.Status, c.access.Cause = refused.outcome(), refused.Status, cmp.Or(refused.cause, refused.Detail)
	}
	if c.access.Status >= http.StatusInternalServerError {
		s.logger().Error("enrolment", "request_id", c.id, "path", c.access.Path, "error", c.access.Cause)
	}
	act := strings.TrimPrefix(c.URL.Path, "/v1/")
	switch {
	case s.isACME(c.URL.Path):
		act = "acme"
	case act != "enroll" && act != "renew" && act != "roots":
		act = "other"
	}
	s.Metrics.Enrolment(act, result(c))
	if s.Record == nil || c.access.Outcome == record.Limited || refused != nil && !s.refusals.Allow() {
		return
	}
	s.Record(&c.access)
}

func result(c *call) string {
	switch c.access.Outcome {
	case record.Limited, record.Overloaded:
		return record.EnrolmentLimited
	case record.Internal:
		return record.EnrolmentFailed
	case record.Served:
	default:
		return record.EnrolmentRefused
	}
	switch {
	case c.acme != nil && c.acme.Issued:
		return record.EnrolmentIssued
	case c.answers == nil:
		return record.EnrolmentServed
	case c.answers.repeated:
		return record.EnrolmentRepeated
	}
	return record.EnrolmentIssued
}

// serve is the way of a request: how often its sender comes, what it asks for, and then the act.
func (s *Server) serve(w http.ResponseWriter, c *call) error {
	if !s.sources.allow(networkOf(c.from), time.Now()) { // which knows of no jumps of the clock
		return tooOften.because("")
	}
	if c.URL.RawQuery != "" || c.URL.EscapedPath() != c.URL.Path {
		return noAddress.because("")
	}
	if fromWebPage(c.Header) {
		return fromPage.because("")
	}
	var act func(context.Context, *call, *pki.Request) (*Answer, error)
	method := http.MethodPost
	switch c.URL.Path {
	case "/v1/roots":
		method, c.roots = http.MethodGet, true
	case "/v1/enroll":
		act = s.enroll
	case "/v1/renew":
		act = s.renew
	default:
		return noAddress.because("")
	}
	if c.Method != method && !(c.roots && c.Method == http.MethodHead) {
		c.roots = false
		refused := badMethod
		refused.allow, refused.Hint = method, "it takes "+method
		return &refused
	}
	if c.roots {
		return nil
	}
	return s.act(w, c, act)
}

// act reads the certificate request and does what is asked for, if not too many do so at the same time.
func (s *Server) act(w http.ResponseWriter, c *call, act func(context.Context, *call, *pki.Request) (*Answer, error)) error {
	request, err := readRequest(w, c)
	if err != nil {
		return err
	}
	select {
	case s.acts <- struct{}{}:
		defer func() { <-s.acts }()
	default:
		return tooBusy.because("")
	}
	// Once it is begun it goes on when the caller hangs up: he will come again for what it has led to.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), actTimeout)
	defer cancel()
	c.answers, err = act(ctx, c, request)
	return err
}

// readRequest reads the body: a certificate request that proves possession of its key.
func readRequest(w http.ResponseWriter, c *call) (*pki.Request, error) {
	kind, _, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if err != nil || kind != requestType {
		return nil, notARequest.because("")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, c.Body, maxBody))
	c.access.BytesIn = int64(len(body))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge.because("")
	}
	if err != nil {
		return nil, brokenOff.because(err.Error())
	}
	return pki.ParseRequest(body)
}

func (s *Server) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}
