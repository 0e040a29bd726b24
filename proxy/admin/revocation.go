package admin

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// reason reads why a certificate is revoked.
func (c *call) reason() (RevocationRequest, error) {
	var q RevocationRequest
	if err := c.decode(&q); err != nil {
		return q, err
	}
	return q, checkReason(&q.Reason)
}

// checkReason puts the default in the place of "" and refuses what is no reason.
func checkReason(reason *string) error {
	if *reason == "" {
		*reason = "unspecified"
	}
	if known := pki.RevocationReasons(); !slices.Contains(known, *reason) {
		hint := "give " + strings.Join(known, ", ")
		if *reason == "certificateHold" {
			hint = "a revocation is final: disable the identity for a while instead; or " + hint
		}
		return invalid("reason", "the reason is not one of RFC 5280 that is served here", hint)
	}
	return nil
}

// revokeCertificate takes back any certificate of the CA: one of an identity in the registry and at the CA, any other at the CA.
// Revoking again changes nothing and shows the first revocation.
func revokeCertificate(s *Server, c *call) (any, error) {
	q, err := c.reason()
	if err != nil {
		return nil, err
	}
	known, err := s.CA.Certificate(c.Context(), c.name)
	if err != nil {
		return nil, err
	}
	answer, err := unbound(known)
	if err != nil {
		return nil, err
	}
	err = s.change(c, identity.ObjectCertificate, "revoke", func(tx *identity.Tx) (act, error) {
		now := time.Now()
		bound, err := tx.RevokeCertificate(c.Context(), known.Fingerprint, q.Reason, now)
		switch {
		case err == nil:
			answer = bound
		case !errors.Is(err, identity.ErrNotFound):
			return act{}, err
		case known.RevokedAt.IsZero():
			answer.RevokedAt, answer.RevocationReason = now.UTC(), q.Reason
		}
		return act{c.name, q}, s.revokeAtCA(c, tx, c.name, q.Reason, now)
	})
	return answer, err
}

// revokeAtCA revokes in the CA's records. A certificate that is bound but was not issued here has none, and needs none.
func (s *Server) revokeAtCA(c *call, tx *identity.Tx, serial, reason string, at time.Time) error {
	err := s.CA.Revoke(c.Context(), tx.SQL(), serial, reason, at)
	if errors.Is(err, pki.ErrNotFound) {
		return nil
	}
	return err
}

// revocation is the change record's detail of one certificate among several that were revoked at once.
type revocation struct {
	Reason   string `json:"reason"`
	Profile  string `json:"profile,omitempty"`
	Identity string `json:"identity,omitempty"` // or the administrator
}

// revokeIdentity revokes all certificates of an identity that could still be used, or renewed after their end, in one transaction. The identity stays as
// it is; a grace that it is given later must not bring back one of them.
func revokeIdentity(s *Server, c *call) (any, error) {
	q, err := c.reason()
	if err != nil {
		return nil, err
	}
	answer := Revocations{Serials: []string{}}
	err = s.changeAll(c, identity.ObjectCertificate, "revoke", func(tx *identity.Tx) (acts []act, _ error) {
		now := time.Now()
		list, err := tx.Certificates(c.name)
		if err != nil {
			return nil, err
		}
		for _, one := range list {
			if one.Revoked() || one.Expired(now.Add(-identity.MaxRenewGrace)) {
				continue
			}
			if _, err := tx.RevokeCertificate(c.Context(), one.Fingerprint, q.Reason, now); err != nil {
				return nil, err
			}
			if err := s.revokeAtCA(c, tx, one.Serial, q.Reason, now); err != nil {
				return nil, err
			}
			acts = append(acts, act{one.Serial, revocation{Reason: q.Reason, Identity: c.name}})
			answer.Serials = append(answer.Serials, one.Serial)
		}
		return acts, nil
	})
	answer.Revoked = len(answer.Serials)
	return answer, err
}

// revokeAll revokes everything that the CA, or one intermediate of it, has issued to identities and administrators and that could still be used or renewed, in one
// transaction. Whoever did it by a certificate may have none any more: the socket is what is left.
func revokeAll(s *Server, c *call) (any, error) {
	var q CARevocationRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if err := checkReason(&q.Reason); err != nil {
		return nil, err
	}
	var issuers []string
	if q.Authority != "" {
		var err error
		if issuers, err = s.issuersUnder(c, q.Authority); err != nil {
			return nil, err
		}
	}
	answer := Revocations{Serials: []string{}}
	err := s.changeAll(c, identity.ObjectCertificate, "revoke", func(tx *identity.Tx) (acts []act, err error) {
		acts, answer.Serials, err = s.revokeIssued(c, tx, q.Reason, issuers)
		return acts, err
	})
	answer.Revoked = len(answer.Serials)
	return answer, err
}

// revokeIssued revokes what the CA, or only some intermediates of it, has issued to identities and administrators.
func (s *Server) revokeIssued(c *call, tx *identity.Tx, reason string, issuers []string) (acts []act, serials []string, err error) {
	now, serials := time.Now(), []string{}
	list, err := s.CA.RevokeAll(c.Context(), tx.SQL(), reason, now, identity.MaxRenewGrace, issuers...)
	if err != nil {
		return nil, nil, err
	}
	for _, one := range list {
		if _, err := tx.RevokeCertificate(c.Context(), one.Fingerprint, reason, now); err != nil && !errors.Is(err, identity.ErrNotFound) {
			return nil, nil, err
		}
		acts = append(acts, act{one.Serial, revocation{reason, one.Profile, one.Name}})
		serials = append(serials, one.Serial)
	}
	return acts, serials, nil
}

// showCRL shows the current revocation list, made anew if it is due.
func showCRL(s *Server, c *call) (any, error) {
	crl, err := s.CA.CRL(c.Context())
	if err != nil {
		return nil, err
	}
	return RevocationList{Issuer: crl.Issuer, Number: crl.Number, ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate, Entries: crl.Entries, CRL: string(pki.EncodeCRL(crl.DER))}, nil
}
