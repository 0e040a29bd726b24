package proxy_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// A tenant that is known by its issuer alone, and clients without a secret.

func TestServesByIssuerWithEveryKeyOfAClient(t *testing.T) {
	key, err := pki.GenerateKey(pki.P384)
	must(t, err)
	keyPEM, err := pki.EncodePrivateKey(key)
	must(t, err)
	signer, err := token.NewAssertionKey(key, token.AssertionOptions{KeyID: "k-1"})
	must(t, err)
	assertionJWKS, err := signer.JWKS()
	must(t, err)
	holder := pkix.Name{Organization: []string{"Acme"}, CommonName: "sb-ca"}
	other := outside.StartOIDCProvider(t) // whose CA means nothing to the one below: as good as self-signed
	lone := other.ClientCertificate(pkix.Name{CommonName: "sb-self"})
	loneJWKS, err := token.CertificateJWKS(lone.Leaf)
	must(t, err)
	p := outside.StartOIDCProvider(t,
		outside.OAuthClient{ID: "sb-jwt", Method: "private_key_jwt", JWKS: assertionJWKS, Algorithm: "ES384", Scope: "orders.send"},
		outside.OAuthClient{ID: "sb-ca", Method: "tls_client_auth", Subject: holder.String(), Scope: "orders.send"},
		outside.OAuthClient{ID: "sb-self", Method: "self_signed_tls_client_auth", JWKS: loneJWKS, Scope: "orders.send"},
	)
	tenant := newAskingTenant(t, p)
	g := newGate(t, proxy.Limits{})
	ctx := t.Context()
	g.change(func(tx *identity.Tx) error {
		bundle := p.CA + string(pki.EncodeCertificates(tenant.Certificate()))
		_, err := tx.AddTenant(ctx, identity.Tenant{Name: "asking", BaseURL: tenant.URL, Issuer: p.Issuer, AuthStyle: "private_key_jwt", CABundle: bundle, Scope: "orders.send"})
		return err
	})
	g.addRoute(identity.Route{Name: "asking", Path: "/asking/*", Tenant: "asking", Role: "asking.call"})
	certificate := p.ClientCertificate(holder)
	pair := func(key crypto.PrivateKey) identity.SecretMaterial {
		b, err := pki.EncodePrivateKey(key)
		must(t, err)
		return identity.NewSecret(string(b))
	}
	for _, c := range []struct {
		identity.Credential
		proof string
	}{
		{identity.Credential{Identity: "jwt", ClientID: "sb-jwt", Kind: identity.KindAssertion, KeyID: "k-1", AssertionAudience: identity.AudienceIssuer,
			Secret: identity.NewSecret(string(keyPEM))}, "assertion"},
		{identity.Credential{Identity: "ca", ClientID: "sb-ca", AuthStyle: "mtls", Kind: identity.KindCertificate,
			Certificate: string(pki.EncodeCertificates(certificate.Leaf)), Secret: pair(certificate.PrivateKey)}, "certificate"},
		{identity.Credential{Identity: "self", ClientID: "sb-self", AuthStyle: "mtls", Kind: identity.KindCertificate,
			Certificate: string(pki.EncodeCertificates(lone.Leaf)), Secret: pair(lone.PrivateKey)}, "certificate"},
	} {
		t.Run(c.Identity, func(t *testing.T) {
			c.Tenant = "asking"
			g.change(func(tx *identity.Tx) error {
				if _, err := tx.AddIdentity(ctx, identity.Identity{Name: c.Identity, Owner: "team-asking", Roles: []string{"asking.call"}}); err != nil {
					return err
				}
				_, err := tx.AddCredential(ctx, c.Credential)
				return err
			})
			caller := g.issue(c.Identity)
			before := len(p.Requests())
			for range 3 {
				if a := caller.get("/asking/1"); a.status != 200 || a.body != fmt.Sprintf("client %s, GET /asking/1", c.ClientID) {
					t.Fatalf("got %+v, want 200 as %s", a, c.ClientID)
				}
			}
			want := outside.TokenRequest{ClientID: c.ClientID, Proof: c.proof, Status: 200, Alias: c.proof == "certificate"}
			if got := p.Requests()[before:]; len(got) != 1 || got[0] != want {
				t.Errorf("the token server saw %+v, want one: %+v", got, want)
			}
		})
	}
}

