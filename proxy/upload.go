package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// upload is the request's body on its way to the tenant: counted, bounded in size and in pace, and kept while it is small, so that it can be sent a
// second time after a 401 (law 9).
//
// A body of a known length that may be kept, and comes without hesitation, is received whole before the tenant is asked. Any other is streamed by a
// goroutine of its own, beside the exchange's, which reads the answer: an answer may begin before the body has ended.
type upload struct {
	x       *exchange
	limit   int64 // octets, negative: none
	count   int64 // octets received; of the uploading goroutine until done is closed
	kept    []byte
	whole   bool // nothing is missing from kept
	started bool // some of the body may have been received
	failed  error

	running bool          // a goroutine was started and its end was not seen
	done    chan struct{} // closed by it
	ok      atomic.Bool   // all of the body was sent
	resumes bool          // what is kept may be sent again before the rest has come: on a link of HTTP/2
	patient bool          // the caller may pause for as long as the link allows: see isGRPC
	stopped atomic.Bool   // it is not wanted any more
}

var (
	errBodyTooLarge = errors.New("the body is over the limit of its route or identity")
	errBodySlow     = errors.New("the caller stopped sending its body")
	errTenantWrite  = errors.New("the tenant takes no more of the body")
)

func (u *upload) begin(x *exchange) {
	u.x, u.limit, u.count, u.kept, u.whole, u.started, u.failed, u.running, u.done = x, -1, 0, nil, true, false, nil, false, nil
	u.resumes, u.patient = false, false
	u.ok.Store(false)
	u.stopped.Store(false)
}

// none reports whether the request has no body at all.
func (u *upload) none() bool { return u.x.req.Length == 0 }

// read takes a piece of the body from the caller.
func (u *upload) read(p []byte, limit time.Duration) (int, error) {
	n, err := u.x.caller.readBody(p, limit)
	u.count += int64(n)
	if u.limit >= 0 && u.count > u.limit {
		n, err = 0, errBodyTooLarge
	}
	switch {
	case err == nil, err == io.EOF, err == errWouldWait, u.stopped.Load():
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errBodySlow
	}
	u.failed = err
	return n, err
}

// keptBuffers hold bodies that may have to be sent again.
var keptBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 32<<10); return &b }}

// small reports whether the body is to be received whole before it is sent.
func (u *upload) small() bool {
	return u.x.gathers && u.x.req.Length > 0 && u.x.req.Length <= u.x.limits.ReplayBytes && !u.x.req.Expect
}

// gather receives a small body whole, if it comes without hesitation. What a caller has sent that hesitates is kept, and the rest is streamed.
func (u *upload) gather() error {
	n := int(u.x.req.Length)
	u.started = true
	u.kept = *keptBuffers.Get().(*[]byte)
	if cap(u.kept) < n+slack {
		u.kept = make([]byte, 0, n+slack)
	}
	begin := time.Now()
	for len(u.kept) < n {
		m, err := u.x.caller.readBody(u.kept[len(u.kept):cap(u.kept)], gatherPatience)
		u.kept = u.kept[:len(u.kept)+m]
		u.count += int64(m)
		switch {
		case err == nil && time.Since(begin) < gatherPatience, err == io.EOF:
		case err == nil, isTimeout(err) && !u.stopped.Load() && u.x.ended.Load() == nil:
			return nil
		default:
			u.failed = err
			return err
		}
	}
	return nil
}

// gatherPatience is how long a small body may take to be received before the tenant is asked.
const gatherPatience = 200 * time.Millisecond

// slack is room behind a body for what may come with it.
const slack = 64

func (u *upload) keep(p []byte) {
	if !u.whole {
		return
	}
	if int64(len(u.kept)+len(p)) > u.x.limits.ReplayBytes {
		u.kept, u.whole = nil, false
		return
	}
	u.kept = append(u.kept, p...)
}

// replayable reports whether the body can be sent once more: none of it is gone and none is still coming.
func (u *upload) replayable() bool {
	switch {
	case u.none():
		return true
	case u.running:
		return false
	case !u.started:
		return true
	}
	return u.whole && (u.resumes || u.x.caller.bodyDone())
}

// stream begins to send the body to the tenant.
func (u *upload) stream(l *link) {
	u.started, u.running, u.done = true, true, make(chan struct{})
	u.ok.Store(false)
	go func() {
		defer close(u.done)
		defer func() {
			if broken := recover(); broken != nil {
				u.x.server.log.Error("sending a body", "request_id", u.x.access.RequestID, "panic", fmt.Sprint(broken), "stack", string(debug.Stack()))
				u.fail(errors.New("panic"))
				l.interrupt()
			}
		}()
		u.pump(l)
	}()
}

