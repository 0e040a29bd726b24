package admin_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// keyless adds a credential whose key is made by the server.
func (h *house) keyless(style string, change ...func(*admin.CredentialRequest)) admin.Credential {
	h.t.Helper()
	q := admin.CredentialRequest{Tenant: "acme", ClientID: "sb", AuthStyle: style, Keyless: true}
	for _, f := range change {
		f(&q)
	}
	c, err := h.client.AddCredential(h.t.Context(), "erp", q)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func (h *house) registration(id string) admin.Registration {
	h.t.Helper()
	r, err := h.client.Registration(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func TestKeylessCertificateIsOfTheCAAndRevokedWithItsCredential(t *testing.T) {
	h := build(t)
	h.furnish()
	c := h.keyless("mtls", func(q *admin.CredentialRequest) { q.Lifetime, q.KeyType = identity.Duration(48*time.Hour), pki.RSA2048 })
	if c.Kind != identity.KindCertificate || !c.Keyless || c.Certificate == "" {
		t.Fatalf("got %+v", c)
	}
	r := h.registration(c.ID)
	if r.ClientID != "sb" || r.AuthStyle != "mtls" || r.TokenEndpoint != "https://auth.example.com/oauth/token" || len(r.Advice) == 0 || r.Certificate == nil {
		t.Fatalf("got %+v", r)
	}
	chain, err := pki.ParseCertificates([]byte(r.Certificate.Chain))
	if err != nil {
		t.Fatal(err)
	}
	intermediates := x509.NewCertPool()
	intermediates.AddCert(chain[1])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(r.Certificate.Roots))
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("what is to be registered does not verify: %v", err)
	}
	if r.Certificate.Subject != "CN=erp,OU=acme" || r.Certificate.Issuer != chain[1].Subject.String() || len(r.Certificate.SHA256) != 64 {
		t.Errorf("got %+v", r.Certificate)
	}
	if got := r.Certificate.Renews.Sub(r.Certificate.NotBefore).Round(time.Hour); got != 32*time.Hour {
		t.Errorf("it renews itself after %v, want two thirds of 48h", got)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.JWKS, &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() || !set.Keys[0].Certificates[0].Equal(chain[0]) {
		t.Errorf("got key set %s, %v", r.JWKS, err)
	}
	known, err := h.pki.CA.Certificate(t.Context(), r.Certificate.Serial)
	if err != nil || known.Profile != "outbound" || known.Name != "erp" || !known.RevokedAt.IsZero() {
		t.Errorf("the CA knows %+v, %v", known, err)
	}
	// It stands for nobody at our own listeners.
	if _, bound := h.registry.Snapshot().Binding(known.Fingerprint); bound {
		t.Error("the certificate is bound to an identity")
	}
	if err := h.client.RemoveCredential(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if known, err := h.pki.CA.Certificate(t.Context(), r.Certificate.Serial); err != nil || known.RevokedAt.IsZero() {
		t.Errorf("after its removal the CA knows %+v, %v", known, err)
	}
	second := h.registration(h.keyless("mtls").ID)
	if err := h.client.RemoveIdentity(t.Context(), "erp", true); err != nil {
		t.Fatal(err)
	}
	if known, err := h.pki.CA.Certificate(t.Context(), second.Certificate.Serial); err != nil || known.RevokedAt.IsZero() {
		t.Errorf("after the identity's removal the CA knows %+v, %v", known, err)
	}
}

func TestKeylessAssertionKeyIsShownAsJWKS(t *testing.T) {
	h := build(t)
	h.furnish()
	for _, keyType := range []string{"", pki.P384, pki.RSA2048, pki.Ed25519} {
		c := h.keyless("private_key_jwt", func(q *admin.CredentialRequest) { q.KeyType = keyType })
		stored, _ := h.registry.Snapshot().Credential(c.ID)
		key, err := stored.PrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		r := h.registration(c.ID)
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(r.JWKS, &set); err != nil || len(set.Keys) != 1 {
			t.Fatalf("%s: got key set %s, %v", keyType, r.JWKS, err)
		}
		public := set.Keys[0]
		if !public.IsPublic() || public.KeyID == "" || public.KeyID != c.KeyID || fmt.Sprint(public.Key) != fmt.Sprint(key.Public()) {
			t.Errorf("%s: got key %s of credential %+v", keyType, r.JWKS, c)
		}
		if r.Certificate != nil || !c.Keyless || c.Kind != identity.KindAssertion || !c.NotAfter.IsZero() {
			t.Errorf("%s: got %+v, %+v", keyType, c, r)
		}
		if err := h.client.RemoveCredential(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeylessKeyIsInNoAnswerRecordOrLog(t *testing.T) {
	h := build(t)
	h.furnish()
	c := h.keyless("private_key_jwt")
	stored, _ := h.registry.Snapshot().Credential(c.ID)
	secret := strings.Split(stored.Secret.Reveal(), "\n")[1]
	var said []string
	for _, path := range []string{"/v1/credentials/" + c.ID, "/v1/credentials/" + c.ID + "/registration", "/v1/identities/erp/credentials", "/v1/changes"} {
		_, answer := h.send("GET", path, "")
		said = append(said, answer)
	}
	said = append(said, h.log.String(), fmt.Sprintf("%+v %+v", c, stored))
	for _, s := range said {
		if strings.Contains(s, secret) || strings.Contains(s, "PRIVATE KEY") || strings.Contains(s, `"d":`) {
			t.Errorf("the key is in: %s", s)
		}
	}
}

func TestKeylessRefusesWhatCannotBe(t *testing.T) {
	h := build(t)
	h.furnish()
	before := h.registry.Snapshot()
	for name, c := range map[string]struct {
		identity, body, field string
		status                int
	}{
		"a key is given":         {"erp", `{"tenant":"acme","client_id":"a","auth_style":"mtls","keyless":true,"secret":"x"}`, "keyless", 422},
		"a style with a secret":  {"erp", `{"tenant":"acme","client_id":"a","keyless":true}`, "auth_style", 422},
		"another kind":           {"erp", `{"tenant":"acme","client_id":"a","auth_style":"mtls","kind":"assertion","keyless":true}`, "auth_style", 422},
		"a key of no type":       {"erp", `{"tenant":"acme","client_id":"a","auth_style":"mtls","keyless":true,"key_type":"DSA"}`, "key", 422},
		"a type and no key":      {"erp", `{"tenant":"acme","client_id":"a","kind":"secret","secret":"x","key_type":"P-256"}`, "key_type", 422},
		"too long a life":        {"erp", `{"tenant":"acme","client_id":"a","auth_style":"mtls","keyless":true,"lifetime":"99999h"}`, "lifetime", 422},
		"a life of a key":        {"erp", `{"tenant":"acme","client_id":"a","auth_style":"private_key_jwt","keyless":true,"lifetime":"99h"}`, "lifetime", 422},
		"a tenant that is none":  {"erp", `{"tenant":"none","client_id":"a","auth_style":"mtls","keyless":true}`, "", 404},
		"an identity of nobody":  {"none", `{"tenant":"acme","client_id":"a","auth_style":"mtls","keyless":true}`, "", 404},
		"a person":               {"jo@example.com", `{"tenant":"acme","client_id":"a","auth_style":"mtls","keyless":true}`, "", 404},
		"a parameter of our own": {"erp", `{"tenant":"acme","client_id":"a","auth_style":"mtls","keyless":true,"token_parameters":{"scope":"x"}}`, "token_parameters", 422},
	} {
		status, answer := h.send("POST", "/v1/identities/"+c.identity+"/credentials", c.body)
		if status != c.status || !strings.Contains(answer, `"hint"`) || c.field != "" && !strings.Contains(answer, `"field":"`+c.field+`"`) {
			t.Errorf("%s: got %d %s", name, status, answer)
		}
	}
	if h.registry.Snapshot() != before {
		t.Error("something was changed")
	}
	if issued, err := h.pki.CA.Certificates(t.Context(), pki.Filter{Profile: "outbound"}); err != nil || len(issued) != 0 {
		t.Errorf("%d certificates were issued, %v", len(issued), err)
	}
}

func TestRegistrationOfOthers(t *testing.T) {
	h := build(t)
	h.furnish()
	c, err := h.client.AddCredential(t.Context(), "erp", admin.CredentialRequest{Tenant: "acme", ClientID: "a", Kind: identity.KindSecret, Secret: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if r := h.registration(c.ID); r.Certificate != nil || r.JWKS != nil || r.ClientID != "a" || r.AuthStyle != "body" {
		t.Errorf("got %+v", r)
	}
	var e *admin.APIError
	if _, err := h.client.Registration(t.Context(), "none"); !errors.As(err, &e) || e.Status != 404 {
		t.Errorf("got %v", err)
	}
}

func TestRegistrationShowsTheDiscoveredTokenEndpoint(t *testing.T) {
	h := build(t)
	h.furnish()
	c, err := h.client.AddCredential(t.Context(), "erp", admin.CredentialRequest{Tenant: "acme", ClientID: "a", Kind: identity.KindSecret, Secret: "x",
		Issuer: "https://login.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	server := h.server(func(*http.Request) (string, error) { return "test", nil })
	for _, discovered := range []string{"", "https://elsewhere.example.com/token"} {
		server.TokenEndpoint = func(id string) string {
			if id != c.ID {
				t.Errorf("asked for credential %s", id)
			}
			return discovered
		}
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, httptest.NewRequest("GET", "/v1/credentials/"+c.ID+"/registration", nil))
		var r admin.Registration
		if err := json.Unmarshal(answer.Body.Bytes(), &r); err != nil || r.Issuer != "https://login.example.com" || r.TokenEndpoint != discovered {
			t.Errorf("got %s, %v", answer.Body, err)
		}
	}
}
