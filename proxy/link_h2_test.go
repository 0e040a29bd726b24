package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Tenants of HTTP/2 that do what no server in earnest does, or only when it must.

// framed is a tenant that is made of frames. Its first connection is the caller's of play with 0, and so on.
type framed struct {
	mu       sync.Mutex
	requests []string // method and path, as they came
	fields   []map[string]string
	conns    int
}

// framedConn is a connection to it.
type framedConn struct {
	net.Conn
	*http2.Framer
	tenant  *framed
	number  int // of the connection, from 0
	encoder *hpack.Encoder
	block   bytes.Buffer
}

// addFramed starts such a tenant, named raw, of which play is what it does on each connection, behind the route /raw/*.
func (g *gate) addFramed(play func(c *framedConn), settings ...http2.Setting) *framed {
	g.tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(g.tb, err)
	g.tb.Cleanup(func() { l.Close() })
	f := &framed{}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := &framedConn{Conn: nc, Framer: http2.NewFramer(nc, nc), tenant: f, number: f.conns}
			f.conns++
			c.encoder = hpack.NewEncoder(&c.block)
			c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			go func() {
				defer nc.Close()
				if _, err := io.ReadFull(nc, make([]byte, len(http2.ClientPreface))); err == nil && c.WriteSettings(settings...) == nil {
					play(c)
				}
			}()
		}
	}()
	g.addPlace("raw", "http://"+l.Addr().String(), "", func(t *identity.Tenant) { t.Protocol, t.BreakerFailures = identity.ProtocolHTTP2, identity.NoBreaker })
	g.addRoute(identity.Route{Name: "raw", Path: "/raw/*", Tenant: "raw", Role: "orders.send", ResponseTimeout: identity.Duration(2 * time.Second), MaxBody: -1})
	return f
}

// next is the stream of the next request, 0 when the connection has ended.
func (c *framedConn) next() uint32 {
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return 0
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			fields := map[string]string{}
			for _, h := range f.Fields {
				fields[h.Name] = h.Value
			}
			c.tenant.mu.Lock()
			c.tenant.requests = append(c.tenant.requests, fields[":method"]+" "+fields[":path"])
			c.tenant.fields = append(c.tenant.fields, fields)
			c.tenant.mu.Unlock()
			return f.StreamID
		}
	}
}

// head sends a header section: names and values.
func (c *framedConn) head(stream uint32, end bool, fields ...string) {
	c.block.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndStream: end, EndHeaders: true})
}

// drain reads on until the connection ends.
func (c *framedConn) drain() {
	for {
		if _, err := c.ReadFrame(); err != nil {
			return
		}
	}
}

// serve answers whatever comes.
func (c *framedConn) serve() {
	for stream := c.next(); stream != 0; stream = c.next() {
		c.head(stream, false, ":status", "200")
		c.WriteData(stream, true, []byte("served"))
	}
}

func (f *framed) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...)
}

// Law 9: what a tenant says it has not looked at is sent once more, on another connection; anything else is not.
func TestOnlyWhatATenantOfHTTP2HasNotLookedAtIsSentAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		play func(c *framedConn, stream uint32) // with the first request
		sent int
		want int
	}{
		"refused":            {func(c *framedConn, s uint32) { c.WriteRSTStream(s, http2.ErrCodeRefusedStream); c.drain() }, 2, 200},
		"gone away before":   {func(c *framedConn, s uint32) { c.WriteGoAway(0, http2.ErrCodeNo, nil); c.drain() }, 2, 200},
		"gone away behind":   {func(c *framedConn, s uint32) { c.WriteGoAway(s, http2.ErrCodeNo, nil) }, 1, 502},
		"gone away in anger": {func(c *framedConn, s uint32) { c.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil) }, 1, 502},
		"cancelled":          {func(c *framedConn, s uint32) { c.WriteRSTStream(s, http2.ErrCodeCancel); c.drain() }, 1, 502},
		"closed":             {func(c *framedConn, s uint32) {}, 1, 502},
		"silent":             {func(c *framedConn, s uint32) { c.drain() }, 1, 504},
		"hint, then closed":  {func(c *framedConn, s uint32) { c.head(s, false, ":status", "103") }, 1, 502},
	} {
		for _, proto := range protocols {
			t.Run(name+" "+proto, func(t *testing.T) {
				t.Parallel()
				g := newGate(t, proxy.Limits{})
				f := g.addFramed(func(c *framedConn) {
					if s := c.next(); s != 0 && c.number == 0 {
						tt.play(c, s)
						return
					} else if s != 0 {
						c.head(s, true, ":status", "200")
					}
					c.serve()
				})
				a := g.issue("orders").speaking(proto).do("POST", "/raw/1", strings.NewReader("a body"))
				if a.status != tt.want || len(f.seen()) != tt.sent {
					t.Errorf("got %+v, and the tenant %v, want %d and %d requests", a, f.seen(), tt.want, tt.sent)
				}
			})
		}
	}
}

