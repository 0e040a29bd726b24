package pki_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// acmeKey stores a key and returns its secret.
func acmeKey(t *testing.T, e *pkitest.Env, id string) (pki.ACMEKey, []byte) {
	t.Helper()
	tx, err := e.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	k, secret, err := e.CA.AddACMEKey(t.Context(), tx, pki.ACMEKey{ID: id, Name: "erp", Hosts: []string{"a.example.com", "b.example.com"},
		Expires: time.Now().Add(time.Hour)})
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	return k, secret
}

func TestTheSecretOfAnACMEKeyIsSealedAndErased(t *testing.T) {
	e := pkitest.New(t)
	k, secret := acmeKey(t, e, "one")
	var stored []byte
	err := e.DB.QueryRowContext(t.Context(), `SELECT secret FROM pki_acme_keys`).Scan(&stored)
	if err != nil || bytes.Contains(stored, secret) || len(secret) != 32 {
		t.Fatalf("the secret is stored in the clear, or is none: %v", err)
	}
	if got, err := e.CA.ACMEKeySecret(t.Context(), nil, &k); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("got %v", err)
	}
	for _, change := range []func(*pki.ACMEKey){ // whoever writes to the database turns it to nobody else
		func(k *pki.ACMEKey) { k.Name = "crm" },
		func(k *pki.ACMEKey) { k.Hosts = append(k.Hosts, "c.example.com") },
	} {
		altered := k
		altered.Hosts = slices.Clone(k.Hosts)
		change(&altered)
		if _, err := e.CA.ACMEKeySecret(t.Context(), nil, &altered); err == nil {
			t.Errorf("the secret opens for %+v", altered)
		}
	}
	add := func(thumbprint string) error {
		tx, err := e.DB.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := e.CA.AddACMEAccount(t.Context(), tx, pki.ACMEAccount{Binding: "one", Thumbprint: thumbprint, JWK: "{}"}); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := add("x"); err != nil {
		t.Fatal(err)
	}
	if err := add("y"); !errors.Is(err, pki.ErrTaken) {
		t.Errorf("a second account: %v", err)
	}
	if got, err := e.CA.ACMEKeySecret(t.Context(), nil, &k); err != nil || got != nil {
		t.Errorf("after its use the secret is there: %v", err)
	}
}

func TestOldACMEKeysAreForgotten(t *testing.T) {
	var shift time.Duration
	e := pkitest.With(t, pkitest.Options{Now: func() time.Time { return time.Now().Add(shift) }})
	acmeKey(t, e, "one")
	shift = 40 * 24 * time.Hour
	acmeKey(t, e, "two")
	list, err := e.CA.ACMEKeys(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].ID != "two" {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestHostNamesStandBesideTheIdentity(t *testing.T) {
	e := pkitest.New(t)
	profile, err := pki.ClientProfile().WithHosts([]string{"a.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	leaf := e.Issue(profile, "erp", 0).Leaf
	if leaf.Subject.String() != "OU=erp" || leaf.URIs[0].String() != "spiffe://test.internal/identity/erp" ||
		!slices.Equal(leaf.DNSNames, []string{"a.example.com"}) || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("got %v %v %v", leaf.Subject, leaf.DNSNames, leaf.ExtKeyUsage)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: e.Root, DNSName: "a.example.com"}); err == nil {
		t.Error("it serves as a server's")
	}
	for _, hosts := range [][]string{nil, {""}, {"*.example.com"}, {"A.example.com"}, {"a.example.com."}, {"10.0.0.1"}, {"::1"}, {"1"}, {"0x7f.0x1"},
		{"a_b.example.com"}, {"a@example.com"}, {"a.example.com", "a.example.com"}, {"a b"}, {"ex\x00ample.com"}, make([]string, 33)} {
		if _, err := pki.ClientProfile().WithHosts(hosts); err == nil {
			t.Errorf("%q is accepted", hosts)
		}
	}
	for _, other := range []pki.Profile{pki.AdminProfile(), pki.ServerProfile(), pki.OutboundProfile("acme"), {}} {
		if _, err := other.WithHosts([]string{"a.example.com"}); err == nil {
			t.Errorf("profile %q takes host names", other)
		}
	}
}

func TestKeysThatAreOlderThanTheirColumnAreKnownToTheirIdentity(t *testing.T) {
	e := pkitest.New(t)
	erp := e.Client("erp")
	if _, err := e.DB.ExecContext(t.Context(), `UPDATE pki_certificates SET key = ''`); err != nil {
		t.Fatal(err)
	}
	check := func(name string) error { return e.CA.CheckNewKey(context.Background(), nil, name, erp.Leaf.PublicKey) }
	if err := check("erp"); err != nil {
		t.Error(err)
	}
	e.Revoke(erp, "keyCompromise")
	if err := check("erp"); err == nil {
		t.Error("a revoked key comes back")
	}
}
