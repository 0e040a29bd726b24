package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// engine is how callers are spoken with under one set of limits: HTTP/1.1 by h1, HTTP/2 by net/http. It knows the wire; every question of access goes to
// the exchange, and from there to the core.
type engine struct {
	server *Server
	limits Limits
	http2  *http.Server
	queue  *queue
	handed atomic.Int64 // connections that net/http was given and has not registered yet: its Shutdown would not wait for them
	open   atomic.Int64 // connections of HTTP/2
}

func newEngine(s *Server, l Limits) *engine {
	e := &engine{server: s, limits: l, queue: newQueue()}
	e.http2 = e.newH2()
	go e.http2.Serve(e.queue)
	return e
}

// serve takes over a connection whose caller is known, in a goroutine of its own. It reports false when the engine has stopped.
func (e *engine) serve(c *conn, tc *tls.Conn, protocol string) bool {
	if protocol != "h2" {
		h := e.newH1(c, tc)
		go h.serve() // with a small stack: the handshake's has grown
		return true
	}
	f := newFrames(c, tc)
	e.handed.Add(1)
	e.open.Add(1)
	if e.queue.put(f) {
		return true
	}
	e.handed.Add(-1)
	e.open.Add(-1)
	return false
}

// stopAccepting lets open connections go on and takes no new ones.
func (e *engine) stopAccepting() { e.queue.Close() }

// shutdown drains both protocols until ctx is done.
func (e *engine) shutdown(ctx context.Context) {
	for e.handed.Load() > 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	e.stopAccepting()
	var wg sync.WaitGroup
	wg.Go(func() {
		e.restH2(ctx)
		e.http2.Shutdown(ctx)
	})
	wg.Go(func() { e.drainH1(ctx) })
	wg.Wait()
}

// restH2 gives connections of HTTP/2 as long as those of HTTP/1.1 get: a request that is on its way is still answered, and its caller told to go (GOAWAY).
// net/http's Shutdown closes what idles at once.
func (e *engine) restH2(ctx context.Context) {
	for end := time.Now().Add(drainIdle); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if e.open.Load() == 0 {
			return
		}
	}
}

// drainH1 waits until no connection of HTTP/1.1 is left. Each ends behind the answer that it is waiting for; one that idles, shortly.
func (e *engine) drainH1(ctx context.Context) {
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		left := 0
		for _, c := range e.server.connections() {
			h := c.h1.Load()
			if h == nil || h.engine != e {
				continue
			}
			left++
			if h.idling.Load() && !c.draining {
				c.draining = true
				c.raw.SetReadDeadline(time.Now().Add(drainIdle))
			}
		}
		if left == 0 {
			tick.Stop()
			return
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// queue is a listener that is fed by hand.
type queue struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue() *queue { return &queue{conns: make(chan net.Conn), done: make(chan struct{})} }

func (q *queue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.done:
		return false
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener; net/http only asks for it in order to log it.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }
