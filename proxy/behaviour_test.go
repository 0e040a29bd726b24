package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// What happens on the wire when a caller or a tenant does not behave.

var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// speaking makes the client speak the protocol.
func (c *client) speaking(proto string) *client {
	if proto == "HTTP/2.0" {
		c.h2()
	}
	return c
}

// octets makes the tenant answer with octets of its own, on a connection that it then closes.
func octets(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			io.WriteString(conn, answer)
			conn.Close()
		}
	}
}

// answers reads as many answers as there are on a connection.
func answers(tb testing.TB, raw string) (all []answer) {
	tb.Helper()
	r := bufio.NewReader(strings.NewReader(raw))
	for {
		if _, err := r.Peek(1); err != nil {
			return all
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			tb.Fatalf("behind %d answers: %v in %q", len(all), err, raw)
		}
		body, err := io.ReadAll(resp.Body)
		all = append(all, answer{resp.StatusCode, resp.Header, string(body), resp.Proto, err})
	}
}

func statuses(all []answer) (s []int) {
	for _, a := range all {
		s = append(s, a.status)
	}
	return s
}

func TestAMalformedRequestIsAnsweredOnceAndInItsTurn(t *testing.T) {
	const good, bad = "GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /http/orders/2 HTTP/1.1\nHost: localhost\n\n"
	const chunked = "POST /http/orders/3 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name, send, want string
		outcomes         string
	}{
		{"alone", bad, "[400]", "[malformed]"},
		{"behind a good one", good + bad, "[200 400]", "[served malformed]"},
		{"behind three", good + good + good + bad, "[200 200 200 400]", "[served served served malformed]"},
		{"in the body", chunked + "+1\r\nx\r\n0\r\n\r\n", "[400]", "[malformed]"},
		{"in the body behind a good one", good + chunked + "1\r\nx\r\n0x0\r\n\r\n", "[200 400]", "[served malformed]"},
		{"before half a megabyte", bad + strings.Repeat("x: y\n", 1e5), "[400]", "[malformed]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			got := answers(t, g.issue("orders").raw(tt.send))
			if s := fmt.Sprint(statuses(got)); s != tt.want {
				t.Errorf("got statuses %s, want %s", s, tt.want)
			}
			var outcomes []any
			eventually(t, "a record for each answer", func() bool {
				outcomes = nil
				for _, r := range g.records() {
					outcomes = append(outcomes, r["outcome"])
				}
				return len(outcomes) >= len(got)
			})
			if s := fmt.Sprint(outcomes); s != tt.outcomes {
				t.Errorf("recorded %s, want %s", s, tt.outcomes)
			}
		})
	}
}

// A request that arrives in two parts, the first of them while the one before is still being served, is not a slow one.
func TestARequestMayArriveInParts(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	conn := g.issue("orders").dial("localhost")
	io.WriteString(conn, "GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /http/orders/2 HT")
	r := bufio.NewReader(conn)
	for i, rest := range []string{"TP/1.1\r\nHost: localhost\r\n\r\n", ""} {
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("answer %d: %v, %v", i+1, resp, err)
		}
		io.Copy(io.Discard, resp.Body)
		io.WriteString(conn, rest)
	}
}

func TestABodyThatNobodyWantsHoldsNoConnection(t *testing.T) {
	g := newGate(t, proxy.Limits{BodyIdleTimeout: time.Minute})
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	g.tenant.answer(octets("HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
	for head, want := range map[string]string{
		"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc":                                "[404]",
		"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab":                     "[404]",
		"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n":           "[404]",
		"POST /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n":     "[409]",
		"POST /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc":                          "[409]",
		"POST /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nab": "[409]",
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			conn := c.dial("localhost")
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			io.WriteString(conn, head)
			raw, err := io.ReadAll(conn)
			if err != nil {
				t.Errorf("%.40q: the connection was not closed: %v", head, err)
			}
			if s := fmt.Sprint(statuses(answers(t, string(raw)))); s != want {
				t.Errorf("%.40q: got statuses %s, want %s", head, s, want)
			}
		})
	}
}

