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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/tenantgate/tenantgate/proxy"
)

// floods are the ways to keep a server of HTTP/2 busy with next to nothing. Each sends one batch; it is called until the connection ends.
var floods = []struct {
	name string
	send func(f *flooder)
}{
	{"rapid reset", func(f *flooder) {
		f.request("GET", true)
		f.WriteRSTStream(f.stream, http2.ErrCodeCancel)
	}},
	{"MadeYouReset", func(f *flooder) {
		f.request("POST", false)
		f.WriteWindowUpdate(f.stream, 0) // an error, for which the server must reset the stream
	}},
	{"CONTINUATION", func(f *flooder) {
		if f.stream == 0 {
			f.stream = 1
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head("GET")})
		}
		f.WriteContinuation(1, false, f.field("x-filler", strings.Repeat("x", 200)))
	}},
	{"empty CONTINUATION", func(f *flooder) {
		if f.stream == 0 {
			f.stream = 1
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head("GET")})
		}
		f.WriteContinuation(1, false, nil)
	}},
	{"ping", func(f *flooder) { f.WritePing(false, [8]byte{1}) }},
	{"settings", func(f *flooder) { f.WriteSettings() }},
	{"settings in one frame", func(f *flooder) {
		f.WriteSettings(slices.Repeat([]http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 100}}, 2000)...)
	}},
	{"empty DATA", func(f *flooder) {
		if f.stream == 0 {
			f.request("POST", false)
		}
		f.WriteData(f.stream, false, nil)
	}},
	{"priority", func(f *flooder) { f.WritePriority(3, http2.PriorityParam{StreamDep: 1, Weight: 7}) }},
	{"unknown frames", func(f *flooder) { f.WriteRawFrame(0xbe, 0, 0, nil) }},
	{"window updates", func(f *flooder) { f.WriteWindowUpdate(0, 1) }},
	{"HPACK bomb", func(f *flooder) {
		f.stream += 2
		block := f.head("GET")
		if f.stream == 1 {
			block = append(block, f.field("x-bomb", strings.Repeat("x", 3800))...)
		}
		block = append(block, bytes.Repeat([]byte{0x80 | 62}, 16000-len(block))...) // the newest entry of the table, 12,000 times and more
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: block, EndStream: true, EndHeaders: true})
	}},
	{"empty field names", func(f *flooder) {
		f.stream += 2
		block := append(f.head("GET"), bytes.Repeat([]byte{0, 0, 0}, 1000)...)
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: block, EndStream: true, EndHeaders: true})
	}},
}

// flooder is a caller with a certificate and a connection of HTTP/2 without any manners.
type flooder struct {
	*http2.Framer
	conn   *tls.Conn
	out    *bufio.Writer
	stream uint32 // the newest
	block  bytes.Buffer
	enc    *hpack.Encoder
	goAway chan http2.ErrCode // closed when the connection has ended
}

// flooder connects. It returns nil if that is refused.
func (c *client) flooder(settings ...http2.Setting) *flooder {
	conf := c.tls("localhost")
	conf.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", c.gate.addr, conf)
	if err != nil {
		return nil
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	f := &flooder{conn: conn, out: bufio.NewWriterSize(conn, 32<<10), goAway: make(chan http2.ErrCode, 1)}
	f.enc = hpack.NewEncoder(&f.block)
	f.Framer = http2.NewFramer(f.out, conn)
	f.AllowIllegalWrites = true
	io.WriteString(f.out, http2.ClientPreface)
	f.WriteSettings(settings...)
	f.out.Flush()
	return f
}

// read reads what comes until the connection has ended.
func (f *flooder) read() {
	defer close(f.goAway)
	in := http2.NewFramer(io.Discard, bufio.NewReader(f.conn))
	for {
		frame, err := in.ReadFrame()
		if err != nil {
			return
		}
		if g, ok := frame.(*http2.GoAwayFrame); ok {
			select {
			case f.goAway <- g.ErrCode:
			default:
			}
		}
	}
}

func (f *flooder) head(method string) []byte {
	f.block.Reset()
	for _, h := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/http/stock/1"}} {
		f.enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	return bytes.Clone(f.block.Bytes())
}

func (f *flooder) field(name, value string) []byte {
	f.block.Reset()
	f.enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	return bytes.Clone(f.block.Bytes())
}

func (f *flooder) request(method string, end bool) {
	if f.stream += 2; f.stream == 2 {
		f.stream = 1
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: f.head(method), EndStream: end, EndHeaders: true})
}

// polite is a caller that sends a request every 4 ms, and what became of them.
type polite struct {
	mu    sync.Mutex
	took  []time.Duration
	fails []string
}

