package enrolment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// enroll issues the certificate that a token is good for. What can be refused without it is refused before the registry's transaction, which
// changes of all nodes wait for; what decides is judged again in it.
func (s *Server) enroll(ctx context.Context, c *call, request *pki.Request) (*Answer, error) {
	scheme, text, _ := strings.Cut(c.Header.Get("Authorization"), " ") // the scheme's case does not matter (RFC 9110 section 11.1)
	if text = strings.TrimSpace(text); !strings.EqualFold(scheme, "Bearer") || text == "" || len(c.Header.Values("Authorization")) > 1 {
		return nil, noToken.because("")
	}
	hash := hashOf(text)
	key, err := pki.KeyFingerprint(request.PublicKey())
	if err != nil {
		return nil, err
	}
	token, err := s.usable(ctx, c, nil, hash, key)
	if err != nil {
		return nil, err
	}
	if err := s.comesFrom(ctx, c.from, token); err != nil {
		return nil, err
	}
	var answer *Answer
	err = s.Registry.Change(ctx, func(tx *identity.Tx) error {
		if token, err = s.usable(ctx, c, tx, hash, key); err != nil {
			return err
		}
		claim, err := s.CA.ClaimToken(ctx, tx.SQL(), token.ID, key)
		if errors.Is(err, pki.ErrTaken) {
			return usedToken.because("token " + token.ID + " was used already, with another key")
		}
		if err != nil {
			return err
		}
		answer, err = s.issueOnce(ctx, c, tx, claim, "certificate.enroll", "token:"+token.ID, issuance{Token: token.ID}, pki.IssueOptions{
			Profile: pki.ClientProfile(), Name: token.Name, Request: request, Lifetime: token.Lifetime,
		})
		return err
	})
	return answer, err
}

// usable finds the token and says whether it is good for anything now, for this key. With a nil tx it asks the database as it is.
func (s *Server) usable(ctx context.Context, c *call, tx *identity.Tx, hash [32]byte, key string) (pki.EnrolmentToken, error) {
	sqlTx := txOf(tx)
	token, err := s.CA.EnrolmentTokenOf(ctx, sqlTx, hash)
	if errors.Is(err, pki.ErrNotFound) {
		return token, unknownToken.because("")
	}
	if err != nil {
		return token, err
	}
	c.access.Identity = token.Name
	switch {
	case !token.Withdrawn.IsZero():
		return token, withdrawn.because("token " + token.ID + " was withdrawn")
	case !s.now().Before(token.Expires):
		return token, expiredToken.because("token " + token.ID + " expired at " + token.Expires.Format(time.RFC3339))
	case token.Key != "" && token.Key != key:
		return token, otherKey.because("token " + token.ID + " is for another key")
	case token.Serial != "" && token.UsedKey != key:
		return token, usedToken.because("token " + token.ID + " was used already, with another key")
	}
	return token, nil
}

// issuance is the change record's detail of a certificate that a caller got by himself.
type issuance struct {
	identity.Certificate
	Token   string `json:"token,omitempty"`  // the enrolment token's id
	Renews  string `json:"renews,omitempty"` // serial number of the certificate in whose place it is
	Late    bool   `json:"late,omitempty"`   // that one had expired
	Source  string `json:"source"`           // the caller's address
	KeyType string `json:"key_type"`
	Request string `json:"request_id"`

	old identity.Fingerprint // of the certificate in whose place it is; zero where there is none
}

// issueOnce issues the certificate of a claim, or finds the one that the claim has led to before.
func (s *Server) issueOnce(ctx context.Context, c *call, tx *identity.Tx, claim pki.Claim, action, actor string, done issuance, o pki.IssueOptions) (*Answer, error) {
	if claim.Serial != "" {
		return s.again(ctx, c, tx, claim.Serial, o.Name)
	}
	if tx.ValidCertificates(o.Name) >= MaxValid {
		return nil, tooMany.because(fmt.Sprintf("identity %q has %d valid certificates", o.Name, MaxValid))
	}
	issued, bound, err := issue(ctx, tx, s.CA, o, done.old)
	if err != nil {
		return nil, err
	}
	if err := s.CA.Settle(ctx, tx.SQL(), claim, issued.Serial); err != nil {
		return nil, err
	}
	done.Certificate, done.Source, done.KeyType, done.Request = bound, c.RemoteAddr, pki.KeyType(issued.Leaf.PublicKey), c.id
	detail, err := json.Marshal(done)
	if err != nil {
		return nil, err
	}
	_, err = record.AppendChange(ctx, tx.SQL(), record.Change{Actor: actor, Action: action, Object: identity.ObjectCertificate, Name: issued.Serial, Detail: detail})
	c.access.Serial = issued.Serial
	return s.answer(issued, o.Name, false), err
}

// again answers a caller who has not got the answer to the same request.
func (s *Server) again(ctx context.Context, c *call, tx *identity.Tx, serial, name string) (*Answer, error) {
	issued, err := s.CA.IssuedBefore(ctx, tx.SQL(), serial)
	if err != nil {
		return nil, err
	}
	c.access.Serial, c.access.Cause = serial, "the same certificate again"
	holder, err := tx.Identity(name)
	if err != nil {
		return nil, err
	}
	bound, err := tx.Certificate(issued.Fingerprint)
	switch {
	case err != nil:
		return nil, err
	case holder.Disabled:
		return nil, disabled.because("identity \"" + name + "\" is disabled")
	case bound.Revoked(), bound.Expired(s.now()):
		return nil, gone.because("certificate " + serial + " is revoked or has expired")
	}
	return s.answer(issued, name, true), nil
}
