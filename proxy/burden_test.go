package proxy_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy"
)

// What many callers, or heavy ones, cost: memory stays bounded, and others keep their latency.

// raceDetector reports whether the race detector is on: it takes several times the memory and the time.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// resident is the memory of this process that is in use, in KiB.
func resident(t *testing.T) int {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	return rss(t)
}

func rss(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // there is no /proc here
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	must(t, err)
	return n
}

// A caller holds many connections that idle, from a process of its own. TENANTGATE_IDLE says how many; 20,000 take a minute.
func TestManyIdleConnections(t *testing.T) {
	count := 1000
	if s := os.Getenv("TENANTGATE_IDLE"); s != "" {
		var err error
		count, err = strconv.Atoi(s)
		must(t, err)
	}
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			g := newGate(t, proxy.Limits{IdleTimeout: 5 * time.Minute})
			c := g.issue("orders")
			if a := c.get("/http/orders/1"); a.status != 200 {
				t.Fatalf("got %+v", a)
			}
			before := resident(t)
			cert, key, ca := c.files(t)
			cmd := exec.Command(os.Args[0], "-test.run=^TestHoldIdleConnections$")
			cmd.Env = append(os.Environ(), "TENANTGATE_HOLD="+strings.Join([]string{g.addr, cert, key, ca, proto, strconv.Itoa(count)}, ","))
			release, err := cmd.StdinPipe()
			must(t, err)
			said, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			t.Cleanup(func() {
				release.Close() // it ends with its input
				cmd.Wait()
			})
			in := bufio.NewScanner(said)
			for in.Scan() && !strings.HasPrefix(in.Text(), "held ") {
			}
			if want := fmt.Sprint("held ", count); in.Text() != want {
				t.Fatalf("got %q, want %q", in.Text(), want)
			}
			took := resident(t) - before
			g.during(t, fmt.Sprintf("%d idle connections of %s take %d KiB each", count, proto, took/count), func() { time.Sleep(time.Second) })
			if limit := map[string]int{"http/1.1": 32, "h2": 96}[proto]; took/count > limit && !raceDetector() {
				t.Errorf("an idle connection takes %d KiB", took/count)
			}
		})
	}
}

// TestHoldIdleConnections is the process of the caller.
func TestHoldIdleConnections(t *testing.T) {
	order := strings.Split(os.Getenv("TENANTGATE_HOLD"), ",")
	if len(order) != 6 {
		return // it is no test by itself
	}
	cert, err := tls.LoadX509KeyPair(order[1], order[2])
	must(t, err)
	pem, err := os.ReadFile(order[3])
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	count, err := strconv.Atoi(order[5])
	must(t, err)
	conf := &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{cert}, NextProtos: []string{order[4]}, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	var held atomic.Int64
	var keep sync.Map
	var wg sync.WaitGroup
	turn := make(chan int, count)
	for i := range count {
		turn <- i
	}
	close(turn)
	for range 16 {
		wg.Go(func() {
			for i := range turn {
				conn, err := tls.Dial("tcp", order[0], conf)
				if err != nil {
					continue
				}
				ask := "GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
				if order[4] == "h2" {
					ask = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
				}
				io.WriteString(conn, ask)
				if n, _ := conn.Read(make([]byte, 4096)); n > 0 {
					keep.Store(i, conn)
					held.Add(1)
				}
			}
		})
	}
	wg.Wait()
	fmt.Printf("held %d\n", held.Load())
	io.Copy(io.Discard, os.Stdin)
}

// Callers that send as much as they can of what costs most.
func TestHeavyCallersTakeBoundedMemory(t *testing.T) {
	const callers = 8
	get := func(fields string) string {
		return "GET /http/orders/1 HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n\r\n"
	}
	chunked := "POST /http/orders/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name    string
		send    string
		reads   bool
		outcome string // that is on record
	}{
		{"100,000 octets in one field", get("X-Long: " + strings.Repeat("x", 100_000)), true, "headers_too_large"},
		{"100,000 octets in many fields", get(strings.Repeat("X: y\r\n", 100_000/6)), true, "headers_too_large"},
		{"100,000 octets of target", "GET /http/orders/" + strings.Repeat("x", 100_000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", true, "headers_too_large"},
		{"100,000 octets without an end", "GET /http/orders/1 HTTP/1.1\r\n" + strings.Repeat("x", 100_000), true, "headers_too_large"},
		{"100,000 chunks", chunked + strings.Repeat("1\r\nx\r\n", 100_000) + "0\r\n\r\n", true, "served"},
		{"a chunk extension of 100,000 octets", chunked + "1;x=" + strings.Repeat("x", 100_000) + "\r\nx\r\n0\r\n\r\n", true, "malformed headers_too_large"},
		{"100,000 octets of trailer", chunked + "0\r\nX: " + strings.Repeat("x", 100_000) + "\r\n\r\n", true, "headers_too_large"},
		{"a caller that never reads", strings.Repeat(get("X: y"), 1000), false, "slow_caller"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, proxy.Limits{WriteTimeout: 500 * time.Millisecond})
			c := g.issue("stock")
			g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				if r.Method == "POST" && err == nil && n != 100_000 {
					t.Errorf("the tenant got a whole body of %d octets", n)
				}
				if !tt.reads && r.Header.Get("X") != "" {
					w.Write(make([]byte, 1<<20))
				}
			})
			send := []byte(strings.ReplaceAll(tt.send, "/http/orders/", "/http/stock/"))
			before := resident(t)
			var peak, sent atomic.Int64
			g.during(t, tt.name, func() {
				end := time.Now().Add(time.Second)
				stop := make(chan struct{})
				var wg, watch sync.WaitGroup
				watch.Go(func() {
					for {
						peak.Store(max(peak.Load(), int64(rss(t))))
						select {
						case <-stop:
							return
						case <-time.After(20 * time.Millisecond):
						}
					}
				})
				for range callers {
					wg.Go(func() {
						for range 50 {
							if time.Now().After(end) {
								return
							}
							sent.Add(1)
							c.heavy(send, tt.reads)
						}
					})
				}
				wg.Wait()
				close(stop)
				watch.Wait()
			})
			r := g.recordWhere("the certificate", func(r map[string]any) bool {
				return r["serial"] == c.serial() && r["outcome"] != "served" || tt.outcome == "served" && r["serial"] == c.serial()
			})
			if !slices.Contains(strings.Fields(tt.outcome), fmt.Sprint(r["outcome"])) || r["identity"] != "stock" {
				t.Errorf("record = %v", r)
			}
			t.Logf("%d times %d octets, %d callers at a time; memory %d MiB before, %d MiB at most (callers and tenant included)", sent.Load(), len(send), callers, before>>10, peak.Load()>>10)
			if grown := peak.Load()>>10 - int64(before)>>10; grown > 256 && !raceDetector() {
				t.Errorf("memory has grown by %d MiB", grown)
			}
		})
	}
}

// heavy sends octets on a connection of its own, and reads what comes or does not, until the connection ends.
func (c *client) heavy(send []byte, reads bool) {
	conf := c.tls("localhost")
	conf.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", c.gate.addr, conf)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if !reads {
		for err == nil { // the gate stops reading when it cannot write, and then ends the connection
			_, err = conn.Write(send)
		}
		return
	}
	go conn.Write(send)
	conn.Read(make([]byte, 4<<10))
}
