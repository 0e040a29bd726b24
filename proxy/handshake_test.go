package proxy_test

import (
	"crypto/tls"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Handshakes that come in numbers.

// from connects from another address of loopback.
func (g *gate) from(ip string) (net.Conn, error) {
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 5 * time.Second}).Dial("tcp", g.addr)
}

// Handshakes wait for a place to compute in, not longer than they may; those that wait for their caller hold none.
func TestHandshakesThatWaitTooLongAreClosed(t *testing.T) {
	release := make(chan struct{})
	var held sync.Once
	holding := make(chan struct{})
	g := newGate(t, proxy.Limits{Handshakes: 1, HandshakeTimeout: 2 * time.Second}, func(c *proxy.Config) {
		get := c.GetCertificate
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == "gate.test" { // stands for one that takes its time to compute
				held.Do(func() { close(holding) })
				<-release
			}
			return get(hello)
		}
	})
	for range 5 { // silent ones
		conn, err := g.from("127.0.0.2")
		must(t, err)
		defer conn.Close()
	}
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("beside silent callers: got %+v", a)
	}
	c.transport.CloseIdleConnections()
	go func() {
		conn, err := g.from("127.0.0.2")
		if err == nil {
			defer conn.Close()
			tls.Client(conn, c.tls("gate.test")).Handshake()
		}
	}()
	<-holding
	start := time.Now()
	if a := c.get("/http/orders/1"); a.err == nil || time.Since(start) > 1500*time.Millisecond {
		t.Errorf("got %+v after %v", a, time.Since(start))
	}
	g.recordWhere("outcome overloaded", func(r map[string]any) bool {
		source, _ := r["source"].(string)
		return r["outcome"] == "overloaded" && r["protocol"] == "TLS" && strings.HasPrefix(source, "127.0.0.1:")
	})
	close(release)
	eventually(t, "a handshake to be served", func() bool { return c.get("/http/orders/1").status == 200 })
}

// An address that connects too often is closed before it costs anything; others are served.
func TestAnAddressThatConnectsTooOftenIsClosed(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGate(t, proxy.Limits{SourceRate: 5}, func(c *proxy.Config) { c.Metrics = record.NewMetrics(reg) })
	c := g.issue("orders")
	refused := 0
	for range 20 {
		conn, err := g.from("127.0.0.2")
		must(t, err)
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); err != nil && !os.IsTimeout(err) {
			refused++
		}
	}
	if refused < 5 {
		t.Errorf("%d of 20 were refused", refused)
	}
	r := g.recordWhere("protocol TLS", func(r map[string]any) bool { return r["protocol"] == "TLS" })
	if source, _ := r["source"].(string); r["outcome"] != "limited" || !strings.HasPrefix(source, "127.0.0.2:") {
		t.Errorf("record = %v", r)
	}
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Errorf("a caller at another address: got %+v", a)
	}
	families, err := reg.Gather()
	must(t, err)
	shed := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "tenantgate_tls_handshakes_total" && m.GetLabel()[0].GetValue() == record.HandshakeShed {
				shed = m.GetCounter().GetValue()
			}
		}
	}
	if int(shed) != refused {
		t.Errorf("%v are counted as shed, want %d", shed, refused)
	}
}

// While one address floods the listener with client hellos, each of which costs the server all that a handshake costs and its sender nothing, callers at another
// one are served, on open connections and on new ones.
func TestAFloodOfHandshakesLeavesOthersServed(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	c := g.issue("orders")
	if a := c.get("/http/orders/1"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	near, far := net.Pipe()
	go tls.Client(near, &tls.Config{InsecureSkipVerify: true}).Handshake()
	hello := make([]byte, 4<<10)
	n, err := far.Read(hello)
	must(t, err)
	near.Close()
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for range 400 {
		flood.Go(func() {
			answer := make([]byte, 4<<10)
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := g.from("127.0.0.2")
				if err != nil {
					continue
				}
				conn.SetDeadline(time.Now().Add(5 * time.Second))
				conn.Write(hello[:n])
				conn.Read(answer)
				conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		})
	}
	var open, fresh []time.Duration
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		start := time.Now()
		if a := c.get("/http/orders/1"); a.status != 200 {
			t.Errorf("on an open connection: got %+v", a)
		}
		open = append(open, time.Since(start))
		start = time.Now()
		conn, err := tls.Dial("tcp", g.addr, c.tls("localhost"))
		if err != nil {
			t.Errorf("on a new connection: %v", err)
			continue
		}
		conn.Close()
		fresh = append(fresh, time.Since(start))
	}
	close(stop)
	flood.Wait()
	slices.Sort(open)
	slices.Sort(fresh)
	request, handshake := open[len(open)/2], fresh[len(fresh)/2]
	t.Logf("at the median, a request took %v and a handshake %v", request, handshake)
	if request > 75*time.Millisecond || handshake > 75*time.Millisecond {
		t.Errorf("at the median, a request took %v and a handshake %v", request, handshake)
	}
}
