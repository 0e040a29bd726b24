package proxy

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// memory says when it is so short that whoever comes next is turned away, so that those who are here can be served to their end. What counts is what no
// collection gives back: what was alive at the last one, and stacks. Garbage is none of it.
type memory struct {
	limit  atomic.Int64  // octets, 0 for none
	looked atomic.Int64  // when it was measured, since the server was made
	short  atomic.Bool   // as it was then
	used   func() uint64 // nil: of this process

	mu      sync.Mutex // guards samples, which are reused
	samples [3]metrics.Sample
}

const (
	memoryLook   = 100 * time.Millisecond // how old a measurement may be
	memoryShed   = 0.85                   // of the limit: from there on nobody is let in
	memoryAdmits = 0.75                   // and until there
)

// setLimit sets how much the process may take; 0 is what GOMEMLIMIT says, if it says something.
func (m *memory) setLimit(octets int64) {
	if octets == 0 {
		if octets = debug.SetMemoryLimit(-1); octets == math.MaxInt64 {
			octets = 0
		}
	}
	m.limit.Store(octets)
	m.look()
}

// isShort looks at most once in memoryLook, whoever asks. now is since the server was made.
func (m *memory) isShort(now time.Duration) bool {
	if m.limit.Load() == 0 {
		return false
	}
	if last := m.looked.Load(); int64(now)-last > int64(memoryLook) && m.looked.CompareAndSwap(last, int64(now)) {
		m.look()
	}
	return m.short.Load()
}

func (m *memory) look() {
	limit, bound := float64(m.limit.Load()), memoryShed
	if m.short.Load() {
		bound = memoryAdmits
	}
	m.short.Store(limit > 0 && float64(m.measure()) > bound*limit)
}

// relieve has what nobody uses any more collected while memory is short: those who are turned away leave too little garbage for that to happen by itself.
func (m *memory) relieve() {
	if m.short.Load() {
		runtime.GC()
		m.look()
	}
}

func (m *memory) measure() (sum uint64) {
	if m.used != nil {
		return m.used()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, name := range [...]string{"/gc/heap/live:bytes", "/memory/classes/heap/stacks:bytes", "/memory/classes/os-stacks:bytes"} {
		m.samples[i].Name = name
	}
	metrics.Read(m.samples[:])
	for i := range m.samples {
		if v := &m.samples[i].Value; v.Kind() == metrics.KindUint64 {
			sum += v.Uint64()
		}
	}
	return sum
}

// capacity is whether this process can take one more request on.
func (x *exchange) capacity() (record.Outcome, string) {
	s := x.server
	switch {
	case s.inFlight.Load() > int64(x.limits.MaxRequests):
		return record.Overloaded, "too many requests are in flight"
	case s.memory.isShort(x.now.Sub(s.made)):
		return record.Overloaded, "memory is short"
	}
	return record.Served, ""
}

// Overloaded says why requests are turned away now, whoever sends them; "" when they are not.
func (s *Server) Overloaded() string {
	switch {
	case s.memory.isShort(time.Since(s.made)):
		return "memory is short"
	case s.inFlight.Load() >= int64(s.currentEngine().limits.MaxRequests):
		return "as many requests are in flight as may be"
	}
	return ""
}
