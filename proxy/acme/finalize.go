package acme

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/smallstep/certificates/acme"
	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/provisioner"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// finalize ends an order with a certificate (RFC 8555 section 7.4). Signing, recording, binding, the change record and the order's end are one
// transaction, which the registry has no two of at the same time, on any number of nodes. So an order has one certificate: whoever finalizes again with the
// same key is shown the order as it is, and with another one is refused.
func (s *Server) finalize(ctx context.Context, x *exchange) error {
	request, csr, err := s.readCSR(x)
	if err != nil {
		return err
	}
	fingerprint, err := pki.KeyFingerprint(request.PublicKey())
	if err != nil {
		return err
	}
	if _, err := x.order(ctx, s.CA.ACMEState(nil)); err != nil { // before the registry's transaction, which others wait for
		return err
	}
	var o *acme.Order
	err = s.Registry.Change(ctx, func(tx *identity.Tx) error {
		if err := s.mayStill(ctx, tx, x.key.ID, &x.key); err != nil {
			return err
		}
		state := s.CA.ACMEState(tx.SQL())
		if err := state.LockOrder(ctx, x.id); err != nil {
			return err
		}
		if o, err = x.order(ctx, state); err != nil {
			return err
		}
		if o.Status == acme.StatusValid {
			return sameKey(ctx, x, state, o, fingerprint)
		}
		if o.Status != acme.StatusReady {
			return refuse("orderNotReady", "the order is "+string(o.Status)+", and not ready", "prove all names first; when the order is invalid, make a new one")
		}
		if err := s.CA.CheckNewKey(ctx, tx.SQL(), x.key.Name, request.PublicKey()); err != nil {
			return err
		}
		ca := &certifier{server: s, x: x, tx: tx, order: o}
		err := o.Finalize(ctx, state, csr, ca, ca)
		if ca.err != nil { // smallstep's errors do not lead to their causes
			return ca.err
		}
		return err
	})
	if err != nil {
		x.issued = false
		return err
	}
	x.Access.Serial = o.CertificateID
	x.showOrder(o, http.StatusOK)
	return nil
}

// sameKey lets whoever has lost the answer have it again.
func sameKey(ctx context.Context, x *exchange, state *pki.ACMEState, o *acme.Order, fingerprint string) error {
	key, err := state.OrderKey(ctx, o.ID)
	if err == nil && key != fingerprint {
		return refuse("orderNotReady", "the order was finalized before, with another key", "make a new order")
	}
	x.Access.Cause = "the same certificate again"
	return err
}

// readCSR reads the certificate request: it must prove possession of its key, which must be another one than the account's (section 11.1), and ask for
// nothing that nobody gets.
func (s *Server) readCSR(x *exchange) (*pki.Request, *x509.CertificateRequest, error) {
	var q struct{ CSR string }
	if err := x.message.decode(&q); err != nil {
		return nil, nil, err
	}
	der, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(q.CSR, "=")) // some clients pad
	if err != nil || len(der) == 0 || der[0] != 0x30 {
		return nil, nil, refuse("badCSR", "the csr is not a certificate request", "send it as base64url of its DER")
	}
	request, err := pki.ParseRequest(der)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, nil, err
	}
	own, err1 := pki.KeyFingerprint(x.message.jwk.Key)
	asked, err2 := pki.KeyFingerprint(request.PublicKey())
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, err
	}
	if own == asked {
		return nil, nil, refuse("badCSR", "the certificate request is for the account's own key", "make a key for the certificate alone")
	}
	return request, csr, nil
}

// issuance is the change record's detail of a certificate that an account got.
type issuance struct {
	identity.Certificate
	Account string   `json:"account"`
	Key     string   `json:"key"` // the binding's ID
	Order   string   `json:"order"`
	Renews  string   `json:"renews,omitempty"` // the serial number of the account's certificate before
	Hosts   []string `json:"hosts"`
	Source  string   `json:"source"`
	KeyType string   `json:"key_type"`
	Request string   `json:"request_id"`
}

// certifier is the authority and its rules as smallstep's order sees them, for one order in one transaction. Of the request it takes the key; all else is
// of the profile.
type certifier struct {
	server *Server
	x      *exchange
	tx     *identity.Tx
	order  *acme.Order
	err    error // why nothing was signed
}

var (
	_ acme.CertificateAuthority = (*certifier)(nil)
	_ acme.Provisioner          = (*certifier)(nil)
)

// SignWithContext implements [acme.CertificateAuthority]. The names of the request were compared with those of the order by then.
func (c *certifier) SignWithContext(ctx context.Context, csr *x509.CertificateRequest, _ provisioner.SignOptions, _ ...provisioner.SignOption) (
	chain []*x509.Certificate, _ error) {
	chain, c.err = c.sign(ctx, csr)
	return chain, c.err
}

