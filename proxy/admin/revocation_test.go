package admin_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// records counts the change records of revocations, by serial number.
func (h *house) revocationRecords() map[string]int {
	n := map[string]int{}
	for _, c := range h.changes() {
		if c.Action == "certificate.revoke" {
			n[c.Name]++
		}
	}
	return n
}

func TestAllCertificatesOfAnIdentityAreRevokedInOneAct(t *testing.T) {
	h := build(t)
	h.furnish()
	if _, err := h.client.AddIdentity(t.Context(), identity.Identity{Name: "other", Owner: "team"}); err != nil {
		t.Fatal(err)
	}
	first, second, third, other := h.issue("erp"), h.issue("erp"), h.issue("erp"), h.issue("other")
	if _, err := h.client.RevokeCertificate(t.Context(), first.Serial, "superseded"); err != nil {
		t.Fatal(err)
	}
	before := h.registry.Snapshot()
	done, err := h.client.RevokeIdentity(t.Context(), "erp", "keyCompromise")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(done.Serials)
	want := []string{second.Serial, third.Serial}
	slices.Sort(want)
	if done.Revoked != 2 || !slices.Equal(done.Serials, want) {
		t.Errorf("revoked %+v, want %v", done, want)
	}
	if after := h.registry.Snapshot(); after.Revision() != before.Revision()+1 {
		t.Errorf("revision %d after %d: more than one act", after.Revision(), before.Revision())
	}
	for serial, wantReason := range map[string]string{first.Serial: "superseded", second.Serial: "keyCompromise", third.Serial: "keyCompromise", other.Serial: ""} {
		bound, _ := h.registry.Snapshot().CertificateBySerial(serial)
		known, err := h.pki.CA.Certificate(t.Context(), serial)
		if err != nil || bound.RevocationReason != wantReason || known.RevocationReason != wantReason {
			t.Errorf("%s: %q in the registry, %q at the CA, want %q (%v)", serial, bound.RevocationReason, known.RevocationReason, wantReason, err)
		}
		if n := h.revocationRecords()[serial]; n != map[bool]int{true: 1}[wantReason != ""] {
			t.Errorf("%s: %d change records", serial, n)
		}
	}
	if again, err := h.client.RevokeIdentity(t.Context(), "erp", ""); err != nil || again.Revoked != 0 || again.Serials == nil {
		t.Errorf("again: %+v, %v", again, err)
	}
	var refused *admin.APIError
	if _, err := h.client.RevokeIdentity(t.Context(), "nobody", ""); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("nobody's: %v", err)
	}
}

func TestEverythingOfTheCAIsRevokedButServers(t *testing.T) {
	h := build(t)
	h.furnish()
	erp, server, operator := h.issue("erp"), h.pki.Server("gate.example.com"), h.pki.Admin("operator")
	remote := h.tlsClient(operator)
	if _, err := remote.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := h.client.CRL(t.Context()); err != nil || list.Entries != 0 {
		t.Fatalf("list before: %+v, %v", list, err)
	}
	done, err := h.client.RevokeAll(t.Context(), "cACompromise")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{erp.Serial, pki.FormatSerial(operator.Leaf.SerialNumber)}
	if done.Revoked != 2 || !slices.Equal(done.Serials, want) {
		t.Errorf("revoked %+v, want %v", done, want)
	}
	for _, serial := range want {
		if n := h.revocationRecords()[serial]; n != 1 {
			t.Errorf("%s: %d change records", serial, n)
		}
	}
	if bound, _ := h.registry.Snapshot().CertificateBySerial(erp.Serial); !bound.Revoked() {
		t.Error("not revoked in the registry")
	}
	if known, err := h.pki.CA.Certificate(t.Context(), pki.FormatSerial(server.Leaf.SerialNumber)); err != nil || !known.RevokedAt.IsZero() {
		t.Errorf("the listener's own: %+v, %v", known.RevokedAt, err)
	}
	if _, err := remote.Status(t.Context()); err == nil {
		t.Error("an administrator's certificate still administers")
	}
	list, err := h.client.CRL(t.Context())
	if err != nil || list.Entries != 2 {
		t.Fatalf("list: %+v, %v", list, err)
	}
	block, _ := pem.Decode([]byte(list.CRL))
	crl, err := x509.ParseRevocationList(block.Bytes)
	if err != nil || crl.Number.Int64() != list.Number || crl.CheckSignatureFrom(h.pki.CA.Intermediate()) != nil {
		t.Errorf("the list in the answer: %v", err)
	}
	if report, err := h.client.VerifyChanges(t.Context()); err != nil || report.Broken != nil {
		t.Errorf("change records: %+v %v", report.Broken, err)
	}
}

func TestRevocationReasonsAreFinal(t *testing.T) {
	h := build(t)
	h.furnish()
	issued := h.issue("erp")
	for _, reason := range []string{"certificateHold", "removeFromCRL", "keycompromise", "bored"} {
		var refused *admin.APIError
		_, err := h.client.RevokeCertificate(t.Context(), issued.Serial, reason)
		if !errors.As(err, &refused) || refused.Status != http.StatusUnprocessableEntity || refused.Field != "reason" || !strings.Contains(refused.Hint, "keyCompromise") {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// A certificate that has expired may be renewed for as long as its identity's grace lasts: whoever has stolen it must not be able to when all are revoked.
func TestWhatHasExpiredAndCouldBeRenewedIsRevokedToo(t *testing.T) {
	for name, revoke := range map[string]func(*house) (admin.Revocations, error){
		"of an identity": func(h *house) (admin.Revocations, error) {
			return h.client.RevokeIdentity(t.Context(), "erp", "keyCompromise")
		},
		"of the CA": func(h *house) (admin.Revocations, error) { return h.client.RevokeAll(t.Context(), "keyCompromise") },
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t)
			h.furnish()
			late, gone := h.issuedBefore("erp", 2*time.Hour), h.issuedBefore("erp", identity.MaxRenewGrace+2*time.Hour)
			done, err := revoke(h)
			if err != nil || len(done.Serials) != 1 || done.Serials[0] != late.Serial {
				t.Errorf("revoked %+v, %v, want %s", done, err, late.Serial)
			}
			for _, c := range []struct {
				certificate identity.Certificate
				revoked     bool
			}{{late, true}, {gone, false}} {
				bound, _ := h.registry.Snapshot().CertificateBySerial(c.certificate.Serial)
				known, err := h.pki.CA.Certificate(t.Context(), c.certificate.Serial)
				if err != nil || bound.Revoked() != c.revoked || known.RevokedAt.IsZero() == c.revoked {
					t.Errorf("expired at %v: revoked in the registry %v, at the CA %v, want %v", bound.NotAfter, bound.Revoked(), !known.RevokedAt.IsZero(), c.revoked)
				}
			}
		})
	}
}

// issuedBefore binds a certificate of one hour that was issued so long ago.
func (h *house) issuedBefore(name string, ago time.Duration) (bound identity.Certificate) {
	h.t.Helper()
	env := pkitest.With(h.t, pkitest.Options{DB: h.db, Now: func() time.Time { return time.Now().Add(-ago) }})
	leaf := env.Issue(pki.ClientProfile(), name, time.Hour).Leaf
	err := h.registry.Change(h.t.Context(), func(tx *identity.Tx) (err error) {
		bound, err = tx.BindCertificate(h.t.Context(), identity.Certificate{
			Fingerprint: sha256.Sum256(leaf.Raw), Identity: name, Serial: pki.FormatSerial(leaf.SerialNumber), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		})
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return bound
}
