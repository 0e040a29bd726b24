package proxy

import (
	"crypto/tls"
	"fmt"

	"github.com/tenantgate/tenantgate/identity"
)

// shownCertificate is the id of the credential whose certificate connections to the tenant show, "" for none. It names one certificate for ever: with
// another credential the identity gets another pool, with no connection and no TLS session of the old one.
func shownCertificate(t *identity.Tenant, c *identity.Credential) string {
	if t.ClientCertificate != identity.ShowCredential {
		return ""
	}
	return c.ID
}

// show has the pool's connections show the credential's certificate.
func (p *pool) show(c *identity.Credential) error {
	if p.tls == nil {
		return fmt.Errorf("tenant %s is called without TLS, in which no certificate can be shown", p.tenant.Name)
	}
	pair, err := keyPair(c)
	if err != nil {
		return err
	}
	// Not Certificates: crypto/tls would silently send none if it chains to none of the authorities that the server names.
	p.tls.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	return nil
}

func keyPair(c *identity.Credential) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Secret.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("reading certificate of credential %s: %w", c.ID, err)
	}
	return &pair, nil
}
