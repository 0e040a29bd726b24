package proxy

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/login"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Bridge is what logins need beside the registry.
type Bridge struct {
	// Hashers is how many passwords are hashed at once, with 19 MiB each; 0 is half of the processors, at least one and at most four.
	Hashers int
	// Rehash is told a password that fits a hash which should be made anew. It is called on the way of requests and must not wait; nil is told nothing.
	Rehash func(user string, old identity.PasswordHash, password string)
}

// basic is what an exchange on the bridge knows of HTTP Basic.
type basic struct {
	claimed  bool // a login stands for the caller: claim says which
	claim    Claim
	observed *observation // nil unless the login is in stage observe
}

// claimed is a login that stands for the caller of an exchange, for those who have to end it.
type claimed struct {
	binding *identity.Binding
	source  netip.Addr
}

// logins is what a server knows of logins beside the registry.
type logins struct {
	verifier *login.Verifier
	uses     sync.Map // user name -> *atomic.Int64: nanoseconds since 1970
	findings findings
	warming  chan struct{} // one for each token that is being fetched for an observation
}

// begin makes the logins of a server. The verifier costs nothing until a password comes.
func (g *logins) begin(s *Server) {
	g.verifier = login.New(s.cfg.Bridge.Hashers, evenly{registry: s.cfg.Registry})
	g.verifier.Now = s.cfg.Now
	g.warming = make(chan struct{}, 8)
}

// evenly compares a password with a hash in a time that does not depend on the hash.
type evenly struct {
	registry *identity.Registry
	hash     identity.PasswordHash
}

// Fits implements login.Hash.
func (e evenly) Fits(password string) bool {
	return e.registry.Snapshot().EvenHashing().Fits(e.hash, password)
}

// authenticate is the first stage on the bridge: who calls, if TLS does not say? It sees to it that a certificate and a login do not say different things, that
// a password is verified, and that x.basic holds what the core needs to decide. When it returns false, the request was refused.
func (x *exchange) authenticate() bool {
	value, fields := "", 0
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; strings.EqualFold(f.Name, "Authorization") {
			value = f.Value
			fields++
		}
	}
	certificate := !x.conn.peer.anonymous()
	token, isBasic := login.Basic(value)
	switch {
	case fields == 0 && certificate, fields == 1 && !isBasic && certificate:
		return true // as on any other listener
	case fields == 0:
		return x.turnAway(record.Unidentified, "neither a client certificate nor a login was sent")
	case fields > 1:
		return x.turnAway(record.LoginRefused, "more than one Authorization field")
	case !isBasic:
		return x.turnAway(record.LoginRefused, "Authorization is not of scheme Basic")
	case token == "":
		return x.turnAway(record.LoginRefused, "Authorization is malformed or too long")
	}
	snap := x.server.core.Registry.Snapshot()
	digest := x.server.logins.verifier.Digest(token)
	if known, ok := x.server.logins.verifier.Known(digest); ok && !certificate {
		if b, ok := snap.Login(known.User); ok && b.Login.Version == known.Version {
			x.claim(b)
			return true
		}
	}
	c, ok := login.Parse(token)
	if !ok {
		return x.turnAway(record.LoginRefused, "Authorization is malformed")
	}
	user := identity.NormalUser(c.User)
	b, found := snap.Login(user)
	if found {
		x.access.Login = b.Login.User
	}
	switch {
	case certificate:
		return x.agree(snap, b)
	case found && b.Login.StageAt(x.access.Time) == identity.StageObserve:
		x.claim(b)
		x.basic.claim.Observed, x.basic.observed = true, newObservation(value, digest)
		return true
	case len(c.Password) > identity.MaxPassword:
		return x.turnAway(record.LoginRefused, "password is too long")
	}
	return x.verify(digest, c, user, b)
}

// agree has a certificate and a login say the same: the certificate counts, and the login is not looked at. A login of another identity, or of nobody, is refused:
// nobody can say who was meant.
func (x *exchange) agree(snap *identity.Snapshot, b *identity.Binding) bool {
	certificate, err := identify(snap, x.server.core.Trust(), x.conn.peer, x.access.Time)
	switch {
	case err != nil:
		x.access.Login = ""
		return true // the core refuses it
	case b == nil:
		x.access.Identity = certificate.Identity.Name
		return x.turnAway(record.LoginConflict, "login beside the certificate: no login has this user name")
	case b.Login.Identity != certificate.Identity.Name:
		x.access.Identity = certificate.Identity.Name
		return x.turnAway(record.LoginConflict, "login beside the certificate: it stands for another identity")
	}
	x.access.Login = ""
	return true
}

