package proxy

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// loginFields tells a caller of the bridge what he must know of logins: how to send one, and that his ends.
func (x *exchange) loginFields(outcome record.Outcome) {
	c, snap := x.caller, x.server.core.Registry.Snapshot()
	policy := snap.LoginPolicy()
	switch outcome {
	case record.Unidentified, record.LoginRefused, record.LoginClosed: // a 401 has a challenge (RFC 9110, section 11.6.1)
		c.field("WWW-Authenticate", `Basic realm="`+policy.Realm+`", charset="UTF-8"`) // RFC 7617, section 2.1
	}
	l, stage := x.decision.Login, x.decision.Stage
	if l == nil || stage != identity.StageWarned && stage != identity.StageBrownout {
		return
	}
	c.field("Deprecation", "@"+strconv.FormatInt(deprecated(l).Unix(), 10)) // RFC 9745, section 2.1
	c.field("Sunset", l.Closes().UTC().Format(http.TimeFormat))             // RFC 8594, section 3
	if policy.Guide != "" {
		c.field("Link", "<"+policy.Guide+`>; rel="deprecation"`)
		c.field("Link", "<"+policy.Guide+`>; rel="sunset"`)
	}
}

// deprecated is since when a login is on its way out: the day that was set for the warning, or else when somebody last touched it.
func deprecated(l *identity.Login) time.Time {
	for _, at := range []time.Time{l.WarnOn, l.BrownoutFrom} {
		if !at.IsZero() {
			return at
		}
	}
	return l.Updated
}

// loginFieldPasses reports whether a field of the tenant's answer may go to a caller with a login. The tenant's challenge is to the gateway and would have the
// caller doubt his own password; what it says of its own end would be taken for that of the login. In stage observe the tenant speaks with the caller itself.
func (x *exchange) loginFieldPasses(f *wire.Field) bool {
	switch len(f.Name) {
	case len("WWW-Authenticate"):
		return x.basic.observed != nil || !sameHeader(f.Name, "WWW-Authenticate")
	case len("Deprecation"):
		return !x.warned() || !sameHeader(f.Name, "Deprecation")
	case len("Sunset"):
		return !x.warned() || !sameHeader(f.Name, "Sunset")
	}
	return true
}

func (x *exchange) warned() bool {
	return x.decision.Stage == identity.StageWarned || x.decision.Stage == identity.StageBrownout
}

// notice is what a refused caller is told in the problem document: why, until when, and how to move. Only who has the right password is told of its login.
func (x *exchange) notice(outcome record.Outcome) record.Notice {
	snap := x.server.core.Registry.Snapshot()
	policy, l := snap.LoginPolicy(), x.decision.Login
	switch outcome {
	case record.LoginClosed, record.LoginBrownout:
	case record.Unidentified, record.LoginRefused:
		return record.Notice{Contact: policy.Contact, Guide: policy.Guide}
	default:
		return record.Notice{}
	}
	n := record.Notice{Contact: cmp.Or(policy.Contact, snap.LoginOwner(l)), Guide: policy.Guide}
	var b strings.Builder
	switch {
	case x.decision.LockedOut:
		b.WriteString("This caller has a client certificate and has called with it: the login has ended for it, and not for others. If the password has to work once more, " +
			n.Contact + " can lift that. ")
	case outcome == record.LoginClosed:
		b.WriteString("This login has ended. ")
	default:
		n.Until = x.decision.Until
		x.retry = n.Until.Sub(x.access.Time)
		b.WriteString("This login is refused until " + n.Until.UTC().Format(time.RFC3339) + ", as announced, because it ends for good on " +
			l.Closes().UTC().Format(time.RFC3339) + ". Nothing was sent to the tenant. ")
	}
	b.WriteString("Call with a client certificate instead: ask " + n.Contact + " for one")
	if n.Guide != "" {
		b.WriteString(", as " + n.Guide + " describes")
	}
	b.WriteString(".")
	n.Detail = b.String()
	return n
}
