package proxy_test

import (
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// A token server that nobody here wrote.

// askingTenant is a tenant that believes no token by itself: it asks the server that gave it.
type askingTenant struct {
	*httptest.Server
	provider *outside.OIDCProvider

	mu    sync.Mutex
	shown []string // the Authorization of every request
}

func newAskingTenant(t *testing.T, p *outside.OIDCProvider) *askingTenant {
	a := &askingTenant{provider: p}
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

func (a *askingTenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	authorization := r.Header.Get("Authorization")
	a.mu.Lock()
	a.shown = append(a.shown, authorization)
	a.mu.Unlock()
	known := a.provider.Introspect(strings.TrimPrefix(authorization, "Bearer "))
	switch {
	case !known.Active:
		w.WriteHeader(http.StatusUnauthorized)
	case known.Scope != "orders.send":
		w.WriteHeader(http.StatusForbidden)
	default:
		fmt.Fprintf(w, "client %s, %s %s", known.ClientID, r.Method, r.RequestURI)
	}
}

func (a *askingTenant) authorizations() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.shown)
}

func TestServesWithTokensOfOIDCProvider(t *testing.T) {
	holder := pkix.Name{Country: []string{"DE"}, Organization: []string{"Acme"}, CommonName: "sb-mtls"}
	clients := []outside.OAuthClient{
		{ID: "sb-1c2d!b123|it-rt-acme!b55:215", Secret: "0b1c$a+b/c%41:&d=", Method: "client_secret_basic", Scope: "orders.send"},
		{ID: "sb-2c3d!b123|it-rt-acme!b55215", Secret: "1c2d$e+f/g%2B:&h==", Method: "client_secret_post", Scope: "orders.send"},
		{ID: "sb-3d4e!b123|it-rt-acme!b55215", Method: "tls_client_auth", Subject: holder.String(), Scope: "orders.send"},
		{ID: "sb-unscoped", Secret: "of-unscoped", Method: "client_secret_post", Scope: "stock.read"},
		{ID: "sb-mistaken", Secret: "right", Method: "client_secret_post", Scope: "orders.send"},
	}
	p := outside.StartOIDCProvider(t, clients...)
	tenant := newAskingTenant(t, p)
	g := newGate(t, proxy.Limits{})
	certificate := p.ClientCertificate(holder)
	keyPEM, err := pki.EncodePrivateKey(certificate.PrivateKey)
	must(t, err)
	ctx := t.Context()
	g.change(func(tx *identity.Tx) error {
		bundle := p.CA + string(pki.EncodeCertificates(tenant.Certificate()))
		_, err := tx.AddTenant(ctx, identity.Tenant{Name: "asking", BaseURL: tenant.URL, TokenURL: p.TokenURL, AuthStyle: "body", CABundle: bundle, Scope: "orders.send"})
		return err
	})
	g.addRoute(identity.Route{Name: "asking", Path: "/asking/*", Tenant: "asking", Role: "asking.call"})
	callers := map[string]*client{}
	for _, c := range []identity.Credential{
		{Identity: "basic", ClientID: clients[0].ID, AuthStyle: "basic", Kind: identity.KindSecret, Secret: identity.NewSecret(clients[0].Secret)},
		{Identity: "body", ClientID: clients[1].ID, Kind: identity.KindSecret, Secret: identity.NewSecret(clients[1].Secret)},
		{Identity: "mtls", ClientID: clients[2].ID, AuthStyle: "mtls", Kind: identity.KindCertificate, Certificate: string(pki.EncodeCertificates(certificate.Leaf)), Secret: identity.NewSecret(string(keyPEM))},
		{Identity: "unscoped", ClientID: clients[3].ID, Kind: identity.KindSecret, Secret: identity.NewSecret(clients[3].Secret)},
		{Identity: "mistaken", ClientID: clients[4].ID, Kind: identity.KindSecret, Secret: identity.NewSecret("wr$ng+")},
	} {
		c.Tenant = "asking"
		g.change(func(tx *identity.Tx) error {
			if _, err := tx.AddIdentity(ctx, identity.Identity{Name: c.Identity, Owner: "team-asking", Roles: []string{"asking.call"}}); err != nil {
				return err
			}
			_, err := tx.AddCredential(ctx, c)
			return err
		})
		callers[c.Identity] = g.issue(c.Identity)
	}
	// proofs is how the client proved itself in each of its requests to the token server.
	proofs := func(id string) (all []string) {
		for _, r := range p.Requests() {
			if r.ClientID == id {
				all = append(all, r.Proof)
			}
		}
		return all
	}

	proof := []string{"basic", "body", "certificate"}
	for i, name := range []string{"basic", "body", "mtls"} {
		t.Run(name, func(t *testing.T) {
			stolen := "Bearer none"
			if all := tenant.authorizations(); len(all) > 0 {
				stolen = all[len(all)-1] // of the identity before: a live token
			}
			want := fmt.Sprintf("client %s, GET /asking/1?a=b", clients[i].ID)
			for range 3 {
				if a := callers[name].get("/asking/1?a=b", "Authorization", stolen); a.status != 200 || a.body != want {
					t.Errorf("got %+v, want 200 and %q", a, want)
				}
			}
			if got := proofs(clients[i].ID); !slices.Equal(got, proof[i:i+1]) {
				t.Errorf("the token server saw the proofs %v, want one: %s", got, proof[i])
			}
		})
	}
	t.Run("a revoked token is replaced once", func(t *testing.T) {
		shown := tenant.authorizations()
		old := shown[len(shown)-1]
		p.Revoke(strings.TrimPrefix(old, "Bearer "))
		if a := callers["mtls"].do("POST", "/asking/2", strings.NewReader("hello")); a.status != 200 {
			t.Errorf("got %+v, want 200", a)
		}
		after := tenant.authorizations()[len(shown):]
		if len(after) != 2 || after[0] != old || after[1] == old {
			t.Errorf("the tenant saw %d requests after the revocation, want the old token once and a new one once", len(after))
		}
		if got := proofs(clients[2].ID); len(got) != 2 {
			t.Errorf("the token server saw the proofs %v, want 2", got)
		}
	})
	t.Run("a tenant's own refusal is passed on", func(t *testing.T) {
		// The server gives a token without any scope and does not say so: only the tenant can know.
		if a := callers["unscoped"].get("/asking/1"); a.err != nil || a.status != 403 || a.header.Get("Content-Type") == record.ProblemContentType {
			t.Errorf("got %+v, want the tenant's 403", a)
		}
	})
	t.Run("a wrong secret", func(t *testing.T) {
		before := len(tenant.authorizations())
		for range 5 {
			r := g.wantOutcome(callers["mistaken"].get("/asking/1"), record.NoToken)
			if cause, _ := r["cause"].(string); !strings.Contains(cause, "401: invalid_client") {
				t.Errorf("the record's cause is %q, want it to name 401 and invalid_client", cause)
			}
		}
		// One within the first pause, two if the machine is slow; the third is a quarter of an hour away.
		if got := proofs(clients[4].ID); len(got) < 1 || len(got) > 2 {
			t.Errorf("the token server saw the proofs %v, want 1 or 2", got)
		}
		if got := len(tenant.authorizations()); got != before {
			t.Errorf("%d requests reached the tenant without a token", got-before)
		}
	})
	secrets := []string{"wr$ng+", strings.Split(string(keyPEM), "\n")[1]}
	for _, c := range clients[:2] {
		secrets = append(secrets, c.Secret)
	}
	for _, a := range tenant.authorizations() {
		secrets = append(secrets, strings.TrimPrefix(a, "Bearer "))
	}
	records := fmt.Sprint(g.records())
	for _, s := range secrets {
		if strings.Contains(records, s) {
			t.Errorf("the access records hold the secret or token %.6s...", s)
		}
	}
}
