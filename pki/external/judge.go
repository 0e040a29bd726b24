package external

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// Verifier judges certificates of other CAs. Its methods are safe for concurrent use. Create one with [NewVerifier].
type Verifier struct {
	own         func() *pki.Trust
	trustDomain string
	compiler    compiler
	ocsp        responders
	seen        seen
	changes     atomic.Uint64
}

// NewVerifier returns one. own is our own CA's bundle, now, and trustDomain its trust domain: nobody else gives names of it.
func NewVerifier(own func() *pki.Trust, trustDomain string) *Verifier {
	v := &Verifier{own: own, trustDomain: trustDomain}
	v.ocsp.changed = func() { v.changes.Add(1) }
	v.ocsp.client = newClient(true)
	return v
}

// OnRevocation has fn called when a responder says of a certificate, about which it said otherwise before, that it was revoked. Call it before anything else.
func (v *Verifier) OnRevocation(fn func()) {
	v.ocsp.changed = func() {
		v.changes.Add(1)
		fn()
	}
}

// Changes counts what responders have told: a verdict from before the last change is to be found anew.
func (v *Verifier) Changes() uint64 { return v.changes.Load() }

// Verdict is for whom a certificate stands. It holds for as long as the authorities of the registry, our own bundle and [Verifier.Changes] are the same, from From
// until Until.
type Verdict struct {
	Authority string
	Identity  string // a name; whether there is an identity of that name, and whether it is enabled, the registry says
	Mapping   identity.Mapping
	// Revocation says how it was found out whether the certificate was revoked, for people.
	Revocation string
	// Pending says that the responder's answer is awaited: until it is there, the certificate stands for nobody, unless the answer is Optional
	// (unsafe_accept).
	Pending, Optional bool
	// From and Until are when the verdict is true; afterwards it is to be found anew.
	From, Until time.Time

	leaf, issuer *x509.Certificate
}

// RejectedError says why a certificate stands for nobody.
type RejectedError struct {
	// Authority is to whom the certificate leads, Identity whom a rule names; "" when it did not come so far.
	Authority, Identity string
	// Reason is a word, for metrics and exit messages; Detail is for operators, not for the caller on the wire.
	Reason pki.Reason
	Detail string
}

// The reasons beside those of package pki.
const (
	NoRule        pki.Reason = "no_rule"         // no mapping fits
	Ambiguous     pki.Reason = "ambiguous"       // mappings to different identities fit
	Foreign       pki.Reason = "foreign_name"    // it claims what only our own CA gives, or several SPIFFE IDs
	Blocked       pki.Reason = "blocked"         // an administrator refuses it
	NotRevealed   pki.Reason = "unknown_status"  // whether it was revoked cannot be found out
	TurnedOff     pki.Reason = "disabled"        // the authority is disabled
	NoSuchSubject pki.Reason = "unknown_subject" // a template names an identity that does not exist
)

// Error returns what a record says.
func (e *RejectedError) Error() string {
	if e.Authority == "" {
		return e.Detail
	}
	return "authority " + e.Authority + ": " + e.Detail
}

// Judge says for whom chain (leaf first) stands at the time now by the authorities of a snapshot, or returns a *[RejectedError] that says why for nobody. It asks no
// network: what a responder has not told yet is [Verdict.Pending], or a refusal after it has failed. The bundle of our own CA must have been asked before: what it
// accepts is not for this.
func (v *Verifier) Judge(of *identity.Authorities, chain []*x509.Certificate, now time.Time) (*Verdict, error) {
	var found *Verdict
	var refused, unfit *RejectedError // by an authority with a rule; by one without
	for _, a := range v.compiler.get(of) {
		verdict, err := v.judgeBy(a, chain, now)
		var r *RejectedError
		switch {
		case errors.As(err, &r) && r.Identity != "":
			refused = cmp.Or(refused, r)
		case errors.As(err, &r):
			if unfit == nil || unfit.Reason == pki.Untrusted {
				unfit = r
			}
		case found != nil && found.Identity != verdict.Identity:
			return nil, &RejectedError{Authority: verdict.Authority, Reason: Ambiguous, Detail: fmt.Sprintf("the certificate leads to authority %s, too, where it stands for %s and not for %s",
				found.Authority, found.Identity, verdict.Identity)}
		case found == nil:
			found = verdict
		default: // several authorities agree: the stricter end holds
			found.Pending, found.Optional = found.Pending || verdict.Pending, found.Optional && verdict.Optional
			found.Until = earlier(found.Until, verdict.Until)
		}
	}
	switch {
	case refused != nil: // whoever has a rule for it has a say
		return nil, refused
	case found != nil:
		return found, nil
	case unfit != nil:
		return nil, unfit
	}
	return nil, &RejectedError{Reason: pki.Untrusted, Detail: "no path to a trusted root"}
}

