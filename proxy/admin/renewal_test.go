package admin_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// nodes are two nodes on one database whose clock can be set, with a keyless credential of identity erp.
type nodes struct {
	t          *testing.T
	db         *sql.DB
	registries []*identity.Registry
	renewals   []*admin.Renewal
	ahead      atomic.Int64 // of the real clock
	first      admin.Credential
	end        time.Time // of the intermediate
}

func newNodes(t *testing.T, url string) *nodes {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	err = errors.Join(database.Migrate(t.Context(), db, "identity", identity.Migrations()), database.Migrate(t.Context(), db, "pki", pki.Migrations()),
		database.Migrate(t.Context(), db, "record", record.Migrations()))
	if err != nil {
		t.Fatal(err)
	}
	n := &nodes{t: t, db: db.DB}
	env := pkitest.With(t, pkitest.Options{DB: db.DB, Now: n.now})
	n.end = env.CA.Trust().Intermediates()[0].NotAfter
	sealer := new(pkitest.Sealer)
	for range 2 {
		registry, err := identity.Open(t.Context(), db.DB, sealer)
		if err != nil {
			t.Fatal(err)
		}
		n.registries = append(n.registries, registry)
		n.renewals = append(n.renewals, &admin.Renewal{Registry: registry, CA: env.CA, Now: n.now})
	}
	server := &admin.Server{Registry: n.registries[0], CA: env.CA, DB: db.DB, Actor: func(*http.Request) (string, error) { return "test", nil }}
	n.change(func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, identity.Tenant{Name: "acme", BaseURL: "https://acme.example.com", TokenURL: "https://auth.example.com/token", AuthStyle: "mtls"})
		_, e2 := tx.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team-erp"})
		return errors.Join(e1, e2)
	})
	request := httptest.NewRequest("POST", "/v1/identities/erp/credentials",
		strings.NewReader(`{"tenant":"acme","client_id":"sb","keyless":true,"lifetime":"720h","token_parameters":{"resource":"a"}}`))
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	server.ServeHTTP(answer, request)
	if err := json.Unmarshal(answer.Body.Bytes(), &n.first); err != nil || answer.Code != http.StatusCreated {
		t.Fatalf("got %d %s, %v", answer.Code, answer.Body, err)
	}
	return n
}

func (n *nodes) now() time.Time { return time.Now().Add(time.Duration(n.ahead.Load())) }

func (n *nodes) change(fn func(context.Context, *identity.Tx) error) {
	n.t.Helper()
	ctx := n.t.Context()
	if err := n.registries[0].Change(ctx, func(tx *identity.Tx) error { return fn(ctx, tx) }); err != nil {
		n.t.Fatal(err)
	}
}

// renew lets all nodes renew at the same time, days after the beginning, and returns the credentials that there are then.
func (n *nodes) renew(days int) []*identity.Credential {
	n.t.Helper()
	n.ahead.Store(int64(time.Duration(days) * 24 * time.Hour))
	var wg sync.WaitGroup
	for _, r := range n.renewals {
		for range 3 {
			wg.Go(func() {
				if err := r.Renew(n.t.Context()); err != nil {
					n.t.Errorf("renewing: %v", err)
				}
			})
		}
	}
	wg.Wait()
	if err := n.registries[0].Refresh(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	return n.registries[0].Snapshot().Credentials("erp", "acme")
}

func (n *nodes) actions() (all []string) {
	n.t.Helper()
	changes, err := record.Changes(n.t.Context(), n.db, 0, 1000)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, c := range changes {
		if c.Actor == "tenantgate:renewal" {
			all = append(all, c.Action)
		}
	}
	return all
}

func TestRenewal(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		for name, test := range map[string]func(*testing.T, *nodes){
			"happens once on all nodes and keeps key and names":    testRenewsOnce,
			"takes the place of the old one when there is another": testRenewsInPlace,
			"waits for a disabled identity":                        testRenewalWaits,
			"fails aloud when the intermediate has ended":          testRenewalFails,
			"is not done for a certificate that ends no later":     testRenewalGainsNothing,
		} {
			t.Run(name, func(t *testing.T) { test(t, newNodes(t, create(t))) })
		}
	})
}

