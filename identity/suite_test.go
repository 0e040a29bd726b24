package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// TestRegistry runs on SQLite and on PostgreSQL: the statements are the same, and so must be what they do.
func TestRegistry(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		for _, tc := range []struct {
			name string
			test func(*testing.T, *database.DB)
		}{
			{"keeps every field over a restart", testKeepsFields},
			{"a failed change leaves nothing", testFailedChange},
			{"a panic in a change leaves nothing", testPanic},
			{"other tables change in the same transaction", testSharedTransaction},
			{"publishes in order", testPublishesInOrder},
			{"an ended context changes nothing", testEndedContext},
			{"a transaction does nothing after its end", testEndedTransaction},
			{"refuses what does not fit together", testRefusals},
			{"holds two credentials for a tenant and no third", testThirdCredential},
			{"the end of a secret can be noted", testCredentialEnd},
			{"removing an identity revokes and cascades", testRemoveIdentity},
			{"a certificate is revoked once and for ever", testRevoke},
			{"a disabled identity has no role", testDisable},
			{"followers see what writers see", testFollowers},
			{"a follower too far behind reads everything", testFollowerFarBehind},
			{"two writers do not lose each other's changes", testTwoWriters},
			{"the change log is cut", testLogIsCut},
			{"a wrong key is refused", testWrongKey},
			{"an altered row does not open its secret", testAlteredRow},
			{"keeps authorities, and followers see them", testAuthorities},
			{"one node has the turn to fetch", testFetchTurns},
			{"keeps how clients authenticate", testKeepsAuthentication},
			{"an altered way to the token does not open its secret", testAlteredAuthentication},
			{"people of an earlier release stay", testKeepsPeopleOfBefore},
			{"the policy says who gets a certificate, on every node", testPolicy},
			{"a renewal is of a certificate of the same identity", testBindsRenewals},
			{"the last call counts, of all nodes", testLastCalls},
			{"keeps logins over a restart", testKeepsLogins},
			{"refuses logins that do not fit", testLoginRefusals},
			{"a step of a stage is recorded once", testStageIsRecordedOnce},
			{"a stage can be taken back", testLoginBack},
			{"removing an identity removes its logins only when asked", testLoginsOfRemovedIdentity},
			{"the last use of logins survives", testLoginUses},
			{"a caller is moved once, seen once and moved back", testMoves},
			{"an identity to which callers were moved is not removed by a slip", testMovesOfRemovedIdentity},
		} {
			t.Run(tc.name, func(t *testing.T) { tc.test(t, openDatabase(t, create(t))) })
		}
	})
}

// dump writes all of a snapshot, secrets too, so that two can be compared.
func dump(s *identity.Snapshot) string {
	var b strings.Builder
	line := func(v any) {
		j, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%T %s\n", v, j)
	}
	line(s.Counts())
	line(s.LoginPolicy())
	for _, l := range s.Logins() {
		line(l)
		bound, ok := s.Login(l.User)
		fmt.Fprintf(&b, "  %v %v %v recorded %s hash %q\n", ok, bound.Identity, bound.Login == l, l.StageRecorded, l.Password.Reveal())
	}
	for _, m := range s.AllMoves() {
		line(m)
	}
	for _, t := range s.Tenants() {
		line(t)
	}
	for _, r := range s.Routes() {
		line(r)
		e, _ := s.Route(r.Name)
		fmt.Fprintf(&b, "  entry of %s at %s sensitive=%v %v\n", e.Tenant.Name, e.Base, e.CaseSensitive, e.Tenant.Updated)
	}
	for _, i := range s.Identities() {
		line(i)
		for _, c := range s.Certificates(i.Name) {
			line(c)
		}
		for _, l := range s.IdentityLogins(i.Name) {
			fmt.Fprintf(&b, "  login %q\n", l.User)
		}
		for _, c := range s.IdentityCredentials(i.Name) {
			line(c)
			fmt.Fprintf(&b, "  secret %q\n", c.Secret.Reveal())
		}
	}
	var bindings []string
	for c := range s.AllCertificates() {
		bound, ok := s.Binding(c.Fingerprint)
		bindings = append(bindings, fmt.Sprintf("%s %v %s %v %v", c.Fingerprint, ok, bound.Identity.Name, bound.Identity.Disabled, bound.Certificate.Revoked()))
	}
	slices.Sort(bindings)
	return b.String() + strings.Join(bindings, "\n")
}