// However a tenant combines its reasons for not having executed a change, it is sent six times at most: once, once more after a 401, once more with a CSRF token,
// and each of these again when the stream was refused.
func TestWhatWasNotExecutedIsSentSixTimesAtMost(t *testing.T) {
	for name, wishes := range map[string][]string{
		"401 first":              {"refused", "401", "refused", "required", "refused", "401"},
		"401 last":               {"refused", "required", "refused", "401", "refused", "401"},
		"the token is not taken": {"refused", "required", "refused", "401", "refused", "required"},
		"refused twice":          {"refused", "401", "refused", "required", "refused", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			var changes atomic.Int32
			f := g.addFramed(func(c *framedConn) {
				for stream := c.next(); stream != 0; stream = c.next() {
					if all := c.tenant.seen(); strings.HasPrefix(all[len(all)-1], "GET") {
						c.head(stream, true, ":status", "200", "x-csrf-token", "of-the-session")
						continue
					}
					n := int(changes.Add(1))
					switch wish := wishes[min(n, len(wishes))-1]; wish {
					case "refused":
						c.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
					case "required":
						c.head(stream, true, ":status", "403", "x-csrf-token", "required")
					default:
						c.head(stream, true, ":status", wish)
					}
				}
			})
			g.addRoute(identity.Route{Name: "guarded", Path: "/guarded/*", Tenant: "raw", Role: "orders.send", CSRF: identity.CSRFAuto})
			a := g.issue("orders").post("/guarded/1", "x")
			want := map[string]int{"401": 401, "required": 403, "refused": 502}[wishes[len(wishes)-1]]
			if a.status != want || changes.Load() != int32(len(wishes)) {
				t.Errorf("got %+v, sent %d times: %v", a, changes.Load(), f.seen())
			}
		})
	}
}

// A request of an idempotent method goes out again when the connection that was kept turns out to be gone; a POST does not.
func TestAConnectionOfHTTP2ThatWasKeptMayBeGone(t *testing.T) {
	for method, want := range map[string]int{"GET": 200, "POST": 502} {
		t.Run(method, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			f := g.addFramed(func(c *framedConn) {
				if c.number > 0 {
					c.serve()
					return
				}
				c.head(c.next(), true, ":status", "200")
				c.next()
			})
			c := g.issue("orders")
			if a := c.get("/raw/1"); a.status != 200 {
				t.Fatalf("got %+v", a)
			}
			if a := c.do(method, "/raw/2", nil); a.status != want {
				t.Errorf("got %+v, and the tenant %v", a, f.seen())
			}
		})
	}
}

func TestABrokenAnswerOfHTTP2IsSeenToBreakOff(t *testing.T) {
	for name, play := range map[string]func(c *framedConn, s uint32){
		"reset":            func(c *framedConn, s uint32) { c.WriteRSTStream(s, http2.ErrCodeInternal); c.drain() },
		"reset in peace":   func(c *framedConn, s uint32) { c.WriteRSTStream(s, http2.ErrCodeNo); c.drain() },
		"closed":           func(c *framedConn, s uint32) {},
		"shorter":          func(c *framedConn, s uint32) { c.WriteData(s, true, nil); c.drain() },
		"longer":           func(c *framedConn, s uint32) { c.WriteData(s, true, make([]byte, 200)); c.drain() },
		"pseudo at end":    func(c *framedConn, s uint32) { c.head(s, true, ":status", "200"); c.drain() },
		"head without end": func(c *framedConn, s uint32) { c.head(s, false, "x-sum", "1"); c.drain() },
	} {
		for _, proto := range protocols {
			t.Run(name+" "+proto, func(t *testing.T) {
				t.Parallel()
				g := newGate(t, proxy.Limits{})
				g.addFramed(func(c *framedConn) {
					s := c.next()
					c.head(s, false, ":status", "200", "content-length", "100")
					c.WriteData(s, false, []byte("half"))
					play(c, s)
				})
				a := g.issue("orders").speaking(proto).get("/raw/1")
				if a.err == nil && (name != "longer" || len(a.body) != 100) { // an HTTP/1.1 caller of whom has what was announced
					t.Errorf("got %+v with a good end", a)
				}
				if len(a.body) > 100 {
					t.Errorf("got %d octets of 100", len(a.body))
				}
				g.recordWhere("outcome tenant_broken", func(r map[string]any) bool { return r["outcome"] == record.TenantBroken.String() })
			})
		}
	}
}

