package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// With a tenant that says so, HTTP/2 is spoken by net/http, one connection at a time (http.ClientConn): its framing, flow control and header compression
// are not a thing to write twice. Which request goes on which connection, how often it is sent, and for how long a connection is used is decided here.
// net/http's own pool would send a request again when it thinks fit (law 9), and would use a connection for as long as it is busy.

// h2conn is one connection of HTTP/2 to a tenant, for one identity, whose exchanges share it. What is not said to be fixed is guarded by the pool's idleMu.
type h2conn struct {
	pool   *pool            // fixed
	http   *http.ClientConn // fixed
	frames *tenantFrames    // fixed
	ageing                  // made is fixed; since is when it last had no streams

	streams int  // in use, and those that are held for whoever has waited for the connection
	begun   bool // a stream was taken
	spoiled bool // it takes no more streams

	carried atomic.Bool // it has carried a stream
}

// dialling is a connection on its way. Whoever needs one waits for the same.
type dialling struct {
	done    chan struct{} // closed when what follows is set
	conn    *h2conn
	err     error
	waiting int // who are still to see it; guarded by the pool's idleMu
}

const (
	alpnHTTP2 = "h2"
	// maxTenantStreams is how many streams one connection carries, if the tenant allows as many: 100 is what most do, and what every tenant should (RFC 9113,
	// section 6.5.2).
	maxTenantStreams = 100
	// tenantStreamWindow is how much of an answer is in memory that its caller does not take. The connection's window has room for as much of every
	// stream, so that no caller holds up another.
	tenantStreamWindow = 1 << 18
)

// http2 reports whether the tenant is spoken with by HTTP/2.
func (p *pool) http2() bool { return p.tenant.Protocol == identity.ProtocolHTTP2 }

// open takes a stream on a connection that is at hand, or on a new one.
func (x *exchange) open(p *pool, fresh bool) (*link, error) {
	var c *h2conn
	if !fresh {
		c = p.takeConn(x.now)
	}
	if c == nil {
		ctx, done := x.patience()
		defer done()
		for c == nil {
			var err error
			if c, err = p.another(ctx, true); err != nil {
				return nil, err
			}
			if c == nil { // others have taken all its streams, and may have ended by now
				c = p.takeConn(time.Now())
			}
		}
		x.now = time.Now()
	}
	l := &link{pool: p, ageing: c.ageing, reused: c.carried.Swap(true)}
	l.stream = newStream(x, c)
	return l, nil
}

// takeConn takes a stream on a connection, the newest that has one left, or returns nil.
func (p *pool) takeConn(now time.Time) *h2conn {
	p.idleMu.Lock()
	defer p.idleMu.Unlock()
	p.spares.taken = true
	for _, c := range slices.Backward(p.conns) {
		if !c.spent(now) && c.take() {
			return c
		}
	}
	return nil
}

// another waits for a connection that is made now, and takes a stream on it if asked to: nil says that it has none left. Its making is nobody's own: who
// gives up leaves it to the others.
func (p *pool) another(ctx context.Context, take bool) (*h2conn, error) {
	p.idleMu.Lock()
	d := p.next
	if d == nil {
		d = &dialling{done: make(chan struct{})}
		p.next = d
		go p.connect(d)
	}
	d.waiting++
	p.idleMu.Unlock()
	var err error
	select {
	case <-d.done:
		err = d.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	took := false
	if err == nil && take {
		took, err = d.conn.takeSettled(ctx)
	}
	p.idleMu.Lock()
	d.waiting--
	c := d.conn // nil until done
	last := c != nil && d.waiting == 0
	switch {
	case err != nil:
		c = nil
	case take && !took:
		if c.streams == 1 { // nobody has one
			err = errNoStream
		}
		c = nil
	}
	p.idleMu.Unlock()
	if last {
		d.conn.release()
	}
	return c, err
}

var errNoStream = errors.New("the tenant takes no request on a new connection of HTTP/2")

// connect makes the connection that others wait for. A stream of it is held until the last of them has seen it.
func (p *pool) connect(d *dialling) {
	c, err := p.dialH2()
	p.idleMu.Lock()
	p.next = nil
	if err == nil {
		c.streams = 1
		p.conns = append(p.conns, c)
	}
	nobody := d.waiting == 0
	d.conn, d.err = c, err
	close(d.done)
	p.idleMu.Unlock()
	if nobody && err == nil {
		c.release()
	}
}

// dialH2 makes a connection. It takes 20 seconds at most.
func (p *pool) dialH2() (*h2conn, error) {
	made := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 2*dialTimeout)
	defer cancel()
	conn, err := p.reach(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	f := newTenantFrames(conn)
	if p.tls != nil {
		if f.tls, err = p.shakeHands(ctx, f.socket); err != nil {
			f.Close()
			return nil, err
		}
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true) // net/http is not to know of TLS: see frames
	t := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return f, nil },
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: tenantHeadOctets,
		ExpectContinueTimeout:  expectTimeout,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize:              1 << 14,
			MaxReceiveBufferPerStream:     tenantStreamWindow,
			MaxReceiveBufferPerConnection: maxTenantStreams * tenantStreamWindow,
			// No pings: servers of gRPC end connections on which there are too many (grpc/grpc, doc/keepalive.md). TCP has its own.
			WriteByteTimeout: tenantWriteTimeout,
		},
	}
	cc, err := t.NewClientConn(ctx, "http", p.address)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &h2conn{pool: p, http: cc, frames: f, ageing: ageing{made: made, since: time.Now()}}, nil
}

