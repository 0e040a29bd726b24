package check_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy/check"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
	"github.com/tenantgate/tenantgate/proxy/token"
)

const secret = "s3cret+/=$"

// site is a simulated tenant, an engine, and a client that is checked.
type site struct {
	t      *testing.T
	sim    *tenantsim.Sim
	engine *token.Engine
	client check.Client
}

// newSim starts a tenant; its keys take their time, so that a test's cases share one, one after the other.
func newSim(t *testing.T) *tenantsim.Sim {
	t.Helper()
	sim, err := tenantsim.New(tenantsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	return sim
}

// newSite begins anew at a tenant.
func newSite(t *testing.T, sim *tenantsim.Sim) *site {
	t.Helper()
	sim.Switch(func(sw *tenantsim.Switches) { *sw = tenantsim.Switches{} })
	sim.RejectNext(0)
	sim.Forget()
	s := &site{t: t, sim: sim, engine: &token.Engine{Timeout: time.Second}}
	t.Cleanup(s.engine.Close)
	sim.AddClient(tenantsim.Client{ID: "sb-erp", Secret: secret})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(sim.CAPEM())
	u, err := url.Parse(sim.BaseURL())
	if err != nil {
		t.Fatal(err)
	}
	s.client = check.Client{BaseURL: sim.BaseURL(), Way: check.Way{
		Address: u.Host, TLS: &tls.Config{RootCAs: roots, ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12},
		Dial:       (&net.Dialer{}).DialContext,
		Credential: token.Credential{ID: "c1", TokenURL: sim.TokenURL(), Style: token.Body, ClientID: "sb-erp", Secret: token.NewSecret(secret), RootCAs: roots},
	}}
	return s
}

// certificate has the client authenticate by certificate.
func (s *site) certificate() *tls.Certificate {
	s.t.Helper()
	pair, err := s.sim.NewCertificate("sb-erp")
	if err != nil {
		s.t.Fatal(err)
	}
	s.sim.AddClient(tenantsim.Client{ID: "sb-erp", Certificate: pair})
	c := &s.client.Way.Credential
	c.Style, c.Secret, c.Certificate, c.TokenURL = token.MTLS, token.Secret{}, pair, s.sim.MTLSTokenURL()
	return pair
}

// assertion has the client authenticate by a key that is not registered.
func (s *site) assertion() {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &s.client.Way.Credential
	c.Style, c.Secret = token.PrivateKeyJWT, token.Secret{}
	if c.Assertion, err = token.NewAssertionKey(key, token.AssertionOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func TestAKeyHasNoEnd(t *testing.T) {
	s := newSite(t, newSim(t))
	s.assertion()
	steps, _ := s.client.Try(t.Context(), s.engine)
	if got := find(steps, check.StepCredential); got.State != check.OK || strings.Contains(got.Detail, "secret") {
		t.Errorf("got %+v", got)
	}
}

func (s *site) requests() int {
	return len(s.sim.TokenRequests())
}

// find returns the step of that name.
func find(steps []check.Step, name string) check.Step {
	for _, s := range steps {
		if s.Name == name {
			return s
		}
	}
	return check.Step{}
}

func show(steps []check.Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%s %s: %s [%s]\n", s.Name, s.State, s.Detail, s.Hint)
	}
	return b.String()
}

func TestAGoodClientIsTriedWithOneRequestAndShownWithoutItsToken(t *testing.T) {
	s := newSite(t, newSim(t))
	steps, claims := s.client.Try(t.Context(), s.engine)
	if state := check.Worst(steps); state != check.OK {
		t.Errorf("got %s, want ok:\n%s", state, show(steps))
	}
	for step, want := range map[string]string{
		check.StepTokenTCP: "connected to 127.0.0.1:", check.StepTokenTLS: `vouched for by "Simulated Tenant CA"`,
		check.StepTokenRequest:  "is accepted (body, status 200)",
		check.StepTokenLifetime: "59m59s", check.StepTokenFormat: "JWT (RS256) of " + s.sim.IssuerURL(),
		check.StepTokenScope: "it-rt-sim!b55215.ESBMessaging.send", check.StepClock: "agree",
	} {
		if got := find(steps, step); !strings.Contains(got.Detail, want) {
			t.Errorf("%s: got %q, want %q", step, got.Detail, want)
		}
	}
	if claims == nil || claims.Client != "sb-erp" || claims.Expires.IsZero() || claims.Zone == "" || len(claims.Scopes) != 1 {
		t.Errorf("got claims %+v", claims)
	}
	if n := s.requests(); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
	out, err := json.Marshal(map[string]any{"steps": steps, "claims": claims})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), secret) || strings.Contains(string(out), "eyJ") {
		t.Errorf("the steps show secret or token: %s", out)
	}
}

