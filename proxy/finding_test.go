package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestATraceGoesOnToTheTenantAndIntoTheRecord(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			for _, tt := range []struct {
				name      string
				header    []string
				continued bool
				state     string
			}{
				{"none", nil, false, ""},
				{"one", []string{"Traceparent", parent, "Tracestate", "a=1", "Tracestate", "b=2"}, true, "a=1,b=2"},
				{"a bad one", []string{"Traceparent", strings.ToUpper(parent), "Tracestate", "a=1"}, false, ""},
				{"two", []string{"Traceparent", parent, "Traceparent", parent, "Tracestate", "a=1"}, false, ""},
				{"state alone", []string{"Tracestate", "a=1"}, false, ""},
			} {
				a := c.get("/http/orders/1", tt.header...)
				if a.status != 200 {
					t.Fatalf("%s: got %+v", tt.name, a)
				}
				r, h := g.record(a.header.Get("X-Request-Id")), g.tenant.last(t).Header
				if sent := h["Traceparent"]; len(sent) != 1 || sent[0][:52] != fmt.Sprintf("00-%s-%s", r["trace_id"], r["span_id"]) {
					t.Fatalf("%s: the tenant saw %q, the record says %v %v", tt.name, sent, r["trace_id"], r["span_id"])
				}
				if (r["trace_id"] == parent[3:35]) != tt.continued || r["span_id"] == parent[36:52] {
					t.Errorf("%s: record %v %v", tt.name, r["trace_id"], r["span_id"])
				}
				if state := strings.Join(h["Tracestate"], ","); state != tt.state {
					t.Errorf("%s: the tenant saw the state %q, want %q", tt.name, state, tt.state)
				}
			}
			r := g.wantOutcome(c.get("/http/stock/1", "Traceparent", parent), record.Denied)
			if r["trace_id"] != parent[3:35] {
				t.Errorf("record of a refusal: %v", r)
			}
		})
	}
}

func TestARetryIsTheSameSpan(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	g.tenant.answer(nil)
	c.get("/http/orders/1")
	g.tenant.revokeTokens()
	a := c.get("/http/orders/2")
	all := g.tenant.requests()
	if r := g.record(a.header.Get("X-Request-Id")); r["retried"] != true || len(all) != 3 || all[1].Header.Get("Traceparent") != all[2].Header.Get("Traceparent") {
		t.Errorf("record %v, requests %v", r, all)
	}
}

func TestTheMessageProcessingLogIsOnRecord(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newSimGate(t, proxy.Limits{}, func(*identity.Route) {})
			c := g.issue("orders").speaking(proto)
			g.sim.SetFlow("/http/flow/failing", tenantsim.Flow{Status: 500})
			a := c.post("/http/flow/failing", "x")
			r := g.wantServed(a, 500)
			id := g.sim.Executed()[0].MPLID
			if r["mpl_id"] != id || !strings.HasSuffix(a.body, ": "+id) {
				t.Errorf("record %v, body %q, want the id %s", r["mpl_id"], a.body, id)
			}
			// In pieces, behind a text of the flow's own.
			g.sim.SetFlow("/http/flow/pieces", tenantsim.Flow{Handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.WriteHeader(500)
				for _, piece := range []string{"Order 4711 secret-text is unknown. The MPL ID for the fai", "led message is : ", id[:5], id[5:]} {
					io.WriteString(w, piece)
					http.NewResponseController(w).Flush()
				}
			}})
			a = c.post("/http/flow/pieces", "x")
			const text = "Order 4711 secret-text is unknown. The MPL ID for the failed message is : "
			if r := g.wantServed(a, 500); r["mpl_id"] != id || a.body != text+id || strings.Contains(fmt.Sprint(r), "secret-text") {
				t.Errorf("record %v, body %q", r, a.body)
			}
			// Where the flow lets the header through, on success too.
			g.sim.SetFlow("/http/flow/header", tenantsim.Flow{Handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header()["SAP_MessageProcessingLogID"] = []string{r.URL.Query().Get("id")}
			}})
			for given, want := range map[string]any{id: id, "AG": nil, strings.Repeat("x", 28): nil, "": nil} {
				if r := g.wantServed(c.get("/http/flow/header?id="+given), 200); r["mpl_id"] != want {
					t.Errorf("record %v for the header %q", r["mpl_id"], given)
				}
			}
			// What is compressed is left alone.
			var zipped bytes.Buffer
			z := gzip.NewWriter(&zipped)
			io.WriteString(z, "The MPL ID for the failed message is : "+id)
			z.Close()
			g.sim.SetFlow("/http/flow/zipped", tenantsim.Flow{Handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(500)
				w.Write(zipped.Bytes())
			}})
			a = c.get("/http/flow/zipped")
			if r := g.wantServed(a, 500); r["mpl_id"] != nil || a.body != zipped.String() {
				t.Errorf("record %v, body %q", r, a.body)
			}
		})
	}
}

// Whatever is spoken with the tenant.
func TestAFailuresIDIsFound(t *testing.T) {
	const body = "The MPL ID for the failed message is : AGZf0-_9aBcDeFgHiJkLmNoPqRsT"
	g := newGate(t, proxy.Limits{})
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(500)
		for i := 0; i < len(body); i += 10 {
			io.WriteString(w, body[i:min(i+10, len(body))])
			http.NewResponseController(w).Flush()
		}
	})
	a := g.issue("orders").get("/http/orders/1")
	if r := g.record(a.header.Get("X-Request-Id")); a.status != 500 || a.body != body || r["mpl_id"] != body[len(body)-28:] {
		t.Errorf("got %+v, record %v", a, r)
	}
}

