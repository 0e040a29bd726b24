package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http2"

	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// roundTripH2 is roundTrip on a stream of HTTP/2. net/http sends the request at most once: it is given one connection, and no other to fall back on.
func (x *exchange) roundTripH2(l *link, tok token.Token) error {
	s, u := l.stream, &x.upload
	u.resumes, u.patient = true, isGRPC(x.req)
	received := u.started && x.caller.bodyDone() // by gather, or by an attempt before this one
	req := x.request(s, tok)
	s.patience(x.decision.Route.ResponseTimeout)
	switch {
	case u.none():
	case received:
		s.lend(req, u.kept)
		u.trailer(func(name, value string) { addCopy(req.Trailer, name, value) })
		if len(req.Trailer) == 0 {
			req.Trailer = nil // the last of the data ends the stream
		}
	default:
		s.draw(req)
		u.stream(l)
	}
	begun := x.now.UnixNano()
	resp, err := s.conn.http.RoundTrip(req)
	s.answered(tok)
	if err != nil {
		return s.failure(l, err, begun)
	}
	s.resp = resp
	s.body.Store(&resp.Body)
	if s.ctx.Err() != nil { // in the same moment: then it is not served
		s.end(errInterrupted)
		return context.Cause(s.ctx)
	}
	if err := readHead(&l.resp, resp, x.req.Method); err != nil {
		return err
	}
	if len(resp.Trailer) > 0 && l.resp.Length > 0 && x.proto != "HTTP/2.0" {
		l.resp.Length, l.resp.Announced = -1, -1 // in HTTP/1.1 only chunks have a trailer section
	}
	x.access.TenantStatus = resp.StatusCode
	return nil
}

// request is the request for net/http: what appendHead is for HTTP/1.1. Header compression keeps strings for as long as the connection lives, and ours may
// point into buffers: it gets copies.
func (x *exchange) request(s *stream, tok token.Token) *http.Request {
	q, base := x.req, x.decision.Route.Base
	h := make(http.Header, len(q.Fields)+4)
	x.requestFields(tok, func(name, value string) { addCopy(h, name, value) })
	if h["User-Agent"] == nil {
		h["User-Agent"] = nil // or net/http would name itself
	}
	if te := q.Fields.Get("Te"); te == "trailers" { // RFC 9113, section 8.2.2; servers of gRPC insist on it
		h["Te"] = []string{te}
	}
	if s.expect = q.Expect && q.Length != 0 && !x.caller.bodyDone(); s.expect {
		h["Expect"] = []string{"100-continue"}
	}
	target := strings.Clone(x.decision.Target)
	if strings.HasPrefix(target, "//") { // net/url would read a host here: it is given one, and net/http takes it off again
		target = "//" + base.Host + target
	}
	r := &http.Request{
		Method: strings.Clone(q.Method), URL: &url.URL{Scheme: base.Scheme, Host: base.Host, Opaque: target}, Host: base.Host,
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: h, ContentLength: q.Length,
	}
	if q.Length != 0 {
		r.Trailer = make(http.Header)
		wire.Tokens(passingNames(q.Fields.Get("Trailer"), x.passes), func(name string) {
			r.Trailer[http.CanonicalHeaderKey(strings.Clone(name))] = nil
		})
	}
	return r.WithContext(httptrace.WithClientTrace(s.ctx, &httptrace.ClientTrace{
		WroteHeaders:   func() { s.sent.Store(true) },
		Got1xxResponse: func(status int, h textproto.MIMEHeader) error { return s.interim.take(s, status, http.Header(h), tok) },
	}))
}

func addCopy(h http.Header, name, value string) {
	name = http.CanonicalHeaderKey(strings.Clone(name))
	h[name] = append(h[name], strings.Clone(value))
}

// isGRPC reports whether the request is a call of gRPC, which may be a conversation: its caller may be silent for as long as the route lets the tenant be.
func isGRPC(q *wire.Request) bool {
	const kind = "application/grpc"
	t := q.Fields.Get("Content-Type")
	return len(t) >= len(kind) && strings.EqualFold(t[:len(kind)], kind)
}

// goneAway is what net/http says when the tenant has ended the connection (GOAWAY) and has not begun with the request. There is no other way to know.
// Should the words ever change, such a request is not sent again, and a test says so.
const goneAway = "http2: Transport received Server's graceful shutdown GOAWAY"

// failure finds what it means that no answer came.
func (s *stream) failure(l *link, err error, begun int64) error {
	if cause := context.Cause(s.ctx); cause != nil {
		if cause == os.ErrDeadlineExceeded && s.conn.frames.heard.Load() < begun {
			s.conn.spoil() // it may be dead
		}
		return cause
	}
	var reset http2.StreamError
	switch {
	case errors.As(err, &reset):
		if reset.Code == http2.ErrCodeRefusedStream {
			return errUntouched // RFC 9113, section 8.7
		}
		return err
	case err.Error() == goneAway, !s.sent.Load() && s.conn.http.Available() == 0:
		return errUntouched
	case l.reused && s.sent.Load() && s.interim.seen.Load() == 0:
		return errStale
	}
	return fmt.Errorf("reading the answer's head: %w", err)
}

// readHead puts the head of an answer, as net/http has read it, into plain values.
func readHead(r *wire.Response, resp *http.Response, method string) error {
	*r = wire.Response{Status: resp.StatusCode, Reason: http.StatusText(resp.StatusCode), Minor: 1, Announced: -1, Length: resp.ContentLength}
	if r.Status < 200 || r.Status > 999 || len(resp.Status) < 4 || resp.Status[3] != ' ' {
		return errors.New("the tenant's status code is not three digits")
	}
	if countFields(resp.Header) > tenantLimits.Fields {
		return errors.New("response has too many header fields")
	}
	if length := resp.Header["Content-Length"]; len(length) > 0 {
		n, ok := wire.ParseLength(length[0])
		if len(length) > 1 || !ok {
			return errors.New("Content-Length is not one decimal number")
		}
		r.Announced = n
	}
	switch { // as in HTTP/1.1: RFC 9112, section 6.3
	case r.Status == http.StatusNoContent || r.Status == http.StatusNotModified || method == http.MethodHead:
		r.Length = 0
	case r.Length == 0:
		r.Announced = 0
	}
	r.Fields = appendFields(make(wire.Fields, 0, len(resp.Header)), resp.Header)
	if len(resp.Trailer) > 0 {
		names := make([]string, 0, len(resp.Trailer))
		for name := range resp.Trailer {
			names = append(names, name)
		}
		r.Fields = append(r.Fields, wire.Field{Name: "Trailer", Value: strings.Join(names, ", ")})
	}
	return nil
}

func appendFields(dst wire.Fields, h http.Header) wire.Fields {
	for name, values := range h {
		for _, v := range values {
			dst = append(dst, wire.Field{Name: name, Value: v})
		}
	}
	return dst
}
