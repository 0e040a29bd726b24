package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Question is a request that nobody sends: what would become of it?
type Question struct {
	Identity string
	// Login is the user name that the request would be sent with, on the bridge, and its right password; "" is a certificate.
	Login string
	// Certificate is what the caller would show, leaf first; nil is the identity's newest certificate that is valid, whose chain is taken for good.
	Certificate []*x509.Certificate
	Method      string
	Host        string
	Target      string     // path and query, as they would be sent
	Source      netip.Addr // where from; invalid is an address that no network holds
	BodySize    int64      // octets
	At          time.Time  // zero is now
}

// Explanation is the way of a request that nobody sends, as far as it can be known before it is: what the tenant and the token server would say cannot.
type Explanation struct {
	// Outcome is what [Core.Decide] and the limits say, with its cause: record.Served is that the request would be sent to the tenant.
	Outcome record.Outcome
	Cause   string
	// Steps are what was looked at, in the order of a request. Those behind one that fails are looked at all the same, as far as that makes sense.
	Steps []ExplainedStep
}

// ExplainedStep is one thing that was looked at.
type ExplainedStep struct {
	Name   string // a word: "certificate", "route", "window"
	State  string // "pass", "fail" or "skip"
	Reason string
	// Outcome is what a failed step ends the request with.
	Outcome record.Outcome
	// Change is the command that would change a failed step; "" when there is none.
	Change string
}

// States of a step.
const (
	StepPass = "pass"
	StepFail = "fail"
	StepSkip = "skip"
)

// explainer collects the steps of one explanation.
type explainer struct {
	s    *Server
	q    *Question
	snap *identity.Snapshot
	id   *identity.Identity
	at   time.Time
	ask  Request
	path Decision // of the stages that are asked one by one
	out  Explanation

	login    *identity.Login // nil: it is asked about a certificate
	observed bool            // the login's requests go to the tenant as they come
}

func (e *explainer) pass(name, format string, args ...any) {
	e.out.Steps = append(e.out.Steps, ExplainedStep{Name: name, State: StepPass, Reason: fmt.Sprintf(format, args...), Outcome: record.Served})
}

func (e *explainer) skip(name, format string, args ...any) {
	e.out.Steps = append(e.out.Steps, ExplainedStep{Name: name, State: StepSkip, Reason: fmt.Sprintf(format, args...), Outcome: record.Served})
}

func (e *explainer) fail(name string, o record.Outcome, change, format string, args ...any) {
	e.out.Steps = append(e.out.Steps, ExplainedStep{Name: name, State: StepFail, Reason: fmt.Sprintf(format, args...), Outcome: o, Change: change})
}

// Explain answers a question. The verdict is that of [Core.Decide] on the request, so that it is the one that a caller would get; the steps come from
// the stages that Decide is made of. It changes nothing: no rate and no quota is spent.
func (s *Server) Explain(q *Question) Explanation {
	e := &explainer{s: s, q: q, snap: s.cfg.Registry.Snapshot(), at: q.At}
	if e.at.IsZero() {
		e.at = s.cfg.Now()
	}
	var ok bool
	if e.id, ok = e.snap.Identity(q.Identity); !ok {
		e.fail("identity", record.Unidentified, "tenantgate identity add "+q.Identity+" --owner TEAM", "there is no identity %q", q.Identity)
		e.out.Outcome, e.out.Cause = record.Unidentified, "there is no such identity"
		return e.out
	}
	e.ask = Request{Source: q.Source, Host: q.Host, Method: q.Method, Target: q.Target, Length: q.BodySize, Now: e.at}
	mine := e.who()
	e.identity()
	if !e.observed {
		e.policy()
	}
	e.request()
	e.out.Outcome = record.Served
	if !mine {
		first := e.failed()
		e.out.Outcome, e.out.Cause = first.Outcome, "the "+first.Name+" is not one of this identity"
		return e.out
	}
	var d Decision
	s.core.Decide(&e.ask, &d)
	e.out.Outcome, e.out.Cause = d.Outcome, d.Cause
	if first := e.failed(); d.Outcome != record.Served && first == nil { // a stage of Decide that no step shows
		e.fail("decision", d.Outcome, "", "%s", d.Cause)
	}
	if e.observed { // the limits and credentials are the identity's, as whom it does not go
		e.foresight(&d)
		return e.out
	}
	e.limits()
	e.tenant()
	if first := e.failed(); e.out.Outcome == record.Served && first != nil {
		e.out.Outcome, e.out.Cause = first.Outcome, first.Reason
	}
	return e.out
}

