package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// forward gets the identity's token and sends the request with it. After a 401 it does so once more with a new token, if the body can be sent again;
// any other answer, and any failure behind the first octet, is final (law 9).
func (x *exchange) forward() {
	a, route := &x.access, x.decision.Route
	p, err := x.server.upstreams.get(a.Identity, route.Tenant)
	if err != nil {
		x.refuse(record.Internal, err.Error())
		return
	}
	credentials := x.server.core.Registry.Snapshot().Credentials(a.Identity, a.Tenant)
	if len(credentials) == 0 {
		x.refuse(record.NoToken, "the identity has no credential for the tenant")
		return
	}
	source, err := p.source(x.server.cfg.Tokens, credentials[0], route.Route.Scope)
	if err != nil {
		x.refuse(record.NoToken, err.Error())
		return
	}
	x.body.limit = route.MaxBody
	if x.r.ProtoMajor == 1 && !x.body.none() {
		x.duplex = x.wire.EnableFullDuplex() == nil // an answer may begin before the body has ended
	}
	for {
		tok, err := x.token(source)
		if err != nil {
			x.fail(record.NoToken, err)
			return
		}
		resp, err := x.roundTrip(p, tok)
		if err != nil {
			return // roundTrip has answered
		}
		if resp.StatusCode == http.StatusUnauthorized && source.Reject(tok) && !a.Retried && x.body.rewind() {
			a.Retried = true
			io.CopyN(io.Discard, resp.Body, 4<<10) // a short answer drained is a connection kept
			resp.Body.Close()
			continue
		}
		x.respond(resp, tok)
		return
	}
}

// token waits for a token no longer than the caller does.
func (x *exchange) token(source *token.Source) (token.Token, error) {
	start := time.Now()
	tok, err := source.Token(x.ctx)
	if waited := time.Since(start); waited > time.Millisecond || err != nil {
		x.access.TokenDuration += waited
	}
	return tok, err
}

// fail ends an exchange for an error of the given stage, unless the exchange was ended for another reason, which then is the outcome.
func (x *exchange) fail(stage record.Outcome, err error) {
	outcome, cause := stage, err.Error()
	if o, c, ok := x.body.failure(); ok {
		outcome, cause = o, c
	}
	if o, c, ok := x.ended(); ok && outcome != record.Malformed && outcome != record.BodyTooLarge && outcome != record.SlowCaller {
		outcome, cause = o, c
	}
	if outcome == record.CallerGone {
		x.access.Outcome, x.access.Cause = outcome, cause
		return
	}
	x.refuse(outcome, cause)
}

// roundTrip sends the request and waits for the head of the answer. On an error it has ended the exchange.
func (x *exchange) roundTrip(p *pool, tok token.Token) (*http.Response, error) {
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{
		WroteHeaders:   func() { sent.Store(true) },
		Got1xxResponse: x.informational,
	}
	x.wait(waitHead)
	start := time.Now()
	resp, err := p.transport.RoundTrip(x.outbound(tok).WithContext(httptrace.WithClientTrace(x.ctx, trace)))
	x.access.TenantDuration += time.Since(start)
	x.wait(waitNothing)
	switch {
	case err == nil && resp.StatusCode == http.StatusSwitchingProtocols:
		resp.Body.Close()
		err = errors.New("the tenant switched protocols without being asked")
		x.fail(record.TenantBroken, err)
	case err == nil:
		x.access.TenantStatus = resp.StatusCode
	case sent.Load():
		x.fail(record.TenantBroken, err)
	default:
		x.fail(record.Unreachable, err)
	}
	return resp, err
}

// What an exchange waits for from its tenant.
const (
	waitNothing int32 = iota
	waitHead          // the head of the answer: the route's response timeout
	waitBody          // more of the answer: the route's idle timeout
)

// wait starts the clock for what is awaited now.
func (x *exchange) wait(phase int32) {
	x.phase.Store(phase)
	if x.deadline == nil {
		x.deadline = time.AfterFunc(time.Hour, x.timeUp)
	}
	x.progress()
}

// progress puts the end of the wait off: an octet has moved, in either direction.
func (x *exchange) progress() {
	switch x.phase.Load() {
	case waitHead:
		x.deadline.Reset(x.decision.Route.ResponseTimeout)
	case waitBody:
		x.deadline.Reset(x.decision.Route.IdleTimeout)
	}
}

func (x *exchange) timeUp() {
	switch x.phase.Load() {
	case waitHead:
		x.cancel(errTenantSilent)
	case waitBody:
		x.cancel(errTenantStuck)
	}
}