func TestARouteHasTokensForItsOwnResource(t *testing.T) {
	p := outside.StartOIDCProvider(t, outside.OAuthClient{ID: "sb", Secret: "s", Method: "client_secret_post", Scope: "orders.send"})
	tenant := newAskingTenant(t, p)
	g := newGate(t, proxy.Limits{})
	ctx := t.Context()
	parameters := func(pairs url.Values) identity.TokenParameters { return identity.NewTokenParameters(pairs) }
	g.change(func(tx *identity.Tx) error {
		bundle := p.CA + string(pki.EncodeCertificates(tenant.Certificate()))
		if _, err := tx.AddTenant(ctx, identity.Tenant{Name: "asking", BaseURL: tenant.URL, Issuer: p.Issuer, AuthStyle: "body", CABundle: bundle, Scope: "orders.send",
			TokenParameters: parameters(url.Values{"resource": {"urn:tenant"}, "audience": {"of the tenant"}})}); err != nil {
			return err
		}
		if _, err := tx.AddIdentity(ctx, identity.Identity{Name: "asking", Owner: "team-asking", Roles: []string{"asking.call"}}); err != nil {
			return err
		}
		_, err := tx.AddCredential(ctx, identity.Credential{Identity: "asking", Tenant: "asking", ClientID: "sb", Kind: identity.KindSecret,
			Secret: identity.NewSecret("s"), TokenParameters: parameters(url.Values{"audience": {"of the credential"}})})
		return err
	})
	g.addRoute(identity.Route{Name: "a", Path: "/a", Tenant: "asking", Role: "asking.call"})
	g.addRoute(identity.Route{Name: "b", Path: "/b", Tenant: "asking", Role: "asking.call",
		TokenParameters: parameters(url.Values{"resource": {"https://api.example.com/orders"}})})
	g.addRoute(identity.Route{Name: "c", Path: "/c", Tenant: "asking", Role: "asking.call", TokenParameters: parameters(url.Values{"resource": {"urn:unknown"}})})
	caller := g.issue("asking")
	for range 2 {
		for _, path := range []string{"/a", "/b"} {
			if a := caller.get(path); a.status != 200 {
				t.Fatalf("%s: got %+v", path, a)
			}
		}
	}
	g.wantOutcome(caller.get("/c"), record.NoToken)
	shown := tenant.authorizations()
	if len(shown) != 4 || shown[0] != shown[2] || shown[1] != shown[3] || shown[0] == shown[1] {
		t.Errorf("the tenant was shown %d tokens, want one for each route, twice", len(shown))
	}
	r := p.Requests()
	if len(r) < 3 || r[0].Resource != "urn:tenant" || r[0].Audience != "of the credential" || r[1].Resource != "https://api.example.com/orders" ||
		r[1].Audience != "of the credential" || r[2].Resource != "urn:unknown" {
		t.Errorf("the token server saw %+v", r)
	}
}

// The company's proxy alone knows where the issuer is.
func TestDiscoveryGoesThroughTheHTTPProxy(t *testing.T) {
	p := outside.StartOIDCProvider(t, outside.OAuthClient{ID: "sb", Secret: "s", Method: "client_secret_post", Scope: "orders.send"})
	tenant := newAskingTenant(t, p)
	g := newGate(t, proxy.Limits{})
	company := newCompanyProxy(t, nil)
	issuer, err := url.Parse(p.Issuer)
	must(t, err)
	company.mu.Lock()
	company.places[issuer.Host], company.places["127.0.0.1:7"] = issuer.Host, tenant.Listener.Addr().String()
	company.mu.Unlock()
	ctx := t.Context()
	g.change(func(tx *identity.Tx) error {
		bundle := p.CA + string(pki.EncodeCertificates(tenant.Certificate()))
		if _, err := tx.AddTenant(ctx, identity.Tenant{Name: "asking", BaseURL: "https://127.0.0.1:7", Issuer: p.Issuer, AuthStyle: "body", CABundle: bundle,
			Scope: "orders.send", HTTPProxy: "http://" + company.addr}); err != nil {
			return err
		}
		if _, err := tx.AddIdentity(ctx, identity.Identity{Name: "asking", Owner: "team-asking", Roles: []string{"asking.call"}}); err != nil {
			return err
		}
		_, err := tx.AddCredential(ctx, identity.Credential{Identity: "asking", Tenant: "asking", ClientID: "sb", Kind: identity.KindSecret, Secret: identity.NewSecret("s")})
		return err
	})
	g.addRoute(identity.Route{Name: "asking", Path: "/asking", Tenant: "asking", Role: "asking.call"})
	if a := g.issue("asking").get("/asking"); a.status != 200 {
		t.Fatalf("got %+v, want 200", a)
	}
	if heads := company.asked(); len(heads) < 3 { // metadata, token, tenant
		t.Errorf("the proxy was asked %d times: %q", len(heads), heads)
	}
}

