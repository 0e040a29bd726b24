package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// link is one connection to a tenant, for one identity, or one stream on a connection of HTTP/2. It carries one exchange at a time and belongs to its
// goroutine; write and progress may be called by an uploading goroutine beside it, and interrupt by anybody.
type link struct {
	pool   *pool
	stream *stream // nil for HTTP/1.1; else the link's end of it, and of what follows only reused, resp and the body's trailer are used
	raw    *socket
	tls    *tls.Conn // nil for a tenant without TLS, which only loopback may be
	reused bool      // it has carried another exchange, or has idled: the tenant may have closed it by now
	ageing

	in     wire.Reader
	method string // of the request that was sent
	resp   wire.Response
	body   wire.Body

	one     [1]byte // of alive
	rolling bool    // reading puts the deadline off
	now     int64   // when the exchange last looked at the clock, in nanoseconds since 1970

	limit atomic.Int64 // nanoseconds that the tenant may take now, or to receive what is written
	until atomic.Int64 // read deadline in force, in nanoseconds since 1970
	taken int64        // write deadline in force; of the goroutine that writes
	cut   atomic.Bool  // interrupted: every read and write ends at once
}

// ageing is what the age of a connection to a tenant goes by.
type ageing struct {
	made  time.Time // when its handshake began
	since time.Time // when it was put back
}

const (
	dialTimeout      = 10 * time.Second // for the address and TCP, and again for TLS
	tenantHeadOctets = 128 << 10
	tenantHeadFields = 500
)

var tenantLimits = wire.Limits{Octets: tenantHeadOctets, Fields: tenantHeadFields}

// dial makes a new link.
func (p *pool) dial(ctx context.Context) (*link, error) {
	conn, err := p.reach(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	raw := newSocket(conn)
	l := &link{pool: p, raw: raw, ageing: ageing{made: time.Now()}}
	l.limit.Store(int64(dialTimeout)) // a spare is read before anybody has said how long it may take
	l.in.Init(l)
	if p.tls == nil {
		return l, nil
	}
	l.tls = tls.Client(raw, p.tls)
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := l.tls.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return l, nil
}

// Read implements io.Reader for the wire: the tenant may be silent for the limit in force.
func (l *link) Read(p []byte) (int, error) {
	if l.rolling {
		l.progress()
	}
	return l.receive(p)
}

func (l *link) receive(p []byte) (int, error) {
	if l.tls == nil {
		return l.raw.Read(p)
	}
	return l.tls.Read(p)
}

// patience says how long the tenant may take from now on: for the whole of what is awaited or, when it is rolling, until each next octet.
func (l *link) patience(d time.Duration, rolling bool) {
	l.limit.Store(int64(d))
	l.rolling = rolling
	l.progressAt(l.now)
}

// progress puts the read deadline off: the exchange has moved on. It does so in steps, because that costs as much as a small read.
func (l *link) progress() {
	if l.stream != nil {
		l.stream.progress()
		return
	}
	l.progressAt(time.Now().UnixNano())
}

func (l *link) progressAt(now int64) {
	limit := l.limit.Load()
	want := now + limit
	if until := l.until.Load(); until < want || until > want+limit/4 {
		l.until.Store(want + limit/8)
		l.raw.SetReadDeadline(time.Unix(0, want+limit/8))
		if l.cut.Load() {
			l.raw.SetDeadline(past)
		}
	}
}

// past is a deadline that has gone by.
var past = time.Unix(1, 0)

// write sends octets, which the tenant must take within the limit in force.
func (l *link) write(p []byte) error {
	if l.stream != nil {
		return l.stream.write(p)
	}
	return l.writeAt(time.Now().UnixNano(), p)
}

func (l *link) writeAt(now int64, p []byte) error {
	limit := l.limit.Load()
	want := now + limit
	if l.taken < want || l.taken > want+limit/4 {
		l.taken = want + limit/8
		l.raw.SetWriteDeadline(time.Unix(0, l.taken))
		if l.cut.Load() {
			l.raw.SetDeadline(past)
		}
	}
	if l.tls == nil {
		_, err := l.raw.Write(p)
		return err
	}
	return l.raw.writeTLS(l.tls, p)
}

// interrupt ends all reading and writing. The link cannot be used again.
func (l *link) interrupt() {
	if l.stream != nil {
		l.stream.end(errInterrupted)
		return
	}
	l.cut.Store(true)
	l.raw.SetDeadline(past)
}

// close ends the link without ceremony: the tenant must not take what it has received for complete.
func (l *link) close() {
	if l.stream != nil {
		l.stream.give(errInterrupted)
		return
	}
	l.in.Discard()
	l.resp.Release()
	l.raw.Close()
}

// retire closes a link that idles.
func (l *link) retire() {
	l.raw.SetDeadline(time.Now().Add(time.Second))
	if l.tls != nil {
		l.tls.Close()
	}
	l.raw.Close()
	l.in.Discard()
}

// alive reports whether an idle link can carry another exchange: the tenant has neither closed it nor sent anything that nobody asked for. An answer to a
// request that is yet to be sent must not be believed.
func (l *link) alive(now time.Time) bool {
	if l.in.Buffered() > 0 {
		return false
	}
	l.progressAt(now.UnixNano()) // a deadline from before may have passed
	l.raw.mode = readEager
	n, err := l.receive(l.one[:]) // reads session tickets away
	l.raw.mode = readWaits
	return n == 0 && err == errWouldWait
}
