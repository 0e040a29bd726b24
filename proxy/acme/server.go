package acme

import (
	"cmp"
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// The bounds of what the server may cost, beside those of the listener.
const (
	maxBody         = 64 << 10         // of a request
	actTimeout      = 10 * time.Second // for all that a request does in the database
	maxActs         = 16               // requests that are worked on at the same time, without validations
	maxValidations  = 16               // challenges that are looked at at the same time
	maxOfAccount    = 4                // of them, of one account
	maxOfNetwork    = 8                // and for one address that asks
	maxOrders       = 20               // orders of one account that are open
	maxOrdersAnHour = 100              // that one account begins
	orderLife       = time.Hour        // of an order and what is proved for it
	forgettingPause = 10 * time.Minute
)

// Server is the ACME server. Fields without a stated zero value are required, and none may be changed after the first request. Safe for concurrent use.
type Server struct {
	// Registry has the identities, and CA issues; the CA needs a sealer. The CA's tables and the change records are in the registry's database.
	Registry *identity.Registry
	CA       *pki.CA
	// Targets says which hosts may be called to look at their answers to challenges.
	Targets Targets
	// Named says whether a host, without its port and in lower case, is a name of this server: a message that was signed for another server must not be good
	// here, whoever brings it and whatever Host he sends with it (RFC 8555 section 6.4). nil takes every host.
	Named func(host string) bool
	// Logger is told of what fails in the background; nil discards it.
	Logger *slog.Logger

	once        sync.Once
	acts        chan struct{}
	validations crowd
	forgotten   atomic.Int64 // when old state was forgotten last, in seconds
}

func (s *Server) start() {
	s.once.Do(func() {
		s.acts = make(chan struct{}, maxActs)
		s.validations.inside = make(map[string]int)
		if s.Logger == nil {
			s.Logger = slog.New(slog.DiscardHandler)
		}
	})
}

// exchange is one request on its way, and what will be answered.
type exchange struct {
	*enrolment.ACMERequest
	base    string // https://HOST/acme/
	id      string // of the object in the path
	message *message
	account pki.ACMEAccount
	key     pki.ACMEKey // that the account has registered with

	status  int
	header  http.Header
	body    []byte
	issued  bool
	actDone func() // gives back the place among maxActs
}

// link is the address of an object.
func (x *exchange) link(parts ...string) string { return x.base + strings.Join(parts, "/") }

func (x *exchange) answer(status int, v any) {
	x.header.Set("Content-Type", "application/json")
	x.status, x.body = status, encode(v)
}

// signer is who signs a request: the key of an account, by its address, or a key that is sent along.
type signer int

const (
	nobody signer = iota
	byAccount
	byKey
	byEither
)

// route is what can be asked for.
type route struct {
	signer  signer
	serve   func(*Server, context.Context, *exchange) error
	endures bool // for an identity that is disabled, too: giving something up is always possible
}

// routes are by the path below the base, with an ID as "*".
var routes = map[string]route{
	"directory":           {signer: nobody, serve: (*Server).directory},
	"new-nonce":           {signer: nobody, serve: (*Server).newNonce},
	"new-account":         {signer: byKey, serve: (*Server).newAccount},
	"account/*":           {signer: byAccount, serve: (*Server).updateAccount, endures: true},
	"account/*/orders":    {signer: byAccount, serve: (*Server).listOrders},
	"key-change":          {signer: byAccount, serve: (*Server).changeKey},
	"new-order":           {signer: byAccount, serve: (*Server).newOrder},
	"order/*":             {signer: byAccount, serve: (*Server).showOrder},
	"order/*/finalize":    {signer: byAccount, serve: (*Server).finalize},
	"authorization/*":     {signer: byAccount, serve: (*Server).authorization},
	"challenge/*/http-01": {signer: byAccount, serve: (*Server).challenge},
	challengeTLS:          {signer: byAccount, serve: (*Server).challenge},
	"certificate/*":       {signer: byAccount, serve: (*Server).certificate},
	"revoke-cert":         {signer: byEither, serve: (*Server).revoke, endures: true},
}

const challengeTLS = "challenge/*/tls-alpn-01"

// find takes the path apart.
func find(path string) (route, string, bool) {
	parts := strings.Split(strings.TrimPrefix(path, enrolment.ACMEPath), "/")
	id := ""
	if len(parts) > 1 {
		id, parts[1] = parts[1], "*"
	}
	if len(parts) > 1 && !isID(id) {
		return route{}, "", false
	}
	r, ok := routes[strings.Join(parts, "/")]
	return r, id, ok
}

// isID reports whether a text can be an ID of ours: what else is asked for is asked no database.
func isID(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// Answer implements [enrolment.ACME].
func (s *Server) Answer(r *enrolment.ACMERequest) *enrolment.ACMEAnswer {
	s.start()
	x := &exchange{ACMERequest: r, base: "https://" + r.Host + enrolment.ACMEPath, status: http.StatusOK, header: http.Header{}}
	// Once it is begun it goes on when the client hangs up: it will come again for what it has led to.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), actTimeout)
	defer cancel()
	err := s.serve(ctx, x)
	x.header.Add("Link", "<"+x.link("directory")+`>;rel="index"`)
	if r.Method == http.MethodPost { // each answer carries the next one (RFC 8555 section 6.5)
		err = cmp.Or(err, s.addNonce(x))
	}
	x.Access.Outcome = record.Served
	if err != nil {
		s.refuse(x, problemOf(err))
	}
	return &enrolment.ACMEAnswer{Status: x.status, Header: x.header, Body: x.body, Issued: x.issued && err == nil}
}

func (s *Server) refuse(x *exchange, p *problem) {
	told := *p
	told.RequestID = x.ID
	x.Access.Outcome, x.Access.Cause = p.outcome(), cmp.Or(p.cause, p.Detail)
	x.header.Set("Content-Type", record.ProblemContentType)
	x.header.Del("Location")
	if p.after != "" {
		x.header.Set("Retry-After", p.after)
	}
	x.status, x.body = p.Status, encode(told)
}

// serve is the way of a request: what it asks for, whether there is room, who signed it, and then the act.
func (s *Server) serve(ctx context.Context, x *exchange) error {
	r, id, ok := find(x.URL.Path)
	if !ok {
		return notFound
	}
	if s.Named != nil && !s.Named(hostOf(x.Host)) {
		return notNamed.because("the request was for the host " + x.Host)
	}
	x.id = id
	if r.signer == nobody {
		if x.Method != http.MethodGet && x.Method != http.MethodHead {
			return wrongMethod(x, "GET, HEAD")
		}
		return r.serve(s, ctx, x)
	}
	if x.Method != http.MethodPost {
		return wrongMethod(x, "POST")
	}
	body, err := readBody(x)
	if err != nil {
		return err
	}
	select {
	case s.acts <- struct{}{}:
		x.actDone = sync.OnceFunc(func() { <-s.acts })
		defer x.actDone()
	default:
		return tooBusy
	}
	if err := s.authenticate(ctx, x, body, r); err != nil {
		return err
	}
	s.forget(ctx)
	return r.serve(s, ctx, x)
}

// hostOf is a Host header without its port, in lower case.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

func wrongMethod(x *exchange, allow string) error {
	x.header.Set("Allow", allow)
	return withStatus(refuse("malformed", "the address does not take this method", "it takes "+allow), http.StatusMethodNotAllowed)
}

// forget has what has ended long ago forgotten, now and then. A failure is tried again later.
func (s *Server) forget(ctx context.Context) {
	now, last := time.Now().Unix(), s.forgotten.Load()
	if now-last < int64(forgettingPause/time.Second) || !s.forgotten.CompareAndSwap(last, now) {
		return
	}
	if err := s.CA.ChangeACMEState(ctx, func(state *pki.ACMEState) error { return state.Forget(ctx) }); err != nil {
		s.Logger.Warn("forgetting old ACME orders", "error", err)
	}
}

// directory says where everything is (RFC 8555 section 7.1.1).
func (s *Server) directory(_ context.Context, x *exchange) error {
	x.answer(http.StatusOK, map[string]any{
		"newNonce": x.link("new-nonce"), "newAccount": x.link("new-account"), "newOrder": x.link("new-order"),
		"revokeCert": x.link("revoke-cert"), "keyChange": x.link("key-change"), "meta": map[string]any{"externalAccountRequired": true},
	})
	return nil
}

// newNonce gives a nonce (section 7.2).
func (s *Server) newNonce(_ context.Context, x *exchange) error {
	if x.Method == http.MethodGet {
		x.status = http.StatusNoContent
	}
	return s.addNonce(x)
}

func (s *Server) addNonce(x *exchange) error {
	nonce, err := s.CA.NewACMENonce()
	if err == nil {
		x.header.Set("Replay-Nonce", base64.RawURLEncoding.EncodeToString(nonce))
	}
	return err
}

// crowd counts who is inside, by name, and lets in so many and no more. Safe for concurrent use.
type crowd struct {
	mu     sync.Mutex // guards what follows
	total  int
	inside map[string]int
}

// enter lets in an account and the network that it asks from, or says that there is no room.
func (c *crowd) enter(account string, network netip.Prefix) (leave func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, n := "account "+account, "network "+network.String()
	if c.total >= maxValidations || c.inside[a] >= maxOfAccount || c.inside[n] >= maxOfNetwork {
		return nil, false
	}
	c.total++
	c.inside[a]++
	c.inside[n]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.total--
		for _, name := range []string{a, n} {
			if c.inside[name]--; c.inside[name] == 0 {
				delete(c.inside, name)
			}
		}
	}), true
}
