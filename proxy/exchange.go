package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// caller is a wire engine's side of one exchange: where the body of the request comes from and where the answer goes. It belongs to the goroutine of the
// exchange, except readBody, bodyTrailer and bodyDone while an upload is under way, and stopReading, which anybody may call while the exchange runs.
type caller interface {
	// readBody reads the body: io.EOF at its end, os.ErrDeadlineExceeded when nothing came within the limit. With a limit of 0 it does not wait, and
	// returns errWouldWait when nothing is at hand.
	readBody(p []byte, limit time.Duration) (int, error)
	// bodyDone reports whether the body was read to its end.
	bodyDone() bool
	// bodyTrailer is the trailer section, after the io.EOF of readBody.
	bodyTrailer() wire.Fields
	// proceed tells a caller that waits for it to send its body (100 Continue).
	proceed() error

	// begin begins the head of an answer, field adds to it and head ends it. An interim answer (1xx) ends with interim.
	begin(status int, reason string)
	field(name, value string)
	interim() error
	// head ends the head. length is that of the body: -1 when it is not known; announced is what Content-Length is to say, -1 for nothing.
	head(length, announced int64)

	// room is where the next data of the body goes, never empty; wrote says how much of it was filled. flush sends what has gathered; finish ends the
	// answer and sends all of it.
	room() []byte
	wrote(n int) error
	flush() error
	finish(trailer []wire.Field) error
	// last has the connection end behind this answer, if it carries one exchange after another. farewell has it end in any case, when those that it
	// carries besides have ended. Both must be called before head.
	last()
	farewell()

	// stopReading makes readBody return at once.
	stopReading()
}

// exchange is one request and its answer.
type exchange struct {
	server *Server
	conn   *conn
	limits *Limits
	caller caller
	req    *wire.Request
	proto  string // "HTTP/1.1"

	gathers bool // small bodies are received before the tenant is asked: see upload

	access    record.Access
	id        [record.RequestIDLen]byte
	ask       Request
	decision  Decision
	means     means // with what the tenant is called: see choose
	pair      *pair // nil unless there is another credential
	doubt     doubt
	trace     trace
	upload    upload
	now       time.Time // when the clock was last looked at: looking costs as much as a stage of the decision
	done      time.Time // when the answer had ended, zero until then
	committed bool      // a final status has been sent
	passing   bool      // it was the tenant's: what follows is the tenant's answer

	upgrade  string      // the protocol that the connection is to be turned over to, "" for none
	upgraded atomic.Bool // it was, and octets pass

	basic     basic // of the bridge
	objection objection
	retry     time.Duration // of a refusal: when it is worth trying again
	quota     *quota        // nil unless the identity has limits
	today     *dayUse       // nil unless the identity has a daily quota
	counted   bool          // among the quota's requests in flight
	grant     grant         // of the identity's rate
	bandwidth int64         // octets a second, 0 for no limit
	gate      *gate         // nil unless the tenant's gate has let it through
	rateText  [64]byte
	mpl       mplScanner
	guard     *guard   // nil: the request needs no CSRF token
	session   *session // nil: it goes without one
	reguarded bool     // it was refused for want of one, and gets another
	held      *link    // the connection to the tenant that is in use

	correlation [maxCorrelation]byte // what the record's points to

	bound atomic.Pointer[claimed]            // the login that stands for the caller, nil for none
	ended atomic.Pointer[error]              // why the exchange was ended from outside, nil while nobody did
	link  atomic.Pointer[link]               // held, for others: whoever takes it out interrupts it
	wait  atomic.Pointer[context.CancelFunc] // ends the wait for a token or a connection
}

// objection is what an engine has against a request as a whole.
type objection struct {
	outcome record.Outcome
	cause   string // "" for none
}

