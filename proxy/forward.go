package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// forward gets the identity's token and sends the request with it. After a 401 it does so once more with a new token, if the body can be sent again, and
// likewise when the tenant asks for a CSRF token: in both cases it has executed nothing. A request of an idempotent method is sent once more when the tenant
// closed a kept connection before it began to answer, and any when the tenant says that it has not looked at it, which only HTTP/2 can say. Any other failure
// behind the first octet is final (law 9).
func (x *exchange) forward() {
	a, route := &x.access, x.decision.Route
	if !x.choose() {
		return
	}
	gate := x.server.gates.of(a.Tenant)
	if cause, retry := gate.enter(x.now, x.limits.tenantShare(), route.Tenant); cause != "" {
		x.retry = retry
		x.refuse(record.TenantUnavailable, cause)
		return
	}
	x.gate = gate
	x.upload.limit = route.MaxBody
	x.upgrade = x.wantedUpgrade()
	x.reguarded = false
	for stale := false; ; {
		tok, waited, err := x.token()
		if err != nil {
			x.fail(record.NoToken, err)
			return
		}
		if x.guarded() {
			if err := x.protect(tok); err != nil {
				if !a.Retried && x.shutOut(err.status, tok) {
					a.Retried = true
					continue
				}
				x.fail(err.outcome, err)
				return
			}
		}
		if x.upload.small() && !x.upload.started {
			if err := x.upload.gather(); err != nil {
				x.fail(record.CallerGone, err)
				return
			}
			x.pace(len(x.upload.kept), func() {})
			waited = true
		}
		if waited || a.Retried || stale {
			x.now = time.Now()
		}
		start := x.now
		l, err := x.connect(x.means.pool, stale || x.upgrade != "")
		if err != nil {
			a.TenantDuration += time.Since(start)
			if x.shut(err, false) {
				continue
			}
			if x.ended.Load() == nil {
				gate.failed(time.Now(), route.Tenant)
			}
			x.fail(record.Unreachable, err)
			return
		}
		err = x.roundTrip(l, tok)
		x.now = time.Now()
		a.TenantDuration += x.now.Sub(start)
		switch {
		case err == errStale && !stale && idempotent(x.req.Method) && x.upload.replayable():
			stale = true
			x.hangUp()
			continue
		case err == errUntouched && !stale && x.upload.halt() && x.upload.replayable():
			stale = true
			x.hangUp()
			continue
		case err != nil && x.shut(err, true):
			x.hangUp()
			continue
		case err != nil:
			x.upload.stop()
			x.fail(record.TenantBroken, err)
			return
		}
		gate.connected()
		if !csrfRequired(&l.resp) && x.disputed(l.resp.Status, tok) && !a.Retried && x.upload.halt() && x.upload.replayable() {
			x.forgetSession()
			a.Retried, stale = true, false
			x.drain(l)
			continue
		}
		if x.guard != nil && x.judge(&l.resp) {
			stale = false
			x.drain(l)
			continue
		}
		if x.basic.claimed && l.resp.Status == http.StatusUnauthorized && x.basic.observed == nil {
			x.refuse(record.TenantRefused, "the tenant answers 401 to the token")
			return
		}
		if l.resp.Status == http.StatusSwitchingProtocols {
			x.tunnel(l, tok)
			return
		}
		x.answer(l, tok)
		return
	}
}