func TestTheStepThatFailsSaysWhatToDo(t *testing.T) {
	sim := newSim(t)
	fault := func(f tenantsim.TokenFault) func(*site) {
		return func(s *site) { s.sim.Switch(func(sw *tenantsim.Switches) { sw.TokenFault = &f }) }
	}
	for name, c := range map[string]struct {
		spoil        func(*site)
		step         string
		detail, hint string
	}{
		"name that does not exist": {func(s *site) { s.client.Way.Credential.TokenURL = "https://nothing.invalid/oauth/token" }, check.StepTokenDNS,
			"nothing.invalid has no address", "HTTP proxy"},
		"nobody listens": {func(s *site) { s.client.Way.Credential.TokenURL = "https://" + closedPort(s.t) + "/t" }, check.StepTokenTCP,
			"connection refused", "firewall"},
		"unknown authority": {func(s *site) { s.client.Way.Credential.RootCAs = x509.NewCertPool() }, check.StepTokenTLS,
			`comes from "Simulated Tenant CA", which is not trusted`, "--ca-bundle"},
		"another name": {func(s *site) { s.client.Way.Credential.TokenURL = misnamed(s) }, check.StepTokenTLS, "is for another name", "misspelt"},
		"no TLS": {func(s *site) { s.client.Way.Credential.TokenURL = "https://" + plainServer(s.t) + "/t" }, check.StepTokenTLS,
			"does not speak TLS", "port"},
		"wrong secret": {func(s *site) { s.client.Way.Credential.Secret = token.NewSecret("wrong") }, check.StepTokenRequest, "Bad credentials",
			"client id or secret is wrong"},
		"secret at the certificate host": {func(s *site) { s.client.Way.Credential.TokenURL = s.sim.MTLSTokenURL() }, check.StepTokenRequest,
			"certificate required", "use a credential with a certificate"},
		"another certificate": {func(s *site) {
			s.certificate()
			s.client.Way.Credential.Certificate, _ = s.sim.NewCertificate("sb-erp")
		}, check.StepTokenRequest, "Client authentication failed", "with pinning only that one"},
		"a key that is not registered": {func(s *site) { s.assertion() }, check.StepTokenRequest, "401", "--assertion-audience"},
		"Basic where IAS wants it encoded": {func(s *site) {
			s.sim.Switch(func(sw *tenantsim.Switches) { sw.Vendor = tenantsim.IAS })
			s.client.Way.Credential.Style = token.BasicRaw
		}, check.StepTokenRequest, "401", "secret is wrong"},
		"locked": {fault(tenantsim.TokenFault{Status: 401, Body: `{"error":"invalid_client","error_description":"Client is locked"}`}),
			check.StepTokenRequest, "locked", "60 minutes"},
		"no authentication": {fault(tenantsim.TokenFault{Status: 401,
			Body: `{"error":"unauthorized","error_description":"An Authentication object was not found in the SecurityContext"}`}), check.StepTokenRequest,
			"SecurityContext", "does not know this style"},
		"too many requests": {fault(tenantsim.TokenFault{Status: 429, Header: http.Header{"Retry-After": {"7"}, "Content-Type": {"text/html"}},
			Body: "<html>"}), check.StepTokenRequest, "429", "whole subaccount"},
		"redirect": {fault(tenantsim.TokenFault{Redirect: "https://example.com/"}), check.StepTokenRequest, "not followed with a secret",
			"does not redirect"},
		"no endpoint": {func(s *site) { s.client.Way.Credential.TokenURL = s.sim.IssuerURL() + "/token" }, check.StepTokenRequest, "404", "/oauth2/token"},
		"a page": {fault(tenantsim.TokenFault{Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>"}), check.StepTokenRequest,
			"text/html", "a page came"},
		"server down": {fault(tenantsim.TokenFault{Status: 503, Body: "{}"}), check.StepTokenRequest, "503", "try later"},
		"hangs":       {fault(tenantsim.TokenFault{Hang: true}), check.StepTokenRequest, "no answer in time", "does not answer"},
		"scope dropped": {func(s *site) {
			s.sim.Switch(func(sw *tenantsim.Switches) { sw.NarrowScope = true })
			s.client.Way.Credential.Scope = "orders.send"
		}, check.StepTokenScope, "lacks orders.send", "give the client that role"},
		"scope refused": {func(s *site) { s.client.Way.Credential.Scope = "orders.send" }, check.StepTokenRequest, "invalid_scope", "does not have that scope"},
		"no secret":     {func(s *site) { s.client.Way.Credential.Secret = token.Secret{} }, check.StepTokenRequest, "needs a client secret", "credential add"},
		"HTTP proxy": {func(s *site) { s.client.Way.Via, s.client.Way.Credential.Dial = "http://proxy:3128", refusingProxy }, check.StepTokenTCP,
			"refuses with status 403", "allow CONNECT"},
		"the plan of the host": {func(s *site) {
			s.client.BaseURL = "https://a.it-cpi018.cfapps.eu10.hana.ondemand.com"
			s.client.Way.Credential.ClientID = "sb!b1|it-rt-a!b5"
		}, check.StepTenantHost, "plan integration-flow", "other plan"},
		"an end in the past": {func(s *site) { s.client.NotAfter = time.Now().Add(-time.Hour) }, check.StepCredential, "ended on", "credential add"},
		"a route without its scope": {func(s *site) {
			s.client.Routes = []check.Route{{Name: "orders", Path: "/http/orders", Scope: "it-rt-x!b1.orders.send"}}
		}, check.StepRoute,
			"route orders asks for", "give the client that role"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, sim)
			c.spoil(s)
			steps, _ := s.client.Try(t.Context(), s.engine)
			got := find(steps, c.step)
			if got.State != check.Fail || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Hint, c.hint) {
				t.Errorf("want %s to fail with %q and hint %q, got\n%s", c.step, c.detail, c.hint, show(steps))
			}
			if strings.Contains(show(steps), secret) {
				t.Error("the steps show the secret")
			}
			if n := s.requests(); n > 1 {
				t.Errorf("%d token requests, want at most 1", n)
			}
		})
	}
}