// tenantWriteTimeout is how long a tenant may take no octet at all, of any stream.
const tenantWriteTimeout = 30 * time.Second

// shakeHands has TLS agree on HTTP/2.
func (p *pool) shakeHands(ctx context.Context, raw *socket) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c := tls.Client(raw, p.tls)
	switch err := c.HandshakeContext(ctx); {
	case err != nil && strings.HasSuffix(err.Error(), "no application protocol"): // an alert (RFC 7301, section 3.2); crypto/tls shows its text only
		return nil, errNoHTTP2
	case err != nil:
		return nil, fmt.Errorf("TLS handshake: %w", err)
	case c.ConnectionState().NegotiatedProtocol != alpnHTTP2:
		return nil, errNoHTTP2
	}
	return c, nil
}

var errNoHTTP2 = errors.New("TLS handshake: the tenant does not choose HTTP/2 (ALPN h2), which is what its protocol says")

// spent reports whether the connection must not be used any more.
func (c *h2conn) spent(now time.Time) bool {
	return now.Sub(c.made) > c.pool.keep.maxAge || c.streams == 0 && now.Sub(c.since) > c.pool.keep.idleLife
}

// usable reports whether the connection can take a stream.
func (c *h2conn) usable() bool {
	return !c.spoiled && c.streams < maxTenantStreams && c.http.Available() > 0
}

// settled reports whether it is known how many streams the tenant allows.
func (c *h2conn) settled() bool {
	select {
	case <-c.frames.settled:
		return true
	default:
		return false
	}
}

// settleTimeout is how long the tenant may take to say that.
const settleTimeout = time.Second

// takeSettled is take for those who have waited for the connection. The first of them does not wait any longer; with the others, net/http would hold back what the
// tenant turns out not to allow.
func (c *h2conn) takeSettled(ctx context.Context) (took bool, err error) {
	try := func() bool {
		c.pool.idleMu.Lock()
		defer c.pool.idleMu.Unlock()
		return c.take()
	}
	if try() {
		return true, nil
	}
	soon := time.NewTimer(settleTimeout)
	defer soon.Stop()
	select {
	case <-c.frames.settled:
	case <-soon.C:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return try(), nil
}

// take takes a stream, if there is one. Of a connection whose tenant has yet to say how many it allows there is one.
func (c *h2conn) take() bool {
	if c.begun && !c.settled() {
		return false
	}
	if c.spoiled || c.streams >= maxTenantStreams || c.streams == 0 && c.frames.state() != socketOpen || c.http.Reserve() != nil {
		return false
	}
	c.streams++
	c.begun = true
	return true
}

// release gives a stream back, and closes the connection behind its last if it must not be used any more.
func (c *h2conn) release() {
	now := time.Now()
	p := c.pool
	p.idleMu.Lock()
	if c.streams--; c.streams == 0 {
		c.since = now
	}
	done := c.streams == 0 && (p.closed || c.spoiled || c.spent(now) || len(p.conns) > maxIdleLinks)
	if done {
		p.conns = slices.DeleteFunc(p.conns, func(other *h2conn) bool { return other == c })
	}
	p.idleMu.Unlock()
	if done {
		c.close()
	}
}

// spoil has the connection take no more streams.
func (c *h2conn) spoil() {
	c.pool.idleMu.Lock()
	c.spoiled = true
	c.pool.idleMu.Unlock()
}

// freshAt reports whether the connection can be counted on for a while.
func (c *h2conn) freshAt(now time.Time) bool {
	a := c.ageing
	if c.streams > 0 {
		a.since = now
	}
	return c.usable() && c.pool.keep.fresh(&a, now)
}

// pruneConns takes out, to be closed, what has idled too long and what the tenant has ended. The pool's idleMu must be held.
func (p *pool) pruneConns(now time.Time) (done []*h2conn) {
	p.conns = slices.DeleteFunc(p.conns, func(c *h2conn) bool {
		if c.streams > 0 {
			return false
		}
		gone := c.http.Available() == 0 || c.frames.state() != socketOpen
		if gone {
			p.spares.lost(&c.ageing, now)
		}
		if gone || p.closed || c.spoiled || c.spent(now) {
			done = append(done, c)
			return true
		}
		return false
	})
	return done
}

// close ends the connection. It may take a moment.
func (c *h2conn) close() { c.http.Close() }
