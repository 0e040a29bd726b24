package admin

import (
	"crypto/x509"
	"slices"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// issueCertificate signs and binds in one transaction. The certificate leaves the process only after the commit.
func issueCertificate(s *Server, c *call) (any, error) {
	var q CertificateRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	request, err := pki.ParseRequest([]byte(q.CSR))
	if err != nil {
		return nil, err
	}
	var answer IssuedCertificate
	err = s.change(c, identity.ObjectCertificate, "issue", func(tx *identity.Tx) (act, error) {
		issued, bound, err := enrolment.Issue(c.Context(), tx, s.CA, pki.IssueOptions{
			Profile: pki.ClientProfile(), Name: c.name, Request: request, Lifetime: time.Duration(q.Lifetime),
		})
		if err != nil {
			return act{}, err
		}
		answer = IssuedCertificate{bound, string(issued.PEM()), string(pki.EncodeCertificates(s.CA.Trust().Roots()...)), issued.Dropped}
		return act{bound.Serial, bound}, nil
	})
	c.header.Set("Location", "/v1/certificates/"+answer.Serial)
	return answer, err
}

// listCertificates lists the certificates of identities, by serial number.
func listCertificates(s *Server, c *call) (any, error) {
	state, err := c.query.state()
	if err != nil {
		return nil, err
	}
	snapshot := s.Registry.Snapshot()
	seq := snapshot.AllCertificates()
	if name, given := c.query["identity"]; given {
		seq = slices.Values(snapshot.Certificates(name))
	}
	list := []*identity.Certificate{}
	after, now := c.query["after"], time.Now()
	for one := range seq {
		if one.Serial > after && state(one, now) {
			list = append(list, one)
		}
	}
	key := func(one *identity.Certificate) string { return one.Serial }
	slices.SortFunc(list, func(a, b *identity.Certificate) int { return compare(a.Serial, b.Serial) })
	return page(c, list, key)
}

// state reads the parameter of that name as a condition.
func (q query) state() (func(*identity.Certificate, time.Time) bool, error) {
	switch state, given := q["state"]; {
	case !given:
		return func(*identity.Certificate, time.Time) bool { return true }, nil
	case state == "valid":
		return func(c *identity.Certificate, now time.Time) bool { return !c.Revoked() && !c.Expired(now) }, nil
	case state == "expired":
		return func(c *identity.Certificate, now time.Time) bool { return c.Expired(now) }, nil
	case state == "revoked":
		return func(c *identity.Certificate, _ time.Time) bool { return c.Revoked() }, nil
	default:
		return nil, malformed("parameter \"state\" is %q: give valid, expired or revoked", state)
	}
}

// showCertificate shows one of an identity or, by the CA's record, one of an administrator or a listener, which has no identity.
func showCertificate(s *Server, c *call) (any, error) {
	if bound, ok := s.Registry.Snapshot().CertificateBySerial(c.name); ok {
		return bound, nil
	}
	known, err := s.CA.Certificate(c.Context(), c.name)
	if err != nil {
		return nil, err
	}
	return unbound(known)
}

// unbound is the CA's record in the registry's form.
func unbound(r pki.Record) (identity.Certificate, error) {
	leaf, err := x509.ParseCertificate(r.DER)
	if err != nil {
		return identity.Certificate{}, err
	}
	return identity.Certificate{
		Fingerprint: r.Fingerprint, Serial: r.Serial, Subject: leaf.Subject.String(), NotBefore: r.NotBefore, NotAfter: r.NotAfter,
		Created: r.Created, RevokedAt: r.RevokedAt, RevocationReason: r.RevocationReason,
	}, nil
}