// serve is the way of a request: identify, authorize, limit, credential, forward, record. Nothing that was received reaches a tenant in any other way,
// and no way out of it avoids the record. It reports whether the answer is whole: after half an answer the engine must break the stream off.
func (x *exchange) serve() (whole bool) {
	x.begin()
	defer x.end(&whole)
	if err := x.server.cfg.Log.Ready(); err != nil {
		x.refuse(record.Unrecorded, err.Error())
		return
	}
	if x.conn.bridge && !x.authenticate() {
		return
	}
	x.decide()
	if x.access.Outcome != record.Served {
		x.refuse(x.access.Outcome, x.access.Cause)
		return
	}
	if outcome, cause := x.limit(); outcome != record.Served {
		x.refuse(outcome, cause)
		return
	}
	x.forward()
	return
}

func (x *exchange) begin() {
	x.committed, x.passing, x.done, x.upgrade = false, false, time.Time{}, ""
	x.retry, x.quota, x.counted, x.grant, x.bandwidth, x.gate = time.Second, nil, false, grant{}, 0, nil
	x.guard, x.session, x.mpl.left, x.today = nil, nil, 0, nil
	x.now = time.Now()
	id := record.AppendRequestIDAt(x.id[:0], x.now)
	x.access = record.Access{
		Time: x.server.at(x.now), RequestID: unsafe.String(&id[0], len(id)), Protocol: x.proto, Source: x.conn.source,
		Method: x.req.Method, Host: x.req.Host, Serial: x.conn.peer.Serial, Authority: x.conn.peer.Authority,
	}
	x.place()
	x.upload.begin(x)
	x.server.inFlight.Add(1)
}

// end records the exchange, whatever happened, and finds whether the caller could otherwise take half an answer for a whole one.
func (x *exchange) end(whole *bool) {
	if broken := recover(); broken != nil {
		x.server.log.Error("serving", "request_id", x.access.RequestID, "panic", fmt.Sprint(broken), "stack", string(debug.Stack()))
		x.refuse(record.Internal, "panic")
	}
	x.hangUp()
	x.upload.end()
	x.leave()
	x.access.BytesIn = x.upload.count
	if x.today != nil {
		x.server.daily.pass(x.today, x.access.BytesIn+x.access.BytesOut)
	}
	if x.basic.claimed {
		x.endLogin()
	}
	if x.done.IsZero() {
		x.done = x.server.cfg.Now()
	}
	x.access.Duration = x.done.Sub(x.access.Time)
	x.server.cfg.Log.Append(&x.access)
	x.noteUse()
	x.server.inFlight.Add(-1) // Shutdown may end the log now
	*whole = x.access.Outcome == record.Served || x.committed && !x.passing
}

// forget lets go of all that belonged to the exchange, so that its memory can serve another one.
func (x *exchange) forget() {
	x.server, x.conn, x.limits, x.caller, x.req, x.held = nil, nil, nil, nil, nil, nil
	x.quota, x.guard, x.session, x.today = nil, nil, nil, nil
	x.access, x.ask = record.Access{}, Request{}
	if x.basic.claimed {
		x.basic = basic{}
		x.bound.Store(nil)
	}
	x.decision = Decision{path: rawPath{decoded: x.decision.path.decoded[:0], folded: x.decision.path.folded[:0]}}
	x.upload.begin(nil)
	x.ended.Store(nil)
}

// decide asks the core.
func (x *exchange) decide() {
	x.ask = Request{
		Peer: x.conn.peer, Source: x.conn.address,
		Host: x.req.Host, Method: x.req.Method, Target: x.req.Target, Length: x.req.Length, Fields: x.req.Fields, Now: x.access.Time,
	}
	d := &x.decision
	switch {
	case x.objection.cause != "":
		d.deny(x.objection.outcome, x.objection.cause)
	case x.basic.claimed:
		x.decideLogin()
	default:
		x.server.core.Decide(&x.ask, d)
	}
	a := &x.access
	a.Outcome, a.Cause, a.Path = d.Outcome, d.Cause, d.Path
	if a.Path == "" {
		a.Path, _, _ = splitTarget(x.ask.Target)
	}
	a.Identity = d.Named
	if d.Route != nil {
		a.Route, a.Tenant = d.Route.Route.Name, d.Route.Tenant.Name
	}
}

