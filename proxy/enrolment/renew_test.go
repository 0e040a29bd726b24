package enrolment_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

func testRenewingOverlaps(t *testing.T, h *house) {
	old := h.enrolled(func(rules *pki.EnrolmentToken) { rules.Lifetime = 48 * time.Hour })
	key := h.pki.Key(pki.P256)
	answer, err := h.client(old).Renew(t.Context(), h.csr(key))
	if err != nil {
		t.Fatal(err)
	}
	renewed := pair(t, answer, key)
	if got := renewed.Leaf.NotAfter.Sub(renewed.Leaf.NotBefore); got != 48*time.Hour+time.Minute {
		t.Errorf("the new certificate is valid for %v, the old one for 48h", got)
	}
	for _, c := range []*tlsCertificate{{old.Leaf.Raw, "old"}, {renewed.Leaf.Raw, "new"}} {
		if b, ok := h.registry.Snapshot().Binding(sha256.Sum256(c.der)); !ok || b.Certificate.Revoked() || b.Identity.Name != "erp" {
			t.Errorf("the %s certificate does not stand for erp", c.name)
		}
	}
	if h.certificates() != 2 {
		t.Errorf("%d certificates, want the old and the new one", h.certificates())
	}
	changes, err := record.Changes(t.Context(), h.db, 1, 10)
	if err != nil || len(changes) != 1 {
		t.Fatalf("got %d change records, %v", len(changes), err)
	}
	var detail struct{ Renews, Identity string }
	if err := json.Unmarshal(changes[0].Detail, &detail); err != nil {
		t.Fatal(err)
	}
	if c := changes[0]; c.Action != "certificate.renew" || c.Name != answer.Serial || c.Actor != "spiffe://test.internal/identity/erp" ||
		detail.Renews != pki.FormatSerial(old.Leaf.SerialNumber) || detail.Identity != "erp" {
		t.Errorf("got the change record %+v", c)
	}
	// Whoever has lost the answer gets it again; the old key may be kept; the renewed one renews in turn.
	again, err := h.client(old).Renew(t.Context(), h.csr(key))
	if err != nil || again.Chain != answer.Chain || h.certificates() != 2 {
		t.Errorf("the same renewal again: %v, %d certificates", err, h.certificates())
	}
	if _, err := h.client(renewed).Renew(t.Context(), h.csr(renewed.PrivateKey.(crypto.Signer))); err != nil || h.certificates() != 3 {
		t.Errorf("with the key that it has: %v, %d certificates", err, h.certificates())
	}
}

type tlsCertificate struct {
	der  []byte
	name string
}

// Two renewals at once with one key are one renewal; with two keys they are two, and both certificates are good.
func testTwoRenewalsAtOnce(t *testing.T, h *house) {
	old := h.enrolled(nil)
	one, two := h.pki.Key(pki.P256), h.pki.Key(pki.P256)
	serials := make(map[string]bool)
	var mu sync.Mutex
	var renewals sync.WaitGroup
	for _, key := range []crypto.Signer{one, one, one, one, two, two, two, two} {
		csr := h.csr(key)
		renewals.Go(func() {
			answer, err := h.client(old).Renew(t.Context(), csr)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			serials[answer.Serial] = true
		})
	}
	renewals.Wait()
	if len(serials) != 2 || h.certificates() != 3 {
		t.Errorf("%d certificates from two keys, %d in all", len(serials), h.certificates())
	}
}

