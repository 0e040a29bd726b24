package proxy

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// Peer is who is on a connection, as far as TLS says: a certificate that was acceptable when the handshake ended. It says nothing about what the
// caller may do now; [Core.Decide] asks that for every request. A Peer is immutable.
type Peer struct {
	Fingerprint identity.Fingerprint
	Serial      string // lower-case hexadecimal
	Authority   string // the name of the CA that it leads to, "" for our own
	ServerName  string // SNI in lower case, "" when the caller sent none
	NotBefore   time.Time
	NotAfter    time.Time

	chain []*x509.Certificate // as shown, leaf first
	trust *pki.Trust          // what the chain was verified against
	last  *identity.LastCall  // where calls are noted; nil where they are not, and of an outsider

	outsider *outsider // nil when our own CA issued the certificate
}

// note notes a call for which identify has found somebody.
func (p *Peer) note(now time.Time) {
	if p.outsider != nil {
		p.outsider.memo.Load().last.Note(now)
		return
	}
	p.last.Note(now)
}

// anonymous reports whether TLS says nothing about who it is. Only on the bridge there are such peers, and only a login can stand for them.
func (p *Peer) anonymous() bool { return len(p.chain) == 0 && p.Fingerprint == identity.Fingerprint{} }

// newAnonymous describes the other end of a handshake without a certificate. No fingerprint is bound to it: it is nobody to the core.
func newAnonymous(state tls.ConnectionState, trust *pki.Trust) *Peer {
	return &Peer{ServerName: normalHost(state.ServerName), trust: trust}
}

// newPeer describes the other end of a finished handshake.
func newPeer(state tls.ConnectionState, trust *pki.Trust) (*Peer, error) {
	if len(state.PeerCertificates) == 0 {
		return nil, &peerError{"no client certificate was presented"}
	}
	leaf := state.PeerCertificates[0]
	return &Peer{
		Fingerprint: sha256.Sum256(leaf.Raw),
		Serial:      pki.FormatSerial(leaf.SerialNumber),
		ServerName:  normalHost(state.ServerName),
		NotBefore:   leaf.NotBefore,
		NotAfter:    leaf.NotAfter,
		chain:       state.PeerCertificates,
		trust:       trust,
	}, nil
}

// peerError is why a certificate does not identify anybody.
type peerError struct{ cause string }

func (e *peerError) Error() string { return e.cause }

// identify answers who the peer is now: the first stage of a request, and the last step of a handshake. The certificate must chain to what is trusted
// now, be inside its validity, be bound to an identity by its full fingerprint, and not be revoked. One of another CA is judged by that CA's rules alone.
func identify(snap *identity.Snapshot, trust *pki.Trust, p *Peer, now time.Time) (*identity.Binding, error) {
	switch {
	case p.anonymous():
		return nil, &peerError{"no client certificate was presented"}
	case p.outsider != nil:
		return p.outsider.identify(snap, trust, now)
	}
	if p.trust != trust { // the bundle was replaced after the handshake
		if err := trust.VerifyClient(p.chain, now); err != nil {
			return nil, &peerError{"certificate is not acceptable: " + err.Error()}
		}
	}
	if now.After(p.NotAfter) {
		return nil, &peerError{"certificate has expired"}
	}
	if now.Before(p.NotBefore) {
		return nil, &peerError{"certificate is not valid yet"}
	}
	b, ok := snap.Binding(p.Fingerprint)
	if !ok {
		return nil, &peerError{"certificate is not bound to an identity"}
	}
	if !b.Certificate.RevokedAt.IsZero() {
		return nil, &peerError{"certificate is revoked"}
	}
	return b, nil
}

// nameOf is whom a peer's certificate stands for, as far as that is known, also when it is not accepted; for records.
func nameOf(snap *identity.Snapshot, p *Peer) string {
	if p.outsider != nil {
		return p.outsider.name()
	}
	if b, ok := snap.Binding(p.Fingerprint); ok {
		return b.Identity.Name
	}
	return ""
}
