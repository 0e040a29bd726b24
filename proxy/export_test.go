package proxy

import (
	"crypto/x509"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// NewPeer is a peer whose handshake ended well, for benchmarks of the core.
func NewPeer(leaf *x509.Certificate, serverName string, trust *pki.Trust) *Peer {
	return &Peer{
		Fingerprint: identity.FingerprintOf(leaf.Raw), Serial: pki.FormatSerial(leaf.SerialNumber), ServerName: serverName,
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, chain: []*x509.Certificate{leaf}, trust: trust,
	}
}
