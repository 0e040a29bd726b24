package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// frames is a caller's connection as net/http sees it: what TLS carries, with an eye on the frames of HTTP/2. net/http serves whatever frames come, for as
// long as they come, and most of them lead to no request, so that nobody would be named for the work. Here each frame that is no use of the connection
// costs something of a budget, and what is served earns it back: who sends pings, resets or empty frames by the thousand runs out of it. Then the connection
// ends, and its record says whose it was. (net/http takes it as one without TLS, the only kind of which it asks no more than a net.Conn.)
type frames struct {
	net.Conn // the *tls.Conn
	conn     *conn

	budget atomic.Int64
	filled int64 // of the goroutine that reads: when time last paid into the budget, in nanoseconds since 1970
	in     frameScanner
	stream uint32                // of the goroutine that reads: the newest stream
	spent  [frameOther + 1]int64 // of the goroutine that reads: on each kind of frame
	resets atomic.Int64          // spent on streams that net/http has reset
	spared atomic.Int64          // what resets may still cost that are none of the caller's doing
	block  atomic.Uint64         // odd while a header section is incomplete
	stuck  struct {              // of Server.tend: since when a header section is incomplete
		block uint64
		since time.Time
	}

	mu     sync.Mutex // guards out; held while writing, so that GOAWAY comes between frames
	out    frameScanner
	ending atomic.Bool // we end it: nothing more of net/http's is sent
	named  atomic.Bool // its end is on record
}

// What a frame costs. A second of silence is worth 500, and no more than 2,000 can be saved: about what a connection that is set up with care and then drops
// a hundred requests at once needs. An answer earns more than its request has cost, and data earns the window updates with which the caller answers them.
const (
	budgetMost      = 2000
	budgetSecond    = 500
	budgetProbation = 200 // of a connection that is made when another one with the same certificate has been cut lately

	costFrame   = 1
	costRequest = 4  // and one for each KiB of its head
	costReset   = 14 // the request was begun, perhaps on a connection to the tenant that cannot be used again

	patience = time.Second // a caller who waits that long for an answer may give up for nothing

	earnAnswer  = 16 // and one for each 256 octets of the request's head
	earlyFrames = 64
	earnData    = 2 // and one for each KiB
)

func newFrames(c *conn, tc *tls.Conn) *frames {
	f := &frames{Conn: tc, conn: c, filled: time.Now().UnixNano()}
	f.in.left = prefaceOctets
	f.budget.Store(budgetMost)
	if c.server.probation.has(c.caller(), time.Now()) {
		f.budget.Store(budgetProbation)
	}
	return f
}

// Read implements net.Conn for net/http.
func (f *frames) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		var found bool
		if rest, found = f.in.next(rest); found {
			f.received()
		}
	}
	if f.block.Load()&1 == 1 && f.in.left == 0 && f.in.flags()&flagEndHeaders != 0 {
		f.block.Add(1)
	}
	if f.budget.Load() < 0 && !f.refill() {
		f.end(&connError{record.Limited, "flood of HTTP/2 frames, most of them " + f.worst()}, errCodeEnhanceYourCalm)
		return 0, errFlood
	}
	return n, err
}

// received takes what a frame of the caller costs.
func (f *frames) received() {
	s := &f.in
	kind, cost := s.kind(), int64(costFrame)
	if kind != frameContinuation && f.block.Load()&1 == 1 {
		f.block.Add(1) // was complete, or will be found to be broken
	}
	switch kind {
	case frameData:
		// Data that is there moves a request on, and flow control bounds it.
		if s.flags()&flagEndStream != 0 || s.length() > 256 || s.length() > 0 && s.flags()&flagPadded == 0 {
			return
		}
	case frameHeaders:
		f.stream = max(f.stream, s.stream())
		f.block.Add(1)
		cost = costRequest + s.length()>>8
	case frameContinuation:
		cost += s.length() >> 8
	case frameReset:
		cost = f.spare(costReset)
	case frameSettings:
		cost += s.length() / 6
	}
	f.spent[kind] += cost
	f.budget.Add(-cost)
}

// refill pays in what time is worth, and reports whether that is enough.
func (f *frames) refill() bool {
	now := time.Now().UnixNano()
	f.earn(min(budgetMost, (now-f.filled)*budgetSecond/int64(time.Second)))
	f.filled = now
	return f.budget.Load() >= 0
}

func (f *frames) earn(n int64) {
	if room := budgetMost - f.budget.Load(); room > 0 {
		f.budget.Add(min(n, room))
	}
}

// served pays for an exchange that has ended; head is how many octets its fields had. early says that it did so before the caller had sent all, or before the
// answer's end: net/http will reset the stream, the caller may do so too, and net/http resets it again for each frame that is still on its way.
func (f *frames) served(outcome record.Outcome, took time.Duration, head int, early bool) {
	switch outcome {
	case record.CallerGone:
		if took >= patience { // he has waited, and then had enough: that cannot be done fast
			f.earn(costReset + costRequest)
		}
		return
	case record.Malformed, record.HeadersTooLarge, record.Limited:
		return
	}
	if early && f.spared.Load() < 5*budgetMost {
		f.spared.Add(2*costReset + earlyFrames)
	}
	f.earn(earnAnswer + int64(head)>>8)
}

