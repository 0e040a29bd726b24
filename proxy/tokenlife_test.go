package proxy_test

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// simulated is a gate with the simulated tenant "sim" behind /sim/*, and a caller.
func simulated(t *testing.T, switches tenantsim.Switches) (*gate, *tenantsim.Sim, *client) {
	t.Helper()
	sim, err := tenantsim.New(tenantsim.Options{Switches: switches})
	must(t, err)
	t.Cleanup(func() { sim.Close() })
	sim.AddClient(tenantsim.Client{ID: "sb-sim", Secret: "s3cret"})
	g := newGate(t, proxy.Limits{})
	ctx := t.Context()
	g.change(func(tx *identity.Tx) error {
		if _, err := tx.AddTenant(ctx, identity.Tenant{Name: "sim", BaseURL: sim.BaseURL(), TokenURL: sim.TokenURL(), AuthStyle: "body", CABundle: string(sim.CAPEM())}); err != nil {
			return err
		}
		if _, err := tx.AddRoute(ctx, identity.Route{Name: "sim", Path: "/sim/*", TenantPath: "/http/*", Tenant: "sim", Role: "sim.call"}); err != nil {
			return err
		}
		if _, err := tx.AddIdentity(ctx, identity.Identity{Name: "sim", Owner: "team", Roles: []string{"sim.call"}}); err != nil {
			return err
		}
		_, err := tx.AddCredential(ctx, identity.Credential{Identity: "sim", Tenant: "sim", ClientID: "sb-sim", Kind: identity.KindSecret, Secret: identity.NewSecret("s3cret")})
		return err
	})
	return g, sim, g.issue("sim")
}

// Older releases answer 500 to an expired token, which nobody could tell from a flow that fails: none may ever be sent.
func TestATenantThatAnswers500ToExpiredTokensNeverSeesOne(t *testing.T) {
	t.Parallel()
	const lifetimes, lifetime = 5, 2 * time.Second
	_, sim, c := simulated(t, tenantsim.Switches{ExpiredStatus: 500, TokenLifetime: lifetime + time.Second, ExpiresIn: "2"}) // XSUAA, too, tells a second less
	var served, other atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(lifetimes * lifetime)
	for range 4 {
		wg.Go(func() {
			for time.Now().Before(end) {
				if a := c.get("/sim/orders"); a.status == 200 {
					served.Add(1)
				} else {
					other.Add(1)
					t.Errorf("got %+v", a)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	requests := len(sim.TokenRequests())
	if other.Load() != 0 || requests < lifetimes || requests > 3*lifetimes {
		t.Errorf("%d served, %d not, %d token requests over %d lifetimes; want all served, two requests a lifetime", served.Load(), other.Load(), requests, lifetimes)
	}
	t.Logf("%d requests over %d lifetimes of %v: %d other answers than 200, %d token requests", served.Load(), lifetimes, lifetime, other.Load(), requests)

	// The simulator does answer 500 when a token server claims more than is true.
	sim.Switch(func(s *tenantsim.Switches) { s.ExpiresIn, s.TokenLifetime = "3600", 100*time.Millisecond })
	eventually(t, "an expired token to be sent", func() bool { return c.get("/sim/orders").status == 500 })
}

// Another server on the same registry and the same stored tokens is what a restart looks like to the token server.
func TestTokensThatWereInUseAreWarmAfterARestart(t *testing.T) {
	var cfg proxy.Config
	db, err := database.Open(t.Context(), filepath.Join(t.TempDir(), "tokens.db"))
	must(t, err)
	t.Cleanup(func() { db.Close() })
	must(t, database.Migrate(t.Context(), db, "token", token.Migrations()))
	key, err := identity.GenerateKey()
	must(t, err)
	sealer, err := identity.NewSealer(key)
	must(t, err)
	engine := func(refreshAt float64) *token.Engine {
		e := &token.Engine{Store: &token.Store{DB: db.DB, Sealer: sealer}, RefreshAt: refreshAt}
		_, err := e.Restore(t.Context())
		must(t, err)
		t.Cleanup(e.Close)
		return e
	}
	first := engine(0.5)
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) {
		c.Tokens = first
		cfg = *c
	})
	g.addRoute(identity.Route{Name: "scoped", Path: "/http/scoped", Tenant: "acme", Role: "orders.send", Scope: "orders.read"})
	g.addIdentity("leaving", "orders.send")
	for _, path := range []string{"/http/orders/1", "/http/scoped"} {
		if a := g.issue("orders").get(path); a.status != 200 {
			t.Fatalf("%s: %+v", path, a)
		}
	}
	if a := g.issue("leaving").get("/http/orders/1"); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	first.Close()
	g.change(func(tx *identity.Tx) error { // while nobody who holds its token looks
		_, err := tx.DisableIdentity(t.Context(), "leaving")
		return err
	})
	before := g.tenant.tokenFetches()

	cfg.Tokens = engine(1e-12) // whatever was stored is due for a refresh
	second := proxy.New(cfg)
	t.Cleanup(func() { second.Shutdown(t.Context()) })
	second.WarmUp(t.Context())
	if got := g.tenant.tokenFetches() - before; got != 2 {
		t.Errorf("got %d token requests, want one for each of the two scopes of orders, and none for a disabled identity", got)
	}
	scopes := map[string]bool{}
	for _, s := range cfg.Tokens.States() {
		scopes[s.Scope] = s.Valid
	}
	if len(scopes) != 2 || !scopes[""] || !scopes["orders.read"] {
		t.Errorf("got tokens for the scopes %v, want those that requests use", scopes)
	}
}
