package admin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// CertificateActor recognises administrators by a certificate of the admin profile. Its listener must ask for a client certificate
// (tls.RequestClientCert is enough, and lets health checks pass) and must issue no session tickets.
type CertificateActor struct {
	// Trust is what the certificate must chain to, asked for each request.
	Trust func() *pki.Trust
	// CA has the record of the certificate and says whether it is revoked.
	CA *pki.CA
}

// Actor returns the administrator's SPIFFE ID, "spiffe://TRUST-DOMAIN/admin/NAME", or why the sender is none. It is for [Server.Actor] and
// judges for each request anew, so that a revoked certificate ends its open connections too: it must be acceptable now, of the admin
// profile, and the very one that the CA has under its serial number, not revoked.
func (a *CertificateActor) Actor(r *http.Request) (string, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", errors.New("no certificate was shown")
	}
	if err := a.Trust().VerifyClient(r.TLS.PeerCertificates, time.Now()); err != nil {
		return "", err
	}
	leaf := r.TLS.PeerCertificates[0]
	profile, name, ok := pki.Subject(leaf, a.CA.TrustDomain())
	if !ok || profile != pki.AdminProfile().String() {
		return "", errors.New("the certificate is not of the admin profile")
	}
	known, err := a.CA.Certificate(r.Context(), pki.FormatSerial(leaf.SerialNumber))
	switch {
	case err != nil:
		return "", fmt.Errorf("looking up the certificate of administrator %q: %w", name, err)
	case known.Fingerprint != sha256.Sum256(leaf.Raw) || known.Profile != profile:
		return "", fmt.Errorf("the CA has another certificate under the serial number that administrator %q shows", name)
	case !known.RevokedAt.IsZero():
		return "", fmt.Errorf("the certificate of administrator %q is revoked", name)
	}
	return leaf.URIs[0].String(), nil
}