func TestWhatWorksAndIsOddIsAWarning(t *testing.T) {
	sim := newSim(t)
	for name, c := range map[string]struct {
		spoil        func(*site)
		step         string
		detail, hint string
	}{
		"lifetime not told": {func(s *site) { s.sim.Switch(func(sw *tenantsim.Switches) { sw.ExpiresIn = "omit" }) }, check.StepTokenLifetime,
			"does not tell", "one more try"},
		"Neo's zero": {func(s *site) { s.sim.Switch(func(sw *tenantsim.Switches) { sw.ExpiresIn = "0" }) }, check.StepTokenLifetime, "does not tell",
			"one more try"},
		"short life": {func(s *site) { s.sim.Switch(func(sw *tenantsim.Switches) { sw.TokenLifetime = 20 * time.Second }) }, check.StepTokenLifetime,
			"19s", "raise the access token validity"},
		"no scope at all": {func(s *site) { s.sim.AddClient(tenantsim.Client{ID: "sb-erp", Secret: secret, Roles: []string{}}) }, check.StepTokenScope,
			"no scope at all", "roles"},
		"bound and not shown": {func(s *site) { s.certificate() }, check.StepTokenBinding, "connections to the tenant show none", "--client-certificate credential"},
		"ends soon": {func(s *site) {
			s.client.NotAfter = time.Now().Add(5 * 24 * time.Hour)
			s.client.WarnFrom = time.Now().Add(-time.Hour)
		}, check.StepCredential, "in 4 days", "make a new key"},
		"a path of another host": {func(s *site) {
			s.client.BaseURL = "https://a.it-cpi018-rt.cfapps.eu10.hana.ondemand.com"
			s.client.Routes = []check.Route{{Name: "api", Path: "/api/v1/*"}}
		}, check.StepTenantHost, "route api", "other base URL"},
		"clock": {func(s *site) {
			s.sim.Switch(func(sw *tenantsim.Switches) {
				sw.TokenFault = &tenantsim.TokenFault{Status: 503, Body: "{}", Header: http.Header{"Date": {time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)}}}
			})
		}, check.StepClock, "ahead of theirs", "NTP"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, sim)
			c.spoil(s)
			steps, _ := s.client.Try(t.Context(), s.engine)
			if got := find(steps, c.step); got.State != check.Warn || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Hint, c.hint) {
				t.Errorf("want %s to warn with %q and hint %q, got\n%s", c.step, c.detail, c.hint, show(steps))
			}
		})
	}
}

