package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// exchange is one request and its answer.
type exchange struct {
	server *Server
	conn   *conn
	w      http.ResponseWriter
	r      *http.Request
	wire   *http.ResponseController
	ctx    context.Context
	cancel context.CancelCauseFunc

	access    record.Access
	decision  Decision
	body      *body
	deadline  *time.Timer // of the wait for the tenant; made by the first wait
	phase     atomic.Int32
	committed bool      // a final status has been sent
	duplex    bool      // net/http no longer reads the rest of the body before it answers
	passing   bool      // it was the tenant's: what follows is the tenant's answer
	written   time.Time // when the write deadline was last moved
}

// ServeHTTP is where both protocols meet.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*conn)
	x := &exchange{server: e.server, conn: c, w: w, r: r, wire: http.NewResponseController(w)}
	x.ctx, x.cancel = context.WithCancelCause(r.Context())
	x.serve()
}

// serve is the way of a request: identify, authorize, limit, credential, forward, record. Nothing that was received reaches a tenant in any other way,
// and no way out of it avoids the record.
func (x *exchange) serve() {
	x.begin()
	defer x.end()
	if err := x.server.cfg.Log.Ready(); err != nil {
		x.refuse(record.Unrecorded, err.Error())
		return
	}
	x.decide()
	if x.access.Outcome != record.Served {
		x.refuse(x.access.Outcome, x.access.Cause)
		return
	}
	if outcome, cause := x.limit(); outcome != record.Served {
		x.refuse(outcome, cause)
		return
	}
	x.forward()
}

func (x *exchange) begin() {
	x.access = record.Access{
		Time: x.server.cfg.Now(), RequestID: record.NewRequestID(), Protocol: x.r.Proto, Source: x.conn.source,
		Method: x.r.Method, Host: x.r.Host, Serial: x.conn.peer.Serial,
	}
	x.conn.enter(x)
	x.server.inFlight.Add(1)
	if g := x.conn.guard; g != nil {
		g.busy.Store(true)
	}
	x.body = newBody(x)
}

// end records the exchange, whatever happened, and breaks the stream off when the caller could otherwise take half an answer for a whole one.
func (x *exchange) end() {
	broken := recover()
	if broken != nil {
		x.server.log.Error("serving", "request_id", x.access.RequestID, "panic", fmt.Sprint(broken), "stack", string(debug.Stack()))
		x.refuse(record.Internal, "panic")
	}
	if x.deadline != nil {
		x.deadline.Stop()
	}
	x.cancel(context.Canceled)
	x.conn.leave(x)
	x.server.inFlight.Add(-1)
	x.access.BytesIn = x.body.count.Load()
	x.access.Duration = x.server.cfg.Now().Sub(x.access.Time)
	x.server.cfg.Log.Append(&x.access)
	if x.access.Outcome != record.Served && (x.passing || !x.committed) {
		panic(http.ErrAbortHandler) // net/http's way to close the connection or reset the stream
	}
}

// decide asks the core.
func (x *exchange) decide() {
	req := Request{
		Peer: x.conn.peer, Host: x.r.Host, Method: x.r.Method, Target: x.r.RequestURI, Length: x.r.ContentLength, Fields: x.r.Header,
	}
	d := &x.decision
	if cause := ambiguousFields(x.r); cause != "" {
		d.deny(record.Malformed, cause)
		d.Path, _, _ = splitTarget(req.Target)
	} else {
		x.server.core.Decide(&req, d)
	}
	a := &x.access
	a.Outcome, a.Cause, a.Path = d.Outcome, d.Cause, d.Path
	if a.Path == "" {
		a.Path, _, _ = splitTarget(req.Target)
	}
	if d.Binding != nil {
		a.Identity = d.Binding.Identity.Name
	}
	if d.Route != nil {
		a.Route, a.Tenant = d.Route.Route.Name, d.Route.Tenant.Name
	}
}

