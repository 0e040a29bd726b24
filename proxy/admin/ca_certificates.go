package admin

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// objectCACertificate is what the CA's own certificates are called in change records.
const objectCACertificate = "authority"

func newCACertificate(a *pki.AuthorityRecord, live map[string]int64) CACertificate {
	out := CACertificate{
		ID: a.ID, Kind: a.Kind, State: string(a.State), Subject: a.Subject(), Root: a.Parent, Key: a.Location, Problem: a.Problem, Installed: a.Installed,
		Created: a.Created, Trusted: a.Trusted, Activated: a.Activated, Retired: a.Retired, Reason: a.Reason, Live: live[a.ID],
	}
	if a.Certificate != nil {
		out.NotBefore, out.NotAfter, out.KeyType = a.Certificate.NotBefore, a.Certificate.NotAfter, pki.KeyType(a.Certificate.PublicKey)
		out.Certificate = string(pki.EncodeCertificates(a.Certificate))
	}
	if a.Crossed != nil {
		out.Crossed = string(pki.EncodeCertificates(a.Crossed))
	}
	if request, err := x509.ParseCertificateRequest(a.Request); err == nil {
		out.KeyType = pki.KeyType(request.PublicKey)
		out.Request = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: a.Request}))
	}
	return out
}

// caCertificates lists all; live certificates of a root are those of its intermediates.
func (s *Server) caCertificates(ctx context.Context) ([]CACertificate, error) {
	list, err := s.CA.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	live, err := s.CA.Live(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if a.Kind == pki.KindIntermediate && a.Parent != "" {
			live[a.Parent] += live[a.ID]
		}
	}
	all := []CACertificate{}
	for _, a := range list {
		all = append(all, newCACertificate(a, live))
	}
	return all, nil
}

func listCACertificates(s *Server, c *call) (any, error) { return s.caCertificates(c.Context()) }

func showCACertificate(s *Server, c *call) (any, error) { return s.caCertificate(c.Context(), c.name) }

func (s *Server) caCertificate(ctx context.Context, prefix string) (CACertificate, error) {
	id, err := s.CA.FindAuthority(ctx, prefix)
	if err != nil {
		return CACertificate{}, err
	}
	all, err := s.caCertificates(ctx)
	if err != nil {
		return CACertificate{}, err
	}
	for _, a := range all {
		if a.ID == id {
			return a, nil
		}
	}
	return CACertificate{}, &pki.AuthorityError{NotFound: true, Problem: "it was withdrawn meanwhile"}
}

// issuersUnder returns the ID of an intermediate, or those of the intermediates of a root.
func (s *Server) issuersUnder(c *call, prefix string) ([]string, error) {
	id, err := s.CA.FindAuthority(c.Context(), prefix)
	if err != nil {
		return nil, err
	}
	list, err := s.CA.Authorities(c.Context())
	if err != nil {
		return nil, err
	}
	ids := []string{id} // a root has signed nothing itself
	for _, a := range list {
		if a.Parent == id && a.Certificate != nil {
			ids = append(ids, a.ID)
		}
	}
	return ids, nil
}

func showCAStatus(s *Server, c *call) (any, error) {
	answer := CAStatus{Nodes: []CANode{}, WithoutRoot: []RootHolder{}, KMS: append([]string{}, pki.KMSBackends()...)}
	var err error
	if answer.Authorities, err = s.caCertificates(c.Context()); err != nil {
		return nil, err
	}
	nodes, err := s.CA.Nodes(c.Context())
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		answer.Nodes = append(answer.Nodes, CANode{Name: n.Name, Current: n.Current, Problem: n.Problem, Seen: n.Seen, Self: n.Self})
	}
	for _, a := range answer.Authorities { // oldest first
		if a.Kind == pki.KindRoot && a.State != string(pki.AuthorityRetired) {
			answer.Root = a.ID
		}
	}
	if answer.Root == "" {
		return answer, nil
	}
	without, err := s.CA.WithoutRoot(c.Context(), answer.Root)
	for _, h := range without {
		answer.WithoutRoot = append(answer.WithoutRoot, RootHolder(h))
	}
	return answer, err
}

