package pki

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
	"golang.org/x/time/rate"
)

// CA is an open certificate authority. Safe for concurrent use. It holds no goroutine and needs no Close;
// [ServerCerts], which it makes, does.
type CA struct {
	options   Options
	trust     *Trust
	issuer    *x509.Certificate // the intermediate that signs
	issuerID  string            // its fingerprint, hex
	issuerKey crypto.PublicKey
	issuers   []*issuer // whose keys are here; the first is the intermediate that signs
	authority *authority.Authority
	store     *store
	carrier   *x509.CertificateRequest // see newCarrier
	answers   answers                  // of OCSP
	unknown   *rate.Limiter            // of OCSP answers about certificates that were not issued here
}

func newCA(ctx context.Context, o Options, trust *Trust, inter *x509.Certificate, signer crypto.Signer) (*CA, error) {
	sum := sha256.Sum256(inter.Raw)
	ca := &CA{
		options: o, trust: trust, issuer: inter, issuerID: hex.EncodeToString(sum[:]), issuerKey: signer.Public(),
		issuers: []*issuer{newIssuer(inter, signer)}, unknown: rate.NewLimiter(unknownRate, unknownBurst),
	}
	ca.store = newStore(o.DB, o.DatabaseTimeout, ca.issuerID)
	var err error
	if ca.carrier, err = newCarrier(); err != nil {
		return nil, err
	}
	ca.authority, err = authority.NewEmbedded(
		authority.WithConfig(&config.Config{AuthorityConfig: &config.AuthConfig{
			Backdate: &provisioner.Duration{Duration: backdate},
			// Tokens are not used; were they, this must be on (a restart refuses older ones otherwise).
			DisableIssuedAtCheck: true,
		}}),
		authority.WithX509RootCerts(trust.roots...),
		authority.WithX509SignerChain([]*x509.Certificate{inter}, signer),
		authority.WithDatabase(ca.store),
		authority.WithQuietInit(),
	)
	if err != nil {
		return nil, fmt.Errorf("starting the authority: %w", err)
	}
	// The tables must be there before the first certificate is asked for.
	ctx, cancel := context.WithTimeout(ctx, o.DatabaseTimeout)
	defer cancel()
	var n int64
	if err := o.DB.QueryRowContext(ctx, `SELECT COUNT(*) FROM pki_locks`).Scan(&n); err != nil {
		return nil, fmt.Errorf("reading the CA's tables: %w", err)
	}
	if err := prepareCRL(ctx, o.DB, ca.issuerID); err != nil {
		return nil, fmt.Errorf("preparing the revocation list: %w", err)
	}
	return ca, nil
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

// Trust returns the CA's own roots and intermediate.
func (ca *CA) Trust() *Trust { return ca.trust }

// TrustDomain returns the authority part of the SPIFFE IDs this CA issues.
func (ca *CA) TrustDomain() string { return ca.options.TrustDomain }

// Now is the time by the CA's clock.
func (ca *CA) Now() time.Time { return ca.options.Now() }

// Intermediate returns the certificate that signs.
func (ca *CA) Intermediate() *x509.Certificate { return ca.issuer }
