package proxy

import (
	"fmt"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// What is asked about a login: its password is taken for right, and the request for one on the bridge.

// claim has the request come with the login. It reports whether the login stands for the identity that was asked about.
func (e *explainer) claim() (mine bool) {
	b, ok := e.snap.Login(identity.NormalUser(e.q.Login))
	e.ask.Peer = &Peer{}
	switch {
	case !ok:
		e.fail("login", record.LoginRefused, "tenantgate login list", "no login has this user name")
		return false
	case b.Identity.Name != e.id.Name:
		e.fail("login", record.LoginRefused, "tenantgate login show "+b.Login.User, "it stands for identity %s", b.Identity.Name)
		return false
	}
	stage := b.Login.StageAt(e.at)
	e.login, e.observed = b.Login, stage == identity.StageObserve
	e.ask.Claim = &Claim{User: b.Login.User, Version: b.Login.Version, Source: e.q.Source, Observed: e.observed}
	outcome, cause := admits(b, e.q.Source, e.at)
	switch set := "tenantgate login set " + b.Login.User; {
	case outcome == record.LoginClosed:
		e.fail("login", outcome, "tenantgate login back "+b.Login.User, "%s", cause)
	case outcome == record.LoginBrownout:
		until, _ := b.Login.Brownout(e.at)
		e.fail("login", outcome, "tenantgate login back "+b.Login.User, "a brownout refuses it until %s", until.UTC().Format("2006-01-02 15:04Z"))
	case b.Identity.Disabled: // that is another step
		e.pass("login", "it is %s", stage)
	case b.Identity.CertificatesOnly:
		e.fail("login", outcome, "tenantgate identity set "+e.id.Name+" --certificates-only=false", "%s", cause)
	case outcome != record.Served:
		e.fail("login", outcome, set+" --network NETWORK", "%s", cause)
	default:
		e.pass("login", "it is %s, and ends on %s%s", stage, b.Login.Closes().UTC().Format(time.DateOnly), e.moved(b.Login.User))
	}
	return true
}

// moved says that the login is closed to some, whom only their client and address tell.
func (e *explainer) moved(user string) string {
	if n := len(e.snap.Moves(user)); n > 0 {
		return fmt.Sprintf("; %d callers were moved to certificates, to whom it is or will be closed", n)
	}
	return ""
}

// foresight says of an observed login what would have become of the request with its identity, as far as the core knows. It changes nothing about the request.
func (e *explainer) foresight(d *Decision) {
	switch {
	case d.Outcome != record.Served:
	case d.Would != record.Served:
		e.skip("would", "it goes to the tenant with its own password; the identity would be told %s: %s", d.Would, d.WouldCause)
	default:
		e.pass("would", "it goes to the tenant with its own password; nothing stands against it with the identity's token")
	}
}