// wantSame compares a registry with another one opened anew on the same database.
func wantSame(t *testing.T, db *database.DB, s identity.Sealer, r *identity.Registry) {
	t.Helper()
	fresh := openRegistry(t, db, s).Snapshot()
	if got, want := dump(r.Snapshot()), dump(fresh); got != want {
		t.Errorf("the snapshot differs from the database:\ngot\n%s\nwant\n%s", got, want)
	}
	if got, want := r.Snapshot().Revision(), fresh.Revision(); got != want {
		t.Errorf("got revision %d, want %d", got, want)
	}
}

func testKeepsFields(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	cpi, shown := tenant("cpi"), tenant("shown")
	cpi.Description, cpi.Scope, cpi.CaseSensitive, cpi.Timeout = "Cloud Integration äöü", "a b", true, identity.Duration(7*time.Second)
	cpi.HTTPProxy, shown.ClientCertificate = "http://proxy.example.com:3128/", identity.ShowCredential
	cpi.Protocol, shown.Protocol = "http1", identity.ProtocolHTTP2
	cpi.Concurrency, cpi.BreakerFailures, cpi.BreakerCooldown = 30, identity.NoBreaker, identity.Duration(3*time.Second)
	route := identity.Route{Name: "orders", Host: "api.example.com", Path: "/http/orders/*", Methods: []string{"POST", "GET", "GET"}, Tenant: "cpi",
		TenantPath: "/cxf/orders/*", Role: "orders.send", Case: identity.CaseInsensitive, MaxBody: -1,
		ResponseTimeout: identity.Duration(time.Second), IdleTimeout: identity.Duration(2 * time.Second), Scope: "x", Upgrade: []string{"websocket", "vnd.a/2", "websocket"},
		CSRF: identity.CSRFAuto, CSRFPath: "/api/v1/", CallerHeader: "SAP_Sender"}
	erp := identity.Identity{Name: "erp", Owner: "Team ERP", Description: "the ERP", Roles: []string{"b", "a", "b"}, ReviewDate: "2027-03-31",
		Rate: 0.25, Burst: 7, Concurrency: 9, Bandwidth: 1 << 33,
		RenewGrace: identity.Duration(72 * time.Hour), KeyTypes: []string{"RSA-2048", "P-256", "RSA-2048"}}
	cert := certificate("erp", "one")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e0 := tx.AddTenant(ctx, shown)
		_, e1 := tx.AddTenant(ctx, cpi)
		storedRoute, e2 := tx.AddRoute(ctx, route)
		storedIdentity, e3 := tx.AddIdentity(ctx, erp)
		_, e4 := tx.BindCertificate(ctx, cert)
		stored, e5 := tx.AddCredential(ctx, secret("erp", "cpi"))
		if stored.ID == "" || !slices.Equal(storedRoute.Methods, []string{"GET", "POST"}) ||
			!slices.Equal(storedRoute.Upgrade, []string{"vnd.a/2", "websocket"}) || !slices.Equal(storedIdentity.Roles, []string{"a", "b"}) {
			t.Errorf("not stored in normal form: %+v, %+v, %+v", stored, storedRoute, storedIdentity)
		}
		return errors.Join(e0, e1, e2, e3, e4, e5)
	})
	s := r.Snapshot()
	if got, ok := s.Tenant("shown"); !ok || got.ClientCertificate != identity.ShowCredential || got.Protocol != identity.ProtocolHTTP2 {
		t.Errorf("got tenant %+v, %v", got, ok)
	}
	if got, ok := s.Tenant("cpi"); !ok || got.HTTPProxy != "http://proxy.example.com:3128" || got.ClientCertificate != identity.ShowNone ||
		got.Protocol != identity.ProtocolHTTP1 {
		t.Errorf("got tenant %+v, %v", got, ok)
	}
	if got, _ := s.Tenant("cpi"); got.Concurrency != 30 || got.BreakerFailures != identity.NoBreaker || got.BreakerCooldown != cpi.BreakerCooldown {
		t.Errorf("got limits of the tenant %+v", got)
	}
	if got, _ := s.Identity("erp"); got.Rate != 0.25 || got.Burst != 7 || got.Concurrency != 9 || got.Bandwidth != 1<<33 {
		t.Errorf("got limits of the identity %+v", got)
	}
	if got, _ := s.Identity("erp"); time.Duration(got.RenewGrace) != 72*time.Hour || !slices.Equal(got.KeyTypes, []string{"P-256", "RSA-2048"}) ||
		!got.AllowsKey("P-256") || got.AllowsKey("P-384") {
		t.Errorf("got rules for certificates %+v", got)
	}
	if e, ok := s.Route("orders"); !ok || !slices.Equal(e.Route.Upgrade, []string{"vnd.a/2", "websocket"}) {
		t.Errorf("got route %+v, %v", e, ok)
	}
	if e, _ := s.Route("orders"); e.Route.CSRF != identity.CSRFAuto || e.Route.CSRFPath != "/api/v1/" || e.Route.CallerHeader != "SAP_Sender" {
		t.Errorf("got behaviour of the route %+v", e.Route)
	}
	b, ok := s.Binding(cert.Fingerprint)
	if !ok || b.Identity.Name != "erp" || !b.HasRole("a") || !b.HasRole("b") || b.HasRole("c") {
		t.Errorf("got binding %+v, %v", b, ok)
	}
	if got := s.Credentials("erp", "cpi"); len(got) != 1 || got[0].Secret.Reveal() != "s3cr3t-of-erp" {
		t.Errorf("got credentials %+v", got)
	}
	wantSame(t, db, sealer, r)
}

