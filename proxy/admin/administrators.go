package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// AdministratorCertificate is a certificate of the admin profile. It belongs to no identity, and opens the admin listener only.
type AdministratorCertificate struct {
	// Name is the administrator's.
	Name string `json:"name"`
	identity.Certificate
}

// issueToAdministrator signs in the transaction that records it. Nothing binds the certificate: the admin listener asks the CA's record.
func issueToAdministrator(s *Server, c *call) (any, error) {
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
		issued, err := s.CA.Issue(c.Context(), tx.SQL(), pki.IssueOptions{
			Profile: pki.AdminProfile(), Name: c.name, Request: request, Lifetime: time.Duration(q.Lifetime),
		})
		if err != nil {
			return act{}, err
		}
		one := identity.Certificate{
			Fingerprint: issued.Fingerprint, Serial: issued.Serial, Subject: issued.Leaf.Subject.String(), NotBefore: issued.Leaf.NotBefore,
			NotAfter: issued.Leaf.NotAfter, Created: time.Now().UTC(),
		}
		answer = IssuedCertificate{one, string(issued.PEM()), string(pki.EncodeCertificates(s.CA.Trust().Roots()...)), issued.Dropped}
		return act{one.Serial, AdministratorCertificate{c.name, one}}, nil
	})
	c.header.Set("Location", "/v1/certificates/"+answer.Serial)
	return answer, err
}

// listAdministrators lists the certificates of administrators that have not expired, newest first.
func listAdministrators(s *Server, c *call) (any, error) {
	records, err := s.CA.Certificates(c.Context(), pki.Filter{Profile: pki.AdminProfile().String(), ExpiresAfter: time.Now()})
	if err != nil {
		return nil, err
	}
	list := make([]AdministratorCertificate, len(records))
	for i, r := range records {
		one, err := unbound(r)
		if err != nil {
			return nil, err
		}
		list[i] = AdministratorCertificate{r.Name, one}
	}
	return list, nil
}