// The transport goes on reading the caller's body for a while when the answer came early. net/http has taken the exchange back by then: touching it ended
// the process.
func TestAnAnswerBeforeTheBodysEndHarmsNobodyElse(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			g.tenant.answer(octets("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nfull"))
			for range 10 {
				body, caller := io.Pipe()
				go caller.Write([]byte("begun, and then nothing"))
				if a := c.do("POST", "/http/orders/1", body); a.err != nil || a.status != 413 || a.body != "full" {
					t.Fatalf("got %+v", a)
				}
				caller.Close()
			}
			g.tenant.answer(nil)
			if a := c.get("/http/orders/1"); a.status != 200 {
				t.Errorf("afterwards: got %+v", a)
			}
		})
	}
}

// So do interim answers that come when the exchange has ended.
func TestInterimAnswersThatComeTooLateHarmNobody(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			g.addRoute(identity.Route{Name: "hasty", Path: "/http/hasty", Tenant: "acme", Role: "orders.send", ResponseTimeout: identity.Duration(20 * time.Millisecond)})
			c := g.issue("orders").speaking(proto)
			if a := c.get("/http/orders/1"); a.status != 200 {
				t.Fatalf("got %+v", a)
			}
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				for err == nil {
					_, err = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
				}
			})
			for range 10 {
				if a := c.get("/http/hasty"); a.err == nil && a.status != 504 && a.status != 502 {
					t.Fatalf("got %+v", a)
				}
			}
			g.tenant.answer(nil)
			if a := c.get("/http/orders/1"); a.status != 200 {
				t.Errorf("afterwards: got %+v", a)
			}
		})
	}
}

func TestATenantMayPauseLongerThanACaller(t *testing.T) {
	const pause = time.Second
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{WriteTimeout: pause / 5, BodyIdleTimeout: pause / 5})
			c := g.issue("orders").speaking(proto)
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				http.NewResponseController(w).EnableFullDuplex()
				io.CopyN(io.Discard, r.Body, 1)
				<-time.After(pause)
				n, err := io.Copy(io.Discard, r.Body)
				fmt.Fprintf(w, "%d %v", n+1, err)
				w.(http.Flusher).Flush()
				<-time.After(pause)
				io.WriteString(w, " end")
			})
			const size = 16 << 20
			a := c.do("POST", "/http/orders/1", io.LimitReader(endless{}, size))
			if want := fmt.Sprintf("%d <nil> end", size); a.err != nil || a.body != want {
				t.Errorf("got %d %q (%v), want %q", a.status, a.body, a.err, want)
			}
		})
	}
}

func TestACallerThatDoesNotReadIsCutAndOnRecord(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{WriteTimeout: 100 * time.Millisecond})
			c := g.issue("orders").speaking(proto)
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, endless{}) })
			resp, err := c.Get("https://localhost/http/orders/1")
			must(t, err)
			defer resp.Body.Close()
			r := g.recordWhere("route orders", func(r map[string]any) bool { return r["route"] == "orders" })
			if r["outcome"] != "slow_caller" || r["status"] != 200.0 {
				t.Errorf("record = %v", r)
			}
		})
	}
}

func TestAReflectedTokenReachesNoCaller(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				token := r.Header.Get("Authorization")
				w.Header().Set("X-Hint", token)
				w.Header().Set("X-Other", "kept")
				w.WriteHeader(http.StatusEarlyHints)
				w.Header().Set("Trailer", "X-Sum, X-Token")
				io.WriteString(w, "body")
				w.Header().Set("X-Sum", "kept")
				w.Header().Set("X-Token", token)
			})
			var hints []http.Header
			resp, err := c.Do(withHints(t, "https://localhost/http/orders/1", &hints))
			must(t, err)
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); string(b) != "body" || err != nil {
				t.Fatalf("got %q, %v", b, err)
			}
			if len(hints) != 1 || hints[0].Get("X-Other") != "kept" || resp.Trailer.Get("X-Sum") != "kept" {
				t.Errorf("got hints %v, trailer %v", hints, resp.Trailer)
			}
			if all := fmt.Sprint(hints, resp.Header, resp.Trailer); strings.Contains(all, "token-") {
				t.Errorf("a token reached the caller: %s", all)
			}
		})
	}
}

