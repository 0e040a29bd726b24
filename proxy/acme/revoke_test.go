package acme_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"slices"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// revoke asks for a certificate to be revoked.
func (c *client) revoke(cert *x509.Certificate, reason any) *reply {
	c.h.t.Helper()
	payload := object{"certificate": base64.RawURLEncoding.EncodeToString(cert.Raw)}
	if reason != nil {
		payload["reason"] = reason
	}
	return c.post(c.url+"/acme/revoke-cert", payload)
}

func (h *house) bound(cert *x509.Certificate) *identity.Certificate {
	h.t.Helper()
	b, ok := h.registry.Snapshot().Binding(sha256.Sum256(cert.Raw))
	if !ok {
		h.t.Fatal("the certificate is not bound")
	}
	return b.Certificate
}

func TestRevocationByAccountAndByKey(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	first, second := c.obtain(h.pki.Key(pki.P256)), (*x509.Certificate)(nil)
	key := h.pki.Key(pki.P256)
	second = c.obtain(key)

	other := h.registered(nil)
	h.refused(other.revoke(first, nil), "unauthorized", record.Unidentified, 2)
	stranger := h.client()
	h.refused(stranger.revoke(first, nil), "unauthorized", record.Unidentified, 2)
	for _, code := range []int{6, 7, 8, 10, -1, 99} {
		h.refused(c.revoke(first, code), "badRevocationReason", record.Malformed, 2)
	}
	h.refused(c.revoke(h.pki.CA.Intermediate(), nil), "malformed", record.NoRoute, 2)
	if h.bound(first).Revoked() {
		t.Fatal("it is revoked")
	}

	if r := c.revoke(first, 1); r.status != http.StatusOK {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if b := h.bound(first); !b.Revoked() || b.RevocationReason != "keyCompromise" { // as the proxy sees it, at once
		t.Errorf("got %+v", b)
	}
	known, err := h.pki.CA.Certificate(t.Context(), pki.FormatSerial(first.SerialNumber))
	if err != nil || known.RevokedAt.IsZero() {
		t.Errorf("the CA has %+v, %v", known, err)
	}
	h.refused(c.revoke(first, nil), "alreadyRevoked", record.Malformed, 2)

	owner := h.client()
	owner.signer = key
	if r := owner.revoke(second, nil); r.status != http.StatusOK || !h.bound(second).Revoked() {
		t.Errorf("by its own key: got %d %s", r.status, r.body)
	}
	if n := len(slices.DeleteFunc(h.changes(), func(a string) bool { return a != "certificate.revoke" })); n != 2 {
		t.Errorf("%d revocations are on record", n)
	}

	o := c.ready(host)
	h.refused(c.finalize(o, key, host), "badCSR", record.Malformed, 2) // a revoked key does not come back
}

func TestAKeyStandsForOneIdentity(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	foreign := h.pki.Client("crm")
	h.refused(c.finalize(c.ready(host), signerOf(foreign), host), "badCSR", record.Malformed, 0)
	key := h.pki.Key(pki.P256)
	first, second := c.obtain(key), c.obtain(key) // a client that keeps its key may
	if h.bound(first).Revoked() || h.bound(second).Revoked() || h.certificates() != 2 {
		t.Error("old and new do not overlap")
	}
}

func TestAnIdentityThatIsDisabledMayStillRevoke(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	leaf := c.obtain(h.pki.Key(pki.P256))
	h.disable("erp")
	if r := c.revoke(leaf, nil); r.status != http.StatusOK {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

func signerOf(c tls.Certificate) crypto.Signer { return c.PrivateKey.(crypto.Signer) }