// limit keeps what is allowed inside what it may cost.
func (x *exchange) limit() (record.Outcome, string) {
	if outcome, cause := x.capacity(); outcome != record.Served {
		return outcome, cause
	}
	if x.basic.observed != nil {
		return record.Served, "" // the limits are the identity's, for whom it does not go
	}
	return x.admit()
}

// refuse answers with a problem document when nothing has been sent yet, and notes the outcome in any case.
func (x *exchange) refuse(outcome record.Outcome, cause string) {
	a := &x.access
	a.Outcome, a.Cause = outcome, cause
	if x.committed {
		return
	}
	x.committed, a.Status = true, outcome.Status()
	var buf [512]byte
	doc := record.AppendProblem(buf[:0], outcome, a.RequestID)
	if x.conn.bridge {
		doc = record.AppendNotice(buf[:0], outcome, a.RequestID, x.notice(outcome))
	}
	c := x.caller
	c.begin(a.Status, http.StatusText(a.Status))
	c.field("X-Request-Id", a.RequestID)
	switch outcome {
	case record.Unidentified, record.RevokedInFlight:
		if x.conn.bridge && outcome == record.Unidentified && x.conn.peer.anonymous() {
			break // a caller may send its login only when it is asked for one, on the same connection
		}
		c.farewell() // nothing more is worth reading from here
	case record.Malformed, record.Misdirected, record.SlowCaller, record.BodyTooLarge:
		c.last()
	case record.MethodNotAllowed:
		c.field("Allow", strings.Join(x.decision.Allow, ", "))
	case record.Limited, record.QuotaExhausted, record.Overloaded, record.Unrecorded, record.TenantUnavailable, record.LoginThrottled, record.LoginBrownout:
		c.field("Retry-After", strconv.FormatInt(seconds(x.retry), 10))
	}
	x.rateFields()
	if x.conn.bridge {
		x.loginFields(outcome)
	}
	x.upload.stop()
	if !c.bodyDone() {
		c.last()
	}
	c.field("Content-Type", record.ProblemContentType)
	c.field("Cache-Control", "no-store")
	if x.req.Method == http.MethodHead {
		c.head(0, int64(len(doc)))
		c.finish(nil)
		return
	}
	c.head(int64(len(doc)), int64(len(doc)))
	if err := x.write(doc); err == nil {
		c.finish(nil)
	}
}

// write sends data of the answer.
func (x *exchange) write(p []byte) error {
	for len(p) > 0 {
		n := copy(x.caller.room(), p)
		if err := x.caller.wrote(n); err != nil {
			return err
		}
		x.access.BytesOut += int64(n)
		p = p[n:]
	}
	return nil
}

// Why an exchange is ended from outside, but for its certificate or identity, or its connection: see cutError and connError.
var (
	errCallerGone = errors.New("the caller closed the connection")
	errStopping   = errors.New("the server stopped before the tenant's answer had ended")
)

// interrupt ends an exchange from outside: whatever it waits for from the tenant or the token server, it waits no longer. The first cause stays.
func (x *exchange) interrupt(cause error) {
	if !x.ended.CompareAndSwap(nil, &cause) {
		return
	}
	if cancel := x.wait.Load(); cancel != nil {
		(*cancel)()
	}
	if l := x.link.Swap(nil); l != nil {
		l.interrupt()
	}
}

// patience is a context for waits off the hot path: it ends when the exchange is interrupted. The caller must call done.
func (x *exchange) patience() (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancel(context.Background())
	x.wait.Store(&cancel)
	if x.ended.Load() != nil {
		cancel()
	}
	return ctx, func() {
		x.wait.Store(nil)
		cancel()
	}
}

// outcome says what an interruption means, if there was one.
func (x *exchange) interrupted() (record.Outcome, string, bool) {
	cause := x.ended.Load()
	if cause == nil {
		return record.Served, "", false
	}
	var cut *cutError
	var broken *connError
	switch {
	case errors.As(*cause, &broken):
		return broken.outcome, broken.cause, true
	case errors.As(*cause, &cut):
		return record.RevokedInFlight, cut.cause, true
	case *cause == errStopping:
		return record.Timeout, errStopping.Error(), true
	}
	return record.CallerGone, (*cause).Error(), true
}