func TestEveryVendorsManners(t *testing.T) {
	sim := newSim(t)
	for name, c := range map[string]struct {
		vendor tenantsim.Vendor
		style  token.Style
		state  check.State
	}{
		"XSUAA by body":             {tenantsim.XSUAA, token.Body, check.OK},
		"XSUAA by encoded Basic":    {tenantsim.XSUAA, token.Basic, check.OK},
		"XSUAA by raw Basic":        {tenantsim.XSUAA, token.BasicRaw, check.OK},
		"IAS by body":               {tenantsim.IAS, token.Body, check.OK},
		"IAS by encoded Basic":      {tenantsim.IAS, token.Basic, check.OK},
		"IAS by raw Basic":          {tenantsim.IAS, token.BasicRaw, check.Fail},
		"Neo by raw Basic":          {tenantsim.Neo, token.BasicRaw, check.Warn}, // no lifetime told
		"Neo by body":               {tenantsim.Neo, token.Body, check.Fail},
		"XSUAA by certificate":      {tenantsim.XSUAA, token.MTLS, check.Warn}, // bound, and the tenant is shown none
		"IAS by certificate, shown": {tenantsim.IAS, token.MTLS, check.OK},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, sim)
			s.sim.Switch(func(sw *tenantsim.Switches) { sw.Vendor = c.vendor })
			if c.style == token.MTLS {
				s.certificate()
				s.client.Shown = c.state == check.OK
			}
			s.client.Way.Credential.Style = c.style
			steps, _ := s.client.Try(t.Context(), s.engine)
			if got := check.Worst(steps); got != c.state {
				t.Errorf("got %s, want %s\n%s", got, c.state, show(steps))
			}
		})
	}
}

func TestARefusedClientIsHeldAndNotTriedAgain(t *testing.T) {
	s := newSite(t, newSim(t))
	s.client.Way.Credential.Secret = token.NewSecret("wrong")
	var steps []check.Step
	for range 6 {
		steps, _ = s.client.Try(t.Context(), s.engine)
	}
	if n := s.requests(); n > 2 {
		t.Errorf("%d token requests in 6 checks, want at most 2", n)
	}
	got := find(steps, check.StepTokenRequest)
	if got.State != check.Fail || !strings.Contains(got.Detail, "next try at") || !strings.Contains(got.Hint, "nothing was asked now") {
		t.Errorf("got\n%s", show(steps))
	}
	s.client.Way.Credential.Secret, s.client.Way.Credential.ID = token.NewSecret(secret), "c2" // added anew
	if steps, _ = s.client.Try(t.Context(), s.engine); check.Worst(steps) != check.OK {
		t.Errorf("the right one: got\n%s", show(steps))
	}
}

func TestACheckWhoseAskerIsGoneHoldsNobodyUp(t *testing.T) {
	s := newSite(t, newSim(t))
	s.sim.Switch(func(sw *tenantsim.Switches) { sw.TokenFault = &tenantsim.TokenFault{Hang: true} })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.client.Way.Credential.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		defer cancel() // in the middle
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	s.client.Try(ctx, s.engine)
	s.sim.Switch(func(sw *tenantsim.Switches) { sw.TokenFault = nil })
	if _, err := s.engine.Source(s.client.Way.Credential).Token(t.Context()); err != nil {
		t.Errorf("a caller behind a check that was broken off: %v", err)
	}
}

func TestReachingATenantSendsItNothing(t *testing.T) {
	s := newSite(t, newSim(t))
	steps := s.client.Way.Reach(t.Context())
	if check.Worst(steps) != check.OK || !strings.Contains(find(steps, check.StepTenantTLS).Detail, "asks for a client certificate and does without") {
		t.Errorf("got\n%s", show(steps))
	}
	if n := len(s.sim.Requests()); n != 0 {
		t.Errorf("%d requests reached the tenant, want none", n)
	}
}

