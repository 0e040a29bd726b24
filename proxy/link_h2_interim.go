package proxy

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// interims are the interim answers (1xx) to one request. net/http hands them over while it reads the connection, which must not wait for a caller: they
// queue, and a goroutine of their own tells him, until the final answer has come.
type interims struct {
	seen   atomic.Int32 // of all statuses
	octets int          // of their fields; of the goroutine that reads the connection

	mu      sync.Mutex // guards waiting and telling
	waiting []*wire.Response
	telling bool // a goroutine does

	mouth sync.Mutex // held while the caller is told something before the final answer; guards what follows
	final bool       // the final answer has come: it is the exchange's goroutine that speaks
	asked bool       // the caller was told to send its body
}

// take takes an interim answer from net/http. An error ends the stream.
func (i *interims) take(s *stream, status int, h http.Header, tok token.Token) error {
	for name, values := range h {
		for _, v := range values {
			i.octets += len(name) + len(v)
		}
	}
	switch {
	case i.seen.Add(1) > maxInterim || i.octets > tenantHeadOctets || countFields(h) > tenantLimits.Fields:
		return errors.New("the tenant sends interim answers without end")
	case status == http.StatusSwitchingProtocols:
		return errors.New("the tenant switched protocols without being asked")
	case status == http.StatusContinue && !s.expect:
		return nil
	}
	r := &wire.Response{Status: status, Reason: http.StatusText(status), Minor: 1, Announced: -1, Fields: appendFields(nil, h)}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting = append(i.waiting, r)
	if !i.telling {
		i.telling = true
		go i.tell(s, tok)
	}
	return nil
}

// next takes the next one out of the queue, or notes that nobody tells any more.
func (i *interims) next() *wire.Response {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.waiting) == 0 {
		i.telling = false
		return nil
	}
	r := i.waiting[0]
	i.waiting = i.waiting[1:]
	return r
}

func (i *interims) tell(s *stream, tok token.Token) {
	for more := true; more; {
		i.mouth.Lock()
		more = !i.final && i.tellOne(s, tok)
		i.mouth.Unlock()
	}
}

// tellOne tells the caller the next one, and reports whether there was one. The mouth must be held.
func (i *interims) tellOne(s *stream, tok token.Token) bool {
	r := i.next()
	if r == nil {
		return false
	}
	var err error
	if r.Status == http.StatusContinue {
		err = i.ask(s)
	} else {
		err = s.x.inform(r, tok)
	}
	if err != nil {
		s.x.interrupt(errCallerGone)
	}
	return true
}

// ask tells the caller, once, to send its body. The mouth must be held.
func (i *interims) ask(s *stream) error {
	if i.asked {
		return nil
	}
	i.asked = true
	return s.x.caller.proceed()
}

// answered ends the time of interim answers: net/http has a final one, or none will come. What still waits is told before it.
func (s *stream) answered(tok token.Token) {
	i := &s.interim
	i.mouth.Lock()
	for i.tellOne(s, tok) {
	}
	i.final = true
	asked := i.asked
	i.mouth.Unlock()
	if d := s.drawn.Load(); d != nil && d.decided != nil {
		close(d.decided)
		if u := &s.x.upload; !asked { // nothing of the body has been read
			<-u.done
			u.running, u.started = false, false
		}
	}
}

// wanted reports whether the tenant wants the body, once it is known. A caller that waits for the answer to that is told.
func (s *stream) wanted() bool {
	d := s.drawn.Load()
	if d.decided == nil {
		return true
	}
	select {
	case <-d.begun:
	case <-d.decided:
	case <-s.ctx.Done():
		return false
	}
	i := &s.interim
	i.mouth.Lock()
	defer i.mouth.Unlock()
	if i.final {
		return i.asked
	}
	if err := i.ask(s); err != nil {
		s.x.interrupt(errCallerGone)
		return false
	}
	return true
}