// verify has a password compared that is not known to be right.
func (x *exchange) verify(digest login.Digest, c login.Credentials, user string, b *identity.Binding) bool {
	l := login.Login{User: user}
	if b != nil {
		l.Version, l.Hash = b.Login.Version, evenly{x.server.cfg.Registry, b.Login.Password}
		l.Near = len(b.Login.Networks) > 0 && b.Login.AllowsSource(x.conn.address)
	}
	ctx, done := x.patience()
	result, wait := x.server.logins.verifier.Verify(digest, c, l, x.conn.from, ctx.Done())
	done()
	x.now = time.Now()
	x.server.cfg.Metrics.LoginVerified(verified[result])
	x.retry = wait
	switch result {
	case login.Right:
		if b.Login.Password.Stale() && x.server.cfg.Bridge.Rehash != nil {
			x.server.cfg.Bridge.Rehash(user, b.Login.Password, c.Password)
		}
		x.claim(b)
		return true
	case login.Throttled:
		return x.turnAway(record.LoginThrottled, "too many wrong passwords from this source")
	case login.Busy:
		x.access.Path, _, _ = splitTarget(x.req.Target)
		x.fail(record.LoginThrottled, errLine)
		return false
	}
	if b == nil {
		return x.turnAway(record.LoginRefused, "no login has this user name")
	}
	return x.turnAway(record.LoginRefused, "password does not fit")
}

var errLine = errors.New("too many passwords wait to be compared")

// verified are the results of verifying as metrics name them.
var verified = [...]string{login.Wrong: "wrong", login.Right: "right", login.Throttled: "throttled", login.Busy: "busy"}

// claim notes the login that stands for the caller, for the core to decide.
func (x *exchange) claim(b *identity.Binding) {
	x.access.Login = b.Login.User
	x.basic.claimed = true
	x.basic.claim = Claim{User: b.Login.User, Version: b.Login.Version, Source: x.conn.address, Fingerprint: x.conn.raw.hello}
}

// turnAway refuses before anything was decided.
func (x *exchange) turnAway(outcome record.Outcome, cause string) bool {
	x.access.Path, _, _ = splitTarget(x.req.Target)
	x.refuse(outcome, cause)
	return false
}

// decideLogin asks the core about a request with a login. A login that has changed since its password was compared is looked at once more by the caller's next
// request: this one is refused, because its password may be the old one.
func (x *exchange) decideLogin() {
	d := &x.decision
	x.ask.Claim = &x.basic.claim
	snap := x.server.core.Registry.Snapshot()
	x.server.core.Decide(&x.ask, d)
	x.access.Stage = string(d.Stage)
	if d.Outcome != record.Served {
		return
	}
	x.bound.Store(&claimed{d.Binding, x.basic.claim.Source})
	// Whoever ends what has lost its right looks at bound, or this looks at what he has published.
	if now := x.server.core.Registry.Snapshot(); now != snap {
		if cause := lost(now, x.bound.Load(), x.access.Time); cause != "" {
			d.deny(record.LoginRefused, cause)
			return
		}
	}
	x.server.logins.use(d.Login.User, x.access.Time)
	x.conn.welcome()
}

// lost says why an exchange must end that a login stands for, "" when it may go on.
func lost(now *identity.Snapshot, c *claimed, at time.Time) string {
	b, ok := now.Login(c.binding.Login.User)
	switch {
	case !ok:
		return "login was removed"
	case b == c.binding:
		return ""
	case b.Login.Identity != c.binding.Login.Identity:
		return "login stands for another identity now"
	case b.Login.Version != c.binding.Login.Version && !b.Login.Password.Equal(c.binding.Login.Password):
		return "password of the login was changed"
	case b.Login.StageAt(at) == identity.StageObserve && c.binding.Login.StageAt(at) != identity.StageObserve:
		return "" // what was begun with the identity's own token may end
	}
	outcome, cause := admits(b, c.source, at)
	if outcome == record.LoginBrownout {
		return "" // it was let in before: only what begins is refused
	}
	return cause
}

// cutLogins ends what is in flight for logins that have lost their right (law 3).
func (s *Server) cutLogins(now *identity.Snapshot, changed identity.Changed) {
	if !changed.All && len(changed.Identities) == 0 && len(changed.Logins) == 0 {
		return
	}
	at := s.cfg.Now()
	for _, c := range s.identified() {
		if !c.bridge {
			continue
		}
		c.cutEach(func(x *exchange) error {
			if l := x.bound.Load(); l != nil {
				if cause := lost(now, l, at); cause != "" {
					return &cutError{cause}
				}
			}
			return nil
		})
	}
}

// use notes that a login was accepted. It allocates nothing but the first time.
func (g *logins) use(user string, at time.Time) {
	v, ok := g.uses.Load(user)
	if !ok {
		v, _ = g.uses.LoadOrStore(user, new(atomic.Int64))
	}
	v.(*atomic.Int64).Store(at.UnixNano())
}

// LoginUses returns when logins were last accepted here, of those that were since it was asked last.
func (s *Server) LoginUses() map[string]time.Time {
	uses := make(map[string]time.Time)
	s.logins.uses.Range(func(user, at any) bool {
		if n := at.(*atomic.Int64).Swap(0); n != 0 {
			uses[user.(string)] = time.Unix(0, n)
		}
		if _, ok := s.cfg.Registry.Snapshot().Login(user.(string)); !ok {
			s.logins.uses.Delete(user)
		}
		return true
	})
	return uses
}
