package proxy_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkBridge is BenchmarkGet on the bridge: with a certificate, and with a login whose password is known.
func BenchmarkBridge(b *testing.B) {
	for _, name := range []string{"certificate", "login"} {
		b.Run(name, func(b *testing.B) {
			g := newBridge(b)
			g.addLogin()
			addBareTenant(g.gate)
			c, fields := g.caller(tls.Certificate{}), "Authorization: "+right+"\r\n"
			if name == "certificate" {
				c, fields = g.issue("orders"), ""
			}
			g.gate.addr = g.addr // of dial
			get := getter(b, c, fields)
			for range 100 {
				get()
			}
			b.ReportAllocs()
			for b.Loop() {
				get()
			}
		})
	}
}

// getter returns a function that sends one request on a connection of its own.
func getter(tb testing.TB, c *client, fields string) func() {
	conn := c.dial("localhost")
	conn.SetDeadline(time.Time{})
	request := []byte("GET /http/bare/4711 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n" + fields + "\r\n")
	buf := make([]byte, 8<<10)
	return func() {
		if _, err := conn.Write(request); err != nil {
			tb.Fatal(err)
		}
		answer, err := readMessage(conn, buf, bareBody)
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
			tb.Fatalf("got %q, %v", answer, err)
		}
	}
}

// BenchmarkGuessing is what a caller with a certificate and one with a login notice of 10,000 guesses a second: the time of their requests, one after the other.
// ns/op is their mean, p99 is theirs too; guesses/s is what was answered.
func BenchmarkGuessing(b *testing.B) {
	for _, sources := range []int{0, 1, 2000, 10_000} {
		for _, who := range []string{"certificate", "login"} {
			b.Run(fmt.Sprintf("%d sources, %s", sources, who), func(b *testing.B) {
				g := newBridge(b)
				g.addLogin()
				addBareTenant(g.gate)
				c, fields := g.caller(tls.Certificate{}), "Authorization: "+right+"\r\n"
				if who == "certificate" {
					c, fields = g.issue("orders"), ""
				}
				g.gate.addr = g.addr
				get := getter(b, c, fields)
				get()
				answered, stop := g.guess(sources, 10_000)
				time.Sleep(time.Second)
				took := make([]time.Duration, 0, 1<<16)
				before, begun := answered.Load(), time.Now()
				for b.Loop() {
					start := time.Now()
					get()
					took = append(took, time.Since(start))
				}
				rate := float64(answered.Load()-before) / time.Since(begun).Seconds()
				stop()
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
				b.ReportMetric(rate, "guesses/s")
			})
		}
	}
}

// guess has so many sources send wrong passwords, together so many a second.
func (g *bridge) guess(sources, rate int) (answered *atomic.Int64, stop func()) {
	answered = new(atomic.Int64)
	done := make(chan struct{})
	var wg sync.WaitGroup
	conf := &tls.Config{RootCAs: g.roots, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
	connections := max(sources, min(sources, 1)*16)
	for n := range connections {
		local := net.IPv4(127, 1, byte(n%sources>>8), byte(n%sources))
		conn, err := tls.DialWithDialer(&net.Dialer{LocalAddr: &net.TCPAddr{IP: local}}, "tcp", g.addr, conf)
		if err != nil {
			continue // there are more than the bridge takes
		}
		wg.Go(func() {
			defer conn.Close()
			buf := make([]byte, 4<<10)
			tick := time.NewTicker(time.Second * time.Duration(connections) / time.Duration(rate))
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
				}
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				guess := basicAuth("P2001234567", fmt.Sprint(rand.Uint64()))
				fmt.Fprintf(conn, "GET /http/bare/1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\n\r\n", guess)
				if _, err := readMessage(conn, buf, 0); err != nil {
					return
				}
				answered.Add(1)
			}
		})
	}
	return answered, func() { close(done); wg.Wait() }
}
