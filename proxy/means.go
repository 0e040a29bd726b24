package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// means is by what a request calls its tenant: a credential, the connections that go with it, and the source of its tokens. What a tenant remembers of a
// client beyond a request, such as a session, belongs to the credential and must not be used with another one.
type means struct {
	credential *identity.Credential
	pool       *pool
	source     *token.Source
}

// doubt is what a tenant had against the credential with which a request was sent first, and which it has never taken.
type doubt struct {
	cause  string // "" for none
	source *token.Source
	token  token.Token // zero when no connection could be made
}

// means are those by which the identity calls the tenant with a credential of its own.
func (u *upstreams) means(c *identity.Credential, t *identity.Tenant, route *identity.Route) (m means, err error) {
	m.credential = c
	if m.pool, err = u.get(c.Identity, t, c); err != nil {
		return m, err
	}
	m.source, err = m.pool.source(u.tokens, c, route)
	return m, err
}

// choose finds the means of the request: the identity's only credential for the tenant or, of two, the one that is in use. When it returns false, the
// request was refused.
func (x *exchange) choose() bool {
	a := &x.access
	x.pair, x.doubt = nil, doubt{}
	if x.basic.observed != nil {
		return x.observe()
	}
	credentials := x.server.core.Registry.Snapshot().Credentials(a.Identity, a.Tenant)
	if len(credentials) == 0 {
		x.refuse(record.NoToken, "the identity has no credential for the tenant")
		return false
	}
	c := credentials[0]
	if len(credentials) > 1 {
		x.pair = x.server.preferences.of(credentials)
		c = x.pair.pick(x.repeatable())
	}
	if !x.use(c) {
		return false
	}
	if x.pair != nil && x.pair.onTrial(c) && !x.repeatable() {
		// What cannot be sent again goes the way that is known to lead to the tenant.
		if m, err := x.rival(); err == nil && x.willing(m) && holds(m.source) {
			x.means = m
		}
	}
	return true
}

// use makes a credential that of the request, or refuses the request.
func (x *exchange) use(c *identity.Credential) bool {
	m, err := x.server.upstreams.means(c, x.decision.Route.Tenant, x.decision.Route.Route)
	switch {
	case err == nil:
		x.means = m
		return true
	case m.pool == nil:
		x.refuse(record.Internal, err.Error())
	default:
		x.refuse(record.NoToken, err.Error())
	}
	return false
}

// rival are the means with the other credential of the pair.
func (x *exchange) rival() (means, error) {
	return x.server.upstreams.means(x.pair.other(x.means.credential), x.decision.Route.Tenant, x.decision.Route.Route)
}

func holds(s *token.Source) bool {
	_, ok := s.Held()
	return ok
}

// repeatable reports whether the request can be sent once more after a 401, as far as can be told before its body has come.
func (x *exchange) repeatable() bool {
	q := x.req
	return q.Length >= 0 && q.Length <= x.limits.ReplayBytes && !q.Expect
}

// token waits for a token no longer than the caller does. Of two credentials it takes the other one's when that is at hand and the first one's is not, or
// when the first one's cannot be had. Behind a 401 only a new one is worth anything, and one that the tenant does not take is worth less than a wait.
func (x *exchange) token() (tok token.Token, waited bool, err error) {
	if x.basic.observed != nil {
		return x.basic.observed.token, false, nil
	}
	if tok, ok := x.means.source.Held(); ok {
		return tok, false, nil
	}
	if x.pair == nil {
		tok, err = x.await(x.means.source)
		return tok, true, err
	}
	other, otherErr := x.rival()
	if otherErr != nil || x.doubt.cause != "" {
		tok, err = x.await(x.means.source)
		return tok, true, err
	}
	if tok, ok := other.source.Held(); ok && !x.access.Retried && !x.pair.rejects(other.credential) {
		x.server.preferences.fetch(x.pair, x.means)
		x.means = other
		return tok, false, nil
	}
	tok, err = x.await(x.means.source)
	x.server.preferences.learn(x.pair, x.means, err)
	if err == nil || !x.helps(other, err) {
		return tok, true, err
	}
	tok, otherErr = x.await(other.source)
	x.server.preferences.learn(x.pair, other, otherErr)
	if otherErr != nil {
		return tok, true, err
	}
	x.means = other
	return tok, true, nil
}

// helps reports whether it is worth asking for a token of the other credential, because none of this one's can be had. One that has ended is not asked for.
func (x *exchange) helps(other means, err error) bool {
	e, ok := err.(*token.Error)
	if !ok || other.credential.Expired(x.server.cfg.Now()) {
		return false
	}
	return helps(x.means.credential, e, other.source.State().Host != x.means.source.State().Host)
}