func TestAnswersKeepTheirLength(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "100000")
				if r.Method == "GET" {
					w.Write(make([]byte, 100000))
				}
			})
			for _, method := range []string{"GET", "HEAD"} {
				a := c.do(method, "/http/orders/1", nil)
				if a.err != nil || a.header.Get("Content-Length") != "100000" || method == "GET" && len(a.body) != 100000 {
					t.Errorf("%s: got %d octets, %v, %v", method, len(a.body), a.header, a.err)
				}
			}
		})
	}
}

func TestAnAnswerThatBreaksOffIsSeenToBreakOff(t *testing.T) {
	for name, head := range map[string]string{
		"length": "Content-Length: 100\r\n\r\n", "chunked": "Transfer-Encoding: chunked\r\n\r\n4\r\n",
	} {
		for _, version := range []string{"1.1", "1.0"} {
			t.Run(name+" HTTP/"+version, func(t *testing.T) {
				g := newGate(t, proxy.Limits{})
				g.tenant.answer(octets("HTTP/1.1 200 OK\r\n" + head + "half\r\n"))
				conn := g.issue("orders").dial("localhost")
				fmt.Fprintf(conn, "GET /http/orders/1 HTTP/%s\r\nHost: localhost\r\n\r\n", version)
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				must(t, err)
				if b, err := io.ReadAll(resp.Body); err == nil {
					t.Errorf("got %q with a good end", b)
				}
				g.recordWhere("outcome tenant_broken", func(r map[string]any) bool { return r["outcome"] == "tenant_broken" })
			})
		}
	}
}

func TestAnswersThatAreNoneAreRefused(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	for _, line := range []string{"HTTP/1.1 099 Odd", "HTTP/1.1 101 Switching Protocols", "HTTP/1.1 000 None"} {
		g.tenant.answer(octets(line + "\r\nContent-Length: 0\r\n\r\n"))
		g.wantOutcome(c.get("/http/orders/1"), record.TenantBroken)
	}
}

func TestNoInterimAnswerToHTTP10(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusEarlyHints) })
	raw := g.issue("orders").raw("GET /http/orders/1 HTTP/1.0\r\nHost: localhost\r\n\r\n")
	if s := fmt.Sprint(statuses(answers(t, raw))); s != "[200]" {
		t.Errorf("got statuses %s, want [200]", s)
	}
}

func TestARefusalToHEADSendsAndCountsNoBody(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	a := g.issue("orders").do("HEAD", "/nowhere", nil)
	if r := g.record(a.header.Get("X-Request-Id")); a.status != 404 || r["bytes_out"] != 0.0 {
		t.Errorf("got %+v, recorded %v", a, r)
	}
}

func TestAMalformedStreamLeavesTheConnectionToOthers(t *testing.T) {
	g := newGate(t, proxy.Limits{HeaderFields: 20})
	c := g.issue("orders").h2()
	var dials int
	inner := c.transport.DialContext
	c.transport.DialContext = func(ctx context.Context, n, a string) (net.Conn, error) { dials++; return inner(ctx, n, a) }
	g.wantOutcome(c.get("/http/orders/a%2fb"), record.Malformed)
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("X-%d", i), "1")
	}
	g.wantOutcome(c.get("/http/orders/1", many...), record.HeadersTooLarge)
	if a := c.get("/http/orders/1"); a.status != 200 || dials != 1 {
		t.Errorf("with %d connections: got %+v", dials, a)
	}
}

func TestARetryKeepsTheTrailer(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	g.tenant.revokeTokens()
	var trailer http.Header
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		trailer = r.Trailer.Clone()
	})
	req, err := http.NewRequest("POST", "https://localhost/http/orders/1", struct{ io.Reader }{bytes.NewReader([]byte("hello"))})
	must(t, err)
	req.Trailer = http.Header{"X-Sum": {"1"}}
	if a := c.send(req); a.status != 200 || trailer.Get("X-Sum") != "1" {
		t.Errorf("got %+v, the tenant saw the trailer %v", a, trailer)
	}
}