func TestAnswersOfHTTP2ThatAreNoneAreRefused(t *testing.T) {
	for name, play := range map[string]func(c *framedConn, s uint32){
		"no status":    func(c *framedConn, s uint32) { c.head(s, true, "x", "1") },
		"four digits":  func(c *framedConn, s uint32) { c.head(s, true, ":status", "2000") },
		"two digits":   func(c *framedConn, s uint32) { c.head(s, true, ":status", "20") },
		"leading zero": func(c *framedConn, s uint32) { c.head(s, true, ":status", "0200") },
		"signed":       func(c *framedConn, s uint32) { c.head(s, true, ":status", "+200") },
		"two lengths": func(c *framedConn, s uint32) {
			c.head(s, true, ":status", "200", "content-length", "0", "content-length", "0")
		},
		"length of no number":  func(c *framedConn, s uint32) { c.head(s, true, ":status", "200", "content-length", "+0") },
		"value with CR LF":     func(c *framedConn, s uint32) { c.head(s, true, ":status", "200", "x", "1\r\nset-cookie: a=b") },
		"name with a space":    func(c *framedConn, s uint32) { c.head(s, true, ":status", "200", "x y", "1") },
		"name with a capital":  func(c *framedConn, s uint32) { c.head(s, true, ":status", "200", "X-Y", "1") },
		"data before the head": func(c *framedConn, s uint32) { c.WriteData(s, true, []byte("x")) },
		"switching protocols":  func(c *framedConn, s uint32) { c.head(s, false, ":status", "101", "upgrade", "websocket") },
		"a push": func(c *framedConn, s uint32) {
			c.WritePushPromise(http2.PushPromiseParam{StreamID: s, PromiseID: 2, EndHeaders: true})
		},
		"hints without end": func(c *framedConn, s uint32) {
			for range 1000 {
				c.head(s, false, ":status", "103", "link", "</a>")
			}
		},
		"large hints": func(c *framedConn, s uint32) {
			for range 20 {
				c.head(s, false, ":status", "103", "link", strings.Repeat("a", 15<<10))
			}
		},
		"600 fields": func(c *framedConn, s uint32) {
			fields := []string{":status", "200"}
			for i := range 600 {
				fields = append(fields, "x-"+strconv.Itoa(i), "1")
			}
			c.head(s, true, fields...)
		},
		"a head that is too large": func(c *framedConn, s uint32) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: []byte{0x88}})
			for i := range 20 {
				c.block.Reset()
				c.encoder.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("~", 10<<10), Sensitive: true})
				c.WriteContinuation(s, i == 19, c.block.Bytes())
			}
		},
		"continuations without end": func(c *framedConn, s uint32) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: []byte{0x88}})
			for c.WriteContinuation(s, false, bytes.Repeat([]byte{0x40, 1, 'x', 1, 'y'}, 3000)) == nil {
			}
		},
		"settings without end": func(c *framedConn, s uint32) {
			for c.WriteSettings(http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 1 << 20}) == nil {
			}
		},
		"pings without end": func(c *framedConn, s uint32) {
			for c.WritePing(false, [8]byte{}) == nil {
			}
		},
		"empty data without end": func(c *framedConn, s uint32) {
			for c.WriteData(s+2, false, nil) == nil {
			}
		},
		"unknown frames without end": func(c *framedConn, s uint32) {
			for c.WriteRawFrame(0xbe, 0, s, nil) == nil {
			}
		},
		"window updates without end": func(c *framedConn, s uint32) {
			for c.WriteWindowUpdate(s, 1) == nil {
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, proxy.Limits{})
			g.addFramed(func(c *framedConn) {
				s := c.next()
				go c.drain()
				play(c, s)
				time.Sleep(time.Second)
			})
			conn := g.issue("orders").dial("localhost")
			fmt.Fprint(conn, "GET /raw/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			raw, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			final := answers(t, string(raw))
			last := final[len(final)-1]
			if last.status != 502 || strings.Contains(string(raw), "HTTP/1.1 101") || strings.Contains(strings.ToLower(string(raw)), "set-cookie") {
				t.Errorf("got %q", raw)
			}
			r := g.record(last.header.Get("X-Request-Id"))
			t.Log(r["cause"])
		})
	}
}

