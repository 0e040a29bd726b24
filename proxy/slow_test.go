package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/proxy"
)

// tunnel listens on loopback and carries each connection to the gate over TLS with the caller's certificate: for programs that have none. It keeps next to
// nothing on the way, so that a side which does not read is felt at the other.
func (c *client) tunnel(t *testing.T) (addr string) {
	t.Helper()
	const small = 4 << 10
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	conf := c.tls("") // the program asks for the host 127.0.0.1
	conf.InsecureSkipVerify = true
	conf.NextProtos = []string{"http/1.1"}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				raw, err := net.Dial("tcp", c.gate.addr)
				if err != nil {
					return
				}
				defer raw.Close()
				in.(*net.TCPConn).SetWriteBuffer(small)
				raw.(*net.TCPConn).SetReadBuffer(small)
				out := tls.Client(raw, conf)
				go func() {
					io.Copy(out, in)
					raw.Close()
				}()
				if _, err := io.CopyBuffer(struct{ io.Writer }{in}, out, make([]byte, small)); err != nil {
					in.(*net.TCPConn).SetLinger(0) // cut, and not ended: what is on its way does not matter any more
				}
			}()
		}
	}()
	return l.Addr().String()
}

// slowhttptest, which nobody here wrote, holds fifty connections at a time with slow headers, slow bodies and slow reading, until it is cut. It knows no client
// certificates: a tunnel has one.
func TestSlowhttptestIsCut(t *testing.T) {
	program := outside.Program(t, "slowhttptest")
	const connections = 50
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"headers", []string{"-H", "-i", "1"}},
		{"body", []string{"-B", "-i", "1", "-s", "8192"}},
		{"reading", []string{"-X", "-n", "1", "-z", "2048", "-w", "64", "-y", "128"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, proxy.Limits{HeaderTimeout: time.Second, BodyIdleTimeout: 500 * time.Millisecond, WriteTimeout: time.Second})
			c := g.issue("orders")
			if tt.name == "reading" {
				g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, endless{}) })
			}
			args := append(tt.args, "-c", strconv.Itoa(connections), "-r", "50", "-l", "6", "-p", "3", "-x", "10", "-u", "http://"+c.tunnel(t)+"/http/orders/1")
			out, err := exec.Command(program, args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			report := string(out)
			if at := strings.LastIndex(report, "Test ended on"); at >= 0 {
				t.Log(strings.ReplaceAll(report[at:], "\x1b", ""))
			} else {
				t.Fatalf("no report: %q", report)
			}
			// A slow reader does not see the end: he is still busy with what the tunnel had received before.
			if tt.name != "reading" && !strings.Contains(report, "No open connections left") {
				t.Error("slowhttptest still had connections when its time was over")
			}
			slow := 0
			eventually(t, "a record for each of them", func() bool {
				slow = 0
				for _, r := range g.records() {
					if r["outcome"] == "slow_caller" && r["identity"] == "orders" && r["serial"] == c.serial() {
						slow++
					}
				}
				return slow >= connections
			})
			eventually(t, "the end of all connections", func() bool { return g.server.Connections() == 0 })
			t.Logf("%d of %d on record as slow_caller", slow, connections)
		})
	}
}

// The same three over HTTP/2, by hand: slowhttptest does not speak it.
func TestSlowCallersOfHTTP2AreCut(t *testing.T) {
	g := newGate(t, proxy.Limits{HeaderTimeout: 300 * time.Millisecond, BodyIdleTimeout: 300 * time.Millisecond, WriteTimeout: 300 * time.Millisecond})
	g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			w.Write(make([]byte, 1<<20))
		}
	})
	for name, send := range map[string]func(f *flooder){
		"a head that does not end": func(f *flooder) {
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head("GET")})
		},
		"a head of which half has come": func(f *flooder) {
			var whole bytes.Buffer
			http2.NewFramer(&whole, nil).WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head("GET"), EndHeaders: true, EndStream: true})
			f.out.Write(whole.Bytes()[:whole.Len()-5])
		},
		"a body that does not come": func(f *flooder) { f.request("POST", false) },
		"an answer that has no room": func(f *flooder) {
			f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize})
			f.request("GET", true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := g.issue("stock")
			f := c.flooder()
			if f == nil {
				t.Fatal("no connection")
			}
			defer f.conn.Close()
			go f.read()
			send(f)
			f.out.Flush()
			r := g.recordWhere("the certificate", func(r map[string]any) bool { return r["serial"] == c.serial() })
			if r["outcome"] != "slow_caller" || r["identity"] != "stock" {
				t.Errorf("record = %v", r)
			}
		})
	}
}
