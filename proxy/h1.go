package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// h1 speaks HTTP/1.1 with one caller, in one goroutine: between the request's first octet and the answer's last, a request without a body, or with a small
// one, changes no goroutine. While the connection idles it holds no buffer.
type h1 struct {
	conn   *conn
	engine *engine
	tls    *tls.Conn
	in     wire.Reader
	*turn  // nil while no request is being read or served

	phase   h1Phase
	first   bool        // no request has come yet
	timed   bool        // the deadline in force is that of a head
	until   int64       // read deadline in force, in nanoseconds since 1970
	written int64       // write deadline in force
	halted  atomic.Bool // nothing more is read: see stopReading
	idling  atomic.Bool // no request has begun

	out     []byte // what has gathered for the caller; within buf
	buf     *[wire.BufferSize]byte
	coding  h1Coding
	dated   bool  // the answer has a Date
	closing bool  // the connection ends behind this answer
	broken  error // of writing to the caller
}

// turn is what one request needs.
type turn struct {
	req  wire.Request
	body wire.Body
	x    exchange
}

var turns = sync.Pool{New: func() any { return new(turn) }}

// h1Phase is what is awaited from the caller.
type h1Phase uint8

const (
	awaitRequest h1Phase = iota
	awaitHead            // the rest of a head that has begun
	awaitBody
)

func (e *engine) newH1(c *conn, tc *tls.Conn) *h1 {
	h := &h1{conn: c, engine: e, tls: tc, first: true}
	h.in.Init(h)
	c.h1.Store(h)
	return h
}

// serve serves the connection to its end.
func (h *h1) serve() {
	defer h.close()
	for h.serveNext() {
	}
}

// Read implements io.Reader for the wire.
func (h *h1) Read(p []byte) (int, error) {
	if h.phase == awaitHead && !h.timed { // most heads are complete by now, and no deadline is moved for them
		h.timed = true
		h.setRead(time.Now().Add(h.engine.limits.HeaderTimeout).UnixNano())
	}
	return h.tls.Read(p)
}

// extendRead puts the read deadline off, in steps, because that costs as much as a small read.
func (h *h1) extendRead(limit time.Duration) {
	want := time.Now().UnixNano() + int64(limit)
	if h.until < want || h.until > want+int64(limit)/4 {
		h.setRead(want + int64(limit)/8)
	}
}

func (h *h1) setRead(until int64) {
	h.until = until
	h.conn.raw.SetReadDeadline(time.Unix(0, until))
	if h.halted.Load() {
		h.conn.raw.SetReadDeadline(past)
	}
}

// await blocks until some of the next request is there.
func (h *h1) await() error {
	h.phase, h.timed = awaitRequest, false
	if h.in.Buffered() > 0 {
		return nil
	}
	raw := h.conn.raw
	raw.mode = readDry // the next request may have come with the one before
	err := h.in.Receive()
	raw.mode = readWaits
	if err != errWouldWait {
		return err
	}
	h.in.Release()
	l := &h.engine.limits
	switch {
	case h.engine.server.draining.Load():
		h.setRead(time.Now().Add(drainIdle).UnixNano())
	case h.first:
		h.extendRead(l.HeaderTimeout)
	default:
		h.extendRead(l.IdleTimeout)
	}
	h.idling.Store(true)
	err = raw.await()
	h.idling.Store(false)
	if err == nil && raw.wholeRecord() {
		err = h.in.Receive()
	}
	return err
}

// serveNext serves one request. It reports whether another one may follow on the connection.
func (h *h1) serveNext() bool {
	if h.await() != nil {
		return false
	}
	h.first = false
	h.turn = turns.Get().(*turn)
	defer h.endTurn()
	h.phase = awaitHead
	if err := h.in.ReadRequest(&h.req, h.headLimits()); err != nil {
		h.unreadable(err)
		return false
	}
	h.phase = awaitBody
	h.body.Reset(&h.in, h.req.Length, h.headLimits())
	h.closing = !h.req.Persistent() || h.engine.server.draining.Load()
	x := &h.x
	x.server, x.conn, x.limits, x.caller, x.req, x.gathers = h.engine.server, h.conn, &h.engine.limits, h, &h.req, true
	if x.proto = "HTTP/1.1"; h.req.Minor == 0 {
		x.proto = "HTTP/1.0"
	}
	x.ended.Store(nil)
	h.conn.enter(x)
	whole := x.serve()
	h.conn.leave(x)
	h.giveBuffer()
	switch {
	case !whole && h.coding == codingClose, // the end of the stream is the end of the body: it must not look like a good one
		!whole && isTimeout(h.broken): // the kernel would hold what a caller does not take for as long as he likes
		h.conn.reset()
		return false
	case !whole: // no closure alert, for the same reason
		h.conn.raw.Close()
		return false
	case h.closing || x.ended.Load() != nil:
		h.linger()
		return false
	}
	return h.body.Done()
}