func testFailedChange(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	failure := errors.New("on second thought")
	err := r.Change(t.Context(), func(tx *identity.Tx) error {
		if _, err := tx.AddTenant(t.Context(), tenant("cpi")); err != nil {
			return err
		}
		if _, err := tx.Tenant("cpi"); err != nil {
			t.Errorf("a transaction does not see its own write: %v", err)
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v, want the function's own error", err)
	}
	if _, ok := r.Snapshot().Tenant("cpi"); ok || r.Snapshot().Revision() != 0 {
		t.Error("the failed change is visible")
	}
	wantSame(t, db, sealer, r)
}

func testPanic(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	func() {
		defer func() { _ = recover() }()
		_ = r.Change(t.Context(), func(tx *identity.Tx) error {
			_, _ = tx.AddTenant(t.Context(), tenant("cpi"))
			panic("a fault")
		})
	}()
	wantSame(t, db, sealer, r)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddTenant(ctx, tenant("cpi"))
		return err
	})
}

func testSharedTransaction(t *testing.T, db *database.DB) {
	if _, err := db.Exec(`CREATE TABLE notes (text TEXT)`); err != nil {
		t.Fatal(err)
	}
	r := openRegistry(t, db, newSealer(t))
	for _, fail := range []bool{true, false} {
		err := r.Change(t.Context(), func(tx *identity.Tx) error {
			if _, err := tx.SQL().Exec(`INSERT INTO notes (text) VALUES ($1)`, fmt.Sprint(fail)); err != nil {
				return err
			}
			if fail {
				return errors.New("no")
			}
			return nil
		})
		if fail != (err != nil) {
			t.Errorf("got %v", err)
		}
	}
	var got string
	if err := db.QueryRow(`SELECT text FROM notes`).Scan(&got); err != nil || got != "false" {
		t.Errorf("got %q, %v, want the note of the second change only", got, err)
	}
}

func testPublishesInOrder(t *testing.T, db *database.DB) {
	r := openRegistry(t, db, newSealer(t))
	var revisions []int64
	var names []string
	r.OnChange(func(old, next *identity.Snapshot, c identity.Changed) {
		if next != r.Snapshot() {
			t.Error("told of a snapshot that is not the current one")
		}
		revisions = append(revisions, old.Revision(), next.Revision())
		names = append(names, c.Tenants...)
	})
	for _, name := range []string{"a", "b", "c"} {
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddTenant(ctx, tenant(name))
			return err
		})
	}
	if got, want := revisions, []int64{0, 1, 1, 2, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("got revisions %v, want %v", got, want)
	}
	if got, want := names, []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("got names %v, want %v", got, want)
	}
}

