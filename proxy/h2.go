package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
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
			f := nc.(*frames)
			f.conn.h2.Store(f)
			return context.WithValue(ctx, connKey{}, f)
		},
		ConnState: func(nc net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				e.handed.Add(-1)
			case http.StateClosed:
				e.open.Add(-1)
				e.server.forget(nc.(*frames).conn)
			}
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          e.limits.MaxStreams,
			MaxReadFrameSize:              1 << 14, // what everybody must take, and nobody need exceed
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     1 << 18,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
			WriteByteTimeout:              e.limits.WriteTimeout,
		},
	}
	s.Protocols.SetUnencryptedHTTP2(true) // see frames
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

	mu   sync.Mutex // guards over
	over bool       // net/http has taken w back

	ended  bool // the body was read to its end
	fields int  // octets of the request's fields
	status int
	buf    *[wire.BufferSize]byte

	reading, writing clock
}

// clock bounds one operation on a stream. A deadline of net/http's would break the stream off when it comes, whether anything is going on or not, and it
// may be the tenant that is slow: a clock runs only while its operation does. It may be stopped more than once.
type clock struct {
	timer *time.Timer
	stuck atomic.Bool // it has run down
}

// run starts the clock; at its end, up is called.
func (c *clock) run(limit time.Duration, up func()) {
	if c.timer == nil {
		c.timer = time.AfterFunc(limit, func() {
			c.stuck.Store(true)
			up()
		})
		return
	}
	c.timer.Reset(limit)
}

func (c *clock) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// ServeHTTP takes a request of HTTP/2.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := r.Context().Value(connKey{}).(*frames)
	c := f.conn
	s := &h2{conn: c, w: w, r: r, wire: http.NewResponseController(w)}
	x := &s.x
	*x = exchange{server: e.server, conn: c, limits: &e.limits, caller: s, req: &s.req, proto: r.Proto}
	if limit := e.limits.HeaderFields; countFields(r.Header) > limit {
		x.objection = objection{record.HeadersTooLarge, "request has too many header fields"}
	} else if cause := ambiguousFields(r); cause != "" {
		x.objection = objection{record.Malformed, cause}
	}
	s.request()
	s.ended = r.ContentLength == 0
	c.enter(x)
	stop := context.AfterFunc(r.Context(), func() { x.interrupt(errCallerGone) })
	whole := x.serve()
	stop()
	c.leave(x)
	s.letGo()
	f.served(x.access.Outcome, x.access.Duration, s.fields, !whole || !s.ended)
	if s.buf != nil {
		wire.PutBuffer(s.buf)
	}
	if !whole {
		panic(http.ErrAbortHandler) // net/http's way to reset the stream
	}
}

// onWire does what another goroutine than the handler's has to do on the wire. It does nothing once the exchange has ended: net/http takes the
// ResponseWriter back then, and using it would end the process.
func (s *h2) onWire(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		do()
	}
}

// letGo is the last that is done on the wire, but for panicking.
func (s *h2) letGo() {
	s.reading.stop()
	s.writing.stop()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
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
			s.fields += len(name) + len(v)
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

func countFields(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
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
	for _, name := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade"} {
		if _, ok := r.Header[name]; ok { // RFC 9113, section 8.2.2
			return "a field speaks about the connection, which HTTP/2 does not let it"
		}
	}
	if te := r.Header["Te"]; len(te) > 1 || len(te) == 1 && te[0] != "trailers" {
		return "TE is not trailers"
	}
	if expect := r.Header["Expect"]; len(expect) > 1 || len(expect) == 1 && !strings.EqualFold(expect[0], "100-continue") {
		return "expect is not 100-continue"
	}
	return ""
}

// readBody implements caller.
func (s *h2) readBody(p []byte, limit time.Duration) (int, error) {
	if limit == 0 {
		return 0, errWouldWait
	}
	s.reading.run(limit, s.stopReading)
	n, err := s.r.Body.Read(p)
	s.reading.stop()
	if err == io.EOF {
		s.ended = true
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
func (s *h2) stopReading() { s.onWire(func() { s.wire.SetReadDeadline(past) }) }

// write bounds what writes to the caller.
func (s *h2) write(do func() error) error {
	s.writing.run(s.x.limits.WriteTimeout, func() { s.onWire(func() { s.wire.SetWriteDeadline(past) }) })
	err := do()
	s.writing.stop()
	if err != nil && s.writing.stuck.Load() {
		err = os.ErrDeadlineExceeded
	}
	return err
}

// begin implements caller.
func (s *h2) begin(status int, _ string) {
	s.status = status
	clear(s.w.Header())
}

// field implements caller. net/http keeps the strings, in its header compression for as long as the connection lives; ours point into a buffer.
func (s *h2) field(name, value string) {
	h := s.w.Header()
	name = http.CanonicalHeaderKey(strings.Clone(name))
	h[name] = append(h[name], strings.Clone(value))
}

// interim implements caller.
func (s *h2) interim() error {
	return s.write(func() error {
		s.w.WriteHeader(s.status)
		if err := s.r.Context().Err(); err != nil {
			return err // net/http may still be reading the map
		}
		clear(s.w.Header())
		return nil
	})
}

// last implements caller: a stream ends with its answer anyway.
func (s *h2) last() {}

// farewell implements caller.
func (s *h2) farewell() { s.w.Header()["Connection"] = []string{"close"} }

// head implements caller.
func (s *h2) head(length, announced int64) {
	h := s.w.Header()
	if announced >= 0 && length >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(announced, 10)}
	}
	if s.x.server.draining.Load() {
		s.farewell()
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // keeps net/http from guessing one
	}
	s.write(func() error {
		s.w.WriteHeader(s.status)
		return nil
	})
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
	return s.write(func() error {
		_, err := s.w.Write(s.buf[:n])
		return err
	})
}

// flush implements caller.
func (s *h2) flush() error { return s.write(s.wire.Flush) }

// finish implements caller.
func (s *h2) finish(trailer []wire.Field) error {
	for _, f := range trailer {
		s.field(http.TrailerPrefix+f.Name, f.Value)
	}
	s.wire.SetWriteDeadline(time.Now().Add(s.x.limits.WriteTimeout)) // for what net/http has still to write
	return nil
}
