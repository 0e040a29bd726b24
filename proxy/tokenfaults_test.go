package proxy_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// faultyTokens is a token server that spoils the answers to one client, sb-faulty, and gives the others tokens of the gate's tenant.
func faultyTokens(t *testing.T, g *gate, fault http.HandlerFunc, change ...func(*httptest.Server)) *httptest.Server {
	var issued atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.PostFormValue("client_id")
		if id == "sb-faulty" && fault != nil {
			fault(w, r)
			return
		}
		tok := fmt.Sprintf("t-%d-%s", issued.Add(1), id)
		g.tenant.mu.Lock()
		g.tenant.valid[tok] = id
		g.tenant.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":3600}`, tok)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, f := range change {
		f(s)
	}
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// reply answers with a status, a body and header fields.
func reply(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// Each way in which a token server fails one client: what that client's caller is told, what is on record and in the metrics, and that others notice nothing.
func TestFaultsOfATokenServer(t *testing.T) {
	const good = `{"access_token":"from-the-faulty-one","token_type":"bearer","expires_in":3600}`
	const page = "<html><head><title>429 Too Many Requests</title></head></html>"
	var elsewhere atomic.Int64
	target := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(target.Close)
	for _, c := range []struct {
		name     string
		fault    http.HandlerFunc
		server   func(*httptest.Server)
		url      string // of the faulty client's token server, which then is one of its own
		step     token.Step
		cause    string
		served   bool
		othersIn time.Duration // by when a client without a token gets one; 0 is at once
	}{
		{name: "slow", served: true, fault: func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(300 * time.Millisecond)
			reply(200, good, "Content-Type", "application/json")(w, r)
		}},
		{name: "hanging", step: token.StepRequest, cause: "request: no answer in time", fault: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{name: "429 with Retry-After", step: token.StepStatus, cause: "status: status 429", fault: reply(429, page, "Retry-After", "1", "Content-Type", "text/html"), othersIn: time.Second},
		{name: "429 without Retry-After", step: token.StepStatus, cause: "calls itself text/html", fault: reply(429, page, "Content-Type", "text/html"), othersIn: time.Second},
		{name: "500", step: token.StepStatus, cause: "status: status 500", fault: reply(500, "boom")},
		{name: "truncated JSON", step: token.StepParse, cause: "parse: status 200: the answer is no JSON object", fault: reply(200, good[:30])},
		{name: "answer cut off", step: token.StepRequest, cause: "request: unexpected EOF", fault: reply(200, good, "Content-Length", "500")},
		{name: "10 MB of JSON", step: token.StepParse, cause: "larger than 1048576 bytes", fault: reply(200, `{"a":"`+strings.Repeat("x", 10<<20)+`"}`)},
		{name: "HTML with 200", step: token.StepParse, cause: "calls itself text/html", fault: reply(200, "<html>Log on</html>", "Content-Type", "text/html")},
		{name: "wrong content type", served: true, fault: reply(200, good, "Content-Type", "text/plain")},
		{name: "token with a line end", step: token.StepParse, cause: "contains a space, a control", fault: reply(200, `{"access_token":"a\r\nX: y","token_type":"bearer"}`)},
		{name: "redirect", step: token.StepStatus, cause: "is not followed with a secret", fault: reply(307, "", "Location", target.URL+"/oauth/token")},
		{name: "client refused", step: token.StepRefused, cause: "refused: status 401: invalid_client", fault: reply(401, `{"error":"invalid_client"}`)},
		{name: "scope taken away", step: token.StepScope, cause: "the token lacks orders.send", fault: reply(200, `{"access_token":"a","token_type":"bearer","scope":"x"}`)},
		{name: "unknown CA", step: token.StepTLS, cause: "tls: tls: failed to verify certificate", url: "https://example.com", server: func(s *httptest.Server) {
			unknown, _ := selfSigned(t, "localhost")
			s.TLS = &tls.Config{Certificates: []tls.Certificate{unknown}}
		}},
		{name: "client certificate missing", step: token.StepTLS, cause: "certificate required", url: "https://example.com", server: func(s *httptest.Server) {
			s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
		}},
		{name: "no such host", step: token.StepDial, cause: "no such host", url: "https://nothing.invalid/oauth/token"},
		{name: "nobody listens", step: token.StepDial, cause: "connection refused", url: "https://127.0.0.1:1/oauth/token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewRegistry()
			metrics := record.NewMetrics(registry)
			tokens := &token.Engine{Timeout: 3 * time.Second, Observe: func(f token.Fetch) {
				result := "ok"
				if f.Err != nil {
					result = string(f.Err.Step)
				}
				metrics.TokenFetch("acme", result, f.Duration)
			}}
			t.Cleanup(tokens.Close)
			g := newGate(t, proxy.Limits{}, func(cfg *proxy.Config) { cfg.Tokens = tokens })
			server := faultyTokens(t, g, c.fault)
			url := server.URL + "/oauth/token"
			switch {
			case c.server != nil:
				c.url = faultyTokens(t, g, nil, c.server).URL + "/oauth/token"
			case c.url == "":
				c.url = url
			}
			faulty := g.withTokensOf("faulty", c.url, "orders.send")
			warm, cold := g.withTokensOf("warm", url, ""), g.withTokensOf("cold", url, "")
			if a := warm.get("/http/orders/1"); a.status != 200 {
				t.Fatalf("before the fault: %+v", a)
			}
			a := faulty.get("/http/orders/1")
			if c.served {
				// The tenant does not know the token; that it was sent there is what counts.
				if g.tenant.last(t).Header.Get("Authorization") != "Bearer from-the-faulty-one" {
					t.Errorf("got %+v, want the token to be used", a)
				}
			} else {
				r := g.wantOutcome(a, record.NoToken)
				if cause, _ := r["cause"].(string); !strings.Contains(cause, c.cause) || !strings.Contains(cause, ": "+string(c.step)+": ") {
					t.Errorf("the record's cause is %q, want step %s and %q", cause, c.step, c.cause)
				}
				if strings.Contains(fmt.Sprint(g.records())+a.body, "secret-of-faulty") {
					t.Error("the secret is on record, or was told")
				}
			}
			began := time.Now()
			if a := warm.get("/http/orders/1"); a.status != 200 || time.Since(began) > 2*time.Second {
				t.Errorf("a client with a token: %+v after %v", a, time.Since(began))
			}
			began = time.Now()
			if a := cold.get("/http/orders/1"); a.status != 200 || time.Since(began) > c.othersIn+2*time.Second {
				t.Errorf("a client without a token: %+v after %v", a, time.Since(began))
			}
			want := string(c.step)
			if c.served {
				want = "ok"
			}
			if n := fetches(t, registry, want); n == 0 {
				t.Errorf("tenantgate_token_fetches_total has nothing with the result %s", want)
			}
		})
	}
	t.Cleanup(func() {
		if elsewhere.Load() != 0 {
			t.Error("a redirect was followed")
		}
	})
}

