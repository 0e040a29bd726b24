package external_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// A company that signs our CA's key does not get to say for whom our certificates stand.
func TestAPathThroughOurKeyIsNobodyElses(t *testing.T) {
	own, corp := pkitest.NewCompany(t, "Own Root", nil), pkitest.NewCompany(t, "Example Root", nil)
	trust, err := pki.NewTrust([]*x509.Certificate{own.Cert}, nil)
	must(t, err)
	r := openRegistry(t, nil)
	addAuthority(t, r, identity.Authority{Name: "corp", CA: corp.PEM()})
	chain := []*x509.Certificate{own.Leaf("erp", nil).Leaf, own.Cross(corp)}

	judge := func(own *pki.Trust) error {
		_, err := external.NewVerifier(func() *pki.Trust { return own }, "test.internal").Judge(r.Snapshot().Authorities(), chain, time.Now())
		return err
	}
	must(t, judge(nil)) // it would be the company's if the key were not ours
	if refused, ok := errors.AsType[*external.RejectedError](judge(trust)); !ok || refused.Reason != external.Foreign {
		t.Errorf("got %v", refused)
	}
}