func testEndedContext(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	ctx, cancel := context.WithCancel(t.Context())
	err := r.Change(ctx, func(tx *identity.Tx) error {
		_, err := tx.AddTenant(ctx, tenant("cpi"))
		cancel()
		if err == nil {
			_, err = tx.AddTenant(ctx, tenant("ibp"))
		}
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	wantSame(t, db, sealer, r)
	if got := r.Snapshot().Counts().Tenants; got != 0 {
		t.Errorf("got %d tenants, want none", got)
	}
}

func testEndedTransaction(t *testing.T, db *database.DB) {
	r := openRegistry(t, db, newSealer(t))
	var kept *identity.Tx
	change(t, r, func(_ context.Context, tx *identity.Tx) error { kept = tx; return nil })
	if _, err := kept.AddTenant(t.Context(), tenant("late")); err == nil {
		t.Error("a transaction took a change after its end")
	}
	if _, ok := r.Snapshot().Tenant("late"); ok {
		t.Error("it is visible")
	}
}

func testRefusals(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	var credential identity.Credential
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, tenant("cpi"))
		_, e2 := tx.AddTenant(ctx, tenant("spare"))
		_, e3 := tx.AddRoute(ctx, identity.Route{Name: "orders", Path: "/http/orders", Tenant: "cpi", Role: "orders.send"})
		_, e4 := tx.AddIdentity(ctx, person("erp", "orders.send"))
		_, e5 := tx.BindCertificate(ctx, certificate("erp", "one"))
		var e6 error
		credential, e6 = tx.AddCredential(ctx, secret("erp", "cpi"))
		return errors.Join(e1, e2, e3, e4, e5, e6)
	})
	mtls := tenant("cpi")
	mtls.AuthStyle = identity.AuthMTLS
	noToken := tenant("cpi")
	noToken.TokenURL = ""
	for _, tc := range []struct {
		name string
		code identity.Code
		text string
		do   func(context.Context, *identity.Tx) error
	}{
		{"tenant twice", identity.ErrExists, "cpi", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddTenant(ctx, tenant("cpi"))
			return err
		}},
		{"set unknown tenant", identity.ErrNotFound, "nix", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.SetTenant(ctx, tenant("nix"))
			return err
		}},
		{"remove unknown tenant", identity.ErrNotFound, "nix", func(ctx context.Context, tx *identity.Tx) error { return tx.RemoveTenant(ctx, "nix") }},
		{"remove tenant of a route", identity.ErrInUse, `route "orders"`, func(ctx context.Context, tx *identity.Tx) error { return tx.RemoveTenant(ctx, "cpi") }},
		{"remove tenant of a credential", identity.ErrInUse, `identity "erp"`, func(ctx context.Context, tx *identity.Tx) error {
			if err := tx.RemoveRoute(ctx, "orders"); err != nil {
				return err
			}
			return tx.RemoveTenant(ctx, "cpi")
		}},
		{"tenant's style leaves a credential useless", identity.ErrInvalid, "mtls", func(ctx context.Context, tx *identity.Tx) error { _, err := tx.SetTenant(ctx, mtls); return err }},
		{"tenant's token endpoint is needed", identity.ErrInvalid, "token endpoint", func(ctx context.Context, tx *identity.Tx) error { _, err := tx.SetTenant(ctx, noToken); return err }},
		{"route twice", identity.ErrExists, "orders", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddRoute(ctx, identity.Route{Name: "orders", Path: "/x", Tenant: "cpi", Role: "r"})
			return err
		}},
		{"route without tenant", identity.ErrInvalid, `"nix"`, func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddRoute(ctx, identity.Route{Name: "x", Path: "/x", Tenant: "nix", Role: "r"})
			return err
		}},
		{"overlapping route", identity.ErrOverlap, `route "orders"`, func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddRoute(ctx, identity.Route{Name: "x", Host: "a.example", Path: "/HTTP/*", Tenant: "spare", Role: "r"})
			return err
		}},
		{"remove unknown route", identity.ErrNotFound, "nix", func(ctx context.Context, tx *identity.Tx) error { return tx.RemoveRoute(ctx, "nix") }},
		{"identity twice", identity.ErrExists, "erp", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddIdentity(ctx, person("erp"))
			return err
		}},
		{"set unknown identity", identity.ErrNotFound, "nix", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.SetIdentity(ctx, person("nix"))
			return err
		}},
		{"disable unknown identity", identity.ErrNotFound, "nix", func(ctx context.Context, tx *identity.Tx) error { _, err := tx.DisableIdentity(ctx, "nix"); return err }},
		{"remove identity in use", identity.ErrInUse, "credential", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.RemoveIdentity(ctx, "erp", false)
			return err
		}},
		{"remove identity with a live certificate", identity.ErrInUse, "certificate", func(ctx context.Context, tx *identity.Tx) error {
			if err := tx.RemoveCredential(ctx, credential.ID); err != nil {
				return err
			}
			_, err := tx.RemoveIdentity(ctx, "erp", false)
			return err
		}},
		{"bind to unknown identity", identity.ErrNotFound, "nix", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.BindCertificate(ctx, certificate("nix", "two"))
			return err
		}},
		{"bind twice", identity.ErrExists, `identity "erp"`, func(ctx context.Context, tx *identity.Tx) error {
			if _, err := tx.AddIdentity(ctx, person("thief")); err != nil {
				return err
			}
			_, err := tx.BindCertificate(ctx, certificate("thief", "one"))
			return err
		}},
		{"revoke unknown certificate", identity.ErrNotFound, "", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.RevokeCertificate(ctx, identity.Fingerprint{1}, "", time.Time{})
			return err
		}},
		{"credential of unknown identity", identity.ErrNotFound, "nix", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddCredential(ctx, secret("nix", "cpi"))
			return err
		}},
		{"credential for unknown tenant", identity.ErrNotFound, "nix", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddCredential(ctx, secret("erp", "nix"))
			return err
		}},
		{"credential that has ended", identity.ErrInvalid, "not_after", func(ctx context.Context, tx *identity.Tx) error {
			c := secret("erp", "cpi")
			c.NotAfter = time.Now().Add(-time.Minute)
			_, err := tx.AddCredential(ctx, c)
			return err
		}},
		{"remove unknown credential", identity.ErrNotFound, "nix", func(ctx context.Context, tx *identity.Tx) error { return tx.RemoveCredential(ctx, "nix") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if e := refuse(t, r, tc.code, tc.do); !strings.Contains(e.Error(), tc.text) {
				t.Errorf("got %q, want it to name %q", e, tc.text)
			}
		})
	}
	wantSame(t, db, sealer, r)
}