// A tenant may end its answer before it has taken the request, or take nothing at all: neither holds anybody for longer than the route allows.
func TestATenantOfHTTP2ThatDoesNotTakeTheBody(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			f := g.addFramed(func(c *framedConn) {
				for s := c.next(); s != 0; s = c.next() {
					if strings.HasSuffix(c.tenant.seen()[len(c.tenant.seen())-1], "early") {
						c.head(s, true, ":status", "200", "x-early", "1")
					}
				}
			}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			c := g.issue("orders").speaking(proto)
			body := func() io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, 1<<20))) }
			if a := c.do("POST", "/raw/early", body()); a.status != 200 || a.header.Get("X-Early") != "1" {
				t.Errorf("got %+v", a)
			}
			start := time.Now()
			if a := c.do("POST", "/raw/never", body()); a.status != 504 || time.Since(start) > 4*time.Second {
				t.Errorf("got %+v after %v", a, time.Since(start))
			}
			if len(f.seen()) != 2 {
				t.Errorf("the tenant got %v", f.seen())
			}
		})
	}
}

// Each stream that a connection does not have room for finds another connection.
func TestATenantOfHTTP2MayAllowFewStreams(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	hold := make(chan struct{})
	f := g.addFramed(func(c *framedConn) {
		for s := c.next(); s != 0; s = c.next() {
			if c.tenant.seen()[0] != "GET /raw/first" || len(c.tenant.seen()) > 1 {
				<-hold
			}
			c.head(s, true, ":status", "200")
		}
	}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	c := g.issue("orders")
	if a := c.get("/raw/first"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if a := c.get("/raw/1"); a.status != 200 {
				t.Errorf("got %+v", a)
			}
		})
	}
	eventually(t, "all requests", func() bool { return len(f.seen()) == 6 })
	close(hold)
	wg.Wait()
}

// The fields that HTTP/2 has a place for, and only those.
func TestATenantOfHTTP2GetsTheFieldsOfHTTP2(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	f := g.addFramed((*framedConn).serve)
	c := g.issue("orders")
	c.raw("GET /raw/a%2Cb('x')$y?q=%20&A HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: te, x-gone, close\r\n" +
		"X-Gone: 1\r\nKeep-Alive: 1\r\nX-a: 1\r\nx-A: 2\r\n\r\n")
	c.raw("GET /raw/2 HTTP/1.1\r\nHost: localhost\r\nTE: trailers, deflate\r\nConnection: close\r\nUser-Agent: mine\r\n\r\n")
	c.h2().get("/raw/3", "Te", "trailers")
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.fields) != 3 {
		t.Fatalf("got %v", f.requests)
	}
	first := f.fields[0]
	if first[":path"] != "/raw/a%2Cb('x')$y?q=%20&A" || first[":scheme"] != "http" || first["te"] != "trailers" ||
		first["x-gone"] != "" || first["keep-alive"] != "" || first["connection"] != "" || first["user-agent"] != "" || first["accept-encoding"] != "" {
		t.Errorf("got %v", first)
	}
	if second := f.fields[1]; second["te"] != "" || second["user-agent"] != "mine" {
		t.Errorf("got %v", second)
	}
	if third := f.fields[2]; third["te"] != "trailers" {
		t.Errorf("got %v", third)
	}
}

