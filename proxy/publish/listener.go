package publish

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/netutil"
)

// The bounds of the listener's connections.
const (
	maxConnections       = 512 // further ones wait in the kernel
	maxSourceConnections = 64  // of one address: further ones are closed, so that none can keep the others out
)

// Bound has a listener take so many connections, in all and from one address (of IPv6, one /64 network).
func Bound(l net.Listener) net.Listener {
	return netutil.LimitListener(&bounded{Listener: l, open: make(map[netip.Prefix]int)}, maxConnections)
}

type bounded struct {
	net.Listener

	mu   sync.Mutex // guards open
	open map[netip.Prefix]int
}

// Accept implements [net.Listener].
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := sourceOf(conn.RemoteAddr())
		if b.enter(from) {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { b.exit(from) })}, nil
		}
		conn.Close()
	}
}

// sourceOf is whom an address counts for; all that are of no known form count for one.
func sourceOf(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // fits
	return p
}

func (b *bounded) enter(from netip.Prefix) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[from] >= maxSourceConnections {
		return false
	}
	b.open[from]++
	return true
}

func (b *bounded) exit(from netip.Prefix) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[from]--; b.open[from] == 0 {
		delete(b.open, from)
	}
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