// A third credential is refused, whoever of two adds it first; other tenants and identities are another matter.
func testThirdCredential(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r, other := openRegistry(t, db, sealer), openRegistry(t, db, sealer)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, tenant("cpi"))
		_, e2 := tx.AddTenant(ctx, tenant("test"))
		_, e3 := tx.AddIdentity(ctx, person("erp"))
		_, e4 := tx.AddIdentity(ctx, person("crm"))
		return errors.Join(e1, e2, e3, e4)
	})
	add := func(r *identity.Registry, name, where string) (id string, err error) {
		err = r.Change(t.Context(), func(tx *identity.Tx) error {
			c, err := tx.AddCredential(t.Context(), secret(name, where))
			id = c.ID
			return err
		})
		return id, err
	}
	first, e1 := add(r, "erp", "cpi")
	_, e2 := add(other, "erp", "cpi")
	_, e3 := add(r, "erp", "test")
	_, e4 := add(r, "crm", "cpi")
	if err := errors.Join(e1, e2, e3, e4); err != nil {
		t.Fatal(err)
	}
	for _, from := range []*identity.Registry{r, other} {
		_, err := add(from, "erp", "cpi")
		refusal, ok := errors.AsType[*identity.Error](err)
		if !ok || refusal.Code != identity.ErrExists || refusal.Name != "erp" || refusal.Hint == "" {
			t.Errorf("a third: got %v", err)
		}
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { return tx.RemoveCredential(ctx, first) })
	if _, err := add(other, "erp", "cpi"); err != nil {
		t.Errorf("after one was removed: %v", err)
	}
	wantSame(t, db, sealer, other)
}

func testCredentialEnd(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r, follower := openRegistry(t, db, sealer), openRegistry(t, db, sealer)
	certEnd := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	cert, key := keyPair(t, certEnd)
	var plain, mtls identity.Credential
	change(t, r, func(ctx context.Context, tx *identity.Tx) (err error) {
		_, e1 := tx.AddTenant(ctx, tenant("cpi"))
		_, e2 := tx.AddIdentity(ctx, person("erp"))
		plain, err = tx.AddCredential(ctx, secret("erp", "cpi"))
		mtls = identity.Credential{Identity: "erp", Tenant: "cpi", ClientID: "c", Kind: identity.KindCertificate, AuthStyle: identity.AuthMTLS,
			Certificate: cert, Secret: identity.NewSecret(key)}
		var e3 error
		mtls, e3 = tx.AddCredential(ctx, mtls)
		return errors.Join(e1, e2, err, e3)
	})
	end := time.Date(2031, 6, 30, 0, 0, 0, 0, time.UTC)
	for _, want := range []time.Time{end, {}, end} {
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			got, err := tx.SetCredentialEnd(ctx, plain.ID, want)
			if !got.NotAfter.Equal(want) {
				t.Errorf("got the end %v, want %v", got.NotAfter, want)
			}
			return err
		})
		if err := follower.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, ok := follower.Snapshot().Credential(plain.ID); !ok || !got.NotAfter.Equal(want) || got.Secret.Reveal() != "s3cr3t-of-erp" {
			t.Errorf("a follower sees %+v, %v", got, ok)
		}
	}
	err := r.Change(t.Context(), func(tx *identity.Tx) error { _, err := tx.SetCredentialEnd(t.Context(), mtls.ID, end); return err })
	if !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("another end of a certificate, %v: got %v", certEnd, err)
	}
	err = r.Change(t.Context(), func(tx *identity.Tx) error { _, err := tx.SetCredentialEnd(t.Context(), "none", end); return err })
	if !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("of none: got %v", err)
	}
	wantSame(t, db, sealer, r)
}