// during has callers of both protocols run while do does, and reports.
func (g *gate) during(t *testing.T, what string, do func()) {
	t.Helper()
	p := &polite{}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, proto := range protocols {
		c := g.issue("orders").speaking(proto)
		if a := c.get("/http/orders/1"); a.status != 200 {
			t.Fatalf("before the flood: %+v", a)
		}
		wg.Go(func() {
			tick := time.NewTicker(4 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
				}
				from := time.Now()
				a := c.get("/http/orders/1")
				p.mu.Lock()
				p.took = append(p.took, time.Since(from))
				if a.err != nil || a.status != http.StatusOK {
					p.fails = append(p.fails, fmt.Sprintf("%s: %d %v", proto, a.status, a.err))
				}
				p.mu.Unlock()
			}
		})
	}
	do()
	close(done)
	wg.Wait()
	slices.Sort(p.took)
	p99 := p.took[len(p.took)*99/100]
	t.Logf("%s; %d polite requests beside it, %d failed, p50 %v, p99 %v", what, len(p.took), len(p.fails), p.took[len(p.took)/2].Round(time.Microsecond), p99.Round(time.Microsecond))
	if len(p.fails) > 0 {
		t.Errorf("polite callers failed %d times, first with %s", len(p.fails), p.fails[0])
	}
	bound := politeBound
	if raceDetector() {
		bound *= 4
	}
	if p99 > bound {
		t.Errorf("p99 of polite callers is %v", p99)
	}
}

// politeBound is ten times what is expected: the flood runs on the same two cores, in the same process, and with the race detector four times that.
const politeBound = 250 * time.Millisecond

// One certificate holder cannot keep the machine busy: whoever floods a connection is cut and named, also when he comes again at once, and polite callers do
// not notice.
func TestFloodsOfHTTP2AreCutAndOnRecord(t *testing.T) {
	for _, flood := range floods {
		t.Run(flood.name, func(t *testing.T) {
			g := newGate(t, proxy.Limits{})
			c := g.issue("stock")
			var cut, sent int
			var first time.Duration
			codes := map[http2.ErrCode]int{}
			begin := time.Now()
			var summary atomic.Pointer[string]
			attack := func() {
				for time.Since(begin) < time.Second && cut < 1000 {
					f := c.flooder()
					if f == nil {
						continue
					}
					from := time.Now()
					go f.read()
					for time.Since(from) < 10*time.Second {
						for range 20 {
							flood.send(f)
							sent++
						}
						if f.out.Flush() != nil {
							break
						}
					}
					if took := time.Since(from); took < 10*time.Second {
						if cut++; first == 0 {
							first = took
						}
					}
					f.conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
					code, ok := <-f.goAway
					if ok {
						codes[code]++
					}
					f.conn.Close()
				}
				s := fmt.Sprintf("cut %d times, first after %v, %d sent, told %v", cut, first.Round(time.Millisecond), sent, codes)
				summary.Store(&s)
			}
			g.during(t, flood.name, attack)
			t.Log(*summary.Load())
			if cut == 0 {
				t.Fatal("the flood was not cut")
			}
			named := g.recordWhere("the end of the flood", func(r map[string]any) bool {
				return r["method"] == nil && r["identity"] == "stock" && (r["outcome"] == "limited" || r["outcome"] == "malformed")
			})
			if named["serial"] != c.serial() || named["source"] == nil || named["cause"] == nil {
				t.Errorf("record = %v", named)
			}
			t.Logf("on record: %v, %v", named["outcome"], named["cause"])
			if a := c.h2().get("/http/stock/1"); a.status != 200 {
				t.Errorf("a polite request of the same caller afterwards: %+v", a)
			}
		})
	}
}

// What callers do with HTTP/2 in earnest is never taken for a flood, however much of it there is.
func TestHeavyUseOfHTTP2IsNoFlood(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders").h2()
	var dials atomic.Int64 // Go's client makes another one while it is not sure that the server has noticed what it has given up
	inner := c.transport.DialContext
	c.transport.DialContext = func(ctx context.Context, n, a string) (net.Conn, error) { dials.Add(1); return inner(ctx, n, a) }
	many := func(n int, do func()) {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range n / 50 {
					do()
				}
			})
		}
		wg.Wait()
	}
	want := func(status int, a answer) {
		if a.err != nil || a.status != status {
			t.Errorf("got %+v, want %d", a, status)
		}
	}
	want(200, c.get("/http/orders/1"))
	many(3000, func() { want(200, c.get("/http/orders/1")) })
	many(1000, func() { want(404, c.get("/nowhere")) })
	many(1000, func() { want(403, c.get("/http/stock/1")) })
	many(300, func() { want(404, c.do("POST", "/nowhere", io.LimitReader(endless{}, 100<<10))) }) // answers that come before the body
	many(100, func() {
		want(200, c.do("POST", "/http/orders/1", iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 500))))) // a frame for each octet
	})
	many(300, func() { want(200, c.get("/http/orders/1", "X-Long", strings.Repeat("x", 6000))) })

	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { io.CopyN(w, endless{}, 4<<20) })
	many(50, func() {
		if a := c.get("/http/orders/1"); len(a.body) != 4<<20 {
			t.Errorf("got %d octets of %d: %v", len(a.body), 4<<20, a.err)
		}
	})
	g.tenant.answer(octets("")) // a tenant that breaks every answer off
	many(300, func() { c.get("/http/orders/1") })

	if n := dials.Load(); n != 1 {
		t.Errorf("%d connections were needed", n)
	}

	// Ninety callers lose their patience at the same moment, again and again.
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
		var wg sync.WaitGroup
		for range 90 {
			wg.Go(func() {
				req, _ := http.NewRequestWithContext(ctx, "GET", "https://localhost/http/orders/1", nil)
				c.send(req)
			})
		}
		wg.Wait()
		cancel()
	}
	g.tenant.answer(nil)
	want(404, c.get("/nowhere"))
	for _, r := range g.records() {
		if r["method"] == nil {
			t.Errorf("a connection was cut: %v", r)
		}
	}
}
