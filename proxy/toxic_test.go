package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
)

// The link to the tenant leads through toxiproxy, which spoils it in one way after the other, while connections are in use and for new ones. Whatever happens:
// no caller gets an answer that is not the tenant's own and whole, nothing is executed twice, the record says what it was, and as soon as the link is well the
// next request is.
func TestFaultsOfTheLinkToTheTenant(t *testing.T) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy tells the world
	for _, tt := range []struct {
		toxic    string
		outcomes string // that may be on record while it acts
	}{
		{`{"type": "latency", "stream": "downstream", "attributes": {"latency": 60, "jitter": 20}}`, "served"},
		{`{"type": "latency", "stream": "upstream", "attributes": {"latency": 1500}}`, "timeout"},
		{`{"type": "bandwidth", "stream": "downstream", "attributes": {"rate": 500}}`, "served"},
		{`{"type": "bandwidth", "stream": "upstream", "attributes": {"rate": 500}}`, "served"},
		{`{"type": "slicer", "stream": "downstream", "attributes": {"average_size": 700, "size_variation": 600, "delay": 50}}`, "served"},
		{`{"type": "slicer", "stream": "upstream", "attributes": {"average_size": 700, "size_variation": 600, "delay": 50}}`, "served"},
		{`{"type": "slow_close", "stream": "downstream", "attributes": {"delay": 300}}`, "served"},
		{`{"type": "timeout", "stream": "downstream", "attributes": {"timeout": 0}}`, "timeout"},
		{`{"type": "timeout", "stream": "upstream", "attributes": {"timeout": 0}}`, "timeout"},
		{`{"type": "timeout", "stream": "downstream", "attributes": {"timeout": 100}}`, "tenant_broken unreachable"},
		{`{"type": "reset_peer", "stream": "downstream", "attributes": {"timeout": 0}}`, "tenant_broken unreachable"},
		{`{"type": "reset_peer", "stream": "downstream", "attributes": {"timeout": 50}}`, "served tenant_broken unreachable"},
		{`{"type": "reset_peer", "stream": "upstream", "attributes": {"timeout": 0}}`, "tenant_broken unreachable"},
		{`{"type": "limit_data", "stream": "downstream", "attributes": {"bytes": 600}}`, "tenant_broken unreachable"},
		{`{"type": "limit_data", "stream": "downstream", "attributes": {"bytes": 30000}}`, "tenant_broken unreachable"},
		{`{"type": "limit_data", "stream": "upstream", "attributes": {"bytes": 20000}}`, "served tenant_broken unreachable"},
	} {
		t.Run(toxicName(tt.toxic), func(t *testing.T) {
			t.Parallel()
			g := newGate(t, proxy.Limits{})
			link := g.spoiledLink(t)
			c := g.issue("orders")
			ledger := &ledger{executed: map[string]int{}}
			g.tenant.answer(ledger.serve)
			if a := c.get("/http/far/warm"); a.status != 200 {
				t.Fatalf("before: %+v", a)
			}
			toxic, err := link.Toxics.AddToxicJson(strings.NewReader(tt.toxic))
			must(t, err)
			whole := 0
			requests := 4 // five connections that fail would have the gate before the tenant closed
			if tt.outcomes == "timeout" {
				requests = 1 // on a new connection, the handshake waits for ten seconds
			}
			for i := range requests {
				method := []string{"GET", "POST"}[i%2]
				id := fmt.Sprintf("%s-%d", method, i)
				var body []byte
				if method == "POST" {
					body = bytes.Repeat([]byte(id), 8000)
				}
				a := c.do(method, "/http/far/"+id, bytes.NewReader(body))
				switch {
				case a.err != nil: // it broke off, and was seen to
				case a.status == 200:
					if want := answerTo(id, body); a.body != want {
						t.Errorf("%s: got a wrong answer of %d octets, want %d", id, len(a.body), len(want))
					}
					whole++
				case a.status == 502 || a.status == 504:
				default:
					t.Errorf("%s: got %d %s", id, a.status, a.body)
				}
				r := g.recordWhere("path of "+id, func(r map[string]any) bool { return r["path"] == "/http/far/"+id })
				outcome, _ := r["outcome"].(string)
				if !slices.Contains(strings.Fields(tt.outcomes), outcome) || (outcome == "served") != (a.err == nil && a.status == 200) {
					t.Errorf("%s: got status %d (%v), recorded %v", id, a.status, a.err, r)
				}
			}
			must(t, link.Toxics.RemoveToxic(t.Context(), toxic.Name))
			if a := c.get("/http/far/after"); a.err != nil || a.status != 200 || a.body != answerTo("after", nil) {
				t.Errorf("the next request: %d %v %.200s", a.status, a.err, a.body)
			}
			if a := c.do("POST", "/http/far/after-post", strings.NewReader("x")); a.err != nil || a.status != 200 || a.body != answerTo("after-post", []byte("x")) {
				t.Errorf("the next POST: %d %v %.200s", a.status, a.err, a.body)
			}
			ledger.mu.Lock()
			defer ledger.mu.Unlock()
			for id, n := range ledger.executed {
				if n > 1 && strings.HasPrefix(id, "POST") {
					t.Errorf("%s was executed %d times", id, n)
				}
			}
			t.Logf("%s: %d of %d answers were whole", tt.toxic, whole, requests)
		})
	}
}

func toxicName(toxic string) string {
	return strings.NewReplacer(`"`, "", "{", "", "}", "", "type: ", "", "stream: ", "", "attributes: ", "", ",", "").Replace(toxic)
}

// spoiledLink adds a tenant that is reached through toxiproxy, with a route /http/far/*.
func (g *gate) spoiledLink(t *testing.T) *toxiproxy.Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	link := toxiproxy.NewProxy(server, "tenant", "127.0.0.1:0", g.tenant.Listener.Addr().String())
	must(t, link.Start())
	t.Cleanup(link.Stop)
	ctx := t.Context()
	g.change(func(tx *identity.Tx) error {
		if _, err := tx.AddTenant(ctx, identity.Tenant{Name: "far", BaseURL: "https://" + link.Listen, TokenURL: g.tenant.URL + "/oauth/token", AuthStyle: "body", CABundle: g.tenant.caPEM,
			Protocol: tenantsSpeak}); err != nil {
			return err
		}
		_, err := tx.AddCredential(ctx, identity.Credential{
			Identity: "orders", Tenant: "far", ClientID: "sb-orders", Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-orders"),
		})
		return err
	})
	g.addRoute(identity.Route{Name: "far", Path: "/http/far/*", Tenant: "far", Role: "orders.send", ResponseTimeout: identity.Duration(700 * time.Millisecond)})
	return link
}

// ledger is what a tenant executed. Its answers tell which request they are for.
type ledger struct {
	mu       sync.Mutex
	executed map[string]int
}

func (l *ledger) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/http/far/")
	l.mu.Lock()
	l.executed[id]++
	l.mu.Unlock()
	io.WriteString(w, answerTo(id, body))
}

func answerTo(id string, body []byte) string {
	return strings.Repeat(fmt.Sprintf("%s %x\n", id, sha256.Sum256(body)), 1000)
}
