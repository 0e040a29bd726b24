package admin

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

func listCertificates(s *Server, c *call) (any, error) {
	list := []*identity.Certificate{}
	if name := c.URL.Query().Get("identity"); name != "" {
		return orEmpty(s.Registry.Snapshot().Certificates(name)), nil
	}
	for cert := range s.Registry.Snapshot().AllCertificates() {
		list = append(list, cert)
	}
	return list, nil
}

func issue(s *Server, c *call) (any, error) {
	var q CertificateRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	request, err := pki.ParseRequest([]byte(q.CSR))
	if err != nil {
		return nil, err
	}
	var out IssuedCertificate
	err = s.change(c.Context(), c.actor, "issue", "certificate", func(tx *identity.Tx) (string, any, error) {
		holder, err := tx.Identity(c.name)
		if err != nil {
			return "", nil, err
		}
		if holder.Disabled {
			return "", nil, &identity.Error{Code: identity.ErrInUse, Object: "identity", Name: c.name, Message: "is disabled and gets no certificate",
				Hint: "tenantgate identity enable " + c.name}
		}
		issued, err := s.CA.Issue(c.Context(), tx.SQL(), pki.IssueOptions{Profile: pki.ClientProfile(), Name: c.name, Request: request, Lifetime: time.Duration(q.Lifetime)})
		if err != nil {
			return "", nil, err
		}
		cert, err := tx.BindCertificate(c.Context(), identity.Certificate{Fingerprint: issued.Fingerprint, Identity: c.name, Serial: issued.Serial,
			Subject: issued.Leaf.Subject.String(), NotBefore: issued.Leaf.NotBefore, NotAfter: issued.Leaf.NotAfter})
		if err != nil {
			return "", nil, err
		}
		out = IssuedCertificate{Certificate: cert, Chain: string(issued.PEM()), Roots: string(pki.EncodeCertificates(s.CA.Trust().Roots()...)), Dropped: issued.Dropped}
		return issued.Serial, cert, nil
	})
	return out, err
}

func changes(s *Server, c *call) (any, error) {
	number := func(name string, def int64) (int64, error) {
		v := c.URL.Query().Get(name)
		if v == "" {
			return def, nil
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return 0, &problem{Status: 400, Code: "malformed", Detail: fmt.Sprintf("%s: %q is not a number", name, v)}
		}
		return n, nil
	}
	after, err := number("after", 0)
	if err != nil {
		return nil, err
	}
	limit, err := number("limit", 100)
	if err != nil {
		return nil, err
	}
	return record.Changes(c.Context(), s.DB, after, int(limit))
}

// revoke takes back any certificate of the CA: one that is bound to an identity in the registry too, one of an administrator at the CA only.
func revoke(s *Server, c *call) (any, error) {
	var q struct {
		Reason string `json:"reason"`
	}
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	known, err := s.CA.Certificate(c.Context(), c.name)
	if err != nil {
		return nil, err
	}
	out := identity.Certificate{Fingerprint: known.Fingerprint, Identity: known.Name, Serial: known.Serial, NotBefore: known.NotBefore, NotAfter: known.NotAfter}
	err = s.change(c.Context(), c.actor, "revoke", "certificate", func(tx *identity.Tx) (string, any, error) {
		now := time.Now()
		bound, err := tx.RevokeCertificate(c.Context(), known.Fingerprint, q.Reason, now)
		switch {
		case err == nil:
			out = bound
		case errors.Is(err, identity.ErrNotFound) && known.Profile != pki.ClientProfile().String():
			out.RevokedAt, out.RevocationReason = now, q.Reason
		default:
			return "", nil, err
		}
		return c.name, q, s.CA.Revoke(c.Context(), tx.SQL(), c.name, q.Reason, now)
	})
	return out, err
}