// outbound makes the request for the tenant: the caller's, without what callers may not say, with the identity's token.
func (x *exchange) outbound(tok token.Token) *http.Request {
	r := x.r
	h := make(http.Header, len(r.Header)+4)
	for name, values := range r.Header {
		if callerHeaderPasses(name) {
			h[name] = values
		}
	}
	connectionTokens(r.Header["Connection"], func(name string) { delete(h, textproto.CanonicalMIMEHeaderKey(name)) })
	hideIdempotencyKey(h, r.Method)
	// From here on we add: nothing that the caller says can take it away.
	h["Authorization"] = []string{tok.Header()}
	h["X-Request-Id"] = []string{x.access.RequestID}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // keeps net/http from inventing one
	}
	base := x.decision.Route.Base
	out := &http.Request{
		Method: r.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL:    &url.URL{Scheme: base.Scheme, Host: base.Host, Opaque: x.decision.Target},
		Host:   base.Host,
		Header: h,
	}
	if !x.body.none() {
		out.Body, out.ContentLength = x.body, r.ContentLength
		if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
			h["Expect"] = []string{"100-continue"}
		}
		if len(r.Trailer) > 0 {
			out.Trailer = x.trailer()
		}
	}
	return out
}

// hideIdempotencyKey keeps the transport from sending a request twice because its caller set such a header: tenants do not honour it (law 9). The
// field is sent all the same; only the transport does not find it under this spelling.
func hideIdempotencyKey(h http.Header, method string) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return
	}
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
}

// trailer announces the caller's trailer fields; their values follow with the end of the body.
func (x *exchange) trailer() http.Header {
	t := make(http.Header, len(x.r.Trailer))
	for name := range x.r.Trailer {
		if callerHeaderPasses(name) {
			t[name] = nil
		}
	}
	x.body.trailer = func() {
		for name := range t {
			t[name] = x.r.Trailer[name]
		}
	}
	return t
}

// informational passes a 1xx answer on. 100 is ours to send: net/http does so when the body is first read.
func (x *exchange) informational(code int, header textproto.MIMEHeader) error {
	if code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		return nil
	}
	h := x.w.Header()
	for name, values := range header {
		if tenantHeaderPasses(name) {
			h[name] = values
		}
	}
	x.extendWrite()
	x.w.WriteHeader(code)
	clear(h)
	return nil
}

// respond passes the tenant's answer on.
func (x *exchange) respond(resp *http.Response, tok token.Token) {
	defer resp.Body.Close()
	h := x.w.Header()
	copyTenantFields(h, resp.Header, tok)
	h["X-Request-Id"] = []string{x.access.RequestID}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // keeps net/http from guessing one
	}
	for name := range resp.Trailer {
		if tenantHeaderPasses(name) {
			h.Add("Trailer", name)
		}
	}
	x.closeBehindUnreadBody()
	x.extendWrite()
	x.committed, x.passing, x.access.Status = true, true, resp.StatusCode
	x.w.WriteHeader(resp.StatusCode)
	start := time.Now()
	err := x.copyBody(resp)
	x.access.TenantDuration += time.Since(start)
	if err != nil {
		x.breakOff(err)
		return
	}
	for name, values := range resp.Trailer {
		if tenantHeaderPasses(name) {
			h[name] = values
		}
	}
	x.access.Outcome = record.Served
}

// copyTenantFields copies what may go to the caller: no cookie, nothing of the connection, and nothing that holds the token, should the tenant reflect
// it.
func copyTenantFields(h http.Header, from http.Header, tok token.Token) {
	for name, values := range from {
		if !tenantHeaderPasses(name) || holds(values, tok.Value.Reveal()) {
			continue
		}
		h[name] = values
	}
	connectionTokens(from["Connection"], func(name string) { delete(h, textproto.CanonicalMIMEHeaderKey(name)) })
}

func holds(values []string, secret string) bool {
	for _, v := range values {
		if len(v) >= len(secret) && strings.Contains(v, secret) {
			return true
		}
	}
	return false
}

// tenantError is a failure to read from the tenant, as against one to write to the caller.
type tenantError struct{ error }

// copyBody streams the answer through one buffer. What the tenant has sent is not held back: unless the whole length is known and about to come, each
// read is flushed.
func (x *exchange) copyBody(resp *http.Response) error {
	buf := buffers.Get().(*[buffer]byte)
	defer buffers.Put(buf)
	x.wait(waitBody)
	defer x.wait(waitNothing)
	var total int64
	for {
		n, err := resp.Body.Read(buf[:])
		if n > 0 {
			x.phase.Store(waitNothing) // writing has a deadline of its own
			total += int64(n)
			x.extendWrite()
			w, werr := x.w.Write(buf[:n])
			x.access.BytesOut += int64(w)
			if werr == nil && err == nil && total != resp.ContentLength {
				werr = x.wire.Flush()
			}
			if werr != nil {
				return werr
			}
			x.wait(waitBody)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return tenantError{err}
		}
	}
}

// breakOff ends an answer that has begun.
func (x *exchange) breakOff(err error) {
	a := &x.access
	var tenant tenantError
	switch o, cause, ok := x.ended(); {
	case ok:
		a.Outcome, a.Cause = o, cause
	case errors.As(err, &tenant):
		a.Outcome, a.Cause = record.TenantBroken, "reading the answer: "+err.Error()
	default:
		a.Outcome, a.Cause = record.CallerGone, "writing the answer: "+err.Error()
	}
}

const buffer = 32 << 10

var buffers = sync.Pool{New: func() any { return new([buffer]byte) }}
