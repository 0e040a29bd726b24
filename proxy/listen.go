package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// Serve accepts connections on l until Shutdown, which makes it return nil. Each connection is handshaken in a goroutine of its own and then handed to
// the wire engine of the protocol that was negotiated.
func (s *Server) Serve(l net.Listener) error { return s.acceptAll(l, false) }

// ServeBridge is Serve for a listener on which logins (HTTP Basic) are accepted besides certificates, which are optional there. Nothing else differs.
func (s *Server) ServeBridge(l net.Listener) error { return s.acceptAll(l, true) }

func (s *Server) acceptAll(l net.Listener, bridge bool) error {
	s.accepting.Add(1)
	defer s.accepting.Add(-1)
	s.mu.Lock()
	s.listeners[l] = struct{}{}
	late := s.draining.Load() // Shutdown closes those that it finds
	s.mu.Unlock()
	if late {
		l.Close()
		return nil
	}
	var pause time.Duration
	for {
		raw, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.accept(raw, bridge)
		case s.draining.Load():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting: %w", err)
		default: // out of file descriptors, say: wait for some to be given back
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Error("accepting", "error", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-s.stopped:
				return nil
			}
		}
	}
}

func (s *Server) accept(raw net.Conn, bridge bool) {
	e := s.currentEngine()
	c := &conn{server: s, engine: e, raw: newSocket(raw), source: raw.RemoteAddr().String(), bridge: bridge}
	from := sourceOf(raw.RemoteAddr())
	c.from = from
	s.mu.Lock()
	outcome, cause := record.Overloaded, ""
	switch {
	case len(s.conns) >= e.limits.MaxConnections:
		cause = "too many connections are open"
	case s.memory.isShort(time.Since(s.made)):
		cause = "memory is short"
	default:
		if cause = s.sources.admit(from, &e.limits, time.Since(s.made)); cause != "" {
			outcome = record.Limited
			break
		}
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if cause != "" { // before the costly part
		s.cfg.Metrics.Handshake(record.HandshakeShed)
		raw.Close()
		s.recordRefusal(c, outcome, cause, nil)
		return
	}
	s.cfg.Metrics.ConnectionOpened()
	s.accepting.Add(1)
	go func() {
		defer s.accepting.Add(-1)
		s.handshake(c, from)
		s.mu.Lock()
		s.sources.shaken(from)
		s.mu.Unlock()
	}()
}

// sourceOf is whom connections are counted for.
func sourceOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}

// forget is the last thing that is done for a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	if c.stranger.Swap(false) {
		s.strangers.Add(-1)
	}
	_, known := s.conns[c]
	delete(s.conns, c)
	s.mu.Unlock()
	if known {
		s.cfg.Metrics.ConnectionClosed()
	}
}

// estrange counts a connection whose caller has said nothing about itself yet. It reports false when there are so many that they would keep others out.
func (s *Server) estrange(c *conn) bool {
	if s.strangers.Add(1) > int64(max(1, c.engine.limits.MaxConnections/4)) {
		s.strangers.Add(-1)
		return false
	}
	c.stranger.Store(true)
	return true
}

// welcome notes that a login says who the caller is.
func (c *conn) welcome() {
	if c.stranger.Load() && c.stranger.Swap(false) {
		c.server.strangers.Add(-1)
	}
}

// linger closes a connection so that the alert before it arrives: closing with unread octets would reset the connection, and a TLS 1.3 caller, who has
// sent its request by then, would see that in place of the alert.
func linger(raw *socket) {
	defer raw.Close()
	if tcp, ok := raw.Conn.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		raw.SetReadDeadline(time.Now().Add(lingerTime))
		io.Copy(io.Discard, io.LimitReader(raw, lingerOctets))
	}
}

const (
	lingerTime   = time.Second
	lingerOctets = 4 << 20 // a caller that is still sending gets to read its answer first
)