func (c *certifier) sign(ctx context.Context, csr *x509.CertificateRequest) ([]*x509.Certificate, error) {
	x := c.x
	var hosts []string
	for _, one := range c.order.Identifiers {
		hosts = append(hosts, one.Value)
	}
	profile, err := pki.ClientProfile().WithHosts(hosts)
	if err != nil {
		return nil, err
	}
	if c.tx.ValidCertificates(x.key.Name) >= enrolment.MaxValid {
		return nil, refuse("rateLimited", "the identity has as many valid certificates as callers may get by themselves",
			"use those, or have the operator revoke what is not used").
			because(fmt.Sprintf("identity %q has %d valid certificates", x.key.Name, enrolment.MaxValid))
	}
	old, err := c.renews(ctx, hosts)
	if err != nil {
		return nil, err
	}
	issue, options := enrolment.Issue, pki.IssueOptions{Profile: profile, Name: x.key.Name, PublicKey: csr.PublicKey, Lifetime: x.key.Lifetime}
	if old.Serial != "" {
		issue = func(ctx context.Context, tx *identity.Tx, ca *pki.CA, o pki.IssueOptions) (*pki.Issued, identity.Certificate, error) {
			return enrolment.Renew(ctx, tx, ca, o, old.Fingerprint)
		}
	}
	issued, bound, err := issue(ctx, c.tx, c.server.CA, options)
	if err != nil {
		return nil, err
	}
	err = appendChange(ctx, c.tx, &x.key, "certificate.acme", identity.ObjectCertificate, issued.Serial, issuance{
		Certificate: bound, Account: x.account.ID, Key: x.key.ID, Order: c.order.ID, Renews: old.Serial, Hosts: hosts, Source: x.RemoteAddr,
		KeyType: pki.KeyType(issued.Leaf.PublicKey), Request: x.ID,
	})
	x.issued = err == nil
	return issued.Chain, err
}

// renews returns the account's certificate in whose place the order's comes, the zero value when it is one in addition: the newest for all of the names that is
// bound to the identity, not revoked, and has not ended for longer than the identity may renew. An ACME client renews by a new order; the account's key shows
// who asks.
func (c *certifier) renews(ctx context.Context, hosts []string) (identity.Certificate, error) {
	holder, err := c.tx.Identity(c.x.key.Name)
	if err != nil {
		return identity.Certificate{}, err
	}
	held, err := c.server.CA.ACMEState(c.tx.SQL()).Held(ctx, c.x.account.ID, c.server.CA.Now().Add(-time.Duration(holder.RenewGrace)))
	if err != nil {
		return identity.Certificate{}, err
	}
	for _, one := range held {
		if slices.ContainsFunc(hosts, func(host string) bool { return !slices.Contains(one.DNSNames, host) }) {
			continue
		}
		bound, err := c.tx.Certificate(identity.FingerprintOf(one.Raw))
		switch {
		case errors.Is(err, identity.ErrNotFound):
		case err != nil:
			return identity.Certificate{}, err
		case bound.Identity == holder.Name && !bound.Revoked():
			return bound, nil
		}
	}
	return identity.Certificate{}, nil
}

// errNotHere is the answer to what has no place in an order.
var errNotHere = errors.New("not offered here")

// AreSANsAllowed allows what the order was made for: newOrder has judged it.
func (c *certifier) AreSANsAllowed(context.Context, []string) error { return nil }

// IsRevoked refuses to say: revocation is not done through smallstep.
func (c *certifier) IsRevoked(string) (bool, error) { return true, errNotHere }

// Revoke refuses.
func (c *certifier) Revoke(context.Context, *authority.RevokeOptions) error { return errNotHere }

// LoadProvisionerByName knows none.
func (c *certifier) LoadProvisionerByName(string) (provisioner.Interface, error) {
	return nil, errNotHere
}

// GetBackdate leaves it to the profile.
func (c *certifier) GetBackdate() *time.Duration { return nil }

// AuthorizeOrderIdentifier refuses: newOrder judges names.
func (c *certifier) AuthorizeOrderIdentifier(context.Context, provisioner.ACMEIdentifier) error {
	return errNotHere
}

// AuthorizeSign adds nothing: the profile decides.
func (c *certifier) AuthorizeSign(context.Context, string) ([]provisioner.SignOption, error) {
	return nil, nil
}

// AuthorizeRevoke refuses.
func (c *certifier) AuthorizeRevoke(context.Context, string) error { return errNotHere }

// IsChallengeEnabled knows none: the state makes the challenges.
func (c *certifier) IsChallengeEnabled(context.Context, provisioner.ACMEChallenge) bool { return false }

// IsAttestationFormatEnabled knows none.
func (c *certifier) IsAttestationFormatEnabled(context.Context, provisioner.ACMEAttestationFormat) bool {
	return false
}

// GetAttestationRoots knows none.
func (c *certifier) GetAttestationRoots() (*x509.CertPool, bool) { return nil, false }

// GetID and GetName name nothing that anybody sees.
func (c *certifier) GetID() string { return "tenantgate" }

// GetName is GetID.
func (c *certifier) GetName() string { return "tenantgate" }

// DefaultTLSCertDuration leaves it to the profile.
func (c *certifier) DefaultTLSCertDuration() time.Duration { return 0 }

// GetOptions has none: no template stands between the profile and the certificate.
func (c *certifier) GetOptions() *provisioner.Options { return nil }