// authorityChange is the change record's detail.
type authorityChange struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Key     string `json:"key,omitempty"`
	Root    string `json:"root,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Force   bool   `json:"force,omitempty"`
	Revoked int    `json:"revoked,omitempty"`
}

func changeOf(a *pki.AuthorityRecord) authorityChange {
	return authorityChange{Kind: a.Kind, Subject: a.Subject(), Key: a.Location, Root: a.Parent}
}

// requestCACertificate makes an intermediate's key, and the request that a root has to sign.
func requestCACertificate(s *Server, c *call) (any, error) {
	var q CARequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if q.Key != "" && q.Key != pki.LocationDatabase {
		if err := pki.CheckKMS(q.Key); err != nil {
			return nil, err
		}
	}
	var made *pki.AuthorityRecord
	err := s.change(c, objectCACertificate, "request", func(tx *identity.Tx) (_ act, err error) {
		made, err = s.CA.RequestIntermediate(c.Context(), tx.SQL(), pki.AuthorityRequest{Name: q.Name, KeyType: q.KeyType, KeyURI: q.Key})
		if err != nil {
			return act{}, err
		}
		return act{made.ID, changeOf(made)}, nil
	})
	if err != nil {
		return nil, err
	}
	s.takeUp(c)
	c.header.Set("Location", "/v1/ca/certificates/"+made.ID)
	return newCACertificate(made, nil), nil
}

// takeUp has this node follow a change that was committed. If it cannot now, it does so with the changes of other nodes.
func (s *Server) takeUp(c *call) {
	if _, err := s.CA.Refresh(context.WithoutCancel(c.Context())); err != nil {
		s.logger().Error("taking up a change of the CA's own certificates", "error", err)
	}
}

// installCACertificate takes what a root has signed, and waits for the other nodes to trust it.
func installCACertificate(s *Server, c *call) (any, error) {
	var q CAInstallation
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	certs, err := pki.ParseCertificates([]byte(q.Certificates))
	if err != nil {
		return nil, err
	}
	var anchor *x509.Certificate
	if q.Root != "" {
		roots, err := pki.ParseCertificates([]byte(q.Root))
		if err != nil {
			return nil, err
		}
		if len(roots) != 1 {
			return nil, invalid("root", "there are several certificates in it", "give the one root that is to be trusted")
		}
		anchor = roots[0]
	}
	var made *pki.AuthorityRecord
	err = s.change(c, objectCACertificate, "install", func(tx *identity.Tx) (_ act, err error) {
		if made, err = s.CA.InstallIntermediate(c.Context(), tx.SQL(), certs, anchor); err != nil {
			return act{}, err
		}
		return act{made.ID, changeOf(made)}, nil
	})
	if err != nil {
		return nil, err
	}
	s.takeUp(c)
	if err := s.CA.Agree(c.Context()); err != nil { // it is installed all the same; the node goes on trying
		s.logger().Warn("another intermediate was installed", "authority", made.ID, "error", err)
	}
	return s.caCertificate(c.Context(), made.ID)
}

// activateCACertificate has an intermediate sign, once every node knows it.
func activateCACertificate(s *Server, c *call) (any, error) {
	if err := c.decode(&struct{}{}); err != nil {
		return nil, err
	}
	id, err := s.CA.FindAuthority(c.Context(), c.name)
	if err != nil {
		return nil, err
	}
	if err := s.CA.Agree(c.Context(), id); err != nil {
		return nil, err
	}
	err = s.change(c, objectCACertificate, "activate", func(tx *identity.Tx) (act, error) {
		a, err := s.CA.Activate(c.Context(), tx.SQL(), id)
		if err != nil {
			return act{}, err
		}
		return act{a.ID, changeOf(a)}, nil
	})
	if err != nil {
		return nil, err
	}
	s.takeUp(c)
	return s.caCertificate(c.Context(), id)
}

// retireCACertificate ends the belief in a root or intermediate and revokes what it has signed, in one transaction.
func retireCACertificate(s *Server, c *call) (any, error) {
	var q CARetirement
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if err := checkReason(&q.Reason); err != nil {
		return nil, err
	}
	before, err := s.caCertificate(c.Context(), c.name)
	if err != nil {
		return nil, err
	}
	answer := Revocations{Serials: []string{}}
	err = s.changeAll(c, identity.ObjectCertificate, "revoke", func(tx *identity.Tx) (acts []act, err error) {
		ids, err := s.CA.Retire(c.Context(), tx.SQL(), before.ID, q.Reason, q.Force)
		if err != nil {
			return nil, err
		}
		if len(ids) > 0 {
			if acts, answer.Serials, err = s.revokeIssued(c, tx, q.Reason, ids); err != nil {
				return nil, err
			}
		}
		detail, err := json.Marshal(authorityChange{Kind: before.Kind, Subject: before.Subject, Root: before.Root, Reason: q.Reason, Force: q.Force, Revoked: len(answer.Serials)})
		if err != nil {
			return nil, err
		}
		_, err = record.AppendChange(c.Context(), tx.SQL(), record.Change{
			Actor: c.actor, Action: objectCACertificate + ".retire", Object: objectCACertificate, Name: before.ID, Detail: detail,
		})
		return acts, err
	})
	if err != nil {
		return nil, err
	}
	answer.Revoked = len(answer.Serials)
	s.takeUp(c)
	return answer, nil
}
