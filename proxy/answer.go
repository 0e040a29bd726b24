package proxy

import (
	"io"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// inform passes an interim answer (1xx) on.
func (x *exchange) inform(r *wire.Response, tok token.Token) error {
	if x.req.Minor == 0 {
		return nil
	}
	x.caller.begin(r.Status, r.Reason)
	x.fields(r, tok)
	return x.caller.interim()
}

// answer passes the tenant's answer on.
func (x *exchange) answer(l *link, tok token.Token) {
	a, r, c := &x.access, &l.resp, x.caller
	c.begin(r.Status, r.Reason)
	x.fields(r, tok)
	c.field("X-Request-Id", a.RequestID)
	x.rateFields()
	if x.basic.claimed {
		x.loginFields(record.Served)
	}
	if !x.upload.settle() {
		c.last() // an answer that begins before the request's body has ended is the last on its connection
	} else if !c.bodyDone() {
		c.last()
	}
	length := r.Length
	if length == wire.UntilClose {
		length = -1
	}
	c.head(length, r.Announced)
	x.committed, x.passing, a.Status = true, true, r.Status
	start := x.now
	x.mpl.begin(r)
	var err error
	if l.stream != nil {
		err = x.copyStream(l)
	} else {
		l.now = start.UnixNano()
		l.body.Reset(&l.in, r.Length, tenantLimits)
		l.patience(x.decision.Route.IdleTimeout, true)
		err = x.copyBody(l)
	}
	if id := x.mpl.found(); id != "" {
		a.MPLID = id
	}
	if err == nil {
		x.leave()
		err = c.finish(x.trailer(l, tok))
		if err != nil {
			err = callerError{err}
		}
	}
	x.now = time.Now()
	x.done = x.server.at(x.now)
	a.TenantDuration += x.now.Sub(start)
	if err != nil {
		x.upload.stop()
		x.hangUp()
		x.breakOff(err)
		return
	}
	a.Outcome = record.Served
	x.release(l)
}

// fields copies what may go to the caller: no cookie, nothing of the connection, and nothing that holds the token, should the tenant reflect it.
func (x *exchange) fields(r *wire.Response, tok token.Token) {
	for i := range r.Fields {
		if f := &r.Fields[i]; x.answerFieldPasses(f, tok) && !r.Conn.Drops(f.Name) {
			if r.Status >= 200 {
				x.find(f)
			}
			x.caller.field(f.Name, f.Value)
		}
	}
	if r.Length == -1 && r.Status >= 200 {
		if names := passingNames(r.Fields.Get("Trailer"), tenantHeaderPasses); names != "" {
			x.caller.field("Trailer", names)
		}
	}
}

// trailer is what may pass of the trailer section of the tenant's answer.
func (x *exchange) trailer(l *link, tok token.Token) []wire.Field {
	t := l.body.Trailer[:0]
	for _, f := range l.body.Trailer {
		if x.answerFieldPasses(&f, tok) {
			t = append(t, f)
		}
	}
	return t
}

// tenantFieldPasses reports whether a field of the tenant's may go to the caller, who must not learn the token.
func tenantFieldPasses(f *wire.Field, tok token.Token) bool {
	secret := tok.Value.Reveal()
	return tenantHeaderPasses(f.Name) && (len(f.Value) < len(secret) || !strings.Contains(f.Value, secret))
}

// answerFieldPasses is tenantFieldPasses, and keeps back the CSRF token that went with the request.
func (x *exchange) answerFieldPasses(f *wire.Field, tok token.Token) bool {
	if x.basic.claimed && !x.loginFieldPasses(f) {
		return false
	}
	return tenantFieldPasses(f, tok) && (x.session == nil || !strings.Contains(f.Value, x.session.csrf.Reveal()))
}

// callerError is a failure to write to the caller, as against one to read from the tenant.
type callerError struct{ error }

func (e callerError) Unwrap() error { return e.error }

// copyBody streams the answer. What the tenant has sent is not held back: before it waits for more, what it has goes out.
func (x *exchange) copyBody(l *link) error {
	more := false // there may be more at hand
	for !l.body.Done() {
		room := x.portion(x.caller.room())
		if more {
			l.raw.mode = readEager
		}
		n, err := l.body.Read(room)
		l.raw.mode = readWaits
		if n > 0 {
			if x.mpl.left > 0 {
				x.mpl.read(room[:n])
			}
			if werr := x.caller.wrote(n); werr != nil {
				return callerError{werr}
			}
			x.access.BytesOut += int64(n)
			if serr := x.slow(n); serr != nil {
				return serr
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err == errWouldWait:
			if werr := x.caller.flush(); werr != nil {
				return callerError{werr}
			}
		case err != nil:
			x.caller.flush() // what came is the caller's, though it is not all
			return err
		}
		more = err == nil
	}
	return nil
}

// breakOff ends an answer that has begun. The upload must have ended: where the caller has broken it off, or made it too slow, the rest is what came of that.
func (x *exchange) breakOff(err error) {
	a := &x.access
	uploaded, why, callers := x.upload.failure()
	switch o, cause, ok := x.interrupted(); {
	case isCallerError(err) && isTimeout(err) && (!ok || o == record.CallerGone):
		a.Outcome, a.Cause = record.SlowCaller, "the caller did not take the answer in time"
	case ok:
		a.Outcome, a.Cause = o, cause
	case callers:
		a.Outcome, a.Cause = uploaded, why
	case isCallerError(err):
		a.Outcome, a.Cause = record.CallerGone, "writing the answer: "+err.Error()
	case isTimeout(err):
		a.Outcome, a.Cause = record.Timeout, "the tenant stopped sending"
	default:
		a.Outcome, a.Cause = record.TenantBroken, "reading the answer: "+err.Error()
	}
}

func isCallerError(err error) bool {
	_, ok := err.(callerError)
	return ok
}