func (x *exchange) await(source *token.Source) (token.Token, error) {
	ctx, done := x.patience()
	defer done()
	start := time.Now()
	tok, err := source.Token(ctx)
	x.access.TokenDuration += time.Since(start)
	return tok, err
}

// disputed judges the credential by the tenant's answer, and reports whether the request is worth sending once more: with a new token, or with the other
// credential when the tenant has never taken this one.
func (x *exchange) disputed(status int, tok token.Token) bool {
	if x.basic.observed != nil {
		return false // whatever the tenant says to it, it is the caller's
	}
	if x.pair == nil {
		return status == http.StatusUnauthorized && x.means.source.Reject(tok)
	}
	refused := status == http.StatusUnauthorized || status == http.StatusForbidden
	taken := !refused && status < http.StatusInternalServerError // a 5xx says nothing: old releases answer 500 to an expired token
	switch {
	case x.doubt.cause != "":
		// The other credential was answered. If the tenant takes that one, the first one was at fault; if not, the answer is the application's own, or no token of
		// either is good any more.
		switch {
		case taken:
			x.server.preferences.reject(x.pair, x.doubt.cause)
		case status == http.StatusUnauthorized:
			x.doubt.source.Reject(x.doubt.token)
			x.means.source.Reject(tok)
		}
		return false
	case x.pair.onTrial(x.means.credential) && refused:
		return x.tried(status, tok)
	case x.pair.onTrial(x.means.credential) && taken:
		x.server.preferences.accept(x.pair)
		return false
	case status != http.StatusUnauthorized:
		return false
	case x.access.Retried:
		if x.means.credential == x.pair.newer.credential {
			x.pair.trial.Store(true) // even a token that was fetched for this request is refused
		}
		return false
	}
	return x.means.source.Reject(tok)
}

// tried judges the refusal of a credential that the tenant has never taken.
func (x *exchange) tried(status int, tok token.Token) bool {
	cause := refusal(status)
	if status == http.StatusForbidden && !idempotent(x.req.Method) { // it must not be sent again to find out
		if m, err := x.rival(); err == nil && x.willing(m) {
			x.server.preferences.reject(x.pair, cause)
		}
		return false
	}
	return x.giveWay(cause, tok) || status == http.StatusUnauthorized && x.means.source.Reject(tok)
}

// shutOut judges the credential by the answer to a fetch of a CSRF token, and reports whether to begin again: with a new token, or with the other credential when
// the tenant has never taken this one. Of the request itself nothing was sent.
func (x *exchange) shutOut(status int, tok token.Token) bool {
	switch status {
	case http.StatusUnauthorized:
		return x.disputed(status, tok)
	case http.StatusForbidden:
		return x.giveWay(refusal(status), tok)
	}
	return false
}

func refusal(status int) string {
	return "the tenant answers " + strconv.Itoa(status) + " to its tokens"
}

// giveWay turns a request over to the other credential, if the tenant has never taken this one and a token of the other one is at hand. The request must be one
// that may be sent again.
func (x *exchange) giveWay(cause string, tok token.Token) bool {
	if x.pair == nil || x.doubt.cause != "" || x.access.Retried || !x.pair.onTrial(x.means.credential) {
		return false
	}
	m, err := x.rival()
	if err != nil || !x.willing(m) {
		return false
	}
	if !holds(m.source) {
		x.server.preferences.fetch(x.pair, m) // for the next request
		return false
	}
	x.doubt, x.means = doubt{cause, x.means.source, tok}, m
	return true
}

// shut has a request use the other credential's connections when the tenant refuses those of one that it has never taken, and has it shown a certificate. What
// may have been executed is not sent again; the requests behind it go the other way.
func (x *exchange) shut(err error, sent bool) bool {
	if x.pair == nil || x.ended.Load() != nil || x.decision.Route.Tenant.ClientCertificate != identity.ShowCredential {
		return false
	}
	if sent && (isTimeout(err) || err == errInterrupted) {
		return false // a flow that is slow, or a body that broke off: whoever takes no certificate says so
	}
	cause := "the tenant takes no connection that shows its certificate: " + err.Error()
	if !sent || idempotent(x.req.Method) && x.upload.replayable() {
		return x.giveWay(cause, token.Token{})
	}
	if x.doubt.cause == "" && x.pair.onTrial(x.means.credential) {
		x.server.preferences.reject(x.pair, cause)
	}
	return false
}

// willing reports whether nothing is known against the means.
func (x *exchange) willing(m means) bool {
	return x.pair.willing(m.credential, x.server.cfg.Now())
}
