package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
)

// outsider is the part of a [Peer] whose certificate is of another CA: whom it stands for is found by rules, not by a binding, and may change with each of
// them. What was found last is kept until the registry, our bundle, a responder's answer or the time makes it doubtful.
type outsider struct {
	verifier *external.Verifier
	calls    *identity.Calls // nil where none is noted
	chain    []*x509.Certificate
	memo     atomic.Pointer[outsiderMemo]
}

// outsiderMemo is what was found, and all that it was found by.
type outsiderMemo struct {
	snap        *identity.Snapshot
	trust       *pki.Trust
	changes     uint64
	from, until time.Time

	verdict *external.Verdict // nil when there is err
	binding *identity.Binding
	last    *identity.LastCall
	named   string // also when it is refused; for records
	err     error
}

// again is how long a refusal is kept that might end by itself.
const again = time.Second

// identify is identify for certificates of other CAs. It takes no lock and allocates nothing while nothing changes.
func (o *outsider) identify(snap *identity.Snapshot, trust *pki.Trust, now time.Time) (*identity.Binding, error) {
	m := o.memo.Load()
	if m == nil || m.snap != snap || m.trust != trust || m.changes != o.verifier.Changes() || !now.Before(m.until) || now.Before(m.from) {
		m = o.look(m, snap, trust, now)
		o.memo.Store(m)
	}
	return m.binding, m.err
}

// name is whom the certificate stood for when that was last looked at.
func (o *outsider) name() string {
	if m := o.memo.Load(); m != nil {
		return m.named
	}
	return ""
}

// look finds anew whom the certificate stands for. A change that touches no authority keeps the verdict and asks for the identity only.
func (o *outsider) look(last *outsiderMemo, snap *identity.Snapshot, trust *pki.Trust, now time.Time) *outsiderMemo {
	m := &outsiderMemo{snap: snap, trust: trust, changes: o.verifier.Changes(), from: now.Add(-again), until: now.Add(again)}
	verdict := (*external.Verdict)(nil)
	if last != nil && last.verdict != nil && last.snap.Authorities() == snap.Authorities() && last.trust == trust && last.changes == m.changes &&
		now.Before(last.verdict.Until) && !now.Before(last.verdict.From) {
		verdict = last.verdict
	} else if v, err := o.verifier.Judge(snap.Authorities(), o.chain, now); err != nil {
		m.err = &peerError{"certificate is not acceptable: " + err.Error()}
		if r, ok := errors.AsType[*external.RejectedError](err); ok {
			m.named = r.Identity
		}
		return m
	} else {
		verdict = v
	}
	return o.conclude(m, verdict, now)
}

// conclude notes whom a verdict names, as the registry has him.
func (o *outsider) conclude(m *outsiderMemo, verdict *external.Verdict, now time.Time) *outsiderMemo {
	snap := m.snap
	m.named = verdict.Identity
	if verdict.Pending && !verdict.Optional {
		m.until = now
		m.err = &peerError{"authority " + verdict.Authority + ": the answer of its responder is awaited"}
		return m
	}
	holder, ok := snap.Identity(verdict.Identity)
	if !ok {
		m.err = &peerError{"authority " + verdict.Authority + ": there is no identity " + verdict.Identity + ", which the mapping names"}
		return m
	}
	leaf := o.chain[0]
	m.verdict, m.from, m.until = verdict, verdict.From, verdict.Until
	if o.calls != nil {
		m.last = o.calls.OfIdentity(holder.Name)
	}
	m.binding = &identity.Binding{Identity: holder, Certificate: &identity.Certificate{
		Fingerprint: identity.FingerprintOf(leaf.Raw), Identity: holder.Name, Serial: pki.FormatSerial(leaf.SerialNumber), Subject: leaf.Subject.String(),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}}
	return m
}

// admit judges a certificate that our own CA did not issue, at the end of a handshake.
func (s *Server) admit(p *Peer, snap *identity.Snapshot, trust *pki.Trust) (*external.Verdict, error) {
	now := s.cfg.Now()
	m := &outsiderMemo{snap: snap, trust: trust, changes: s.cfg.External.Changes(), from: now.Add(-again), until: now.Add(again)}
	verdict, err := s.cfg.External.Judge(snap.Authorities(), p.chain, now)
	refused := &refusedPeer{serial: p.Serial, serverName: p.ServerName, cause: err}
	if err != nil {
		if r, ok := errors.AsType[*external.RejectedError](err); ok {
			refused.authority, refused.identity = r.Authority, r.Identity
		}
	} else {
		p.Authority, p.outsider = verdict.Authority, &outsider{verifier: s.cfg.External, calls: s.cfg.Registry.Calls(), chain: p.chain}
		refused.authority, refused.identity = verdict.Authority, verdict.Identity
		m = p.outsider.conclude(m, verdict, now)
		p.outsider.memo.Store(m)
		refused.cause = m.err
	}
	if refused.cause == nil || verdict != nil && verdict.Pending { // see settle
		return verdict, nil
	}
	s.cfg.External.Note(refused.authority, refused.identity, refused.cause, p.chain[0], now)
	return nil, refused
}

// settle finds, behind the handshake, whose peer it is. A responder's answer is awaited here, where the caller holds no place to compute in; without one, the
// caller's first request is refused with a document that says so.
func (s *Server) settle(ctx context.Context, p *Peer) {
	snap, trust := s.cfg.Registry.Snapshot(), s.cfg.Trust()
	if s.cfg.External == nil || snap.Authorities() == nil || trust.VerifyClient(p.chain, s.cfg.Now()) == nil {
		return
	}
	verdict, err := s.admit(p, snap, trust)
	if err != nil { // it was accepted a moment ago: the caller is told with his first request, which is judged anew
		if r, ok := err.(*refusedPeer); ok {
			p.Authority = r.authority
		}
		p.outsider = &outsider{verifier: s.cfg.External, calls: s.cfg.Registry.Calls(), chain: p.chain}
		return
	}
	if verdict.Pending {
		if e, ok := snap.Authorities().Find(verdict.Authority); ok {
			s.cfg.External.Await(ctx, e.Authority, verdict)
		}
	}
	_, err = p.outsider.identify(s.cfg.Registry.Snapshot(), trust, s.cfg.Now())
	s.cfg.External.Note(p.Authority, p.outsider.name(), err, p.chain[0], s.cfg.Now())
}

// recheck looks at all connections of other CAs' callers: what was revoked, or cannot be found out any more, is cut. Those of our own CA are told of by the
// registry.
func (s *Server) recheck() {
	snap, trust := s.cfg.Registry.Snapshot(), s.cfg.Trust()
	if s.cfg.External == nil || snap.Authorities() == nil {
		return
	}
	for _, c := range s.identified() {
		if c.peer.outsider == nil {
			continue
		}
		if _, err := identify(snap, trust, c.peer, s.cfg.Now()); err != nil {
			c.cut(&cutError{err.Error()})
		}
	}
}