// A fetch of a CSRF token says of the way to the tenant what the change behind it says.
func TestAFetchOverHTTP2NamesTheScheme(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	f := g.addFramed(func(c *framedConn) {
		for stream := c.next(); stream != 0; stream = c.next() {
			c.head(stream, true, ":status", "200", "x-csrf-token", "of-the-session")
		}
	})
	g.addRoute(identity.Route{Name: "guarded", Path: "/guarded/*", Tenant: "raw", Role: "orders.send", CSRF: identity.CSRFOn})
	if a := g.issue("orders").post("/guarded/1", "x"); a.status != 200 {
		t.Errorf("got %+v", a)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.fields) != 2 || f.fields[0]["x-csrf-token"] != "Fetch" || f.fields[1]["x-csrf-token"] != "of-the-session" {
		t.Fatalf("got %v", f.fields)
	}
	for _, fields := range f.fields {
		if fields[":scheme"] != "http" {
			t.Errorf("got %v", fields)
		}
	}
}

// A caller that waits to be asked for its body is asked when the tenant asks, and told the answer when that comes instead.
func TestATenantOfHTTP2IsAskedWhetherItWantsTheBody(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	g.addFramed(func(c *framedConn) {
		for s := c.next(); s != 0; s = c.next() {
			all := c.tenant.seen()
			switch all[len(all)-1] {
			case "POST /raw/no":
				c.head(s, true, ":status", "417")
			case "POST /raw/yes":
				c.head(s, false, ":status", "100")
				c.head(s, false, ":status", "200")
				for {
					f, err := c.ReadFrame()
					if err != nil {
						return
					}
					if d, ok := f.(*http2.DataFrame); ok {
						c.WriteData(s, d.StreamEnded(), d.Data())
						if d.StreamEnded() {
							break
						}
					}
				}
			}
		}
	})
	c := g.issue("orders")
	const head = "Host: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
	if got := c.raw("POST /raw/no HTTP/1.1\r\n" + head); !strings.HasPrefix(got, "HTTP/1.1 417 ") {
		t.Errorf("got %q", got)
	}
	conn := c.dial("localhost")
	io.WriteString(conn, "POST /raw/yes HTTP/1.1\r\n"+head)
	want := "HTTP/1.1 100 Continue\r\n\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v", got, err)
	}
	io.WriteString(conn, "hello")
	if rest, _ := io.ReadAll(conn); !strings.HasPrefix(string(rest), "HTTP/1.1 200 ") || !strings.Contains(string(rest), "hello") {
		t.Errorf("got %q", rest)
	}
}

func TestATenantThatDoesNotChooseHTTP2CannotBeReached(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	for name, protocols := range map[string][]string{"http1": {"http/1.1"}, "none": nil} {
		p := newPlace(t, "", "localhost")
		conf := p.TLS.Clone()
		conf.NextProtos, conf.GetConfigForClient = protocols, nil
		p.strict.Store(conf)
		g.addPlace(name, "https://localhost:"+p.port(), p.caPEM, func(t *identity.Tenant) { t.Protocol = identity.ProtocolHTTP2 })
		r := g.wantOutcome(g.issue("orders").get("/at/"+name), record.Unreachable)
		if cause := fmt.Sprint(r["cause"]); !strings.Contains(cause, "does not choose HTTP/2") {
			t.Errorf("%s: the cause is %q", name, cause)
		}
	}
}

// A caller that does not take its answer holds up nobody else of its identity, who use the same connection.
func TestASlowCallerHoldsUpNoOtherOnItsConnection(t *testing.T) {
	tenantsSpeak = identity.ProtocolHTTP2
	defer func() { tenantsSpeak = identity.ProtocolHTTP1 }()
	g := newGate(t, proxy.Limits{})
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "large") {
			w.Write(make([]byte, 64<<20)) // more than kernels hold
		}
		io.WriteString(w, "small")
	})
	c := g.issue("orders")
	for range 5 {
		conn := c.dial("localhost")
		fmt.Fprint(conn, "GET /http/orders/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	eventually(t, "answers that begin", func() bool { return len(g.tenant.requests()) == 5 })
	time.Sleep(time.Second) // until nothing moves any more
	for range 10 {
		start := time.Now()
		if a := c.get("/http/orders/small"); a.body != "small" || time.Since(start) > time.Second {
			t.Fatalf("got %+v after %v", a, time.Since(start))
		}
	}
}
