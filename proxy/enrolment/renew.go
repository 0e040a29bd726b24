package enrolment

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// renew issues a certificate in the place of the one that was shown in TLS, whose key the handshake has proved. The new one is for the same
// identity and lives as long; the old one stays valid until it ends, so that the two overlap.
//
// A certificate that has expired is judged as of its last moment, and only for an identity that grants a grace. This holds for renewal alone:
// the listener of the proxy refuses it.
func (s *Server) renew(ctx context.Context, c *call, request *pki.Request) (*Answer, error) {
	if c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return nil, noCertificate.because("")
	}
	chain := c.TLS.PeerCertificates
	old := chain[0]
	c.access.Serial = pki.FormatSerial(old.SerialNumber)
	at := s.now()
	if at.After(old.NotAfter) {
		at = old.NotAfter
	}
	if err := s.Trust().VerifyClient(chain, at); err != nil {
		return nil, notAcceptable.because(err.Error())
	}
	binding, err := s.binding(ctx, old)
	if err != nil {
		return nil, err
	}
	if err := s.renewable(c, binding.Certificate, binding.Identity); err != nil {
		return nil, err
	}
	if err := s.issuedHere(ctx, old); err != nil {
		return nil, err
	}
	key, err := pki.KeyFingerprint(request.PublicKey())
	if err != nil {
		return nil, err
	}
	var answer *Answer
	err = s.Registry.Change(ctx, func(tx *identity.Tx) error {
		bound, holder, err := holderOf(tx, old)
		if err != nil {
			return err
		}
		if err := s.renewable(c, &bound, &holder); err != nil {
			return err
		}
		claim, err := s.CA.ClaimRenewal(ctx, tx.SQL(), bound.Serial, key)
		if err != nil {
			return err
		}
		answer, err = s.issueOnce(ctx, c, tx, claim, "certificate.renew", old.URIs[0].String(),
			issuance{Renews: bound.Serial, Late: bound.Expired(s.now()), old: bound.Fingerprint}, pki.IssueOptions{
				Profile: pki.ClientProfile(), Name: holder.Name, Request: request, Lifetime: s.Trust().RenewalLifetime(old),
			})
		return err
	})
	return answer, err
}

// binding finds whose the certificate is. Another node may have bound it a moment ago.
func (s *Server) binding(ctx context.Context, cert *x509.Certificate) (*identity.Binding, error) {
	fingerprint := sha256.Sum256(cert.Raw)
	if b, ok := s.Registry.Snapshot().Binding(fingerprint); ok {
		return b, nil
	}
	if err := s.Registry.Refresh(ctx); err != nil {
		return nil, err
	}
	if b, ok := s.Registry.Snapshot().Binding(fingerprint); ok {
		return b, nil
	}
	return nil, notAcceptable.because("certificate is not bound to an identity")
}

// holderOf finds, as the transaction sees them, the certificate and whose it is.
func holderOf(tx *identity.Tx, cert *x509.Certificate) (identity.Certificate, identity.Identity, error) {
	bound, err := tx.Certificate(sha256.Sum256(cert.Raw))
	if err == nil {
		var holder identity.Identity
		if holder, err = tx.Identity(bound.Identity); err == nil {
			return bound, holder, nil
		}
	}
	if errors.Is(err, identity.ErrNotFound) {
		err = notAcceptable.because("certificate is not bound to an identity")
	}
	return identity.Certificate{}, identity.Identity{}, err
}

// renewable says whether a certificate that was verified may be renewed now.
func (s *Server) renewable(c *call, bound *identity.Certificate, holder *identity.Identity) error {
	now := s.now()
	c.access.Identity = bound.Identity
	switch {
	case bound.Revoked():
		return revoked.because("certificate is revoked")
	case holder.Disabled:
		return disabled.because("identity is disabled")
	case now.After(bound.NotAfter.Add(time.Duration(holder.RenewGrace))):
		return expired.because(fmt.Sprintf("certificate expired at %s, the identity's grace is %v", bound.NotAfter.Format(time.RFC3339), time.Duration(holder.RenewGrace)))
	}
	return nil
}

// issuedHere says whether the CA has the very certificate on record, under the client profile and not revoked. Being trusted and bound is not
// enough: only what was issued here is renewed here.
func (s *Server) issuedHere(ctx context.Context, cert *x509.Certificate) error {
	known, err := s.CA.Certificate(ctx, pki.FormatSerial(cert.SerialNumber))
	switch {
	case errors.Is(err, pki.ErrNotFound):
		return notAcceptable.because("the CA has issued no certificate with this serial number")
	case err != nil:
		return err
	case known.Fingerprint != sha256.Sum256(cert.Raw) || known.Profile != pki.ClientProfile().String():
		return notAcceptable.because("the CA has another certificate under this serial number")
	case !known.RevokedAt.IsZero():
		return revoked.because("certificate is revoked at the CA")
	}
	return nil
}

func txOf(tx *identity.Tx) *sql.Tx {
	if tx == nil {
		return nil
	}
	return tx.SQL()
}