func TestRenewalIsRefused(t *testing.T) {
	h := build(t)
	old := h.enrolled(nil)
	key := h.pki.Key(pki.P256)
	bound := sha256.Sum256(old.Leaf.Raw)
	t.Run("without a certificate", func(t *testing.T) {
		_, err := h.client().Renew(t.Context(), h.csr(key))
		h.refused(err, "no_certificate", record.Unidentified, 1)
	})
	t.Run("with odd certificates", func(t *testing.T) {
		for _, kind := range pkitest.Odds() {
			if _, err := h.client(h.pki.Odd(kind, "erp")).Renew(t.Context(), h.csr(key)); err == nil {
				t.Errorf("%s: renewed", kind)
			}
		}
		h.certificates()
	})
	t.Run("with one that is not bound", func(t *testing.T) {
		h.pki.Client("shop")
		_, err := h.client(h.pki.Client("shop")).Renew(t.Context(), h.csr(key))
		h.refused(err, "not_acceptable", record.Unidentified, 1)
	})
	t.Run("with an administrator's", func(t *testing.T) {
		_, err := h.client(h.pki.Admin("anna")).Renew(t.Context(), h.csr(key))
		h.refused(err, "not_acceptable", record.Unidentified, 1)
	})
	t.Run("with one of the server or of a credential", func(t *testing.T) {
		for _, profile := range []pki.Profile{pki.ServerProfile(), pki.OutboundProfile("acme")} {
			_, err := h.client(h.pki.Issue(profile, "gate", 0)).Renew(t.Context(), h.csr(key))
			h.refused(err, "not_acceptable", record.Unidentified, 1)
		}
	})
	t.Run("with one that is bound and was not issued here", func(t *testing.T) {
		foreign := h.pki.Sign(h.pki.Key(pki.P256), &x509.Certificate{
			SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: "erp"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
		})
		h.change(func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.BindCertificate(ctx, identity.Certificate{Fingerprint: sha256.Sum256(foreign.Leaf.Raw), Identity: "erp",
				Serial: pki.FormatSerial(foreign.Leaf.SerialNumber), NotBefore: foreign.Leaf.NotBefore, NotAfter: foreign.Leaf.NotAfter})
			return err
		})
		_, err := h.client(foreign).Renew(t.Context(), h.csr(key))
		if refusal, ok := errors.AsType[*enrolment.Refusal](err); !ok || refusal.Code != "not_acceptable" || !strings.Contains(h.last().Cause, "issued no certificate") {
			t.Errorf("got %v, %+v", err, h.last())
		}
	})
	t.Run("for another identity", func(t *testing.T) {
		for name, csr := range hostileRequests(h, key) {
			_, err := h.client(old).Renew(t.Context(), csr)
			if refusal, ok := errors.AsType[*enrolment.Refusal](err); !ok || refusal.Code != "invalid" {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
	t.Run("with a type of key that is not allowed", func(t *testing.T) {
		h.set(func(erp *identity.Identity) { erp.KeyTypes = []string{"RSA-3072"} })
		_, err := h.client(old).Renew(t.Context(), h.csr(key))
		if refusal, ok := errors.AsType[*enrolment.Refusal](err); !ok || refusal.Code != "key_type" {
			t.Errorf("got %v", err)
		}
		h.set(func(erp *identity.Identity) { erp.KeyTypes = nil })
	})
	t.Run("of a disabled identity", func(t *testing.T) {
		h.set(func(erp *identity.Identity) { erp.Disabled = true })
		_, err := h.client(old).Renew(t.Context(), h.csr(key))
		if refusal, ok := errors.AsType[*enrolment.Refusal](err); !ok || refusal.Code != "disabled" {
			t.Errorf("got %v", err)
		}
		h.set(func(erp *identity.Identity) { erp.Disabled = false })
	})
	t.Run("with a revoked certificate", func(t *testing.T) {
		h.change(func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.RevokeCertificate(ctx, bound, "keyCompromise", time.Time{})
			return err
		})
		_, err := h.client(old).Renew(t.Context(), h.csr(key))
		if refusal, ok := errors.AsType[*enrolment.Refusal](err); !ok || refusal.Code != "revoked" {
			t.Errorf("got %v", err)
		}
	})
	if got := len(h.registry.Snapshot().Certificates("erp")); got != 2 { // the enrolled one, and the one bound above
		t.Errorf("%d certificates of erp", got)
	}
}

func TestOnlyAGraceRenewsAnExpiredCertificate(t *testing.T) {
	h := build(t)
	old := h.enrolled(func(rules *pki.EnrolmentToken) { rules.Lifetime = 24 * time.Hour })
	key := h.pki.Key(pki.P256)
	defer h.at(time.Time{})
	h.at(old.Leaf.NotAfter.Add(time.Hour))
	_, err := h.client(old).Renew(t.Context(), h.csr(key))
	h.refused(err, "expired", record.Unidentified, 1)

	h.set(func(erp *identity.Identity) { erp.RenewGrace = identity.Duration(2 * time.Hour) })
	h.at(old.Leaf.NotAfter.Add(2*time.Hour + time.Second))
	_, err = h.client(old).Renew(t.Context(), h.csr(key))
	h.refused(err, "expired", record.Unidentified, 1)

	h.at(old.Leaf.NotAfter.Add(2 * time.Hour))
	if err := h.pki.CA.Trust().VerifyClient(pkitest.Chain(t, old), h.clock()); err == nil {
		t.Error("what the proxy asks accepts an expired certificate")
	}
	if _, err := h.client(old).Renew(t.Context(), h.csr(key)); err != nil {
		t.Errorf("within the grace: %v", err)
	}
	// The clock of the server jumps back behind the certificate's beginning.
	h.at(old.Leaf.NotBefore.Add(-time.Hour))
	_, err = h.client(old).Renew(t.Context(), h.csr(h.pki.Key(pki.P256)))
	h.refused(err, "not_acceptable", record.Unidentified, 2)
}

func TestCallersGetOnlySoManyCertificatesByThemselves(t *testing.T) {
	h := build(t)
	old := h.enrolled(nil)
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		for i := range enrolment.MaxValid - 2 {
			_, err := tx.BindCertificate(ctx, identity.Certificate{Fingerprint: sha256.Sum256([]byte{byte(i)}), Identity: "erp", Serial: "ab",
				NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := h.client(old).Renew(t.Context(), h.csr(h.pki.Key(pki.P256))); err != nil {
		t.Fatal(err)
	}
	_, err := h.client(old).Renew(t.Context(), h.csr(h.pki.Key(pki.P256)))
	if refusal, ok := errors.AsType[*enrolment.Refusal](err); !ok || refusal.Code != "too_many" {
		t.Errorf("got %v", err)
	}
	if got := len(h.registry.Snapshot().Certificates("erp")); got != enrolment.MaxValid {
		t.Errorf("%d certificates", got)
	}
}

// Another node, which has not followed the registry yet, knows at once what this one has issued.
func testAnotherNodeRenews(t *testing.T, h *house) {
	registry, err := identity.Open(t.Context(), h.db, h.sealer)
	if err != nil {
		t.Fatal(err)
	}
	old := h.enrolled(nil)
	h.server = &enrolment.Server{Registry: registry, CA: h.pki.CA, Trust: h.pki.CA.Trust}
	h.serve()
	if _, err := h.client(old).Renew(t.Context(), h.csr(h.pki.Key(pki.P256))); err != nil {
		t.Error(err)
	}
}

// A caller cannot have a longer life by what else he sends: here a certificate of his own making that ends when the old one does, as an issuer would
// to whose end it was cut.
func TestWhatIsSentBesideTheCertificateGivesNoLongerLife(t *testing.T) {
	h := build(t)
	old := h.enrolled(func(rules *pki.EnrolmentToken) { rules.Lifetime = time.Hour })
	decoy := h.pki.Sign(h.pki.Key(pki.P256), &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: old.Leaf.NotBefore, NotAfter: old.Leaf.NotAfter})
	old.Certificate = append(old.Certificate, decoy.Certificate[0])
	answer, err := h.client(old).Renew(t.Context(), h.csr(h.pki.Key(pki.P256)))
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.NotAfter.Sub(answer.NotBefore); got != time.Hour+time.Minute {
		t.Errorf("the new certificate is valid for %v", got)
	}
}
