package pki_test

import (
	"crypto/x509"
	"errors"
	"testing"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

func TestOutboundCertificateIsForTenantsOnly(t *testing.T) {
	env := pkitest.New(t)
	issued, err := issue(t, env, pki.IssueOptions{Profile: pki.OutboundProfile("acme-dev"), Name: "erp", PublicKey: env.Key(pki.P256).Public()})
	if err != nil {
		t.Fatal(err)
	}
	leaf := issued.Leaf
	if leaf.Subject.String() != "CN=erp,OU=acme-dev" || len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://test.internal/outbound/erp/acme-dev" {
		t.Errorf("got subject %s, URIs %v", leaf.Subject, leaf.URIs)
	}
	if len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || leaf.IsCA || len(leaf.EmailAddresses) != 0 {
		t.Errorf("got extended key usage %v, CA %v, addresses %v", leaf.ExtKeyUsage, leaf.IsCA, leaf.EmailAddresses)
	}
	if profile, name, ok := pki.Subject(leaf, "test.internal"); ok {
		t.Errorf("at our own listeners it stands for %s %s", profile, name)
	}
	if r, err := env.CA.Certificate(t.Context(), issued.Serial); err != nil || r.Profile != "outbound" || r.Name != "erp" {
		t.Errorf("got record %+v, %v", r, err)
	}
	for _, o := range []pki.IssueOptions{
		{Profile: pki.OutboundProfile("a/b"), Name: "erp"}, {Profile: pki.OutboundProfile("acme"), Name: "jo@example.com"}, {Profile: pki.OutboundProfile(""), Name: "erp"},
	} {
		o.PublicKey = env.Key(pki.P256).Public()
		var refused *pki.RequestError
		if _, err := issue(t, env, o); !errors.As(err, &refused) || refused.Hint == "" {
			t.Errorf("%v for %q: got %v, want a refusal with a hint", o.Profile, o.Name, err)
		}
	}
}
