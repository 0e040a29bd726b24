package proxy

import (
	"net/netip"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/usage"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// Claim is a login that was sent with a request. It is good for one version of the login.
type Claim struct {
	User        string     // in normal form
	Version     int64      // of the login that the password was seen to fit
	Source      netip.Addr // where the request comes from
	Fingerprint string     // of the connection's client hello, as the usage history has it
	Observed    bool       // the password was not looked at: the login must be in stage observe
}

// identifyLogin: does the login stand for somebody, here and now? Its password was verified before.
func (c *Core) identifyLogin(snap *identity.Snapshot, r *Request, d *Decision) {
	b, ok := snap.Login(r.Claim.User)
	if !ok {
		d.Changed = true
		d.deny(record.LoginRefused, "login was removed")
		return
	}
	now := r.Now
	if now.IsZero() {
		now = c.now()
	}
	d.Named, d.Login, d.Stage = b.Identity.Name, b.Login, b.Login.StageAt(now)
	if b.Login.Version != r.Claim.Version || r.Claim.Observed != (d.Stage == identity.StageObserve) {
		d.Changed = true
		d.deny(record.LoginRefused, "login was changed")
		return
	}
	if outcome, cause := admits(b, r.Claim.Source, now); outcome != record.Served {
		if outcome == record.LoginBrownout {
			d.Until, _ = b.Login.Brownout(now)
		}
		d.deny(outcome, cause)
		return
	}
	if lockedOut(snap, b.Login.User, r, now) {
		d.LockedOut = true
		d.deny(record.LoginClosed, "caller was moved to a certificate, and the login is closed to it")
		return
	}
	d.Binding, d.Would = b, record.Served
	checkPolicy(b.Identity, r.Claim.Source, now, d)
}

// lockedOut says whether the login is closed to this caller, because it was moved to a certificate and seen with it. A login without moves costs one look at a map.
func lockedOut(snap *identity.Snapshot, user string, r *Request, now time.Time) bool {
	moves := snap.Moves(user)
	return len(moves) > 0 && identity.LockedOut(moves, now, usage.SourceOf(r.Claim.Source), r.Claim.Fingerprint, usage.NormalAgent(r.Fields.Get("User-Agent")))
}

// nameRoute finds which route a caller is refused that has the right password: whoever moves it has to know. It decides nothing.
func (c *Core) nameRoute(snap *identity.Snapshot, r *Request, d *Decision) {
	path, _, _ := splitTarget(r.Target)
	if !wire.ValidAuthority(r.Host) || d.path.parse(path) != "" {
		return
	}
	if entry, result := snap.MatchPath(normalHost(hostOnly(r.Host)), d.path.decoded, d.path.folded, r.Method); result == identity.Matched {
		d.Route = entry
	}
}

// admits says whether a login is accepted at an instant from a source, its password and what is asked for apart.
func admits(b *identity.Binding, source netip.Addr, now time.Time) (record.Outcome, string) {
	stage := b.Login.StageAt(now)
	switch {
	case stage == identity.StageClosed && !now.Before(b.Login.Sunset):
		return record.LoginClosed, "sunset of the login is over"
	case stage == identity.StageClosed:
		return record.LoginClosed, "login is closed"
	case b.Identity.Disabled:
		return record.Denied, "identity is disabled"
	case b.Identity.CertificatesOnly:
		return record.Denied, "identity calls with certificates only"
	case !b.Login.AllowsSource(source):
		return record.Denied, "login is not accepted from this network"
	}
	if stage == identity.StageBrownout {
		if _, in := b.Login.Brownout(now); in {
			return record.LoginBrownout, "brownout of the login"
		}
	}
	return record.Served, ""
}
