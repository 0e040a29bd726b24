package proxy

import (
	"net/netip"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Claim is a login that was sent with a request. It is good for one version of the login.
type Claim struct {
	User     string     // in normal form
	Version  int64      // of the login that the password was seen to fit
	Source   netip.Addr // where the request comes from
	Observed bool       // the password was not looked at: the login must be in stage observe
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
	d.Binding, d.Would = b, record.Served
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