func TestATenantThatCannotBeReachedIsTold(t *testing.T) {
	sim := newSim(t)
	for name, c := range map[string]struct {
		spoil        func(*site)
		step         string
		detail, hint string
	}{
		"nobody listens":    {func(s *site) { s.client.Way.Address = closedPort(s.t) }, check.StepTenantTCP, "refused", "firewall"},
		"no such name":      {func(s *site) { s.client.Way.Address = "nothing.invalid:443" }, check.StepTenantDNS, "no address", "slip"},
		"unknown authority": {func(s *site) { s.client.Way.TLS.RootCAs = x509.NewCertPool() }, check.StepTenantTLS, "not trusted", "--ca-bundle"},
		"wants a certificate": {func(s *site) {
			s.client.Way.Address = strings.TrimPrefix(strings.TrimSuffix(s.sim.MTLSTokenURL(), "/oauth/token"), "https://")
		}, check.StepTenantTLS, "wants a client certificate", "--client-certificate credential"},
		"HTTP proxy": {func(s *site) { s.client.Way.Via, s.client.Way.Dial = "http://proxy:3128", refusingProxy }, check.StepTenantTCP,
			"refuses with status 403", "allow CONNECT"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, sim)
			c.spoil(s)
			steps := s.client.Way.Reach(t.Context())
			if got := find(steps, c.step); got.State != check.Fail || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Hint, c.hint) {
				t.Errorf("want %s to fail with %q and hint %q, got\n%s", c.step, c.detail, c.hint, show(steps))
			}
		})
	}
}

func TestAProbeIsWhatTheOperatorNamed(t *testing.T) {
	sim := newSim(t)
	for name, c := range map[string]struct {
		path   string
		spoil  func(*site)
		state  check.State
		detail string
		hint   string
	}{
		"accepted":   {"/http/ping", func(*site) {}, check.OK, "HEAD /http/ping: status 200", ""},
		"wrong host": {"/api/v1/", func(*site) {}, check.Warn, "404", "other host or prefix"},
		"no role": {"/http/ping", func(s *site) { s.sim.AddClient(tenantsim.Client{ID: "sb-erp", Secret: secret, Roles: []string{"x"}}) }, check.Fail, "403",
			"lacks the role"},
		"refused": {"/http/ping", func(s *site) { s.sim.RejectNext(1) }, check.Fail, "401", "does not accept the token"},
		"failing": {"/http/ping", func(s *site) { s.sim.Switch(func(sw *tenantsim.Switches) { sw.FlowStatus = 500 }) }, check.Warn, "500", "problem"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, sim)
			c.spoil(s)
			s.client.Probe = &check.Probe{Method: "HEAD", URL: s.sim.BaseURL() + c.path}
			steps, _ := s.client.Try(t.Context(), s.engine)
			if got := find(steps, check.StepTenantProbe); got.State != c.state || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Hint, c.hint) {
				t.Errorf("got\n%s", show(steps))
			}
			if n := len(s.sim.Requests()); n != 1 {
				t.Errorf("%d requests reached the tenant, want 1", n)
			}
		})
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// plainServer answers whatever comes with a text that is no TLS.
func plainServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			go func() { _, _ = c.Read(make([]byte, 1024)); c.Close() }()
		}
	}()
	return l.Addr().String()
}

// misnamed is the token endpoint under an address that its certificate does not have.
func misnamed(s *site) string {
	u, err := url.Parse(s.sim.TokenURL())
	if err != nil {
		s.t.Fatal(err)
	}
	address := u.Host
	s.client.Way.Credential.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return "https://login.example.com/oauth/token"
}

func refusingProxy(ctx context.Context, network, _ string) (net.Conn, error) {
	l, err := net.Listen(network, "127.0.0.1:0") // the proxy itself is there
	if err != nil {
		return nil, err
	}
	defer l.Close()
	c, err := (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
	if err != nil {
		return nil, err
	}
	c.Close()
	return nil, fmt.Errorf("HTTP proxy: %w", errors.New("it refuses with status 403"))
}
