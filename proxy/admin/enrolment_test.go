package admin_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

func TestEnrolmentTokensFromAddToWithdraw(t *testing.T) {
	h := build(t)
	h.furnish()
	ctx := t.Context()
	key := strings.Repeat("AB:", 31) + "AB"
	made, err := h.client.AddEnrolmentToken(ctx, "erp", admin.EnrolmentTokenRequest{
		Valid: identity.Duration(2 * time.Hour), For: "erp.example.com", KeyFingerprint: key, Lifetime: identity.Duration(720 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	token, err := enrolment.ParseToken(made.Token)
	root := sha256.Sum256(h.pki.CA.SigningRoot().Raw)
	if err != nil || token.URL != "https://enrol.test:8444" || made.URL != token.URL || token.Root != root ||
		made.RootFingerprint != hex.EncodeToString(root[:]) || token.Identity != "erp" {
		t.Fatalf("got %+v, %v", token, err)
	}
	if left := time.Until(made.Expires); made.State != "open" || made.For != "erp.example.com" || made.KeyFingerprint != strings.Repeat("ab", 32) ||
		time.Duration(made.Lifetime) != 720*time.Hour || left < time.Hour || left > 2*time.Hour {
		t.Errorf("got %+v", made)
	}
	kept, err := h.pki.CA.EnrolmentTokenOf(ctx, nil, token.Hash())
	if err != nil || kept.ID != made.ID || kept.Name != "erp" {
		t.Errorf("got %+v, %v", kept, err)
	}
	list, err := h.client.EnrolmentTokens(ctx, "erp", "open")
	if err != nil || len(list) != 1 || list[0] != made.EnrolmentToken {
		t.Errorf("got %+v, %v", list, err)
	}
	gone, err := h.client.WithdrawEnrolmentToken(ctx, made.ID)
	if err != nil || gone.State != "withdrawn" {
		t.Errorf("got %+v, %v", gone, err)
	}
	again, err := h.client.WithdrawEnrolmentToken(ctx, made.ID)
	if err != nil || again != gone {
		t.Errorf("withdrawn again: %+v, %v, want %+v", again, err, gone)
	}
	if list, err := h.client.EnrolmentTokens(ctx, "", "open"); err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v", list, err)
	}
	// The text is in no record, log or database.
	var dump strings.Builder
	for _, c := range h.changes() {
		fmt.Fprintf(&dump, "%+v %s\n", c, c.Detail)
	}
	if !strings.Contains(dump.String(), "enrolment_token.add") || !strings.Contains(dump.String(), "enrolment_token.withdraw") {
		t.Errorf("the change records are %s", dump.String())
	}
	var hash string
	if err := h.db.QueryRow(`SELECT hash FROM pki_enrolment_tokens`).Scan(&hash); err != nil {
		t.Fatal(err)
	}
	if all := dump.String() + h.log.String() + hash; strings.Contains(all, "tge1_") {
		t.Error("the token's text is told")
	}
}

func TestEnrolmentTokensAreRefused(t *testing.T) {
	h := build(t)
	h.furnish()
	ctx := t.Context()
	for _, c := range []struct {
		name, identity, code, field string
		request                     admin.EnrolmentTokenRequest
	}{
		{"nobody", "nobody", "not_found", "", admin.EnrolmentTokenRequest{}},
		{"too short", "erp", "invalid", "valid", admin.EnrolmentTokenRequest{Valid: identity.Duration(time.Second)}},
		{"too long", "erp", "invalid", "valid", admin.EnrolmentTokenRequest{Valid: identity.Duration(169 * time.Hour)}},
		{"no host", "erp", "invalid", "for", admin.EnrolmentTokenRequest{For: "https://erp"}},
		{"no fingerprint", "erp", "invalid", "key_fingerprint", admin.EnrolmentTokenRequest{KeyFingerprint: "abcd"}},
		{"lifetime", "erp", "invalid", "lifetime", admin.EnrolmentTokenRequest{Lifetime: identity.Duration(time.Second)}},
	} {
		_, err := h.client.AddEnrolmentToken(ctx, c.identity, c.request)
		if e, ok := errors.AsType[*admin.APIError](err); !ok || e.Code != c.code || e.Field != c.field || e.Hint == "" {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	if _, err := h.client.DisableIdentity(ctx, "erp"); err != nil {
		t.Fatal(err)
	}
	_, err := h.client.AddEnrolmentToken(ctx, "erp", admin.EnrolmentTokenRequest{})
	if e, ok := errors.AsType[*admin.APIError](err); !ok || e.Code != "disabled" {
		t.Errorf("of a disabled identity: got %v", err)
	}
	_, err = h.client.WithdrawEnrolmentToken(ctx, "nothing")
	if e, ok := errors.AsType[*admin.APIError](err); !ok || e.Code != "not_found" {
		t.Errorf("withdrawing nothing: got %v", err)
	}
	if list, err := h.client.EnrolmentTokens(ctx, "", ""); err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v", list, err)
	}
}

// Whoever is given the name of an identity that was removed must not be enrolled by a token of the former one.
func TestRemovingAnIdentityWithdrawsItsTokens(t *testing.T) {
	h := build(t)
	h.furnish()
	ctx := t.Context()
	made, err := h.client.AddEnrolmentToken(ctx, "erp", admin.EnrolmentTokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.client.RemoveIdentity(ctx, "erp", false); err != nil {
		t.Fatal(err)
	}
	if got, err := h.client.EnrolmentToken(ctx, made.ID); err != nil || got.State != "withdrawn" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestOnlyAllowedTypesOfKeysAreCertified(t *testing.T) {
	h := build(t)
	h.furnish()
	ctx := t.Context()
	if _, err := h.client.SetIdentity(ctx, "erp", map[string]any{"key_types": []string{pki.RSA3072}}); err != nil {
		t.Fatal(err)
	}
	_, err := h.client.IssueCertificate(ctx, "erp", admin.CertificateRequest{CSR: h.csr("erp")})
	if e, ok := errors.AsType[*admin.APIError](err); !ok || e.Code != "key_type" || e.Hint != "make a key of type RSA-3072" {
		t.Errorf("got %v", err)
	}
	if _, err := h.client.SetIdentity(ctx, "erp", map[string]any{"key_types": []string{pki.RSA3072, pki.P256}}); err != nil {
		t.Fatal(err)
	}
	h.issue("erp")
}