func testRemoveIdentity(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	valid, old := certificate("erp", "valid"), certificate("erp", "old")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, tenant("cpi"))
		_, e2 := tx.AddIdentity(ctx, person("erp", "orders.send"))
		_, e3 := tx.BindCertificate(ctx, valid)
		_, e4 := tx.BindCertificate(ctx, old)
		_, e5 := tx.RevokeCertificate(ctx, old.Fingerprint, "superseded", time.Time{})
		_, e6 := tx.AddCredential(ctx, secret("erp", "cpi"))
		return errors.Join(e1, e2, e3, e4, e5, e6)
	})
	follower := openRegistry(t, db, sealer)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		revoked, err := tx.RemoveIdentity(ctx, "erp", true)
		if len(revoked) != 1 || revoked[0].Fingerprint != valid.Fingerprint {
			t.Errorf("got revoked %v, want the valid certificate only", revoked)
		}
		return err
	})
	if err := follower.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*identity.Snapshot{r.Snapshot(), follower.Snapshot()} {
		b, ok := s.Binding(valid.Fingerprint)
		if !ok || !b.Certificate.Revoked() || !b.Identity.Disabled || b.HasRole("orders.send") {
			t.Errorf("got binding %+v, want a revoked certificate of a disabled identity", b)
		}
		if _, ok := s.Identity("erp"); ok || len(s.Identities()) != 0 || s.Counts().Credentials != 0 {
			t.Error("the identity or its credential is still there")
		}
	}
	// The name may be used again; nothing of its former holder comes back with it.
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, person("erp", "orders.send"))
		return err
	})
	if b, _ := r.Snapshot().Binding(valid.Fingerprint); b.HasRole("orders.send") {
		t.Error("a certificate of the former holder is valid for the new one")
	}
	if err := follower.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSame(t, db, sealer, r)
	wantSame(t, db, sealer, follower)
}

func testRevoke(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	cert := certificate("erp", "one")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddIdentity(ctx, person("erp", "orders.send"))
		_, e2 := tx.BindCertificate(ctx, cert)
		return errors.Join(e1, e2)
	})
	before := r.Snapshot()
	at := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	for n, reason := range []string{"keyCompromise", "superseded"} {
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			got, err := tx.RevokeCertificate(ctx, cert.Fingerprint, reason, at.AddDate(0, 0, n))
			if got.RevocationReason != "keyCompromise" || !got.RevokedAt.Equal(at) {
				t.Errorf("got %+v, want the first revocation", got)
			}
			return err
		})
	}
	if b, _ := r.Snapshot().Binding(cert.Fingerprint); b.HasRole("orders.send") || !b.Certificate.Revoked() {
		t.Error("the revoked certificate still has its role")
	}
	if b, _ := before.Binding(cert.Fingerprint); !b.HasRole("orders.send") {
		t.Error("a snapshot changed after it was taken")
	}
	wantSame(t, db, sealer, r)
}

func testDisable(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	one, two := certificate("erp", "one"), certificate("erp", "two")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddIdentity(ctx, person("erp", "orders.send"))
		_, e2 := tx.BindCertificate(ctx, one)
		_, e3 := tx.BindCertificate(ctx, two)
		return errors.Join(e1, e2, e3)
	})
	for _, disabled := range []bool{true, true, false} {
		change(t, r, func(ctx context.Context, tx *identity.Tx) (err error) {
			if disabled {
				_, err = tx.DisableIdentity(ctx, "erp")
			} else {
				_, err = tx.EnableIdentity(ctx, "erp")
			}
			return err
		})
		for _, c := range []identity.Certificate{one, two} {
			if b, _ := r.Snapshot().Binding(c.Fingerprint); b.HasRole("orders.send") == disabled {
				t.Errorf("disabled=%v: got the role %v", disabled, !disabled)
			}
		}
	}
	wantSame(t, db, sealer, r)
}

