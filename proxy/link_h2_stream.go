package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// stream is one exchange's end of a stream to a tenant. It belongs to the exchange's goroutine, but for write, endBody, wanted and progress, which are its
// upload's, and end, which anybody may call.
type stream struct {
	x    *exchange
	conn *h2conn

	ctx    context.Context // ends with the stream; its cause says why
	cancel context.CancelCauseFunc
	body   atomic.Pointer[io.ReadCloser] // of the answer, once its head has come

	limit atomic.Int64 // nanoseconds that may pass
	moved atomic.Int64 // since something last moved, in nanoseconds since 1970
	clock *time.Timer

	drawn   atomic.Pointer[drawn] // the request's body, nil when it has none or is sent at once
	lent    *lent                 // or this, when it was received whole
	expect  bool                  // the tenant says whether it wants the body
	sent    atomic.Bool           // the head was written
	ended   bool                  // the answer was read to its end
	resp    *http.Response
	interim interims
	gathers gathering
}

var errInterrupted = errors.New("the exchange was ended")

func newStream(x *exchange, c *h2conn) *stream {
	s := &stream{x: x, conn: c}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// patience says how long nothing may move from now on, in either direction.
func (s *stream) patience(d time.Duration) {
	s.limit.Store(int64(d))
	s.progress()
	if s.clock == nil {
		s.clock = time.AfterFunc(forever, s.tick) // which looks at s.clock
	}
	s.clock.Reset(d)
}

// progress notes that something has moved.
func (s *stream) progress() { s.moved.Store(time.Now().UnixNano()) }

// tick is called when the time may be over. That it is not is found here, so that what moves need not put a timer off.
func (s *stream) tick() {
	if rest := s.moved.Load() + s.limit.Load() - time.Now().UnixNano(); rest > 0 {
		s.clock.Reset(time.Duration(rest))
		return
	}
	s.end(os.ErrDeadlineExceeded)
}

// end ends the stream at once, wherever it is: the tenant sees it reset, unless it has ended in both directions. The first cause stays.
func (s *stream) end(cause error) {
	s.cancel(cause)
	if d := s.drawn.Load(); d != nil {
		d.w.CloseWithError(errInterrupted)
		d.PipeReader.CloseWithError(errInterrupted)
	}
	if body := s.body.Load(); body != nil {
		go (*body).Close() // it may wait for the tenant
	}
}

// give ends the stream and gives it back.
func (s *stream) give(cause error) {
	if s.resp != nil && s.resp.ContentLength == 0 && s.drawn.Load() != nil && !s.x.upload.ok.Load() {
		s.conn.spoil() // net/http has handed out no body of the answer to close, and may wait for the tenant to take the request's
	}
	s.end(cause)
	s.stop()
}

// finish gives the stream back behind a whole answer.
func (s *stream) finish() {
	if !s.ended || !s.x.upload.settle() {
		s.give(errInterrupted)
		return
	}
	s.cancel(nil)
	s.stop()
}

func (s *stream) stop() {
	if s.clock != nil {
		s.clock.Stop()
	}
	if s.lent != nil {
		s.lent.takeBack()
	}
	s.conn.release()
}

// read reads the answer's body. At its end the trailer section is there.
func (s *stream) read(p []byte) (int, error) {
	n, err := s.resp.Body.Read(p)
	if n > 0 {
		s.progress()
	}
	switch {
	case err == nil:
	case err == io.EOF:
		s.ended = true
	case s.ctx.Err() != nil:
		err = context.Cause(s.ctx)
	}
	return n, err
}

// drain reads the rest of an answer that nobody wants, if it is short.
func (s *stream) drain() {
	buf := wire.GetBuffer()
	defer wire.PutBuffer(buf)
	for total := 0; total < 16<<10; {
		n, err := s.read(buf[:])
		total += n
		if err != nil {
			return
		}
	}
}

// gathering holds back what has gathered for the caller while the rest of an answer of known length is about to come, for a moment. The zero value is ready.
type gathering struct {
	mu    sync.Mutex // guards what follows
	armed bool       // what has gathered is to go out if the tenant hesitates
	err   error      // of sending it
	timer *time.Timer
}

// hesitation is how long the tenant may take before what has gathered for the caller goes out.
const hesitation = 2 * time.Millisecond

// readSoon is read; what has gathered for the caller goes out if the tenant hesitates.
func (s *stream) readSoon(p []byte) (n int, err, werr error) {
	g := &s.gathers
	g.mu.Lock()
	g.armed = true
	g.mu.Unlock()
	if g.timer == nil {
		g.timer = time.AfterFunc(hesitation, s.sendGathered)
	} else {
		g.timer.Reset(hesitation)
	}
	n, err = s.read(p)
	g.timer.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
	return n, err, g.err
}

func (s *stream) sendGathered() {
	g := &s.gathers
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.armed {
		g.err = s.x.caller.flush()
	}
}

// copyStream streams the answer. Of one whose length is not known nobody knows when the next octet comes: each goes out as it comes, and the head before
// the first.
func (x *exchange) copyStream(l *link) error {
	s := l.stream
	if l.resp.Length == 0 && s.resp.ContentLength != 0 {
		return nil // an answer that has no body, whatever may follow
	}
	buf := wire.GetBuffer()
	defer wire.PutBuffer(buf)
	s.patience(x.decision.Route.IdleTimeout)
	prompt := l.resp.Length < 0
	for first := true; ; first = false {
		var n int
		var err, werr error
		if prompt {
			if first {
				werr = x.caller.flush()
			}
			n, err = s.read(x.portion(buf[:]))
		} else {
			n, err, werr = s.readSoon(x.portion(buf[:]))
		}
		if werr != nil {
			return callerError{werr}
		}
		x.mpl.read(buf[:n])
		if werr := x.write(buf[:n]); werr != nil {
			return callerError{werr}
		}
		if prompt && n > 0 && err == nil {
			if werr := x.caller.flush(); werr != nil {
				return callerError{werr}
			}
		}
		if serr := x.slow(n); serr != nil {
			return serr
		}
		switch {
		case err == io.EOF:
			l.body.Trailer = appendFields(l.body.Trailer[:0], s.resp.Trailer)
			return nil
		case err != nil:
			x.caller.flush() // what came is the caller's, though it is not all
			return err
		}
	}
}
