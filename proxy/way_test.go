package proxy_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
)

// stored returns a tenant, the newest credential of an identity for it, and no scope.
func (g *gate) stored(name, tenant string) (*identity.Tenant, *identity.Credential, *identity.Route) {
	g.tb.Helper()
	now := g.registry.Snapshot()
	t, ok := now.Tenant(tenant)
	credentials := now.Credentials(name, tenant)
	if !ok || len(credentials) == 0 {
		g.tb.Fatalf("no tenant %s, or no credential of %s for it", tenant, name)
	}
	return t, credentials[0], nil
}

// A check that went another way than callers' requests would prove nothing.
func TestTheWayOfACheckLeadsThroughTheHTTPProxy(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	p := newCompanyProxy(t, nil)
	g.behind(p, "http")
	w, err := g.server.Way(g.stored("orders", "acme"))
	must(t, err)
	conn, err := w.Dial(t.Context(), "tcp", w.Address)
	must(t, err)
	conn.Close()
	if trial := g.tokens.Try(t.Context(), w.Credential); trial.Err != nil || trial.Token.Value.Empty() {
		t.Errorf("got %+v, want a token", trial)
	}
	asked := strings.Join(p.asked(), "")
	if !strings.Contains(asked, "CONNECT example.com:443 ") || !strings.Contains(asked, "CONNECT login.example.com:8443 ") || w.TLS.ServerName != "example.com" {
		t.Errorf("the proxy was asked %q", asked)
	}
}

// The engine takes a credential that differs in anything for another one, and drops the tokens of the old.
func TestACheckLeavesCallersTheirToken(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	c.get("/http/orders/1")
	w, err := g.server.Way(g.stored("orders", "acme"))
	must(t, err)
	if trial := g.tokens.Try(t.Context(), w.Credential); trial.Err != nil {
		t.Fatal(trial.Err)
	}
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Errorf("got %+v", a)
	}
	if n := g.tenant.tokenFetches(); n != 2 {
		t.Errorf("%d token requests, want the caller's and the check's", n)
	}
}

func TestTheWayOfACheckShowsWhatCallersConnectionsShow(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	newShownPlace(t, g)
	_, der := g.addCertificateCredential("orders", "shown")
	g.addCertificateCredential("orders", "unshown")
	w, err := g.server.Way(g.stored("orders", "shown"))
	must(t, err)
	if pair, err := w.TLS.GetClientCertificate(nil); err != nil || !bytes.Equal(pair.Certificate[0], der) {
		t.Errorf("another certificate is shown, or none: %v", err)
	}
	if w, err = g.server.Way(g.stored("orders", "unshown")); err != nil || w.TLS.GetClientCertificate != nil {
		t.Errorf("a certificate is shown to a tenant that is shown none (%v)", err)
	}
	tenant, c, _ := g.stored("orders", "shown")
	if w, err = g.server.Way(tenant, nil, nil); err != nil || w.TLS.GetClientCertificate != nil || w.Credential.ClientID != "" {
		t.Errorf("without a credential: got %+v, %v", w.Credential, err)
	}
	if w, err = g.server.Way(tenant, c, &identity.Route{Scope: "of.the.route"}); err != nil || w.Credential.Scope != "of.the.route" {
		t.Errorf("got scope %q, %v, want the route's", w.Credential.Scope, err)
	}
}
