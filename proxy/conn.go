package proxy

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/usage"
)

// conn is one connection of a caller.
type conn struct {
	server  *Server
	engine  *engine
	raw     *socket
	source  string
	address netip.Addr   // of source; invalid when it is none
	from    netip.Prefix // whom it is counted for
	bridge  bool         // logins are accepted on it, and certificates are optional

	stranger atomic.Bool // neither a certificate nor a login has said who it is
	peer     *Peer       // nil until the handshake has ended; not changed afterwards

	h1       atomic.Pointer[h1]     // HTTP/1.1 only
	h2       atomic.Pointer[frames] // HTTP/2 only
	quota    atomic.Pointer[quota]  // the one that was used last
	uses     usage.Memo             // where its requests were counted last
	draining bool                   // of drainH1
	half     time.Time              // of noticeGone: when the caller was first seen to have closed its sending half

	mu   sync.Mutex // guards live. While it is held, no exchange begins or ends: what is interrupted is what was meant
	live []*exchange
}

// close ends the connection without waiting for anything.
func (c *conn) close() { c.raw.Close() }

// reset ends the connection so that the caller sees a broken one.
func (c *conn) reset() {
	if tcp, ok := c.raw.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.raw.Close()
}

// interrupt tells what is in flight to end, and why.
func (c *conn) interrupt(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.live {
		x.interrupt(cause)
	}
}

// busy reports whether something is in flight.
func (c *conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.live) > 0
}

// cut ends what is in flight: each exchange is told why, and the connection is closed soon after if that did not end it. A connection without requests
// stays open; its next request is refused.
func (c *conn) cut(cause error) { c.cutEach(func(*exchange) error { return cause }) }

// cutEach is cut for those exchanges to which why gives a cause.
func (c *conn) cutEach(why func(*exchange) error) {
	c.mu.Lock()
	var hit []*exchange
	for _, x := range c.live {
		if cause := why(x); cause != nil {
			x.interrupt(cause)
			x.caller.stopReading()
			hit = append(hit, x)
		}
	}
	c.mu.Unlock()
	if len(hit) == 0 {
		return
	}
	time.AfterFunc(cutGrace, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, x := range hit {
			if slices.Contains(c.live, x) && x.ended.Load() != nil { // it hangs in a write to the caller
				c.close()
				return
			}
		}
	})
}

// cutGrace is how long a cut exchange has to end in good order.
const cutGrace = 300 * time.Millisecond

// cutError is the cause of an exchange's end that was ordered by the registry.
type cutError struct{ cause string }

func (e *cutError) Error() string { return e.cause }

func (c *conn) enter(x *exchange) {
	c.mu.Lock()
	c.live = append(c.live, x)
	c.mu.Unlock()
}

func (c *conn) leave(x *exchange) {
	c.mu.Lock()
	if i := slices.Index(c.live, x); i >= 0 {
		c.live = slices.Delete(c.live, i, i+1)
	}
	c.mu.Unlock()
}
