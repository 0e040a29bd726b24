package admin_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func TestAdminCertificatesAdminister(t *testing.T) {
	h := build(t)
	anna := h.pki.Admin("anna")
	c := h.tlsClient(anna)
	if _, err := c.AddIdentity(t.Context(), identity.Identity{Name: "erp", Owner: "team-erp"}); err != nil {
		t.Fatal(err)
	}
	if got, want := h.changes()[0].Actor, "spiffe://"+pkitest.TrustDomain+"/admin/anna"; got != want {
		t.Errorf("actor %q, want %q", got, want)
	}
	// Revoked, and refused on the connection that is open.
	if _, err := c.RevokeCertificate(t.Context(), pki.FormatSerial(anna.Leaf.SerialNumber), "superseded"); err != nil {
		t.Fatal(err)
	}
	_, err := c.Identities(t.Context())
	e := wantError(t, err, 401)
	if strings.Contains(e.Detail, "revoked") {
		t.Errorf("the sender is told why: %q", e.Detail)
	}
	if !strings.Contains(h.log.String(), "is revoked") {
		t.Error("the log does not say why")
	}
}

func TestOtherCertificatesDoNotAdminister(t *testing.T) {
	h := build(t)
	shown := map[string][]tls.Certificate{"none": nil, "of an identity": {h.pki.Client("anna")}, "of a server": {h.pki.Server("anna.example.com")}}
	for _, kind := range pkitest.Odds() {
		if kind == pkitest.RSA1024 {
			continue // TLS 1.3 does not sign with it
		}
		shown[string(kind)] = []tls.Certificate{h.pki.Odd(kind, "anna")}
	}
	foreign := pkitest.New(t).Admin("anna")
	shown["of another CA's administrator"] = []tls.Certificate{foreign}
	for name, certificate := range shown {
		t.Run(name, func(t *testing.T) {
			_, err := h.tlsClient(certificate...).Identities(t.Context())
			wantError(t, err, 401)
		})
	}
}

// TestACertificateThatTheCAHasNotRecordedDoesNotAdminister: it chains and has the right name, but the CA's records, from which it could be
// revoked, do not have it (as after the database was restored from an older backup).
func TestACertificateThatTheCAHasNotRecordedDoesNotAdminister(t *testing.T) {
	h := build(t)
	anna := h.pki.Admin("anna")
	if _, err := h.db.Exec(`DELETE FROM pki_certificates`); err != nil {
		t.Fatal(err)
	}
	_, err := h.tlsClient(anna).Identities(t.Context())
	wantError(t, err, 401)
}

func TestHealthNeedsNoCertificateAndTheAPIShowsNothingWithoutOne(t *testing.T) {
	h := build(t)
	c := h.tlsClient()
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/v1/status": 401, "/v1/openapi.json": 401, "/v1/none": 401, "/none": 404} {
		response, err := c.HTTP.Get(c.Base + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, want)
		}
	}
}

func TestSocketActorNamesNobodyWithoutTheKernelsWord(t *testing.T) {
	r := httptest.NewRequest("GET", "/v1/status", nil)
	r.Header.Set("X-Forwarded-User", "root")
	if actor, err := admin.SocketActor(r); err == nil {
		t.Errorf("actor %q", actor)
	}
}

func TestCertificateActorBelievesNoPlaintextHeader(t *testing.T) {
	h := build(t)
	actor := &admin.CertificateActor{Trust: h.pki.CA.Trust, CA: h.pki.CA}
	r := httptest.NewRequest("GET", "/v1/status", nil)
	r.Header.Set("X-Forwarded-Client-Cert", "Subject=\"CN=anna\"")
	if who, err := actor.Actor(r); err == nil {
		t.Errorf("actor %q", who)
	}
}

// checkOddPath asks a server without a registry: a path that is not plain must be answered before anything is looked at.
func checkOddPath(t *testing.T, path string) {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return
	}
	asked := false
	s := &admin.Server{Actor: func(*http.Request) (string, error) { asked = true; return "", http.ErrNoCookie }}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Header: http.Header{}})
	odd := strings.ContainsAny(u.EscapedPath(), "%;\\~ ") || strings.Contains(u.Path, "//") || strings.Contains(u.Path+"/", "/./") ||
		strings.Contains(u.Path+"/", "/../") || strings.HasSuffix(u.Path, "/") || !strings.HasPrefix(u.Path, "/")
	if odd && (asked || w.Code != 404) {
		t.Errorf("%q: %d, asked who it is: %v; want 404 before that", path, w.Code, asked)
	}
	if asked && !strings.HasPrefix(u.Path, "/v1/") {
		t.Errorf("%q was taken for the API", path)
	}
}