// who looks at what says who calls. It reports whether that is the identity, if anybody.
func (e *explainer) who() (mine bool) {
	if e.q.Login != "" {
		return e.claim()
	}
	e.ask.Peer = e.peer()
	return e.certificate()
}

// failed is the first step that failed, nil when none did.
func (e *explainer) failed() *ExplainedStep {
	for i := range e.out.Steps {
		if e.out.Steps[i].State == StepFail {
			return &e.out.Steps[i]
		}
	}
	return nil
}

// peer is who would be on the connection. With a certificate that is given, its chain is verified as in a handshake; of one out of the registry only
// what is there is known.
func (e *explainer) peer() *Peer {
	if e.q.Certificate != nil {
		p, err := newPeer(tls.ConnectionState{PeerCertificates: e.q.Certificate}, nil) // no bundle has verified it
		if err != nil {
			return nil
		}
		return p
	}
	var best *identity.Certificate
	for _, c := range e.snap.Certificates(e.id.Name) {
		valid := func(c *identity.Certificate) bool {
			return !c.Revoked() && !e.at.After(c.NotAfter) && !e.at.Before(c.NotBefore)
		}
		if best == nil || valid(c) && !valid(best) {
			best = c // they come with the newest first
		}
	}
	if best == nil {
		return nil
	}
	return &Peer{Fingerprint: best.Fingerprint, Serial: best.Serial, NotBefore: best.NotBefore, NotAfter: best.NotAfter, trust: e.s.cfg.Trust()}
}

// certificate looks at what the caller shows. It reports whether that is the identity's, if anybody's.
func (e *explainer) certificate() (mine bool) {
	issue := "tenantgate cert token " + e.id.Name
	if e.ask.Peer == nil {
		e.fail("certificate", record.Unidentified, issue, "the identity has no certificate")
		return true
	}
	b, err := identify(e.snap, e.s.cfg.Trust(), e.ask.Peer, e.at)
	switch {
	case err != nil:
		e.fail("certificate", record.Unidentified, issue, "%s: %v", e.ask.Peer.Serial, err)
	case b.Identity.Name != e.id.Name:
		e.fail("certificate", record.Unidentified, "tenantgate explain "+b.Identity.Name+" ...", "%s is bound to identity %s", e.ask.Peer.Serial,
			b.Identity.Name)
		return false
	case e.q.Certificate == nil:
		e.pass("certificate", "%s, valid until %s", e.ask.Peer.Serial, e.ask.Peer.NotAfter.UTC().Format(time.DateTime))
	default:
		e.pass("certificate", "%s leads to the CA, is bound and not revoked", e.ask.Peer.Serial)
	}
	return true
}

func (e *explainer) identity() {
	if e.id.Disabled {
		e.fail("identity", record.Denied, "tenantgate identity enable "+e.id.Name, "it is disabled")
		return
	}
	e.pass("identity", "it is enabled")
}

