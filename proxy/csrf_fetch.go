package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// csrfFetch fetches one CSRF token, for all exchanges of an identity and route that wait for it. It belongs to none of them: it goes on when a caller
// hangs up, and ends with its pool. session or err are set before done is closed.
type csrfFetch struct {
	guard   *guard
	pool    *pool
	gate    *gate
	metrics *record.Metrics
	token   token.Token
	host    string // of the tenant
	target  string
	fields  wire.Fields
	limit   time.Duration
	now     func() time.Time // the clock of decisions
	done    chan struct{}
	session *session
	err     *csrfError
}

// csrfError says why there is no token.
type csrfError struct {
	outcome record.Outcome // for those who wait
	result  string         // for the metrics
	cause   string
	status  int // that the tenant answered, 0 for none
}

// Error implements error.
func (e *csrfError) Error() string { return e.cause }

const (
	// maxFetch bounds a fetch in time, where a route gives its flow more.
	maxFetch = 30 * time.Second
	// maxCSRFToken bounds a token, in octets.
	maxCSRFToken = 1 << 10
)

// newFetch prepares a fetch under the exchange's token. Nothing in it points into the exchange's buffers.
func (x *exchange) newFetch(p *pool, tok token.Token) *csrfFetch {
	route := x.decision.Route
	f := &csrfFetch{
		guard: x.guard, pool: p, gate: x.gate, metrics: x.server.cfg.Metrics, token: tok,
		host: strings.ToLower(route.Base.Hostname()), target: strings.Clone(csrfTarget(route, x.decision.Target)),
		limit: min(route.ResponseTimeout, maxFetch), now: x.server.cfg.Now, done: make(chan struct{}),
	}
	f.fields = wire.Fields{{Name: "Host", Value: route.Base.Host}, {Name: csrfField, Value: "Fetch"}, {Name: "Accept", Value: "*/*"}}
	x.addOurs(tok, func(name, value string) {
		f.fields = append(f.fields, wire.Field{Name: name, Value: strings.Clone(value)})
	})
	return f
}

// csrfTarget is where a token is fetched for a request of target at the tenant. An HTTPS sender answers it at the address of its flow, which it does not
// run for that; the OData API answers it at its root, where nothing large is read.
func csrfTarget(route *identity.RouteEntry, target string) string {
	const odata = "/api/v1/"
	base := route.Base.EscapedPath()
	if route.Route.CSRFPath != "" {
		return base + route.Route.CSRFPath
	}
	path, _, _ := splitTarget(target)
	if below := path[len(base):]; len(below) > len(odata) && strings.EqualFold(below[:len(odata)], odata) {
		return base + below[:len(odata)]
	}
	return path
}

// run makes the request and tells those who wait.
func (f *csrfFetch) run() {
	defer close(f.done)
	s, err := f.fetch()
	g, result := f.guard, record.CSRFDone
	g.mu.Lock()
	if g.flight == f {
		g.flight = nil
	}
	if err == nil && (g.session == nil || g.session.token <= s.token) {
		g.session = s
	}
	g.mu.Unlock()
	if err != nil {
		result = err.result
	}
	f.session, f.err = s, err
	f.metrics.CSRFFetch(f.pool.tenant.Name, result)
}

// fetch asks on a kept connection and, when the tenant has closed that, on a new one: asking changes nothing.
func (f *csrfFetch) fetch() (*session, *csrfError) {
	ctx, cancel := context.WithTimeout(f.pool.open, f.limit)
	defer cancel()
	if f.pool.http2() {
		return f.fetchH2(ctx)
	}
	if l := f.pool.take(time.Now()); l != nil {
		s, err := f.ask(ctx, l)
		if err == nil || err.status != 0 || ctx.Err() != nil {
			return s, err
		}
	}
	l, err := f.pool.dial(ctx)
	if err != nil {
		if f.pool.open.Err() == nil {
			f.gate.failed(time.Now(), f.pool.tenant)
		}
		return nil, f.failed(ctx, record.Unreachable, record.CSRFNoLink, err)
	}
	return f.ask(ctx, l)
}

// head is that of the request.
func (f *csrfFetch) head() []byte {
	head := append(make([]byte, 0, 4<<10), "GET "+f.target+" HTTP/1.1\r\n"...)
	for _, field := range f.fields {
		head = wire.AppendField(head, field.Name, field.Value)
	}
	return append(head, "\r\n"...)
}

// ask makes the request on one connection, which is kept if it can be.
func (f *csrfFetch) ask(ctx context.Context, l *link) (*session, *csrfError) {
	kept := false
	defer func() {
		if !kept {
			l.close()
		}
	}()
	stop := context.AfterFunc(ctx, l.interrupt)
	defer stop()
	l.now = time.Now().UnixNano()
	l.method = http.MethodGet
	l.patience(f.limit, false)
	if err := l.writeAt(l.now, f.head()); err != nil {
		return nil, f.failed(ctx, record.NoCSRFToken, record.CSRFBroken, err)
	}
	for interim := 0; ; interim++ {
		if err := l.in.ReadResponse(&l.resp, l.method, tenantLimits); err != nil {
			return nil, f.failed(ctx, record.NoCSRFToken, record.CSRFBroken, err)
		}
		if !l.resp.Informational() {
			break
		}
		if interim == maxInterim || l.resp.Status == http.StatusSwitchingProtocols {
			return nil, f.failed(ctx, record.NoCSRFToken, record.CSRFBroken, errors.New("interim answers that nobody asked for"))
		}
	}
	f.gate.connected()
	s, err := f.read(&l.resp)
	if l.skip(); l.body.Done() && l.resp.Persistent() && l.in.Buffered() == 0 && stop() {
		kept = true
		l.resp.Release()
		f.pool.put(l, time.Now())
	}
	return s, err
}

// read takes the token and the cookies out of the answer.
func (f *csrfFetch) read(r *wire.Response) (*session, *csrfError) {
	value := r.Fields.Get(csrfField)
	refused := r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden
	if refused || value == "" || len(value) > maxCSRFToken || strings.EqualFold(value, "required") || strings.EqualFold(value, "fetch") {
		e := &csrfError{outcome: record.NoCSRFToken, result: record.CSRFMissing, status: r.Status}
		e.cause = fmt.Sprintf("fetching a CSRF token at %s: the tenant answered %d without one", f.target, r.Status)
		if refused {
			e.result = record.CSRFRefused
		}
		return nil, e
	}
	now := time.Now()
	s := &session{token: f.token.ID, csrf: token.NewSecret(strings.Clone(value)), jar: jar{host: f.host, secure: f.pool.tls != nil}}
	s.proved.Store(f.now().UnixNano())
	for i := range r.Fields {
		if field := &r.Fields[i]; strings.EqualFold(field.Name, "Set-Cookie") {
			s.jar.set(field.Value, f.target, now)
		}
	}
	return s, nil
}

// failed says what an error of the connection means.
func (f *csrfFetch) failed(ctx context.Context, outcome record.Outcome, result string, err error) *csrfError {
	e := &csrfError{outcome: outcome, result: result, cause: "fetching a CSRF token: " + err.Error()}
	switch {
	case f.pool.open.Err() != nil:
		e.outcome, e.result, e.cause = record.NoCSRFToken, record.CSRFDropped, "fetching a CSRF token: what it was fetched for has changed"
	case ctx.Err() != nil || isTimeout(err):
		e.cause = "fetching a CSRF token: the tenant did not answer in time"
	case err == io.EOF:
		e.cause = "fetching a CSRF token: " + errUnanswered.Error()
	}
	return e
}