// ambiguousFields refuses what HTTP/2 lets through and HTTP/1.1 would read in two ways; for HTTP/1.1 the guard has done this.
func ambiguousFields(r *http.Request) (cause string) {
	if r.ProtoMajor < 2 {
		return ""
	}
	if host := r.Header["Host"]; len(host) > 1 || len(host) == 1 && !strings.EqualFold(host[0], r.Host) {
		return "host differs from :authority"
	}
	if length := r.Header["Content-Length"]; len(length) > 0 {
		if n, ok := parseLength(length[0]); len(length) > 1 || !ok || int64(n) != r.ContentLength {
			return "content-length is not one decimal number"
		}
	}
	if expect := r.Header["Expect"]; len(expect) > 1 || len(expect) == 1 && !strings.EqualFold(expect[0], "100-continue") {
		return "expect is not 100-continue"
	}
	return ""
}

// limit keeps what is allowed inside what it may cost.
func (x *exchange) limit() (record.Outcome, string) {
	if x.server.inFlight.Load() > int64(x.conn.engine.limits.MaxRequests) {
		return record.Limited, "too many requests are in flight"
	}
	return record.Served, ""
}

// refuse answers with a problem document when nothing has been sent yet, and notes the outcome in any case.
func (x *exchange) refuse(outcome record.Outcome, cause string) {
	x.access.Outcome, x.access.Cause = outcome, cause
	if x.committed {
		return
	}
	x.committed, x.access.Status = true, outcome.Status()
	h := x.w.Header()
	clear(h)
	h.Set("X-Request-Id", x.access.RequestID)
	switch outcome {
	case record.Unidentified, record.Malformed, record.Misdirected, record.SlowCaller, record.BodyTooLarge, record.RevokedInFlight:
		h.Set("Connection", "close") // nothing more is worth reading from here
	case record.MethodNotAllowed:
		h.Set("Allow", strings.Join(x.decision.Allow, ", "))
	case record.Limited, record.Unrecorded:
		h.Set("Retry-After", "1")
	}
	x.closeBehindUnreadBody()
	doc := record.AppendProblem(make([]byte, 0, 512), outcome, x.access.RequestID)
	h.Set("Content-Type", record.ProblemContentType)
	h.Set("Content-Length", strconv.Itoa(len(doc)))
	h.Set("Cache-Control", "no-store")
	x.extendWrite()
	x.w.WriteHeader(x.access.Status)
	n, _ := x.w.Write(doc)
	x.access.BytesOut += int64(n)
}

// closeBehindUnreadBody announces what net/http will do anyway: an answer that begins before the request's body has ended is the last on its connection.
// (Without the announcement the caller would send its next request into a connection that is being closed.)
func (x *exchange) closeBehindUnreadBody() {
	if x.duplex && !x.body.complete() {
		x.w.Header()["Connection"] = []string{"close"}
	}
}

// end of the wait for the tenant, and other reasons for which an exchange is cancelled.
var (
	errTenantSilent = errors.New("the tenant did not answer in time")
	errTenantStuck  = errors.New("the tenant stopped sending")
)

// ended says why the exchange's context is done.
func (x *exchange) ended() (record.Outcome, string, bool) {
	cause := context.Cause(x.ctx)
	var cut *cutError
	switch {
	case cause == nil:
		return record.Served, "", false
	case errors.As(cause, &cut):
		return record.RevokedInFlight, cut.cause, true
	case errors.Is(cause, errTenantSilent), errors.Is(cause, errTenantStuck):
		return record.Timeout, cause.Error(), true
	}
	return record.CallerGone, "the caller closed the connection", true
}

// extendWrite moves the write deadline, but not for each write: moving it costs as much as a small write.
func (x *exchange) extendWrite() {
	limit := x.conn.engine.limits.WriteTimeout
	if now := time.Now(); now.Sub(x.written) > limit/8 {
		x.wire.SetWriteDeadline(now.Add(limit + limit/8))
		x.written = now
	}
}
