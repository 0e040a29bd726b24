package check_test

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/proxy/check"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// A token server that nobody here wrote: its answers must read as those of the simulated one.
func TestOIDCProviderIsChecked(t *testing.T) {
	holder := pkix.Name{Country: []string{"DE"}, Organization: []string{"Acme"}, CommonName: "sb-mtls"}
	p := outside.StartOIDCProvider(t,
		outside.OAuthClient{ID: "sb-1c2d!b123|it-rt-acme!b55:215", Secret: "0b1c$a+b/c%41:&d~e=", Method: "client_secret_basic", Scope: "orders.send orders.read"},
		outside.OAuthClient{ID: "sb-mtls", Method: "tls_client_auth", Subject: holder.String()},
		outside.OAuthClient{ID: "sb-short", Secret: "short", Method: "client_secret_post", Lifetime: 20},
	)
	certificate := p.ClientCertificate(holder)
	other := holder
	other.CommonName = "sb-other"
	anothers := p.ClientCertificate(other)
	u, err := url.Parse(p.TokenURL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		cred   token.Credential
		state  check.State
		step   string
		detail string
	}{
		{"basic", token.Credential{Style: token.Basic, ClientID: "sb-1c2d!b123|it-rt-acme!b55:215", Secret: token.NewSecret("0b1c$a+b/c%41:&d~e="),
			Scope: "orders.send"}, check.OK, check.StepTokenScope, "granted: orders.send; asked for: orders.send"},
		{"a scope that it drops", token.Credential{Style: token.Basic, ClientID: "sb-1c2d!b123|it-rt-acme!b55:215",
			Secret: token.NewSecret("0b1c$a+b/c%41:&d~e="), Scope: "orders.send stock.read"}, check.Fail, check.StepTokenScope, "stock.read"},
		{"wrong secret", token.Credential{Style: token.Basic, ClientID: "sb-1c2d!b123|it-rt-acme!b55:215", Secret: token.NewSecret("wrong+")}, check.Fail,
			check.StepTokenRequest, "invalid_client"},
		{"certificate", token.Credential{Style: token.MTLS, ClientID: "sb-mtls", Certificate: &certificate}, check.OK, check.StepTokenRequest, "accepted (mtls"},
		{"another's certificate", token.Credential{Style: token.MTLS, ClientID: "sb-mtls", Certificate: &anothers}, check.Fail, check.StepTokenRequest,
			"invalid_client"},
		{"discovered", token.Credential{Style: token.MTLS, ClientID: "sb-mtls", Certificate: &certificate, Issuer: p.Issuer}, check.OK, check.StepIssuer,
			" name " + p.MTLSTokenURL},
		{"no issuer", token.Credential{Style: token.MTLS, ClientID: "sb-mtls", Certificate: &certificate, Issuer: p.Issuer + "/other"}, check.Fail,
			check.StepIssuer, "404"},
		{"short life", token.Credential{Style: token.Body, ClientID: "sb-short", Secret: token.NewSecret("short")}, check.Warn, check.StepTokenLifetime, "20s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(p.Requests())
			e := &token.Engine{}
			defer e.Close()
			c.cred.ID, c.cred.RootCAs = c.name, p.Roots
			if c.cred.Issuer == "" {
				c.cred.TokenURL = p.TokenURL
			}
			client := check.Client{BaseURL: "https://tenant.example.com", Way: check.Way{Address: u.Host, TLS: &tls.Config{RootCAs: p.Roots},
				Dial: (&net.Dialer{}).DialContext, Credential: c.cred}}
			steps, _ := client.Try(t.Context(), e)
			if got := find(steps, c.step); check.Worst(steps) != c.state || !strings.Contains(got.Detail, c.detail) {
				t.Errorf("want %s and %s with %q, got\n%s", c.state, c.step, c.detail, show(steps))
			}
			want := 1
			if c.state == check.Fail && c.step == check.StepIssuer {
				want = 0
			}
			if n := len(p.Requests()) - before; n != want {
				t.Errorf("%d token requests, want %d", n, want)
			}
		})
	}
}
