package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// HTTP/2 is spoken by net/http: its framing, flow control and header compression are not a thing to write twice. What it hands over goes the same way as a
// request of HTTP/1.1, by the same exchange.

type connKey struct{}

func (e *engine) newH2() *http.Server {
	s := &http.Server{
		Handler:                      e,
		ReadHeaderTimeout:            e.limits.HeaderTimeout,
		IdleTimeout:                  e.limits.IdleTimeout,
		MaxHeaderBytes:               e.limits.HeaderBytes,
		DisableGeneralOptionsHandler: true,
		Protocols:                    new(http.Protocols),
		ErrorLog:                     slog.NewLogLogger(e.server.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			c, _ := e.byTLS.Load(nc)
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: func(nc net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				if c, ok := e.byTLS.LoadAndDelete(nc); ok {
					e.server.forget(c.(*conn))
				}
			}
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          e.limits.MaxStreams,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     1 << 18,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
			WriteByteTimeout:              e.limits.WriteTimeout,
		},
	}
	s.Protocols.SetHTTP2(true)
	return s
}

// h2 is one stream: one request and its answer.
type h2 struct {
	conn *conn
	w    http.ResponseWriter
	r    *http.Request
	wire *http.ResponseController
	req  wire.Request
	x    exchange

	ended   bool // the body was read to its end
	read    time.Time
	written time.Time
	status  int
	buf     *[wire.BufferSize]byte
}

// ServeHTTP takes a request of HTTP/2.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*conn)
	s := &h2{conn: c, w: w, r: r, wire: http.NewResponseController(w)}
	x := &s.x
	*x = exchange{server: e.server, conn: c, limits: &e.limits, caller: s, req: &s.req, proto: r.Proto, objection: ambiguousFields(r)}
	s.request()
	s.ended = r.ContentLength == 0
	c.enter(x)
	stop := context.AfterFunc(r.Context(), func() { x.interrupt(errCallerGone) })
	whole := x.serve()
	stop()
	c.leave(x)
	if s.buf != nil {
		wire.PutBuffer(s.buf)
	}
	if !whole {
		panic(http.ErrAbortHandler) // net/http's way to reset the stream
	}
}

// request puts what net/http has read into plain values.
func (s *h2) request() {
	q, r := &s.req, s.r
	q.Method, q.Target, q.Host, q.Minor, q.Length = r.Method, r.RequestURI, r.Host, 1, r.ContentLength
	q.Fields = make(wire.Fields, 0, len(r.Header)+1)
	for name, values := range r.Header {
		switch name {
		case "Connection", "Content-Length", "Transfer-Encoding":
			continue
		case "Expect":
			q.Expect = true
			continue
		}
		for _, v := range values {
			q.Fields = append(q.Fields, wire.Field{Name: name, Value: v})
		}
	}
	if len(r.Trailer) > 0 {
		names := make([]string, 0, len(r.Trailer))
		for name := range r.Trailer {
			names = append(names, name)
		}
		q.Fields = append(q.Fields, wire.Field{Name: "Trailer", Value: strings.Join(names, ", ")})
	}
}

// ambiguousFields refuses what HTTP/2 lets through and HTTP/1.1 would read in two ways.
func ambiguousFields(r *http.Request) (cause string) {
	if host := r.Header["Host"]; len(host) > 1 || len(host) == 1 && !strings.EqualFold(host[0], r.Host) {
		return "host differs from :authority"
	}
	if length := r.Header["Content-Length"]; len(length) > 0 {
		if n, ok := wire.ParseLength(length[0]); len(length) > 1 || !ok || n != r.ContentLength {
			return "content-length is not one decimal number"
		}
	}
	if expect := r.Header["Expect"]; len(expect) > 1 || len(expect) == 1 && !strings.EqualFold(expect[0], "100-continue") {
		return "expect is not 100-continue"
	}
	return ""
}

// readBody implements caller.
func (s *h2) readBody(p []byte, wait bool) (int, error) {
	if !wait {
		return 0, errWouldWait
	}
	limit := s.x.limits.BodyIdleTimeout
	if now := time.Now(); now.Sub(s.read) > limit/8 {
		s.wire.SetReadDeadline(now.Add(limit + limit/8))
		s.read = now
		if s.x.upload.stopped.Load() {
			s.stopReading()
		}
	}
	n, err := s.r.Body.Read(p)
	if err != nil { // net/http goes on reading the connection: not under this deadline
		s.wire.SetReadDeadline(time.Time{})
		s.ended = err == io.EOF
	}
	return n, err
}

// bodyDone implements caller.
func (s *h2) bodyDone() bool { return s.ended }

// bodyTrailer implements caller.
func (s *h2) bodyTrailer() wire.Fields {
	var t wire.Fields
	for name, values := range s.r.Trailer {
		for _, v := range values {
			t = append(t, wire.Field{Name: name, Value: v})
		}
	}
	return t
}

// proceed implements caller: net/http sends 100 when the body is first read.
func (s *h2) proceed() error { return nil }

// stopReading implements caller.
func (s *h2) stopReading() { s.wire.SetReadDeadline(past) }

// begin implements caller.
func (s *h2) begin(status int, _ string) {
	s.status = status
	clear(s.w.Header())
}

// field implements caller.
func (s *h2) field(name, value string) {
	h := s.w.Header()
	name = http.CanonicalHeaderKey(name)
	h[name] = append(h[name], value)
}

// interim implements caller.
func (s *h2) interim() error {
	s.extendWrite()
	s.w.WriteHeader(s.status)
	clear(s.w.Header())
	return nil
}

// last implements caller: a stream ends with its answer anyway.
func (s *h2) last() {}

// head implements caller.
func (s *h2) head(length, announced int64) {
	h := s.w.Header()
	if announced >= 0 && length >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(announced, 10)}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // keeps net/http from guessing one
	}
	if _, ok := h["Date"]; !ok {
		h["Date"] = nil // as for HTTP/1.1: what the tenant does not say is not said
	}
	s.extendWrite()
	s.w.WriteHeader(s.status)
}

// room implements caller.
func (s *h2) room() []byte {
	if s.buf == nil {
		s.buf = wire.GetBuffer()
	}
	return s.buf[:]
}

// wrote implements caller.
func (s *h2) wrote(n int) error {
	s.extendWrite()
	_, err := s.w.Write(s.buf[:n])
	return err
}

// flush implements caller.
func (s *h2) flush() error { return s.wire.Flush() }

// finish implements caller.
func (s *h2) finish(trailer []wire.Field) error {
	for _, f := range trailer {
		s.field(http.TrailerPrefix+f.Name, f.Value)
	}
	return nil
}

// extendWrite moves the write deadline, but not for each write: moving it costs as much as a small write.
func (s *h2) extendWrite() {
	limit := s.x.limits.WriteTimeout
	if now := time.Now(); now.Sub(s.written) > limit/8 {
		s.wire.SetWriteDeadline(now.Add(limit + limit/8))
		s.written = now
	}
}