// testFollowers makes random changes by two writers and compares all registries with one opened anew.
func testFollowers(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	writers := []*identity.Registry{openRegistry(t, db, sealer), openRegistry(t, db, sealer)}
	follower := openRegistry(t, db, sealer)
	random := rand.New(rand.NewPCG(1, 2))
	for step := range 240 {
		w := writers[random.IntN(2)]
		if err := w.Change(t.Context(), func(tx *identity.Tx) error { return randomChange(t.Context(), tx, random) }); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if step%10 != 0 {
			continue
		}
		for _, r := range append(writers, follower) {
			if err := r.Refresh(t.Context()); err != nil {
				t.Fatalf("Refresh: %v", err)
			}
			wantSame(t, db, sealer, r)
		}
		if t.Failed() {
			t.Fatalf("after step %d", step)
		}
	}
	if c := follower.Snapshot().Counts(); c.Identities == 0 || c.Certificates == 0 || c.Credentials == 0 || c.Routes == 0 || c.Logins == 0 {
		t.Errorf("the changes made too little: %+v", c)
	}
}

// randomChange does one to three things that may be refused.
func randomChange(ctx context.Context, tx *identity.Tx, random *rand.Rand) error {
	pick := func(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, random.IntN(n)) }
	var err error
	for range 1 + random.IntN(3) {
		name, where := pick("id", 5), pick("t", 3)
		switch random.IntN(19) {
		case 0:
			_, err = tx.AddTenant(ctx, tenant(where))
		case 1:
			changed := tenant(where)
			changed.CaseSensitive = random.IntN(2) == 0
			_, err = tx.SetTenant(ctx, changed)
		case 2:
			err = tx.RemoveTenant(ctx, where)
		case 3, 4:
			_, err = tx.AddRoute(ctx, identity.Route{Name: pick("r", 6), Path: pick("/a/", 4), Tenant: where, Role: "x"})
		case 5:
			err = tx.RemoveRoute(ctx, pick("r", 6))
		case 6:
			_, err = tx.AddIdentity(ctx, person(name, pick("role", 3)))
		case 7:
			_, err = tx.SetIdentity(ctx, person(name, pick("role", 3)))
		case 8:
			_, err = tx.RemoveIdentity(ctx, name, true)
		case 9:
			_, err = tx.BindCertificate(ctx, certificate(name, fmt.Sprint(random.IntN(1000))))
		case 10:
			_, err = tx.RevokeCertificate(ctx, certificate(name, fmt.Sprint(random.IntN(1000))).Fingerprint, "", time.Time{})
		case 11:
			_, err = tx.AddCredential(ctx, secret(name, where))
		case 12:
			_, err = tx.AddLogin(ctx, login(pick("P", 6), name))
		case 13:
			_, err = tx.SetLogin(ctx, login(pick("P", 6), name))
		case 14:
			err = tx.RemoveLogin(ctx, pick("P", 6))
		case 16:
			_, err = tx.AddMove(ctx, move(pick("P", 6), pick("c", 3), name))
		case 17:
			_, err = tx.RemoveMove(ctx, pick("P", 6), pick("c", 3))
		case 18:
			_, _, err = tx.SeeMove(ctx, pick("P", 6), pick("c", 3), "10.1.2.3", time.Now())
		case 15:
			_, err = tx.SetLoginPolicy(ctx, identity.LoginPolicy{MaxSunset: identity.Duration(48 * time.Hour), Realm: pick("realm", 9)})
		}
		// A refusal has changed nothing, so the transaction may go on.
		if refusal := (*identity.Error)(nil); err != nil && !errors.As(err, &refusal) {
			return err
		}
	}
	return nil
}

func testFollowerFarBehind(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r, follower := openRegistry(t, db, sealer), openRegistry(t, db, sealer)
	for _, name := range []string{"a", "b"} {
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddTenant(ctx, tenant(name))
			return err
		})
	}
	for _, cut := range []string{`DELETE FROM registry_changes`, `UPDATE registry SET oldest = revision`} {
		if _, err := db.Exec(cut); err != nil {
			t.Fatal(err)
		}
	}
	all := false
	follower.OnChange(func(_, _ *identity.Snapshot, c identity.Changed) { all = c.All })
	if err := follower.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !all {
		t.Error("observers were not told that anything may have changed")
	}
	wantSame(t, db, sealer, follower)
}