// withHints is a GET whose interim answers are kept.
func withHints(tb testing.TB, url string, hints *[]http.Header) *http.Request {
	tb.Helper()
	ctx := httptrace.WithClientTrace(tb.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		*hints = append(*hints, http.Header(h))
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	must(tb, err)
	return req
}

func TestWhatTheEndOfDrainingCutsIsOnRecord(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			arrived := make(chan struct{})
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				<-r.Context().Done()
			})
			got := make(chan answer, 1)
			go func() { got <- c.get("/http/orders/1") }()
			<-arrived
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := g.server.Shutdown(ctx); err == nil {
				t.Error("Shutdown says that all had ended")
			}
			r := g.recordWhere("route orders", func(r map[string]any) bool { return r["route"] == "orders" })
			if cause, _ := r["cause"].(string); r["outcome"] != "timeout" || !strings.Contains(cause, "the server stopped") {
				t.Errorf("record = %v", r)
			}
			if a := <-got; a.err == nil && a.status != 504 {
				t.Errorf("got %+v", a)
			}
		})
	}
}

// What a tenant sends beyond its answer is no answer to the next request.
func TestAnswersNobodyAskedForAreNeverBelieved(t *testing.T) {
	const honest, poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for name, send := range map[string]func(w io.Writer){
		"in the same record": func(w io.Writer) { io.WriteString(w, honest+poison) },
		"in the next record": func(w io.Writer) { io.WriteString(w, honest); io.WriteString(w, poison) },
		"behind a while": func(w io.Writer) {
			io.WriteString(w, honest)
			time.Sleep(20 * time.Millisecond)
			io.WriteString(w, poison)
		},
		"behind a long body":    func(w io.Writer) { io.WriteString(w, longAnswer+poison) },
		"behind chunks":         func(w io.Writer) { io.WriteString(w, chunkedAnswer+poison) },
		"behind no content":     func(w io.Writer) { io.WriteString(w, "HTTP/1.1 204 No Content\r\n\r\n"+poison) },
		"a body longer than it": func(w io.Writer) { io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest and more") },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders")
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					send(conn)
					io.Copy(io.Discard, conn)
					conn.Close()
				}
			})
			if a := c.get("/http/orders/1"); a.err != nil || strings.Contains(a.body, "poison") {
				t.Fatalf("first: got %+v", a)
			}
			time.Sleep(50 * time.Millisecond)
			g.tenant.answer(nil)
			for range 3 {
				if a := c.get("/http/orders/1"); a.err != nil || a.body != "GET /http/orders/1 0" {
					t.Fatalf("afterwards: got %+v", a)
				}
			}
		})
	}
}

var (
	longAnswer    = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000)
	chunkedAnswer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)

func TestTenantsThatTwoParsersCouldReadDifferentlyAreRefused(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	for name, answer := range map[string]string{
		"bare LF":             "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"folded field":        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
		"two lengths":         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"signed length":       "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
		"length and chunked":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"unknown coding":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"space before colon":  "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok",
		"empty name":          "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\nok",
		"control character":   "HTTP/1.1 200 OK\r\nX: a\x01\r\nContent-Length: 2\r\n\r\nok",
		"two digits":          "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/2.0":            "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"not HTTP":            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"nothing":             "",
		"half a head":         "HTTP/1.1 200 OK\r\nContent-",
		"head without an end": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 200<<10),
	} {
		t.Run(name, func(t *testing.T) {
			g.tenant.answer(octets(answer))
			g.wantOutcome(c.get("/http/orders/1"), record.TenantBroken)
		})
	}
}

