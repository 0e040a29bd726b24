package external

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// revocation says whether no certificate of a path is blocked or revoked, as far as the authority wants that found out. It notes in the verdict how, and until
// when that holds.
func (v *Verifier) revocation(a *authority, path []*x509.Certificate, verdict *Verdict, now time.Time) error {
	for _, c := range path {
		if serial := pki.FormatSerial(c.SerialNumber); a.entry.Blocked(serial, identity.FingerprintOf(c.Raw)) {
			return &RejectedError{Reason: Blocked, Detail: fmt.Sprintf("%s (serial %s) is blocked", name(c), serial)}
		}
	}
	var how []string
	if a.entry.Authority.ChecksCRL() {
		said, err := a.lookUp(path, verdict, now)
		if err != nil {
			return err
		}
		how = append(how, said)
	}
	if a.entry.Authority.ChecksOCSP() {
		said, err := v.ask(a, verdict, now)
		if err != nil {
			return err
		}
		how = append(how, said)
	}
	if verdict.Revocation = strings.Join(how, "; "); verdict.Revocation == "" {
		verdict.Revocation = "not checked: the authority has neither revocation list nor responder"
	}
	return nil
}

// lookUp looks the certificates of a path up in the lists of their issuers. The caller's issuer must have one.
func (a *authority) lookUp(path []*x509.Certificate, verdict *Verdict, now time.Time) (string, error) {
	unsafe := a.entry.Authority.CRLOnStale == identity.OnFaultAccept
	var said []string
	doubt := func(format string, args ...any) error {
		said = append(said, fmt.Sprintf(format, args...))
		if unsafe {
			return nil
		}
		return &RejectedError{Reason: pki.BadCRL, Detail: said[len(said)-1]}
	}
	for i := range path[:len(path)-1] {
		if at, listed := a.listed(path[i], path[i+1]); listed {
			return "", &RejectedError{Reason: pki.Revoked, Detail: fmt.Sprintf("%s (serial %s) was revoked on %s by the list of its issuer", name(path[i]), pki.FormatSerial(path[i].SerialNumber),
				at.UTC().Format(time.RFC3339))}
		}
	}
	if _, awaited := a.lists(); len(awaited) > 0 {
		if err := doubt("no revocation list has come from %s yet", strings.Join(awaited, ", ")); err != nil {
			return "", err
		}
	}
	for i := range path[:len(path)-1] {
		l := a.newest(path[i+1])
		switch {
		case l == nil && i == 0:
			if err := doubt("there is no revocation list of %s", name(path[1])); err != nil {
				return "", err
			}
		case l == nil:
		case !now.Before(l.stored.NextUpdate):
			if err := doubt("the revocation list of %s went stale on %s", l.stored.Issuer, l.stored.NextUpdate.UTC().Format(time.RFC3339)); err != nil {
				return "", err
			}
		default:
			said = append(said, fmt.Sprintf("not on list %s of %s, good until %s", l.stored.Number, l.stored.Issuer, l.stored.NextUpdate.UTC().Format(time.RFC3339)))
			if !unsafe {
				verdict.Until = earlier(verdict.Until, l.stored.NextUpdate)
			}
		}
	}
	return strings.Join(said, "; "), nil
}

// listed reports whether any list of the issuer, stale or not, names the certificate.
func (a *authority) listed(c, issuer *x509.Certificate) (time.Time, bool) {
	serial := pki.FormatSerial(c.SerialNumber)
	lists, _ := a.lists()
	for _, l := range lists {
		if at, ok := l.revoked[serial]; ok && l.by(issuer) {
			return at, true
		}
	}
	return time.Time{}, false
}

// newest is the issuer's list that holds the longest; nil when there is none.
func (a *authority) newest(issuer *x509.Certificate) *list {
	lists, _ := a.lists()
	var found *list
	for _, l := range lists {
		if l.by(issuer) && (found == nil || l.stored.NextUpdate.After(found.stored.NextUpdate)) {
			found = l
		}
	}
	return found
}

// ask takes what the responder has said about the caller's certificate.
func (v *Verifier) ask(a *authority, verdict *Verdict, now time.Time) (string, error) {
	accept := a.entry.Authority.OCSPOnFailure == identity.OnFaultAccept
	url := responderOf(a.entry.Authority, verdict.leaf)
	problem := "the certificate names no responder that could be asked"
	if url != "" {
		answer := v.ocsp.look(a.entry.Authority.Name, url, verdict.leaf, verdict.issuer, now)
		// A verdict ends when it is time to ask again, so that a connection that stays open learns of a revocation, too.
		lookAgain := func() { verdict.Until = earlier(verdict.Until, later(answer.next, now.Add(time.Second))) }
		switch {
		case answer.verdict.Status == "revoked":
			return "", &RejectedError{Reason: pki.Revoked, Detail: fmt.Sprintf("%s (serial %s) was revoked on %s, says its responder", name(verdict.leaf), pki.FormatSerial(verdict.leaf.SerialNumber),
				answer.verdict.RevokedAt.UTC().Format(time.RFC3339))}
		case answer.verdict.Status == "unknown":
			return "", &RejectedError{Reason: NotRevealed, Detail: "the responder does not know the certificate"}
		case answer.verdict.Status == "good":
			if !accept {
				verdict.Until = earlier(verdict.Until, answer.verdict.NextUpdate)
			}
			lookAgain()
			return "good, says " + url + ", until " + answer.verdict.NextUpdate.UTC().Format(time.RFC3339), nil
		case answer.asking:
			verdict.Pending, verdict.Optional, verdict.Until = true, accept, now
			return url + " is being asked", nil
		}
		problem = url + " gives no answer: " + answer.problem
		lookAgain()
	}
	if accept {
		return problem, nil
	}
	return "", &RejectedError{Reason: NotRevealed, Detail: problem}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// responderOf is where to ask about a certificate; "" is nowhere.
func responderOf(a *identity.Authority, leaf *x509.Certificate) string {
	if a.OCSPURL != "" || !a.OCSPFromCertificate {
		return a.OCSPURL
	}
	for _, url := range leaf.OCSPServer {
		if len(url) <= 1024 && (strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://")) {
			return url
		}
	}
	return ""
}

func name(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return s
	}
	return "the certificate without a subject"
}