func (u *upload) pump(l *link) {
	if l.stream != nil && !l.stream.wanted() {
		return
	}
	if len(u.kept) > 0 && l.write(u.kept) != nil { // of a length that is known: see gather
		u.fail(errTenantWrite)
		return
	}
	buf := wire.GetBuffer()
	defer wire.PutBuffer(buf)
	chunked := u.x.req.Length < 0 && l.stream == nil
	pause := u.pause()
	var waited time.Duration // for the caller; what the tenant takes its time for is not counted
	room := u.x.portion(buf[wire.ChunkHead : len(buf)-2])
	for {
		asked := time.Now()
		n, err := u.read(room, pause)
		if waited += time.Since(asked); err == nil && tooSlow(waited, u.count, pause) {
			err = errBodySlow
			u.fail(err)
		}
		for err == nil && len(room)-n >= minRoom { // what is at hand goes with it
			var m int
			m, err = u.read(room[n:], 0)
			n += m
		}
		u.keep(room[:n])
		if n > 0 {
			data := buf[wire.ChunkHead : wire.ChunkHead+n]
			if chunked {
				wire.PutChunkHead(buf[:], n)
				data = append(buf[:wire.ChunkHead+n], '\r', '\n')
			}
			u.x.pace(n, l.progress)
			if werr := l.write(data); werr != nil {
				u.fail(errTenantWrite)
				return
			}
			l.progress()
		}
		switch {
		case err == io.EOF:
			if l.stream != nil {
				l.stream.endBody()
			}
			if chunked && l.write(u.appendTrailer(append(buf[:0], "0\r\n"...))) != nil {
				u.fail(errTenantWrite)
				return
			}
			u.ok.Store(true)
			return
		case err == errWouldWait, err == nil:
		default: // the tenant must not take half a body for a whole one
			l.interrupt()
			return
		}
	}
}

// tooSlow reports whether a body comes so slowly that its caller only holds on to what it has: less than minBodyRate, once it was waited for as long as two
// pauses may last.
func tooSlow(waited time.Duration, octets int64, pause time.Duration) bool {
	return waited > 2*pause && float64(octets) < minBodyRate*waited.Seconds()
}

// minBodyRate is in octets a second. A telex has 6.
const minBodyRate = 64

func (u *upload) fail(err error) {
	if u.failed == nil {
		u.failed = err
	}
}

func (u *upload) appendTrailer(dst []byte) []byte {
	u.trailer(func(name, value string) { dst = wire.AppendField(dst, name, value) })
	return append(dst, "\r\n"...)
}

// trailer is what may pass of the trailer section.
func (u *upload) trailer(add func(name, value string)) {
	for _, f := range u.x.caller.bodyTrailer() {
		if u.x.passes(f.Name) {
			add(f.Name, f.Value)
		}
	}
}

// pause is how long the caller may send nothing of the body.
func (u *upload) pause() time.Duration {
	if u.patient {
		return forever
	}
	return u.x.limits.BodyIdleTimeout
}

// forever is what a wait has that another clock bounds.
const forever = 10 * 365 * 24 * time.Hour

// settle reports whether all of the body was sent, and waits for the goroutine when it has.
func (u *upload) settle() bool {
	if !u.running {
		return true
	}
	if !u.ok.Load() {
		return false
	}
	<-u.done
	u.running = false
	return true
}

// settleSoon is settle for a body of which the rest may be about to come: the tenant has answered without waiting for it.
func (u *upload) settleSoon() bool {
	if u.running {
		soon := time.NewTimer(gatherPatience)
		defer soon.Stop()
		select {
		case <-u.done:
		case <-soon.C:
		}
	}
	return u.settle()
}

// halt has the goroutine end, or finds that it has, so that the body can be sent again: see replayable. It waits a moment for one that has the rest of a body
// to send. On a link of HTTP/2 one that has failed to send may begin anew.
func (u *upload) halt() bool {
	if u.settleSoon() {
		return true
	}
	if !u.resumes {
		return false
	}
	select {
	case <-u.done:
	default:
		return false // it waits for the caller
	}
	u.running = false
	if u.failed == errTenantWrite {
		u.failed = nil
	}
	return u.failed == nil
}

// stop ends the goroutine, wherever it is.
func (u *upload) stop() {
	if !u.running {
		return
	}
	u.stopped.Store(true)
	u.x.caller.stopReading()
	u.x.hangUp() // it may wait for the tenant
	<-u.done
	u.running = false
}

func (u *upload) end() {
	u.stop()
	if cap(u.kept) == 32<<10 {
		b := u.kept[:0]
		keptBuffers.Put(&b)
	}
	u.kept = nil
}

// failure is why reading from the caller ended before the body did. The goroutine must have ended.
func (u *upload) failure() (record.Outcome, string, bool) {
	var broken *wire.Error
	switch err := u.failed; {
	case err == nil, err == errTenantWrite:
		return record.Served, "", false
	case err == errBodyTooLarge:
		return record.BodyTooLarge, err.Error(), true
	case err == errBodySlow:
		return record.SlowCaller, err.Error(), true
	case errors.As(err, &broken):
		return violations[broken.Kind], broken.Cause, true
	default:
		return record.CallerGone, "reading the body: " + err.Error(), true
	}
}

// violations says what a caller is told about a message that breaks the grammar.
var violations = [...]record.Outcome{
	wire.Malformed: record.Malformed,
	wire.TooLarge:  record.HeadersTooLarge,
	wire.Method:    record.MethodNotAllowed,
}
