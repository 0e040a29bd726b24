package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
)

// Keep sets how long connections to tenants are kept, for tests that cannot wait for minutes. A zero value leaves what a server does.
func (c *Config) Keep(idleLife, maxAge, warmFor time.Duration) {
	c.keep.idleLife, c.keep.maxAge, c.keep.warmFor, c.keep.tend = idleLife, maxAge, warmFor, 10*time.Millisecond
}

// Resolve sets how tenants' names are resolved.
func (c *Config) Resolve(r *net.Resolver) { c.keep.resolver = r }

// NewPeer is a peer whose handshake ended well, for benchmarks of the core.
func NewPeer(leaf *x509.Certificate, serverName string, trust *pki.Trust) *Peer {
	return &Peer{
		Fingerprint: identity.FingerprintOf(leaf.Raw), Serial: pki.FormatSerial(leaf.SerialNumber), ServerName: serverName,
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, chain: []*x509.Certificate{leaf}, trust: trust,
	}
}

// NewOutsider is a peer with a certificate of another CA whose handshake ended well.
func NewOutsider(v *external.Verifier, cert tls.Certificate) *Peer {
	p := &Peer{Fingerprint: identity.FingerprintOf(cert.Leaf.Raw), Serial: pki.FormatSerial(cert.Leaf.SerialNumber)}
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		p.chain = append(p.chain, c)
	}
	p.outsider = &outsider{verifier: v, chain: p.chain}
	return p
}
