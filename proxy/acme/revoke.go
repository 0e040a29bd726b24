package acme

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// revoke revokes a certificate (RFC 8555 section 7.6) for the account that got it, or for whoever has its key, however it was issued. It acts on the next
// request at the proxy, like any revocation.
func (s *Server) revoke(ctx context.Context, x *exchange) error {
	var q struct {
		Certificate string
		Reason      *int
	}
	if err := x.message.decode(&q); err != nil {
		return err
	}
	der, err := base64.RawURLEncoding.DecodeString(q.Certificate)
	if err != nil {
		return refuse("malformed", "the certificate is not base64url", "send its DER as base64url")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return refuse("malformed", "the certificate cannot be read", "send its DER as base64url").because("reading the certificate: " + err.Error())
	}
	reason, err := reasonOf(q.Reason)
	if err != nil {
		return err
	}
	serial := pki.FormatSerial(cert.SerialNumber)
	known, err := s.CA.Certificate(ctx, serial)
	if errors.Is(err, pki.ErrNotFound) || err == nil && (known.Fingerprint != sha256.Sum256(der) || known.Profile != pki.ClientProfile().String()) {
		return withStatus(refuse("malformed", "this is no certificate of a caller that was issued here", "send the certificate itself"), http.StatusNotFound)
	}
	if err != nil {
		return err
	}
	if err := s.mayRevoke(ctx, x, cert, serial); err != nil {
		return err
	}
	x.Access.Identity, x.Access.Serial = known.Name, serial
	return s.revokeNow(ctx, x, known, reason)
}

// reasonOf reads a reason by its number (RFC 5280 section 5.3.1).
func reasonOf(code *int) (string, error) {
	if code == nil {
		return "unspecified", nil
	}
	if name, ok := pki.RevocationReason(*code); ok {
		return name, nil
	}
	hint := "give 0, 1, 2, 3, 4, 5 or 9, or none"
	if *code == 6 {
		hint = "a revocation is final: there is no certificateHold; " + hint
	}
	return "", refuse("badRevocationReason", "the reason is not one that is served here", hint)
}

// mayRevoke says whether the signer may revoke the certificate.
func (s *Server) mayRevoke(ctx context.Context, x *exchange, cert *x509.Certificate, serial string) error {
	foreign := refuse("unauthorized", "neither is the certificate this account's, nor is the request signed by its key",
		"sign with the account that got it, or with its own key")
	if x.account.ID == "" {
		own, err1 := pki.KeyFingerprint(cert.PublicKey)
		signer, err2 := pki.KeyFingerprint(x.message.jwk.Key)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if own != signer {
			return foreign
		}
		return nil
	}
	account, err := s.CA.ACMEState(nil).AccountOf(ctx, serial)
	if errors.Is(err, pki.ErrNotFound) || err == nil && account != x.account.ID {
		return foreign.because("account " + x.account.ID + " would revoke a certificate of account " + account)
	}
	return err
}

// revocation is the change record's detail.
type revocation struct {
	Reason   string `json:"reason"`
	Identity string `json:"identity"`
	Signer   string `json:"signer"` // "account" or "certificate"
	Source   string `json:"source"`
	Request  string `json:"request_id"`
}

// revokeNow revokes in the registry and at the CA, in one transaction with the record.
func (s *Server) revokeNow(ctx context.Context, x *exchange, known pki.Record, reason string) error {
	already := refuse("alreadyRevoked", "the certificate was revoked before", "nothing is to be done")
	done := revocation{Reason: reason, Identity: known.Name, Signer: "account", Source: x.RemoteAddr, Request: x.ID}
	actor := x.key
	if x.account.ID == "" {
		done.Signer, actor.ID = "certificate", "certificate:"+known.Serial
	}
	err := s.Registry.Change(ctx, func(tx *identity.Tx) error {
		now := s.CA.Now()
		bound, err := tx.Certificate(known.Fingerprint)
		switch {
		case err == nil && bound.Revoked(), errors.Is(err, identity.ErrNotFound) && !known.RevokedAt.IsZero():
			return already
		case err == nil:
			_, err = tx.RevokeCertificate(ctx, known.Fingerprint, reason, now)
		case errors.Is(err, identity.ErrNotFound): // its identity is gone; what the CA publishes is left
			err = nil
		}
		if err != nil {
			return err
		}
		if err := s.CA.Revoke(ctx, tx.SQL(), known.Serial, reason, now); err != nil {
			return err
		}
		return appendChange(ctx, tx, &actor, "certificate.revoke", identity.ObjectCertificate, known.Serial, done)
	})
	if err != nil {
		return err
	}
	x.status = http.StatusOK
	return nil
}