// Looking for an id holds nothing back.
func TestAFailureIsPassedOnAsItComes(t *testing.T) {
	g := newSimGate(t, proxy.Limits{}, func(*identity.Route) {})
	more := make(chan struct{})
	g.sim.SetFlow("/http/flow/slow", tenantsim.Flow{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(500)
		io.WriteString(w, "The MPL ID for ")
		http.NewResponseController(w).Flush()
		select {
		case <-more:
		case <-time.After(10 * time.Second):
		}
	}})
	resp, err := g.issue("orders").Get("https://localhost/http/flow/slow")
	must(t, err)
	defer resp.Body.Close()
	buf := make([]byte, 100)
	begin := time.Now()
	if n, err := resp.Body.Read(buf); string(buf[:n]) != "The MPL ID for " || time.Since(begin) > 5*time.Second {
		t.Errorf("got %q, %v after %v", buf[:n], err, time.Since(begin))
	}
	close(more)
}

func TestACorrelationIDIsKeptBothWaysAndOnRecord(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			var own string
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				if own != "" {
					w.Header().Set("X-Correlationid", own)
				}
			})
			for _, tt := range []struct {
				name, given, own string
				want             any
			}{
				{"none", "", "", nil},
				{"the caller's", "0b9f8a52-1111", "", "0b9f8a52-1111"},
				{"the tenant's", "", "8a52", "8a52"},
				{"both", "0b9f", "8a52", "8a52"},
				{"too long", strings.Repeat("x", 129), "", nil},
				{"with a space", "a b", "", nil},
				{"not ASCII", "ä", "", nil},
				{"the tenant's is none", "0b9f", "a b", "0b9f"},
			} {
				own = tt.own
				var header []string
				if tt.given != "" {
					header = []string{"X-Correlationid", tt.given}
				}
				a := c.get("/http/orders/1", header...)
				if a.status != 200 || a.header.Get("X-Correlationid") != tt.own || g.tenant.last(t).Header.Get("X-Correlationid") != tt.given {
					t.Errorf("%s: got %+v, the tenant saw %v", tt.name, a, g.tenant.last(t).Header)
				}
				if r := g.record(a.header.Get("X-Request-Id")); r["correlation_id"] != tt.want {
					t.Errorf("%s: record %v, want %v", tt.name, r["correlation_id"], tt.want)
				}
			}
		})
	}
}

// A tenant that sends the token back under the name of a correlation id puts it into no record.
func TestAReflectedTokenIsNoCorrelationID(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Correlationid", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	})
	a := g.issue("orders").get("/http/orders/1")
	if r := g.record(a.header.Get("X-Request-Id")); r["correlation_id"] != nil || a.header.Get("X-Correlationid") != "" {
		t.Errorf("got %v, record %v", a.header, r)
	}
}

func TestTheTenantIsToldWhoCalls(t *testing.T) {
	for _, name := range []string{"SAP_Sender", "X-Called-By", "x_caller"} {
		for _, proto := range protocols {
			t.Run(name+" "+proto, func(t *testing.T) {
				g := newSimGate(t, proxy.Limits{}, func(r *identity.Route) { r.CallerHeader = name })
				var trailer http.Header
				g.sim.SetFlow("/http/flow/1", tenantsim.Flow{Handler: func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					trailer = r.Trailer
				}})
				c := g.issue("orders").speaking(proto)
				var header []string
				for _, as := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "_", "-"), strings.ReplaceAll(name, "-", "_")} {
					header = append(header, as, "evil")
				}
				encoded := strings.NewReplacer("_", "%5f", "-", "%2D", "a", "%61").Replace(name)
				twice := strings.Replace(name, "e", "%2565", 1)
				target := "/http/flow/1?" + name + "=evil&keep=1&" + strings.ToUpper(name) + "=evil;" + encoded + "=evil&" + twice + "=evil&+" +
					strings.NewReplacer("_", "-", "-", "_").Replace(name) + "=evil&" + name + "s=2&" + name
				req, err := http.NewRequest("POST", "https://localhost"+target, io.MultiReader(strings.NewReader("x")))
				must(t, err)
				req.URL.RawQuery = strings.SplitN(target, "?", 2)[1]
				for i := 0; i < len(header); i += 2 {
					req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
				}
				req.Trailer = http.Header{http.CanonicalHeaderKey(name): {"evil"}, "X-Checksum": {"kept"}}
				g.wantServed(c.send(req), 200)
				got := g.sim.Requests()[0]
				if len(trailer) != 1 || trailer.Get("X-Checksum") != "kept" {
					t.Errorf("the tenant saw the trailer %v", trailer)
				}
				if got.Target != "/http/flow/1?keep=1&"+name+"s=2" {
					t.Errorf("the tenant saw %s", got.Target)
				}
				if strings.Contains(got.Head, "evil") || strings.Count(got.Head, "\r\n"+name+": orders\r\n") != 1 {
					t.Errorf("the tenant saw %s", got.Head)
				}
				if n := strings.Count(strings.ToLower(strings.ReplaceAll(got.Head, "_", "-")), "\r\n"+strings.ToLower(strings.ReplaceAll(name, "_", "-"))+":"); n != 1 {
					t.Errorf("the tenant saw %d such fields", n)
				}
			})
		}
	}
}

func TestConnectionHeaderCannotStripTheCallersName(t *testing.T) {
	g := newSimGate(t, proxy.Limits{}, func(r *identity.Route) { r.CallerHeader = "X-Called-By" })
	g.issue("orders").raw("GET /http/flow/1 HTTP/1.1\r\nHost: localhost\r\nConnection: x-called-by, traceparent, close\r\n\r\n")
	if h := g.sim.Requests()[0].Header; h.Get("X-Called-By") != "orders" || len(h["Traceparent"]) != 1 {
		t.Errorf("the tenant saw %v", h)
	}
}