// withTokensOf adds an identity that may send orders and whose credential gets its tokens at the address, and returns a caller.
func (g *gate) withTokensOf(name, tokenURL, scope string) *client {
	g.tb.Helper()
	ctx := g.tb.Context()
	g.change(func(tx *identity.Tx) error {
		if _, err := tx.AddIdentity(ctx, identity.Identity{Name: name, Owner: "team-" + name, Roles: []string{"orders.send"}}); err != nil {
			return err
		}
		_, err := tx.AddCredential(ctx, identity.Credential{Identity: name, Tenant: "acme", ClientID: "sb-" + name, TokenURL: tokenURL, Scope: scope,
			Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-" + name)})
		return err
	})
	return g.issue(name)
}

// fetches is tenantgate_token_fetches_total for a result.
func fetches(t *testing.T, registry *prometheus.Registry, result string) (n float64) {
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() != "tenantgate_token_fetches_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "result" && l.GetValue() == result {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// What a route once asked for, and got an error for, is no concern of the credential's when the route is mended.
func TestAMendedRouteLeavesNoErrorBehind(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	s := faultyTokens(t, g, func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("resource") == "wrong" {
			reply(400, `{"error":"invalid_target"}`, "Content-Type", "application/json")(w, r)
			return
		}
		tok := "t-of-sb-faulty"
		g.tenant.mu.Lock()
		g.tenant.valid[tok] = "sb-faulty"
		g.tenant.mu.Unlock()
		reply(200, `{"access_token":"`+tok+`","token_type":"bearer","expires_in":3600}`, "Content-Type", "application/json")(w, r)
	})
	g.change(func(tx *identity.Tx) error {
		tenant, err := tx.Tenant("acme")
		if err != nil {
			return err
		}
		tenant.CABundle += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
		_, err = tx.SetTenant(t.Context(), tenant)
		return err
	})
	c := g.withTokensOf("faulty", s.URL, "")
	state := func(resource string, status int) proxy.CredentialState {
		g.change(func(tx *identity.Tx) error {
			route, err := tx.Route("orders")
			if err != nil {
				return err
			}
			if route.TokenParameters = ""; resource != "" {
				route.TokenParameters = identity.NewTokenParameters(map[string][]string{"resource": {resource}})
			}
			_, err = tx.SetRoute(t.Context(), route)
			return err
		})
		if a := c.get("/http/orders/1"); a.status != status {
			t.Errorf("with resource %q: got %+v", resource, a)
		}
		return g.server.CredentialStates(g.registry.Snapshot().Credentials("faulty", "acme"))[0]
	}
	if st := state("right", 200); st.Error != "" || st.State != "preferred" {
		t.Errorf("got %+v", st)
	}
	if st := state("wrong", 502); st.Error == "" {
		t.Errorf("got %+v", st)
	}
	if st := state("right", 200); st.Error != "" || st.State != "preferred" {
		t.Errorf("got %+v", st)
	}
	if all := g.tokens.States(); len(all) != 1 {
		t.Errorf("got %+v", all)
	}
}
