package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
	"golang.org/x/time/rate"
)

// CA is an open certificate authority. Safe for concurrent use. It holds no goroutine and needs no Close;
// [ServerCerts], which it makes, does.
type CA struct {
	options Options
	node    string                   // a random name of this process
	lineage atomic.Pointer[lineage]  // its own certificates
	carrier *x509.CertificateRequest // see newCarrier
	answers answers                  // of OCSP
	unknown *rate.Limiter            // of OCSP answers about certificates that were not issued here

	turn   chan struct{}            // has one place, for whoever replaces the lineage or uses what follows
	files  files                    // in force
	keys   map[string]crypto.Signer // that were opened, by the ID of their certificate
	loaded time.Time
	beaten time.Time
}

// start makes the authority that signs as i, if there is none yet.
func (i *issuer) start(ca *CA, trust *Trust) error {
	if i.authority != nil {
		return nil
	}
	store := newStore(ca.options.DB, ca.options.DatabaseTimeout, i.id)
	made, err := authority.NewEmbedded(
		authority.WithConfig(&config.Config{AuthorityConfig: &config.AuthConfig{
			Backdate: &provisioner.Duration{Duration: backdate},
			// Tokens are not used; were they, this must be on (a restart refuses older ones otherwise).
			DisableIssuedAtCheck: true,
		}}),
		authority.WithX509RootCerts(trust.roots...),
		authority.WithX509SignerChain([]*x509.Certificate{i.cert}, i.signer),
		authority.WithDatabase(store),
		authority.WithQuietInit(),
	)
	if err != nil {
		return fmt.Errorf("starting the authority: %w", err)
	}
	i.authority, i.store = made, store
	return nil
}

// newCarrier makes the request that every signing passes to the authority. The authority insists on a PKCS#10 request
// with a valid signature and copies its content into the certificate; ours is empty, so that nothing of a caller's request
// can get in by that door. The profile's template then replaces the whole certificate. Possession of the caller's key has
// been proved to [ParseRequest].
func newCarrier() (*x509.CertificateRequest, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the carrier request: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making the carrier request: %w", err)
	}
	return x509.ParseCertificateRequest(der)
}

// Trust returns the roots and intermediates that are believed now. It changes with [Options].Changed.
func (ca *CA) Trust() *Trust { return ca.lineage.Load().trust }

// TrustDomain returns the authority part of the SPIFFE IDs this CA issues.
func (ca *CA) TrustDomain() string { return ca.options.TrustDomain }

// Now is the time by the CA's clock.
func (ca *CA) Now() time.Time { return ca.options.Now() }

// Intermediate returns the certificate that signs.
func (ca *CA) Intermediate() *x509.Certificate { return ca.signing().cert }

// signing returns the issuer that signs.
func (ca *CA) signing() *issuer { return ca.lineage.Load().signing() }