func TestAnIssuerThatCannotBeReadIsOnRecord(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	ctx := t.Context()
	g.change(func(tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, identity.Tenant{Name: "lost", BaseURL: g.tenant.URL, Issuer: g.tenant.URL, AuthStyle: "body", CABundle: g.tenant.caPEM})
		_, e2 := tx.AddCredential(ctx, identity.Credential{Identity: "orders", Tenant: "lost", ClientID: "sb", Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-lost")})
		return errors.Join(e1, e2)
	})
	g.addRoute(identity.Route{Name: "lost", Path: "/lost", Tenant: "lost", Role: "orders.send"})
	r := g.wantOutcome(g.issue("orders").get("/lost"), record.NoToken)
	if cause, _ := r["cause"].(string); !strings.Contains(cause, "discover: ") {
		t.Errorf("the record's cause is %q, want it to name the step", cause)
	}
}

// A certificate of our own CA, which the tenant's token server goes by subject and issuer, and its successor.
func TestARenewedCertificateTakesTheOldOnesPlace(t *testing.T) {
	sim, err := tenantsim.New(tenantsim.Options{})
	must(t, err)
	t.Cleanup(func() { _ = sim.Close() })
	sim.SetFlow("/http/a", tenantsim.Flow{})
	g := newGate(t, proxy.Limits{})
	ctx := t.Context()
	key, err := pki.GenerateKey("")
	must(t, err)
	keyPEM, err := pki.EncodePrivateKey(key)
	must(t, err)
	g.change(func(tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, identity.Tenant{Name: "sim", BaseURL: sim.BaseURL(), Issuer: sim.IssuerURL(), AuthStyle: "mtls", CABundle: string(sim.CAPEM())})
		_, e2 := tx.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team-erp", Roles: []string{"sim.call"}})
		return errors.Join(e1, e2)
	})
	g.addRoute(identity.Route{Name: "sim", Path: "/http/a", Tenant: "sim", Role: "sim.call"})
	// renew adds a credential with the same key and a new certificate, as a renewal does.
	renew := func() *pki.Issued {
		var issued *pki.Issued
		g.change(func(tx *identity.Tx) (err error) {
			issued, err = g.ca.Issue(ctx, tx.SQL(), pki.IssueOptions{Profile: pki.OutboundProfile("sim"), Name: "erp", PublicKey: key.Public()})
			if err != nil {
				return err
			}
			_, err = tx.AddCredential(ctx, identity.Credential{Identity: "erp", Tenant: "sim", ClientID: "sb", Kind: identity.KindCertificate, Keyless: true,
				Certificate: string(issued.PEM()), Secret: identity.NewSecret(string(keyPEM))})
			return err
		})
		return issued
	}
	// shown is the client certificate of the last token: the server binds the token to it (RFC 8705 section 3.1).
	shown := func() string {
		r := sim.Requests()
		_, token, _ := strings.Cut(r[len(r)-1].Header.Get("Authorization"), " ")
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		must(t, err)
		var claims struct {
			Bound struct {
				Certificate string `json:"x5t#S256"`
			} `json:"cnf"`
		}
		must(t, json.Unmarshal(payload, &claims))
		return claims.Bound.Certificate
	}
	caller := g.issue("erp")
	first := renew()
	sim.AddClient(tenantsim.Client{ID: "sb", Certificate: &tls.Certificate{Leaf: first.Leaf}, Unpinned: true})
	for n := range 2 {
		current := first
		if n == 1 {
			current = renew()
		}
		want := base64.RawURLEncoding.EncodeToString(current.Fingerprint[:])
		eventually(t, "the newest certificate is the one that tokens are bound to", func() bool { // once it has worked: nobody waits for that
			if a := caller.get("/http/a"); a.status != 200 {
				t.Fatalf("got %+v", a)
			}
			return shown() == want
		})
	}
	if got := len(sim.TokenRequests()); got != 2 {
		t.Errorf("the token server saw %d requests, want one for each certificate", got)
	}
	// At our own listener the certificate stands for nobody.
	own := g.caller(tls.Certificate{Certificate: [][]byte{first.Chain[0].Raw, first.Chain[1].Raw}, PrivateKey: key})
	if a := own.get("/http/a"); a.err == nil && a.status == 200 {
		t.Errorf("an outbound certificate was served: %+v", a)
	}
}