// idempotent methods are those that a server may be asked twice without the caller knowing (RFC 9110, section 9.2.2), of those that change nothing.
func idempotent(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// fail ends an exchange for an error of the given stage, unless the exchange was ended for another reason, which then is the outcome.
func (x *exchange) fail(stage record.Outcome, err error) {
	outcome, cause := stage, err.Error()
	if isTimeout(err) && stage == record.TenantBroken {
		outcome, cause = record.Timeout, "the tenant did not answer in time"
	}
	o1, c1, caller := x.upload.failure()
	o2, c2, ended := x.interrupted()
	switch {
	case ended && o1 != record.Malformed && o1 != record.BodyTooLarge:
		outcome, cause = o2, c2
	case caller:
		outcome, cause = o1, c1
	}
	if outcome == record.CallerGone {
		x.access.Outcome, x.access.Cause = outcome, cause
		return
	}
	x.refuse(outcome, cause)
}

// connect takes a kept connection, or makes one. From here on an interruption of the exchange interrupts the connection.
func (x *exchange) connect(p *pool, fresh bool) (*link, error) {
	var l *link
	if p.http2() {
		var err error
		if l, err = x.open(p, fresh); err != nil {
			return nil, err
		}
	} else if !fresh {
		l = p.take(x.now)
	}
	if l == nil {
		ctx, done := x.patience()
		defer done()
		var err error
		if l, err = p.dial(ctx); err != nil {
			return nil, err
		}
		x.now = time.Now()
	}
	x.held = l
	x.link.Store(l)
	if x.ended.Load() != nil && x.link.CompareAndSwap(l, nil) {
		l.interrupt()
	}
	return l, nil
}

var (
	errStale      = errors.New("the tenant closed a kept connection instead of answering") // nothing of an answer came
	errUnanswered = errors.New("the tenant closed the connection instead of answering")
	errUntouched  = errors.New("the tenant says that it has not looked at the request")
)

// roundTrip sends the request and waits for the head of the final answer. Interim answers go to the caller.
func (x *exchange) roundTrip(l *link, tok token.Token) error {
	if l.stream != nil {
		return x.roundTripH2(l, tok)
	}
	l.now = x.now.UnixNano()
	l.patience(x.decision.Route.ResponseTimeout, false)
	l.method = x.req.Method
	u := &x.upload
	received := u.started && u.x.caller.bodyDone() // by gather, or by an attempt before this one
	buf := wire.GetBuffer()
	out := x.appendHead(buf[:0], tok)
	var err error
	switch {
	case !received:
		err = l.writeAt(l.now, out)
	case x.req.Length < 0:
		err = l.writeAt(l.now, out)
		if err == nil {
			err = l.writeAt(l.now, u.appendKept(out[:0]))
		}
	case len(out)+len(u.kept) <= cap(out):
		err = l.writeAt(l.now, append(out, u.kept...))
	default:
		if err = l.writeAt(l.now, out); err == nil {
			err = l.writeAt(l.now, u.kept)
		}
	}
	wire.PutBuffer(buf)
	if err != nil && !isTimeout(err) && !u.none() {
		err = nil // an early answer may be there
	}
	if err != nil {
		return x.stale(l, err)
	}
	expect := x.req.Expect && !u.none() && !received
	switch {
	case u.none() || received:
	case expect: // the tenant says, within a second, whether it wants the body
		l.patience(expectTimeout, false)
	default:
		u.stream(l)
	}
	for interim := 0; ; interim++ {
		err := l.in.ReadResponse(&l.resp, l.method, tenantLimits)
		if expect && isTimeout(err) && x.ended.Load() == nil {
			l.until.Store(0)
			l.now = time.Now().UnixNano()
			l.resp.Status = http.StatusContinue
			err = nil
		}
		switch {
		case err != nil:
			return x.stale(l, err)
		case x.ended.Load() != nil: // in the same moment: then it is not served
			return errCallerGone
		case !l.resp.Informational(), l.resp.Status == http.StatusSwitchingProtocols && x.agreed(&l.resp):
			x.access.TenantStatus = l.resp.Status
			return nil
		case interim == maxInterim:
			return errors.New("the tenant sends interim answers without end")
		case l.resp.Status == http.StatusSwitchingProtocols:
			return errors.New("the tenant switched protocols without being asked")
		case l.resp.Status == http.StatusContinue:
			if expect {
				expect = false
				l.patience(x.decision.Route.ResponseTimeout, false)
				if err := x.caller.proceed(); err != nil {
					x.interrupt(errCallerGone)
					return err
				}
				u.stream(l)
			}
		default:
			if err := x.inform(&l.resp, tok); err != nil {
				x.interrupt(errCallerGone)
				return err
			}
		}
	}
}

// maxInterim bounds the interim answers (1xx) to one request.
const maxInterim = 100

// expectTimeout is how long a tenant may take to say that it wants a body, before it gets it unasked (RFC 9110, section 10.1.1).
const expectTimeout = time.Second

// stale tells a kept connection that was closed before an answer began from any other failure.
func (x *exchange) stale(l *link, err error) error {
	var broken *wire.Error
	switch {
	case isTimeout(err), errors.As(err, &broken), err == io.ErrUnexpectedEOF, x.ended.Load() != nil:
		return err
	case l.reused && l.in.Buffered() == 0:
		return errStale
	case err == io.EOF:
		return errUnanswered
	}
	return err
}

// appendKept appends a body that was received with chunked coding, whole.
func (u *upload) appendKept(dst []byte) []byte {
	for kept := u.kept; len(kept) > 0; {
		n := min(len(kept), 1<<15)
		var head [wire.ChunkHead]byte
		wire.PutChunkHead(head[:], n)
		dst = append(append(append(dst, head[:]...), kept[:n]...), "\r\n"...)
		kept = kept[n:]
	}
	return u.appendTrailer(append(dst, "0\r\n"...))
}

// appendHead appends the request's head for the tenant: the caller's, without what callers may not say, with the identity's token.
func (x *exchange) appendHead(dst []byte, tok token.Token) []byte {
	q := x.req
	dst = append(dst, q.Method...)
	dst = append(dst, ' ')
	dst = append(dst, x.decision.Target...)
	dst = append(dst, " HTTP/1.1\r\n"...)
	dst = wire.AppendField(dst, "Host", x.decision.Route.Base.Host)
	x.requestFields(tok, func(name, value string) { dst = wire.AppendField(dst, name, value) })
	if x.upgrade != "" {
		dst = append(dst, "Connection: Upgrade\r\n"...)
		dst = wire.AppendField(dst, "Upgrade", x.upgrade)
	}
	switch {
	case q.Length < 0:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
		if names := passingNames(q.Fields.Get("Trailer"), x.passes); names != "" {
			dst = wire.AppendField(dst, "Trailer", names)
		}
	case q.Length > 0 || q.Sized || q.Method == http.MethodPost || q.Method == http.MethodPut || q.Method == http.MethodPatch:
		dst = wire.AppendLength(dst, q.Length)
	}
	if q.Expect && q.Length != 0 && !x.caller.bodyDone() {
		dst = append(dst, "Expect: 100-continue\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// requestFields are the fields for the tenant, but for those that frame the message: the caller's that pass, and ours.
func (x *exchange) requestFields(tok token.Token, add func(name, value string)) {
	q := x.req
	for i := range q.Fields {
		f := &q.Fields[i]
		if x.passes(f.Name) && !q.Conn.Drops(f.Name) {
			add(f.Name, f.Value)
		}
	}
	// From here on we add: nothing that the caller says can take it away.
	x.addOurs(tok, add)
}

// passingNames is the list of those field names that may pass.
func passingNames(list string, passes func(string) bool) string {
	if list == "" {
		return ""
	}
	var names []string
	wire.Tokens(list, func(name string) {
		if wire.IsToken(name) && passes(name) {
			names = append(names, name)
		}
	})
	return strings.Join(names, ", ")
}

// hangUp gives up the connection to the tenant, if there is one.
func (x *exchange) hangUp() {
	if l := x.held; l != nil {
		x.held = nil
		x.link.CompareAndSwap(l, nil)
		l.close()
	}
}

// release gives the connection back for the next exchange of the identity, if it can carry one. It cannot when the tenant may still wait for a body that
// it has refused before it came (RFC 9110, section 10.1.1).
func (x *exchange) release(l *link) {
	x.held = nil
	if l.stream != nil {
		x.link.CompareAndSwap(l, nil)
		l.stream.finish()
		return
	}
	mine := x.link.CompareAndSwap(l, nil) // else somebody has interrupted it
	if mine && x.upgrade == "" && l.body.Done() && l.resp.Persistent() && l.in.Buffered() == 0 && x.upload.settle() && (x.upload.none() || x.upload.started) {
		l.resp.Release()
		l.pool.put(l, x.now)
		return
	}
	l.close()
}

// drain reads the rest of an answer that nobody wants, if it is short, so that its connection is kept.
func (x *exchange) drain(l *link) {
	if l.stream != nil {
		l.stream.drain()
	} else {
		l.skip()
	}
	x.release(l)
}

// skip reads the rest of an answer, if it is short.
func (l *link) skip() {
	l.body.Reset(&l.in, l.resp.Length, tenantLimits)
	buf := wire.GetBuffer()
	defer wire.PutBuffer(buf)
	for total := 0; total < 16<<10; {
		n, err := l.body.Read(buf[:])
		total += n
		if err != nil {
			break
		}
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
