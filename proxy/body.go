package proxy

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// body is the caller's request body on its way to the tenant: counted, bounded in size and in pace, and kept while it is small, so that it can be sent a
// second time after a 401 (law 9). The transport reads it in a goroutine of its own.
type body struct {
	x       *exchange
	limit   int64 // octets, negative: none
	count   atomic.Int64
	trailer func()    // called when the body has ended and the trailer is known; may be nil
	moved   time.Time // when the read deadline was last moved; only the reader uses it

	mu      sync.Mutex // guards what follows; never held while reading from the caller
	kept    []byte     // all that was read so far, while whole is true
	whole   bool       // nothing is missing from kept
	started bool       // a read has begun
	ended   bool       // the caller's body was read to its end
	failed  error      // why reading ended, if not by its end
	again   int        // how much of kept the present attempt has read
	replay  bool       // the present attempt reads kept
}

var (
	errBodyTooLarge = errors.New("the body is over the route's limit")
	errBodySlow     = errors.New("the caller stopped sending its body")
)

func newBody(x *exchange) *body { return &body{x: x, whole: true} }

// none reports whether the request has no body at all.
func (b *body) none() bool { return b.x.r.ContentLength == 0 }

// Read implements io.Reader for the transport.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.replay {
		defer b.mu.Unlock()
		n := copy(p, b.kept[b.again:])
		if b.again += n; b.again == len(b.kept) {
			return n, io.EOF
		}
		return n, nil
	}
	b.started = true
	if b.failed != nil || b.ended {
		defer b.mu.Unlock()
		if b.failed != nil {
			return 0, b.failed
		}
		return 0, io.EOF
	}
	b.mu.Unlock()

	b.extendRead()
	n, err := b.x.r.Body.Read(p)
	total := b.count.Add(int64(n))
	if b.limit >= 0 && total > b.limit {
		n, err = 0, errBodyTooLarge
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errBodySlow
	}
	if err != nil { // net/http reads on in the background to notice that the caller has gone: not under our deadline
		b.x.wire.SetReadDeadline(time.Time{})
	} else {
		b.x.progress()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep(p[:n])
	switch {
	case err == io.EOF:
		b.ended = true
		if b.trailer != nil {
			b.trailer()
		}
	case err != nil:
		b.failed = err
	}
	return n, err
}

func (b *body) keep(p []byte) {
	if !b.whole {
		return
	}
	if int64(len(b.kept)+len(p)) > b.x.conn.engine.limits.ReplayBytes {
		b.kept, b.whole = nil, false
		return
	}
	b.kept = append(b.kept, p...)
}

// Close implements io.Closer. The caller's body belongs to net/http, which closes it.
func (b *body) Close() error { return nil }

// rewind prepares the body for a second attempt. It reports false when that is impossible: some of it is gone, or is still being read.
func (b *body) rewind() bool {
	if b.none() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.started {
		return true
	}
	if !b.ended || !b.whole {
		return false
	}
	b.replay, b.again = true, 0
	return true
}

// complete reports whether the caller's body was read to its end.
func (b *body) complete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// failure is why reading from the caller ended before the body did.
func (b *body) failure() (record.Outcome, string, bool) {
	b.mu.Lock()
	err := b.failed
	b.mu.Unlock()
	var broken *errViolation
	switch {
	case err == nil:
		return record.Served, "", false
	case errors.Is(err, errBodyTooLarge):
		return record.BodyTooLarge, err.Error(), true
	case errors.Is(err, errBodySlow):
		return record.SlowCaller, err.Error(), true
	case errors.As(err, &broken):
		return violations[broken.outcome], broken.cause, true
	}
	return record.CallerGone, "reading the body: " + err.Error(), true
}

// extendRead moves the read deadline, but not for each read.
func (b *body) extendRead() {
	limit := b.x.conn.engine.limits.BodyIdleTimeout
	if now := time.Now(); now.Sub(b.moved) > limit/8 {
		b.x.wire.SetReadDeadline(now.Add(limit + limit/8))
		b.moved = now
	}
}