// policy looks at networks and windows, each by itself.
func (e *explainer) policy() {
	p := e.id.CallPolicy()
	set := "tenantgate identity set " + e.id.Name
	switch {
	case len(e.id.Networks) == 0:
		e.pass("network", "it may call from everywhere")
	case p.AllowsFrom(e.q.Source):
		e.pass("network", "%s is in %s", e.q.Source, strings.Join(e.id.Networks, ", "))
	case !e.q.Source.IsValid():
		e.fail("network", record.NetworkDenied, "", "it may call from %s only, and no address is given (--from)", strings.Join(e.id.Networks, ", "))
	default:
		e.fail("network", record.NetworkDenied, set+" --network "+strings.Join(append(e.id.Networks[:len(e.id.Networks):len(e.id.Networks)],
			e.q.Source.Unmap().WithZone("").String()), ","),
			"%s is not in %s", e.q.Source, strings.Join(e.id.Networks, ", "))
	}
	windows := strings.Join(e.id.CallingWindows, "; ")
	switch {
	case len(e.id.CallingWindows) == 0:
		e.pass("window", "it may call at any time")
	case p.OpenAt(e.at):
		e.pass("window", "%s is in %s", e.at.UTC().Format("Mon 2006-01-02 15:04Z"), windows)
	default:
		next := "never opens"
		if at := p.NextOpening(e.at); !at.IsZero() {
			next = "opens " + at.UTC().Format("Mon 2006-01-02 15:04Z")
		}
		e.fail("window", record.OutsideWindow, set+" --calling-window 'DAYS HH:MM-HH:MM ZONE'", "%s is not in %s, which %s",
			e.at.UTC().Format("Mon 2006-01-02 15:04Z"), windows, next)
	}
}

// request asks the stages of the core for what is asked for, as if the caller were identified.
func (e *explainer) request() {
	enabled := *e.id
	enabled.Disabled = false // that is another step
	d := &e.path
	d.Outcome, d.Binding = record.Served, &identity.Binding{Identity: &enabled, Certificate: &identity.Certificate{}, Login: e.login}
	if d.Login = e.login; e.login != nil {
		d.Stage = e.login.StageAt(e.at)
	}
	ask := e.ask
	if ask.Peer == nil {
		ask.Peer = &Peer{}
	}
	if e.s.core.parse(&ask, d); d.Outcome != record.Served {
		e.fail("request", d.Outcome, "", "%s", d.Cause)
		e.skip("route", "the request cannot be read in one way")
		return
	}
	e.pass("request", "it can be read in one way only")
	e.s.core.authorize(e.snap, &ask, d)
	switch {
	case d.Route == nil && d.Outcome == record.MethodNotAllowed:
		e.fail("route", d.Outcome, "tenantgate route list", "%s has routes for %s, and not for %s", d.Path, strings.Join(d.Allow, ", "), e.q.Method)
		return
	case d.Route == nil:
		e.fail("route", d.Outcome, "tenantgate route add NAME --path "+d.Path+" --methods "+e.q.Method+" --tenant TENANT --role ROLE",
			"%s", d.Cause)
		return
	}
	role := d.Route.Route.Role
	e.pass("route", "%s leads to tenant %s", d.Route.Route.Name, d.Route.Tenant.Name)
	switch {
	case d.Outcome == record.Served && e.observed:
		e.pass("role", "a login that is observed needs none")
	case d.Outcome == record.Served:
		e.pass("role", "it holds %s", role)
	case e.login != nil && !e.login.AllowsRoute(d.Route.Route.Name):
		e.fail("role", d.Outcome, "tenantgate login set "+e.login.User+" --route "+d.Route.Route.Name, "the login may not use route %s", d.Route.Route.Name)
	case e.login != nil && !d.Binding.HasRole(role) && slices.Contains(e.id.Roles, role):
		e.fail("role", d.Outcome, "tenantgate login set "+e.login.User+" --role "+role, "the route requires %s, which the identity holds and the login may not use", role)
	default:
		e.fail("role", d.Outcome, "tenantgate identity set "+e.id.Name+" --add-role "+role, "the route requires %s, which the identity does not hold", role)
	}
	d.Outcome = record.Served
	if checkBody(&ask, d); d.Outcome != record.Served {
		change := "tenantgate route set " + d.Route.Route.Name + " --max-body " + strconv.FormatInt(e.q.BodySize, 10)
		if d.bodyLimit() != d.Route.MaxBody {
			change = "tenantgate identity set " + e.id.Name + " --max-body " + strconv.FormatInt(e.q.BodySize, 10)
		}
		e.fail("body", d.Outcome, change, "%s", d.Cause)
		return
	}
	if limit := d.bodyLimit(); limit >= 0 {
		e.pass("body", "%d octets of %d", e.q.BodySize, limit)
		return
	}
	e.pass("body", "any size may come")
}
