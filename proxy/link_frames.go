package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// tenantFrames is a connection of HTTP/2 to a tenant as net/http sees it: what frames is for callers. net/http answers whatever a tenant sends, for as long
// as it comes; here frames that serve no exchange run the connection out of a budget, which what is sent to the tenant, and data, earn back. Read belongs
// to one goroutine, and Write to one at a time.
type tenantFrames struct {
	*socket
	tls *tls.Conn // nil: without TLS

	budget atomic.Int64
	filled int64        // when time last paid into the budget, in nanoseconds since 1970
	heard  atomic.Int64 // when the tenant last sent something, in nanoseconds since 1970
	in     frameScanner
	out    frameScanner

	settled chan struct{} // closed when net/http has taken in the tenant's first settings, or the connection has ended
	settle  func()
}

func newTenantFrames(c net.Conn) *tenantFrames {
	f := &tenantFrames{socket: newSocket(c), filled: time.Now().UnixNano(), settled: make(chan struct{})}
	f.settle = sync.OnceFunc(func() { close(f.settled) })
	f.out.left = prefaceOctets
	f.budget.Store(tenantBudget)
	return f
}

// What frames of a tenant's cost. The unknown kinds are extensions, of which a tenant sends few.
const (
	tenantBudget     = 4000
	tenantSecond     = 1000
	costUnknown      = 20
	earnTenantData   = 1 // received: servers of gRPC send a ping with it to measure the way
	earnTenantAnswer = 8 // sent: it is answered by window updates
)

var errTenantFlood = errors.New("the tenant sends frames of HTTP/2 without end that serve no request")

// Read implements net.Conn for net/http.
func (f *tenantFrames) Read(p []byte) (n int, err error) {
	if f.tls == nil {
		n, err = f.socket.Read(p)
	} else {
		n, err = f.tls.Read(p)
	}
	now := time.Now().UnixNano()
	f.heard.Store(now)
	for rest := p[:n]; len(rest) > 0; {
		var found bool
		if rest, found = f.in.next(rest); found {
			f.received()
		}
	}
	if f.budget.Load() < 0 && !f.refill(now) {
		return 0, errTenantFlood
	}
	return n, err
}

// received takes what a frame of the tenant's costs.
func (f *tenantFrames) received() {
	s := &f.in
	cost := int64(costFrame)
	switch s.kind() {
	case frameData:
		if s.length() > 256 || s.length() > 0 && s.flags()&flagPadded == 0 {
			f.earn(earnTenantData)
			return
		}
		if s.flags()&flagEndStream != 0 {
			return
		}
	case frameHeaders, frameContinuation:
		cost += s.length() >> 8
	case frameSettings:
		cost += s.length() / 6
	case frameOther:
		cost = costUnknown
	}
	f.budget.Add(-cost)
}

// refill pays in what time is worth, and reports whether that is enough.
func (f *tenantFrames) refill(now int64) bool {
	f.earn(min(tenantBudget, (now-f.filled)*tenantSecond/int64(time.Second)))
	f.filled = now
	return f.budget.Load() >= 0
}

func (f *tenantFrames) earn(n int64) {
	if room := tenantBudget - f.budget.Load(); room > 0 {
		f.budget.Add(min(n, room))
	}
}

// Write implements net.Conn for net/http.
func (f *tenantFrames) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		var found bool
		if rest, found = f.out.next(rest); !found {
			continue
		}
		switch f.out.kind() {
		case frameHeaders:
			f.earn(earnAnswer)
		case frameData:
			f.earn(earnTenantAnswer)
		case frameSettings:
			if f.out.flags()&flagAck != 0 {
				f.settle()
			}
		}
	}
	if f.tls == nil {
		return f.socket.Write(p)
	}
	if err := f.writeTLS(f.tls, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn for net/http. It takes a moment at most.
func (f *tenantFrames) Close() error {
	f.settle()
	if f.tls == nil {
		return f.socket.Close()
	}
	f.SetDeadline(time.Now().Add(refusalTimeout / 4))
	return f.tls.Close()
}
