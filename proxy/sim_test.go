package proxy_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
)

// simGate is a gate before a simulated tenant, "cpi". The identities orders and stock have clients of their own there, and both may use all its routes:
//
//	flows  /http/flow/*  and whatever of a route the test changes
//	odata  /api/v1/*     of the host that serves the API
type simGate struct {
	*gate
	sim *tenantsim.Sim
}

func newSimGate(tb testing.TB, limits proxy.Limits, change func(*identity.Route), with ...func(*proxy.Config)) *simGate {
	tb.Helper()
	sim, err := tenantsim.New(tenantsim.Options{OneHost: true})
	must(tb, err)
	tb.Cleanup(func() { sim.Close() })
	g := &simGate{newGate(tb, limits, with...), sim}
	ctx := tb.Context()
	g.change(func(tx *identity.Tx) error {
		_, err := tx.AddTenant(ctx, identity.Tenant{Name: "cpi", BaseURL: sim.BaseURL(), TokenURL: sim.TokenURL(), AuthStyle: "body", CABundle: string(sim.CAPEM())})
		return err
	})
	for _, name := range []string{"orders", "stock"} {
		g.addClient(name, "sb-"+name)
		g.setRoles(name, "orders.send", "stock.read", "flows.call")
	}
	for name, path := range map[string]string{"flows": "/http/flow/*", "odata": "/api/v1/*"} {
		r := identity.Route{Name: name, Path: path, Tenant: "cpi", Role: "flows.call"}
		change(&r)
		g.addRoute(r)
	}
	return g
}

// addClient registers a client at the tenant and gives the identity a credential for it.
func (g *simGate) addClient(name, id string) {
	g.tb.Helper()
	g.sim.AddClient(tenantsim.Client{ID: id, Secret: "secret-of-" + id})
	g.change(func(tx *identity.Tx) error {
		_, err := tx.AddCredential(g.tb.Context(), identity.Credential{Identity: name, Tenant: "cpi", ClientID: id,
			Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-" + id)})
		return err
	})
}

func (g *simGate) setRoles(name string, roles ...string) {
	g.tb.Helper()
	g.change(func(tx *identity.Tx) error {
		i, err := tx.Identity(name)
		if err == nil {
			i.Roles = roles
			_, err = tx.SetIdentity(g.tb.Context(), i)
		}
		return err
	})
}

// setRoute changes the route flows.
func (g *simGate) setRoute(change func(*identity.Route)) {
	g.tb.Helper()
	g.change(func(tx *identity.Tx) error {
		r, err := tx.Route("flows")
		if err == nil {
			change(&r)
			_, err = tx.SetRoute(g.tb.Context(), r)
		}
		return err
	})
}

func (c *client) post(path, body string, header ...string) answer {
	return c.do("POST", path, strings.NewReader(body), header...)
}

// stream posts a body of unknown length.
func (c *client) stream(path, body string, header ...string) answer {
	return c.do("POST", path, io.MultiReader(strings.NewReader(body)), header...)
}

// fetches are the requests for a CSRF token that reached the tenant.
func (g *simGate) fetches() []tenantsim.Request {
	return slices.DeleteFunc(g.sim.Requests(), func(r tenantsim.Request) bool { return !strings.EqualFold(r.Header.Get("X-CSRF-Token"), "fetch") })
}

// wantExecuted checks that every change was executed once, and by whom.
func (g *simGate) wantExecuted(clients ...string) {
	g.tb.Helper()
	var got []string
	for _, r := range g.sim.Executed() {
		got = append(got, r.Client)
	}
	if !slices.Equal(got, clients) {
		g.tb.Errorf("executed by %v, want %v", got, clients)
	}
}

// wantServed checks status and that no cookie and no CSRF token of a session came along.
func (g *simGate) wantServed(a answer, status int) map[string]any {
	g.tb.Helper()
	if a.err != nil || a.status != status || len(a.header["Set-Cookie"]) != 0 {
		g.tb.Fatalf("got %+v, want %d", a, status)
	}
	return g.record(a.header.Get("X-Request-Id"))
}

func csrf(mode string) func(*identity.Route) {
	return func(r *identity.Route) { r.CSRF = mode }
}

func answering(code int) tenantsim.Flow {
	return tenantsim.Flow{Handler: func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(code)
	}}
}