// A caller that always sends a little, just in time, holds on to a link no longer than one that stops.
func TestABodyThatDripsIsCut(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{BodyIdleTimeout: 100 * time.Millisecond})
			c := g.issue("orders").speaking(proto)
			body, drip := io.Pipe()
			go func() {
				for range 400 {
					if _, err := drip.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(25 * time.Millisecond)
				}
			}()
			c.do("POST", "/http/orders/1", body)
			body.Close()
			r := g.recordWhere("route orders", func(r map[string]any) bool { return r["route"] == "orders" })
			if n, _ := r["bytes_in"].(float64); r["outcome"] != "slow_caller" || n > 100 {
				t.Errorf("record = %v", r)
			}
		})
	}
}

// Whoever has got as far as a TCP connection before draining begins is served.
func TestDrainingServesWhatWasAccepted(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			raw, err := net.Dial("tcp", g.addr)
			must(t, err)
			eventually(t, "the connection to be accepted", func() bool { return g.server.Connections() == 1 })
			done := make(chan error, 1)
			go func() { done <- g.server.Shutdown(t.Context()) }()
			eventually(t, "draining to begin", func() bool {
				conn, err := net.Dial("tcp", g.addr)
				if err == nil {
					conn.Close()
				}
				return err != nil
			})
			c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return raw, nil }
			resp, err := c.Get("https://localhost/http/orders/1")
			must(t, err)
			defer resp.Body.Close()
			if resp.StatusCode != 200 || proto == "HTTP/1.1" && !resp.Close {
				t.Errorf("got %s, and the caller is told that the connection ends: %v", resp.Status, resp.Close)
			}
			io.Copy(io.Discard, resp.Body)
			if err := <-done; err != nil {
				t.Errorf("Shutdown ended with %v", err)
			}
		})
	}
}

func TestAnswersHaveADate(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { w.Header()["Date"] = nil })
			for _, path := range []string{"/http/orders/1", "/nowhere"} {
				if d := c.get(path).header.Values("Date"); len(d) != 1 {
					t.Errorf("%s: got Date %q", path, d)
				}
			}
			const old = "Mon, 01 Jan 2001 00:00:00 GMT"
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Date", old) })
			if d := c.get("/http/orders/1").header.Values("Date"); len(d) != 1 || d[0] != old {
				t.Errorf("the tenant's Date became %q", d)
			}
		})
	}
}

