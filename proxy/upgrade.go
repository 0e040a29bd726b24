package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// Where a route allows it, a caller's connection may be turned over to another protocol (RFC 9110, section 7.8): WebSocket, above all. The request goes
// the way of every request, with the identity's token, on a connection to the tenant that carries nothing before it and nothing after it. Only when the
// tenant agrees (101) to the protocol that was asked for, octets pass both ways, unread, until one side ends them, nothing has passed for the route's idle
// timeout, the identity may not go on (law 3), or the server drains.

// upgrader is a caller whose connection can be turned over.
type upgrader interface {
	caller
	// upgrade has the connection carry octets from now on, behind what was sent.
	upgrade() *side
}

// upgrade implements upgrader.
func (h *h1) upgrade() *side {
	h.closing = true
	h.body.Reset(&h.in, wire.UntilClose, wire.Limits{})
	return &side{raw: h.conn.raw, body: &h.body, extend: h.extendRead, write: func(p []byte) error {
		h.out = p
		err := h.flush()
		h.out = nil
		return err
	}}
}

// upgrade is link's counterpart.
func (l *link) upgrade(idle time.Duration) *side {
	l.now = time.Now().UnixNano()
	l.patience(idle, false)
	l.body.Reset(&l.in, wire.UntilClose, wire.Limits{})
	l.in.Release()
	return &side{raw: l.raw, body: &l.body, extend: func(time.Duration) { l.progress() }, write: l.write}
}

// wantedUpgrade is the first protocol of the request's that the route allows, as the route spells it; "" when there is none. Without one the request is
// like any other, and its Upgrade field ends here.
func (x *exchange) wantedUpgrade() string {
	allowed, q := x.decision.Route.Route.Upgrade, x.req
	if len(allowed) == 0 || !q.Conn.Upgrade || q.Minor == 0 || q.Length != 0 || x.server.draining.Load() {
		return ""
	}
	if _, able := x.caller.(upgrader); !able {
		return ""
	}
	var wanted string
	for i := range q.Fields {
		if !strings.EqualFold(q.Fields[i].Name, "upgrade") {
			continue
		}
		wire.Tokens(q.Fields[i].Value, func(name string) {
			if name = strings.ToLower(name); wanted == "" && slices.Contains(allowed, name) {
				wanted = name
			}
		})
	}
	return wanted
}

// agreed reports whether the tenant has switched to the protocol that it was asked for and to no other.
func (x *exchange) agreed(r *wire.Response) bool {
	return x.upgrade != "" && r.Conn.Upgrade && strings.EqualFold(r.Fields.Get("Upgrade"), x.upgrade)
}

var (
	errDraining = errors.New("the server drains")
	errWrite    = errors.New("writing")
	errIdle     = errors.New("nothing has passed in either direction for the route's idle timeout")
)

// tunnel is the two sides of a connection that was turned over.
type tunnel struct {
	x      *exchange
	idle   time.Duration
	moved  atomic.Int64 // when octets last passed, in nanoseconds since 1970
	closed atomic.Bool  // the caller has ended its half, in good order
}

// side is one of them.
type side struct {
	raw    *socket
	body   *wire.Body // what it sends
	extend func(time.Duration)
	write  func([]byte) error
}

// tunnel passes the tenant's 101 on, and then what each side sends, until that ends.
func (x *exchange) tunnel(l *link, tok token.Token) {
	a, c := &x.access, x.caller.(upgrader)
	c.begin(l.resp.Status, l.resp.Reason)
	x.fields(&l.resp, tok)
	c.field("X-Request-Id", a.RequestID)
	x.rateFields()
	c.field("Connection", "Upgrade")
	c.field("Upgrade", x.upgrade)
	x.committed, x.passing, a.Status = true, true, http.StatusSwitchingProtocols
	start := time.Now()
	t := &tunnel{x: x, idle: x.decision.Route.IdleTimeout}
	t.moved.Store(start.UnixNano())
	err := c.interim()
	if err != nil {
		err = callerError{err}
	} else {
		tenant := l.upgrade(t.idle)
		caller := c.upgrade()
		x.upgraded.Store(true)
		if x.server.draining.Load() { // Shutdown has not seen it
			x.interrupt(errDraining)
		}
		u := &x.upload
		u.running, u.done = true, make(chan struct{})
		go func() {
			defer close(u.done)
			t.upward(caller, tenant, l)
		}()
		if err = t.relay(tenant, caller, &a.BytesOut); errors.Is(err, errWrite) {
			err = callerError{err}
		}
		x.upgraded.Store(false)
		u.stop()
	}
	a.TenantDuration += time.Since(start)
	t.end(err)
}

// upward passes on what the caller sends.
func (t *tunnel) upward(caller, tenant *side, l *link) {
	switch err := t.relay(caller, tenant, &t.x.upload.count); {
	case err == nil:
		t.closed.Store(true)
		l.tls.CloseWrite() // the tenant may still have something to say
	case errors.Is(err, errWrite) && isTimeout(err):
		l.raw.Close() // it takes nothing any more
	case errors.Is(err, errWrite), err == errIdle, t.x.upload.stopped.Load(): // the other direction finds out by itself
	default:
		t.x.interrupt(errCallerGone)
	}
}

// relay passes on what one side sends to the other, until it ends: then it returns nil. While nothing comes it holds no buffer.
func (t *tunnel) relay(from, to *side, count *int64) error {
	buf := wire.GetBuffer()
	defer func() { wire.PutBuffer(buf) }()
	defer func() { from.raw.mode = readWaits }()
	from.raw.mode = readEager
	for {
		n, err := from.body.Read(t.x.portion(buf[:]))
		from.raw.mode = readEager
		if n > 0 {
			if _, goOn := t.x.pace(n, func() {}); !goOn {
				return errCallerGone // or whatever has ended the exchange
			}
			if werr := to.write(buf[:n]); werr != nil {
				return fmt.Errorf("%w: %w", errWrite, werr)
			}
			*count += int64(n)
			t.moved.Store(time.Now().UnixNano())
		}
		if err == errWouldWait {
			wire.PutBuffer(buf)
			from.extend(t.idle)
			err = from.raw.await()
			buf = wire.GetBuffer()
			from.raw.mode = readWaits // a record has begun to arrive
		}
		switch {
		case err == io.EOF:
			return nil
		case err == nil:
		case !isTimeout(err) || t.x.ended.Load() != nil || t.x.upload.stopped.Load():
			return err
		case time.Since(time.Unix(0, t.moved.Load())) > t.idle:
			return errIdle
		}
	}
}

// end finds what the end means. Both sides are free to end in good order at any time.
func (t *tunnel) end(err error) {
	x, a := t.x, &t.x.access
	cause := x.ended.Load()
	switch {
	case cause != nil && *cause == errDraining:
		a.Outcome, a.Cause = record.Served, errDraining.Error()
	case err == nil, t.closed.Load() && (cause == nil || *cause == errCallerGone):
		a.Outcome = record.Served
	case err == errIdle:
		a.Outcome, a.Cause = record.Timeout, err.Error()
	default:
		x.breakOff(err)
	}
}

// endUpgraded ends, in good order, what would otherwise go on for as long as its two sides like.
func (s *Server) endUpgraded() {
	for _, c := range s.connections() {
		c.mu.Lock()
		for _, x := range c.live {
			if x.upgraded.Load() {
				x.interrupt(errDraining)
				x.caller.stopReading()
			}
		}
		c.mu.Unlock()
	}
}