// judgeBy is Judge by one authority.
func (v *Verifier) judgeBy(a *authority, chain []*x509.Certificate, now time.Time) (*Verdict, error) {
	name := a.entry.Authority.Name
	reject := func(reason pki.Reason, who, format string, args ...any) error {
		return &RejectedError{Authority: name, Identity: who, Reason: reason, Detail: fmt.Sprintf(format, args...)}
	}
	if a.problem != nil {
		return nil, reject(pki.Untrusted, "", "its certificates cannot be used: %v", a.problem)
	}
	if !a.leadsHere(chain) { // most certificates are another authority's, and looking for paths is work
		return nil, &RejectedError{Reason: pki.Untrusted, Detail: "no path to a trusted root"}
	}
	paths, err := a.trust.Paths(chain, now)
	var invalid *pki.RejectedError
	switch {
	case errors.As(err, &invalid):
		if invalid.Reason == pki.Untrusted {
			return nil, &RejectedError{Reason: pki.Untrusted, Detail: err.Error()}
		}
		return nil, &RejectedError{Reason: invalid.Reason, Detail: err.Error()}
	case err != nil:
		return nil, reject(pki.Untrusted, "", "%v", err)
	}
	if a.entry.Authority.Disabled {
		return nil, reject(TurnedOff, "", "it is disabled")
	}
	own := v.own()
	for _, path := range paths {
		for _, c := range path {
			if isOurs(c, own) {
				return nil, reject(Foreign, "", "the path leads through our own CA, for which nobody else speaks")
			}
		}
	}
	marks, err := marksOf(chain[0], v.trustDomain)
	if err != nil {
		return nil, reject(Foreign, "", "%v", err)
	}
	matches := a.entry.Matches(marks)
	if len(matches) == 0 {
		return nil, reject(NoRule, "", "no mapping fits the certificate")
	}
	for _, m := range matches[1:] {
		if m.Identity != matches[0].Identity {
			return nil, reject(Ambiguous, "", "the certificate stands for %s by %s and for %s by %s", matches[0].Identity, matches[0].Mapping.Kind, m.Identity, m.Mapping.Kind)
		}
	}
	who := matches[0].Identity
	var last error
	for _, path := range paths { // any path that stands is enough: others may lead through a CA that was replaced or revoked
		verdict := &Verdict{Authority: name, Identity: who, Mapping: *matches[0].Mapping, leaf: path[0], issuer: path[1]}
		verdict.From, verdict.Until = period(path)
		if last = v.revocation(a, path, verdict, now); last == nil {
			return verdict, nil
		}
	}
	var r *RejectedError
	if errors.As(last, &r) {
		r.Authority, r.Identity = name, who
	}
	return nil, last
}

// leadsHere reports whether a certificate of the chain names one of the authority's as its issuer: without, there is no path.
func (a *authority) leadsHere(chain []*x509.Certificate) bool {
	for _, c := range chain {
		if c != nil && a.names[string(c.RawIssuer)] {
			return true
		}
	}
	return false
}

// period is when all certificates of a path are valid.
func period(path []*x509.Certificate) (from, until time.Time) {
	from, until = path[0].NotBefore, path[0].NotAfter
	for _, c := range path[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		until = earlier(until, c.NotAfter)
	}
	return from, until
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