// Header compression keeps what it has seen for as long as the connection lives: it must not be shown what is overwritten later.
func TestManyAnswersOnOneConnectionKeepTheirFields(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("orders").speaking(proto)
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Path", r.URL.Path)
				w.Header().Set("X-Of-"+r.URL.Path[len("/http/orders/"):], r.URL.Path)
			})
			var wg sync.WaitGroup
			for worker := range 8 {
				wg.Go(func() {
					for i := range 100 {
						path := fmt.Sprintf("/http/orders/%d-%d", worker, i)
						a := c.get(path)
						if a.err != nil || a.header.Get("X-Path") != path || a.header.Get(fmt.Sprintf("X-Of-%d-%d", worker, i)) != path {
							t.Errorf("%s: got %v, %v", path, a.header, a.err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestATenantOnLoopbackMaySpeakWithoutTLS(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	plain := httptest.NewServer(http.HandlerFunc(g.tenant.serve))
	t.Cleanup(plain.Close)
	g.change(func(tx *identity.Tx) error {
		_, err := tx.SetTenant(t.Context(), identity.Tenant{Name: "acme", BaseURL: plain.URL, TokenURL: plain.URL + "/oauth/token", AuthStyle: "body"})
		return err
	})
	c := g.issue("orders")
	for range 3 {
		if a := c.do("POST", "/http/orders/1", strings.NewReader("hello")); a.err != nil || a.body != "POST /http/orders/1 5" {
			t.Fatalf("got %+v", a)
		}
	}
	if n := len(g.tenant.conns); n != 1 {
		t.Errorf("%d connections to the tenant, want 1", n)
	}
}

// second adds another tenant, with a route /other/* to it for the identity orders.
func (g *gate) second() *tenant {
	g.tb.Helper()
	ctx, other := g.tb.Context(), newTenant(g.tb)
	g.change(func(tx *identity.Tx) error {
		if _, err := tx.AddTenant(ctx, identity.Tenant{Name: "other", BaseURL: other.URL, TokenURL: other.URL + "/oauth/token", AuthStyle: "body", CABundle: other.caPEM}); err != nil {
			return err
		}
		_, err := tx.AddCredential(ctx, identity.Credential{
			Identity: "orders", Tenant: "other", ClientID: "sb-orders", Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-orders"),
		})
		return err
	})
	g.addRoute(identity.Route{Name: "other", Path: "/other/*", Tenant: "other", Role: "orders.send"})
	return other
}

// A tenant that cannot be reached is left alone, tells its callers when to come again, and is found again by itself.
func TestATenantThatCannotBeReachedIsLeftAlone(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.second()
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 { // a token is there
		t.Fatalf("got %+v", a)
	}
	address := g.tenant.Listener.Addr().String()
	g.tenant.CloseClientConnections()
	g.tenant.Listener.Close()
	var refused answer
	eventually(t, "the breaker to open", func() bool {
		refused = c.do("POST", "/http/orders/1", strings.NewReader("x"))
		return refused.status == 503
	})
	g.wantOutcome(refused, record.TenantUnavailable)
	if s := refused.header.Get("Retry-After"); s == "" || s == "0" {
		t.Errorf("Retry-After is %q", s)
	}
	if a := c.get("/other/1"); a.status != 200 {
		t.Errorf("another tenant: got %+v", a)
	}
	if s := g.server.TenantStates(); len(s) != 2 || s[0].Tenant != "acme" || !s[0].BreakerOpen || s[1].BreakerOpen {
		t.Errorf("states are %+v", s)
	}
	l, err := net.Listen("tcp", address)
	must(t, err)
	back := &http.Server{Handler: http.HandlerFunc(g.tenant.serve)}
	t.Cleanup(func() { back.Close() })
	go back.Serve(tls.NewListener(l, g.tenant.TLS))
	eventually(t, "the tenant to be found again", func() bool { return c.get("/http/orders/1").status == 200 })
	if s := g.server.TenantStates(); s[0].BreakerOpen {
		t.Errorf("states are %+v", s)
	}
}

// A tenant that does not answer cannot hold all requests that may be in flight.
func TestATenantThatHangsLeavesRoomForOthers(t *testing.T) {
	g := newGate(t, proxy.Limits{MaxRequests: 8})
	g.second()
	c := g.issue("orders")
	for _, path := range []string{"/http/orders/1", "/other/1"} {
		if a := c.get(path); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
	}
	hang := make(chan struct{})
	var hanging sync.WaitGroup
	g.tenant.answer(func(http.ResponseWriter, *http.Request) { <-hang })
	before := len(g.tenant.requests())
	for range 6 {
		hanging.Go(func() { c.get("/http/orders/1") })
	}
	eventually(t, "six requests to hang", func() bool { return len(g.tenant.requests()) == before+6 })
	g.wantOutcome(c.get("/http/orders/1"), record.TenantUnavailable)
	if a := c.get("/other/1"); a.status != 200 {
		t.Errorf("another tenant: got %+v", a)
	}
	close(hang)
	hanging.Wait()
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Errorf("afterwards: got %+v", a)
	}
}

// A tenant that is given so many requests gets no more at once.
func TestATenantGetsNoMoreRequestsAtOnceThanItIsGiven(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.second()
	g.change(func(tx *identity.Tx) error {
		acme, err := tx.Tenant("acme")
		must(t, err)
		acme.Concurrency = 2
		_, err = tx.SetTenant(t.Context(), acme)
		return err
	})
	c := g.issue("orders")
	hang := make(chan struct{})
	var hanging sync.WaitGroup
	g.tenant.answer(func(http.ResponseWriter, *http.Request) { <-hang })
	for range 2 {
		hanging.Go(func() { c.get("/http/orders/1") })
	}
	eventually(t, "two requests to hang", func() bool { return len(g.tenant.requests()) == 2 })
	a := c.get("/http/orders/1")
	g.wantOutcome(a, record.TenantUnavailable)
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("got %+v", a)
	}
	if a := c.get("/other/1"); a.status != 200 {
		t.Errorf("another tenant: got %+v", a)
	}
	close(hang)
	hanging.Wait()
	for range 20 {
		if a := c.get("/http/orders/1"); a.status != 200 {
			t.Fatalf("afterwards: got %+v", a)
		}
	}
}

// A node that is full says so, and takes requests again as soon as there is room.
func TestAFullNodeTurnsRequestsAway(t *testing.T) {
	g := newGate(t, proxy.Limits{MaxRequests: 2})
	g.second()
	c := g.issue("orders")
	hang := make(chan struct{})
	var hanging sync.WaitGroup
	g.tenant.answer(func(http.ResponseWriter, *http.Request) { <-hang })
	hanging.Go(func() { c.get("/http/orders/1") })
	eventually(t, "one request to hang", func() bool { return len(g.tenant.requests()) == 1 })
	other := g.issue("orders")
	other.transport.MaxConnsPerHost = 1
	slow, send := io.Pipe()
	hanging.Go(func() { other.do("POST", "/other/1", slow) })
	eventually(t, "the node to be full", func() bool { return g.server.Overloaded() != "" })
	a := c.get("/http/orders/1")
	g.wantOutcome(a, record.Overloaded)
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("got %+v", a)
	}
	send.Close()
	close(hang)
	hanging.Wait()
	eventually(t, "room", func() bool { return g.server.Overloaded() == "" })
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Errorf("afterwards: got %+v", a)
	}
}

// Short of memory, what is new is turned away before it costs anything, and let in again once what took the memory is gone.
func TestShortOfMemoryNobodyIsLetIn(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	g.server.Reload(proxy.Limits{MaxMemory: 512 << 20})
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("with room: got %+v", a)
	}
	ballast := make([]byte, 512<<20)
	runtime.GC()
	eventually(t, "memory to be short", func() bool { return g.server.Overloaded() != "" })
	r := g.wantOutcome(c.get("/http/orders/1"), record.Overloaded)
	if r["cause"] != "memory is short" {
		t.Errorf("record = %v", r)
	}
	if a := g.issue("orders").get("/http/orders/1"); a.err == nil {
		t.Errorf("a new connection: got %+v", a)
	}
	runtime.KeepAlive(ballast)
	ballast = nil
	eventually(t, "memory to be there again", func() bool { return c.get("/http/orders/1").status == 200 })
}

// Whoever begins handshakes and does not end them gets so many and no more; the next ones are closed at once, and on record.
func TestHandshakesOfOneAddressAreBounded(t *testing.T) {
	g := newGate(t, proxy.Limits{MaxSourceHandshakes: 4})
	c := g.issue("orders")
	from := func(ip string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", g.addr)
	}
	for range 4 {
		conn, err := from("127.0.0.2")
		must(t, err)
		t.Cleanup(func() { conn.Close() })
	}
	eventually(t, "four handshakes to be under way", func() bool { return g.server.Connections() == 4 })
	fifth, err := from("127.0.0.2")
	must(t, err)
	defer fifth.Close()
	fifth.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := fifth.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the fifth connection is open: %v", err)
	}
	r := g.recordWhere("protocol TLS", func(r map[string]any) bool { return r["protocol"] == "TLS" })
	if source, _ := r["source"].(string); r["outcome"] != "limited" || !strings.HasPrefix(source, "127.0.0.2:") {
		t.Errorf("record = %v", r)
	}
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Errorf("a caller at another address: got %+v", a)
	}
}

// A tenant that refuses a body before it comes must not take the next request for it.
func TestAConnectionWithARefusedBodyIsNotUsedAgain(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	received := make(chan int, 1)
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" {
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack() // net/http would close
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _ := conn.Read(make([]byte, 100))
		received <- n
	})
	conn := c.dial("localhost")
	io.WriteString(conn, "POST /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 403 {
		t.Fatalf("got %+v, %v", resp, err)
	}
	if a := c.get("/http/orders/2"); a.status != 200 {
		t.Errorf("got %+v", a)
	}
	if n := <-received; n != 0 {
		t.Errorf("the tenant received %d octets of the next request in place of the body", n)
	}
}
