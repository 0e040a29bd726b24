package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// engine speaks HTTP/1.1 (behind a guard) and HTTP/2 with callers, by net/http. It knows the wire; every question of access goes to the exchange, and
// from there to the core.
type engine struct {
	server *Server
	limits Limits
	h1, h2 *http.Server
	queue1 *queue
	queue2 *queue
	byTLS  sync.Map // *tls.Conn -> *conn: net/http recognises HTTP/2 only on a bare *tls.Conn
}

type connKey struct{}

func newEngine(s *Server, l Limits) *engine {
	e := &engine{server: s, limits: l, queue1: newQueue(), queue2: newQueue()}
	e.h1 = e.newServer(func(p *http.Protocols) { p.SetHTTP1(true) })
	e.h2 = e.newServer(func(p *http.Protocols) { p.SetHTTP2(true) })
	e.h2.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          l.MaxStreams,
		MaxReceiveBufferPerConnection: 1 << 20,
		MaxReceiveBufferPerStream:     1 << 18,
		SendPingTimeout:               30 * time.Second,
		PingTimeout:                   15 * time.Second,
		WriteByteTimeout:              l.WriteTimeout,
	}
	go e.h1.Serve(e.queue1)
	go e.h2.Serve(e.queue2)
	return e
}

func (e *engine) newServer(protocols func(*http.Protocols)) *http.Server {
	s := &http.Server{
		Handler:                      e,
		ReadHeaderTimeout:            e.limits.HeaderTimeout,
		IdleTimeout:                  e.limits.IdleTimeout,
		MaxHeaderBytes:               e.limits.HeaderBytes,
		DisableGeneralOptionsHandler: true,
		Protocols:                    new(http.Protocols),
		ErrorLog:                     slog.NewLogLogger(e.server.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, e.connOf(nc))
		},
		ConnState: e.connState,
	}
	protocols(s.Protocols)
	return s
}

func (e *engine) connOf(nc net.Conn) *conn {
	if g, ok := nc.(*guard); ok {
		return g.conn
	}
	c, _ := e.byTLS.Load(nc)
	return c.(*conn)
}

func (e *engine) connState(nc net.Conn, state http.ConnState) {
	switch state {
	case http.StateIdle:
		if g, ok := nc.(*guard); ok {
			g.busy.Store(false)
		}
	case http.StateClosed:
		c := e.connOf(nc)
		e.byTLS.Delete(nc)
		e.server.forget(c)
	}
}

// serve takes over a connection whose caller is known. It reports false when the engine has stopped.
func (e *engine) serve(c *conn, tc *tls.Conn, protocol string) bool {
	if protocol == "h2" {
		e.byTLS.Store(net.Conn(tc), c)
		if e.queue2.put(tc) {
			return true
		}
		e.byTLS.Delete(net.Conn(tc))
		return false
	}
	g := &guard{Conn: tc, conn: c, limits: headLimits{maxHead: e.limits.HeaderBytes, maxFields: e.limits.HeaderFields}}
	g.malformed = func(v violation) { e.refuse(g, v) }
	c.guard = g
	return e.queue1.put(g)
}

// stopAccepting lets open connections go on and takes no new ones.
func (e *engine) stopAccepting() {
	e.queue1.Close()
	e.queue2.Close()
}

// shutdown drains both protocols until ctx is done.
func (e *engine) shutdown(ctx context.Context) {
	e.stopAccepting()
	var wg sync.WaitGroup
	wg.Go(func() { e.h1.Shutdown(ctx) })
	wg.Go(func() { e.h2.Shutdown(ctx) })
	wg.Wait()
}

// violations says what a caller is told about a request that the guard refused.
var violations = [...]record.Outcome{
	violationMalformed:    record.Malformed,
	violationHeadTooLarge: record.HeadersTooLarge,
	violationMethod:       record.MethodNotAllowed,
	violationSlow:         record.SlowCaller,
}

// refuse answers and records a request that never became one.
func (e *engine) refuse(g *guard, v violation) {
	now := e.server.cfg.Now()
	a := record.Access{
		Time: now, RequestID: record.NewRequestID(), Protocol: "HTTP/1.1", Source: g.conn.source, Serial: g.conn.peer.Serial,
		Outcome: violations[v.outcome], Cause: v.cause,
	}
	if b, err := identify(e.server.cfg.Registry.Snapshot(), e.server.cfg.Trust(), g.conn.peer, now); err == nil {
		a.Identity = b.Identity.Name
	}
	a.Status = a.Outcome.Status()
	g.Conn.SetWriteDeadline(time.Now().Add(refusalTimeout))
	g.Conn.Write(rawProblem(&a))
	a.Duration = e.server.cfg.Now().Sub(a.Time)
	e.server.cfg.Log.Append(&a)
}

// rawProblem is a whole HTTP/1.1 answer that closes the connection.
func rawProblem(a *record.Access) []byte {
	doc := record.AppendProblem(nil, a.Outcome, a.RequestID)
	a.BytesOut = int64(len(doc))
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nCache-Control: no-store\r\nX-Request-Id: %s\r\nConnection: close\r\n\r\n%s",
		a.Status, http.StatusText(a.Status), record.ProblemContentType, len(doc), a.RequestID, doc)
}

// refusalTimeout bounds the writing of an answer to a caller who broke the protocol.
const refusalTimeout = time.Second

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