func testTwoWriters(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	writers := []*identity.Registry{openRegistry(t, db, sealer), openRegistry(t, db, sealer)}
	change(t, writers[0], func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, person("erp"))
		return err
	})
	const each = 20
	results := make(chan error)
	for n, w := range writers {
		go func() {
			var err error
			for i := 0; i < each && err == nil; i++ {
				err = w.Change(context.Background(), func(tx *identity.Tx) error {
					erp, err := tx.Identity("erp")
					if err != nil {
						return err
					}
					erp.Roles = append(erp.Roles, fmt.Sprintf("role-%d-%d", n, i))
					_, err = tx.SetIdentity(context.Background(), erp)
					return err
				})
			}
			results <- err
		}()
	}
	for range writers {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range writers {
		if err := w.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		erp, _ := w.Snapshot().Identity("erp")
		if got := len(erp.Roles); got != 2*each {
			t.Errorf("got %d roles, want %d: a change was lost", got, 2*each)
		}
		wantSame(t, db, sealer, w)
	}
}

func testLogIsCut(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.AddTenant(ctx, tenant("a")); return err })
	if _, err := db.Exec(`UPDATE registry SET revision = $1`, 1<<20-1); err != nil { // the next change is one that cuts
		t.Fatal(err)
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.AddTenant(ctx, tenant("b")); return err })
	var rows, oldest int64
	if err := db.QueryRow(`SELECT (SELECT count(*) FROM registry_changes), oldest FROM registry`).Scan(&rows, &oldest); err != nil {
		t.Fatal(err)
	}
	if rows != 1 || oldest <= 0 {
		t.Errorf("got %d rows and oldest %d, want one row and a later beginning", rows, oldest)
	}
	wantSame(t, db, sealer, r)
}

func testWrongKey(t *testing.T, db *database.DB) {
	openRegistry(t, db, newSealer(t))
	_, err := identity.Open(t.Context(), db.DB, newSealer(t))
	var e *identity.Error
	if !errors.Is(err, identity.ErrKey) || !errors.As(err, &e) || e.Hint == "" {
		t.Errorf("got %v, want a refusal of the key with a hint", err)
	}
}

// testAlteredRow plays someone who may write to the database and has no key.
func testAlteredRow(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	var mine, other identity.Credential
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, tenant("cpi"))
		_, e2 := tx.AddIdentity(ctx, person("erp"))
		_, e3 := tx.AddIdentity(ctx, person("crm"))
		var e4, e5 error
		mine, e4 = tx.AddCredential(ctx, secret("erp", "cpi"))
		other, e5 = tx.AddCredential(ctx, secret("crm", "cpi"))
		return errors.Join(e1, e2, e3, e4, e5)
	})
	for name, statement := range map[string]string{
		"another row's secret":       `UPDATE credentials SET secret = (SELECT secret FROM credentials WHERE id = '` + other.ID + `') WHERE id = '` + mine.ID + `'`,
		"another identity":           `UPDATE credentials SET identity = 'crm' WHERE id = '` + mine.ID + `'`,
		"another token endpoint":     `UPDATE credentials SET token_url = 'https://evil.example/token' WHERE id = '` + mine.ID + `'`,
		"another way to send it":     `UPDATE credentials SET auth_style = 'basic' WHERE id = '` + mine.ID + `'`,
		"another identifier (clone)": `UPDATE credentials SET id = 'x' WHERE id = '` + mine.ID + `'`,
	} {
		t.Run(name, func(t *testing.T) {
			var before []any
			row := make([]any, 12)
			for i := range row {
				before = append(before, &row[i])
			}
			columns := `id, identity, tenant, client_id, auth_style, token_url, scope, kind, certificate, not_after, created, secret`
			if err := db.QueryRow(`SELECT `+columns+` FROM credentials WHERE id = $1`, mine.ID).Scan(before...); err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
			_, err := identity.Open(t.Context(), db.DB, sealer)
			if !errors.Is(err, identity.ErrKey) || !strings.Contains(err.Error(), "sb-erp") {
				t.Errorf("got %v, want a refusal that names the credential", err)
			}
			if _, err := db.Exec(`DELETE FROM credentials WHERE id IN ($1, 'x')`, mine.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(`INSERT INTO credentials (`+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`, row...); err != nil {
				t.Fatal(err)
			}
		})
	}
	wantSame(t, db, sealer, r)
}