func testRenewsOnce(t *testing.T, n *nodes) {
	if got := n.renew(19); len(got) != 1 || got[0].ID != n.first.ID {
		t.Fatalf("before two thirds of its life there are %d credentials", len(got))
	}
	got := n.renew(21)
	if len(got) != 2 || got[1].ID != n.first.ID {
		t.Fatalf("after two thirds of its life there are %d credentials, want the new and the old one", len(got))
	}
	oldLeaf, e1 := got[1].Leaf()
	newLeaf, e2 := got[0].Leaf()
	if err := errors.Join(e1, e2); err != nil {
		t.Fatal(err)
	}
	if !got[0].Secret.Equal(got[1].Secret) || newLeaf.Subject.String() != oldLeaf.Subject.String() || newLeaf.Issuer.String() != oldLeaf.Issuer.String() {
		t.Errorf("the new certificate has another key, subject or issuer: %s, %s", newLeaf.Subject, newLeaf.Issuer)
	}
	if !newLeaf.NotBefore.After(oldLeaf.NotBefore) || newLeaf.NotAfter.Sub(newLeaf.NotBefore) != oldLeaf.NotAfter.Sub(oldLeaf.NotBefore) {
		t.Errorf("the new certificate is good from %v to %v", newLeaf.NotBefore, newLeaf.NotAfter)
	}
	if got[0].ClientID != "sb" || got[0].TokenParameters != n.first.TokenParameters || !got[0].Keyless || got[0].Lifetime != n.first.Lifetime {
		t.Errorf("got %+v, want the same client", got[0])
	}
	if again := n.renew(22); len(again) != 2 {
		t.Errorf("a day later there are %d credentials", len(again))
	}
	if left := n.renew(31); len(left) != 1 || left[0].ID != got[0].ID {
		t.Errorf("after the end of the old one there are %d credentials", len(left))
	}
	if acts := strings.Join(n.actions(), " "); acts != "credential.renew credential.remove" {
		t.Errorf("got records %s", acts)
	}
	if report, err := record.Verify(t.Context(), n.db); err != nil || report.Broken != nil {
		t.Errorf("the chain: %+v, %v", report, err)
	}
}

// An identity has two credentials for a tenant at most.
func testRenewsInPlace(t *testing.T, n *nodes) {
	n.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddCredential(ctx, identity.Credential{Identity: "erp", Tenant: "acme", ClientID: "other", AuthStyle: "body", Kind: identity.KindSecret,
			Secret: identity.NewSecret("s")})
		return err
	})
	got := n.renew(21)
	if len(got) != 2 || got[0].ClientID != "sb" || got[0].ID == n.first.ID || got[1].ClientID != "other" {
		t.Errorf("got %+v", got)
	}
}

func testRenewalWaits(t *testing.T, n *nodes) {
	n.change(func(ctx context.Context, tx *identity.Tx) error { _, err := tx.DisableIdentity(ctx, "erp"); return err })
	if got := n.renew(25); len(got) != 1 {
		t.Errorf("while the identity is disabled there are %d credentials", len(got))
	}
	n.change(func(ctx context.Context, tx *identity.Tx) error { _, err := tx.EnableIdentity(ctx, "erp"); return err })
	if got := n.renew(26); len(got) != 2 {
		t.Errorf("when it is enabled again there are %d credentials", len(got))
	}
}

// Near the end of the intermediate a new certificate would be as short as the old one: renewing it over and over would not help.
func testRenewalGainsNothing(t *testing.T, n *nodes) {
	day := 24 * time.Hour
	n.ahead.Store(int64(time.Until(n.end) - 20*day))
	if err := n.renewals[0].Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := n.registries[0].Snapshot().Credentials("erp", "acme")
	n.ahead.Store(int64(time.Until(n.end) - 5*day))
	for range 3 {
		if err := n.renewals[0].Renew(t.Context()); err == nil || !strings.Contains(err.Error(), "new intermediate") {
			t.Errorf("got %v, want an error that says what to do", err)
		}
	}
	after := n.registries[0].Snapshot().Credentials("erp", "acme")
	if len(after) != 1 || after[0].ID != before[0].ID || !after[0].NotAfter.Equal(n.end) {
		t.Errorf("there are %d credentials, %+v", len(after), after[0])
	}
}

func testRenewalFails(t *testing.T, n *nodes) {
	// Ten years on, the intermediate has ended.
	n.ahead.Store(int64(11 * 365 * 24 * time.Hour))
	err := n.renewals[0].Renew(t.Context())
	if err == nil || !strings.Contains(err.Error(), n.first.ID) || !strings.Contains(err.Error(), "intermediate") {
		t.Errorf("got %v, want an error that names the credential and the cause", err)
	}
	if got := n.registries[0].Snapshot().Credentials("erp", "acme"); len(got) != 1 || len(n.actions()) != 0 {
		t.Errorf("there are %d credentials, records %v", len(got), n.actions())
	}
}