// spare is what is left of a cost when what was set aside has been taken off.
func (f *frames) spare(cost int64) int64 {
	if f.spared.Load() <= 0 {
		return cost
	}
	f.spared.Add(-cost)
	return 0
}

// worst names the frames on which most was spent.
func (f *frames) worst() string {
	name, most := "streams that had to be reset", f.resets.Load()
	for kind, spent := range f.spent {
		if spent > most {
			name, most = frameNames[kind], spent
		}
	}
	return name
}

// Write implements net.Conn for net/http.
func (f *frames) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ending.Load() {
		return 0, errFlood
	}
	for rest := p; len(rest) > 0; {
		var found bool
		if rest, found = f.out.next(rest); found {
			f.sending()
		}
	}
	return f.Conn.Write(p)
}

// sending accounts for a frame of ours.
func (f *frames) sending() {
	s := &f.out
	switch s.kind() {
	case frameData:
		f.earn(earnData + s.length()>>10)
	case frameReset:
		cost := int64(costReset)
		if binary.BigEndian.Uint32(s.body[:]) == errCodeStreamClosed {
			cost = costFrame
		}
		cost = f.spare(cost)
		f.resets.Add(cost)
		f.budget.Add(-cost)
	case frameGoAway: // net/http has given up on the caller, without telling anybody else
		code := binary.BigEndian.Uint32(s.body[4:])
		if code == 0 {
			return
		}
		cause := &connError{record.Malformed, fmt.Sprintf("HTTP/2 connection error %d", code)}
		if code == errCodeEnhanceYourCalm {
			cause = &connError{record.Limited, "more HTTP/2 streams than are allowed, begun and reset"}
		}
		f.conn.interrupt(cause)
		f.record(cause)
	}
}

// SetWriteDeadline implements net.Conn for net/http. Once the connection is being ended there is but one deadline.
func (f *frames) SetWriteDeadline(t time.Time) error {
	if f.ending.Load() {
		return nil
	}
	return f.Conn.SetWriteDeadline(t)
}

// end ends the connection: it tells the caller why, and records it. Requests in flight end for the same cause.
func (f *frames) end(cause *connError, code uint32) {
	if f.ending.Swap(true) {
		return
	}
	f.conn.interrupt(cause)
	f.Conn.SetWriteDeadline(time.Now().Add(refusalTimeout)) // for what is being written now, too
	f.mu.Lock()
	if f.out.left == 0 && f.out.have == 0 {
		goAway := [17]byte{2: 8, 3: frameGoAway}
		binary.BigEndian.PutUint32(goAway[9:], f.stream)
		binary.BigEndian.PutUint32(goAway[13:], code)
		f.Conn.Write(goAway[:])
	}
	f.mu.Unlock()
	f.record(cause)
	linger(f.conn.raw)
}

// Error codes (RFC 9113, section 7).
const (
	errCodeStreamClosed    = 0x5
	errCodeEnhanceYourCalm = 0xb
)

var errFlood = errors.New("the connection was ended because of what the caller sent")

// connError is why a whole connection of HTTP/2 was ended.
type connError struct {
	outcome record.Outcome
	cause   string
}

func (e *connError) Error() string { return e.cause }

// record records, once, that the connection was ended for what the caller sent on it. It is no record of a request.
func (f *frames) record(cause *connError) {
	if f.named.Swap(true) {
		return
	}
	c, s := f.conn, f.conn.server
	if cause.outcome == record.Limited {
		s.probation.begin(c.caller(), time.Now())
	}
	s.cfg.Metrics.ConnectionCut(cause.outcome)
	a := record.Access{
		Time: s.cfg.Now(), RequestID: record.NewRequestID(), Protocol: "HTTP/2.0", Source: c.source, Serial: c.peer.Serial,
		Outcome: cause.outcome, Cause: cause.cause,
	}
	if b, ok := s.cfg.Registry.Snapshot().Binding(c.peer.Fingerprint); ok {
		a.Identity = b.Identity.Name
	}
	s.cfg.Log.Append(&a)
}

// noticeSlowHeads ends connections of HTTP/2 on which a header section has been incomplete for too long: net/http gives no time for it.
func (s *Server) noticeSlowHeads(now time.Time) {
	for _, c := range s.connections() {
		f := c.h2.Load()
		if f == nil {
			continue
		}
		switch block := f.block.Load(); {
		case block&1 == 0:
			f.stuck.block = 0
		case block != f.stuck.block:
			f.stuck.block, f.stuck.since = block, now
		case now.Sub(f.stuck.since) > c.engine.limits.HeaderTimeout:
			go f.end(&connError{record.SlowCaller, "header section was not complete in time"}, errCodeEnhanceYourCalm)
		}
	}
}

// suitable reports whether HTTP/2 may be spoken over what was negotiated (RFC 9113, section 9.2.2).
func suitable(state tls.ConnectionState) bool {
	switch state.CipherSuite {
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		return true
	}
	return state.Version >= tls.VersionTLS13
}