// endTurn gives back what a request needed, with nothing in it that belongs to somebody.
func (h *h1) endTurn() {
	t := h.turn
	h.turn = nil
	t.req.Release()
	t.body.Reset(nil, 0, wire.Limits{})
	t.x.forget()
	turns.Put(t)
}

func (h *h1) headLimits() wire.Limits {
	return wire.Limits{Octets: h.engine.limits.HeaderBytes, Fields: h.engine.limits.HeaderFields}
}

// drainIdle is how long a connection without a request stays open once the server drains: a request that is on its way is still answered.
const drainIdle = 500 * time.Millisecond

// unreadable answers and records a request that never became one.
func (h *h1) unreadable(err error) {
	var outcome record.Outcome
	var broken *wire.Error
	switch {
	case errors.As(err, &broken):
		outcome = violations[broken.Kind]
	case isTimeout(err) && !h.halted.Load():
		outcome, err = record.SlowCaller, errors.New("request head was not complete in time")
	default:
		return // gone before it said what it wanted
	}
	s, now := h.engine.server, h.engine.server.cfg.Now()
	a := record.Access{
		Time: now, RequestID: record.NewRequestID(), Protocol: "HTTP/1.1", Source: h.conn.source, Serial: h.conn.peer.Serial,
		Method: h.req.Method, Host: h.req.Host, Outcome: outcome, Cause: err.Error(), Status: outcome.Status(),
	}
	a.Path, _, _ = splitTarget(h.req.Target)
	a.Authority, a.Identity = h.conn.peer.Authority, nameOf(s.cfg.Registry.Snapshot(), h.conn.peer)
	doc := record.AppendProblem(nil, outcome, a.RequestID)
	h.begin(a.Status, http.StatusText(a.Status))
	h.field("Content-Type", record.ProblemContentType)
	h.field("Cache-Control", "no-store")
	h.field("X-Request-Id", a.RequestID)
	h.last()
	h.head(int64(len(doc)), int64(len(doc)))
	h.out = append(h.out, doc...)
	h.conn.raw.SetWriteDeadline(time.Now().Add(refusalTimeout))
	if _, err := h.tls.Write(h.out); err == nil {
		a.BytesOut = int64(len(doc))
	}
	h.giveBuffer()
	a.Duration = s.cfg.Now().Sub(a.Time)
	s.cfg.Log.Append(&a)
	h.linger()
}

// refusalTimeout bounds the writing of an answer to a caller who broke the protocol.
const refusalTimeout = time.Second

// linger closes so that the answer before it arrives: closing with unread octets would reset the connection and could take the answer with it.
func (h *h1) linger() {
	h.conn.raw.SetWriteDeadline(time.Now().Add(refusalTimeout))
	h.tls.CloseWrite()
	linger(h.conn.raw)
}

func (h *h1) close() {
	if broken := recover(); broken != nil {
		h.engine.server.log.Error("serving", "source", h.conn.source, "panic", fmt.Sprint(broken), "stack", string(debug.Stack()))
	}
	h.giveBuffer()
	h.in.Discard()
	h.conn.raw.SetDeadline(time.Now().Add(refusalTimeout))
	h.tls.Close()
	h.engine.server.forget(h.conn)
}

// readBody implements caller.
func (h *h1) readBody(p []byte, limit time.Duration) (int, error) {
	if limit > 0 {
		if h.in.Buffered() == 0 {
			h.extendRead(limit)
		}
		return h.body.Read(p)
	}
	h.conn.raw.mode = readEager
	n, err := h.body.Read(p)
	h.conn.raw.mode = readWaits
	return n, err
}

// bodyDone implements caller.
func (h *h1) bodyDone() bool { return h.body.Done() }

// bodyTrailer implements caller.
func (h *h1) bodyTrailer() wire.Fields { return h.body.Trailer }

// stopReading implements caller.
func (h *h1) stopReading() {
	h.halted.Store(true)
	h.conn.raw.SetReadDeadline(past)
}
