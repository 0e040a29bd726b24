package pki_test

import (
	"crypto/x509"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/smallstep/certificates/authority/provisioner"
	"github.com/smallstep/certificates/db"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// The authority inside must not be a second way to a certificate.
func TestNothingIsSignedPastIssue(t *testing.T) {
	env := pkitest.New(t)
	csr, err := x509.ParseCertificateRequest(der(t, env.Request(env.Key(pki.P256), &x509.CertificateRequest{DNSNames: []string{"evil.example"}})))
	if err != nil {
		t.Fatal(err)
	}
	if chain, err := env.CA.Authority().SignWithContext(t.Context(), csr, provisioner.SignOptions{}); err == nil || chain != nil {
		t.Errorf("signed past Issue: %v", err)
	}
	if chain, err := env.CA.Authority().RenewContext(t.Context(), env.Client("orders").Leaf, nil); err == nil || chain != nil {
		t.Errorf("renewed past Issue: %v", err)
	}
	if n := count(t, env.DB); n != 1 {
		t.Errorf("%d records, want the one of Client", n)
	}
	if ok, err := env.CA.AuthDB().UseToken("id", "token"); ok || err != nil {
		t.Errorf("a one-time token was accepted: %v", err)
	}
}

func testAuthDBKnowsRevocation(t *testing.T, database *sql.DB) {
	env := pkitest.With(t, pkitest.Options{DB: database})
	leaf := env.Client("orders").Leaf
	sn := leaf.SerialNumber.String()
	if c, err := env.CA.AuthDB().GetCertificate(sn); err != nil || !c.Equal(leaf) {
		t.Errorf("GetCertificate: %v", err)
	}
	if revoked, err := env.CA.AuthDB().IsRevoked(sn); revoked || err != nil {
		t.Errorf("before: %v, %v", revoked, err)
	}
	if err := env.CA.AuthDB().Revoke(&db.RevokedCertificateInfo{Serial: sn, Reason: "superseded", RevokedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if revoked, err := env.CA.AuthDB().IsRevoked(sn); !revoked || err != nil {
		t.Errorf("after: %v, %v", revoked, err)
	}
	if revoked, err := env.CA.AuthDB().IsRevoked("1"); !revoked || !errors.Is(err, pki.ErrNotFound) {
		t.Errorf("unknown serial: %v, %v", revoked, err)
	}
}
