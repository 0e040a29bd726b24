package proxy_test

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
)

// BenchmarkGet is a whole request through a running server: mutual TLS, decision, token, TLS to the tenant, answer, record. The caller and the tenant are
// hand-made and allocate nothing of their own, but crypto/tls does, once for each read that needs a record: two of the allocations that are reported, 24
// octets each, are theirs, the others the server's.
func BenchmarkGet(b *testing.B) {
	for _, bench := range []struct{ name, fields string }{
		{"bare", "Accept: */*\r\n"},
		{"two credentials", "Accept: */*\r\n"},
		{"counted", "Accept: */*\r\nUser-Agent: curl/8.5.0\r\n"},
		{"integration", "Accept: application/json\r\nAccept-Encoding: gzip\r\nUser-Agent: SAP-CPI\r\nX-Correlation-ID: 0b9f8a52\r\nSAP-PASSPORT: 2A54482A0300E60000\r\n"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			g := newGate(b, proxy.Limits{}, func(c *proxy.Config) {
				if bench.name == "counted" {
					c.Usage = newUsage(b)
				}
			})
			addBareTenant(g)
			if bench.name == "two credentials" {
				addBareCredential(g)
			}
			conn := g.issue("orders").dial("localhost")
			request := []byte("GET /http/bare/4711 HTTP/1.1\r\nHost: localhost\r\n" + bench.fields + "\r\n")
			buf := make([]byte, 8<<10)
			get := func() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				answer, err := readMessage(conn, buf, bareBody)
				if err != nil {
					b.Fatal(err)
				}
				if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
					b.Fatalf("got %q", answer)
				}
			}
			for range 100 { // connections are made and pools filled
				get()
			}
			b.ReportAllocs()
			b.SetBytes(int64(bareBody))
			for b.Loop() {
				get()
			}
		})
	}
}

const bareBody = 1 << 10

// addBareTenant adds a tenant that answers every request with the same octets, and a route and a credential for the identity orders.
func addBareTenant(g *gate) {
	g.tb.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: g.tenant.TLS.Certificates})
	must(g.tb, err)
	g.tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveBare(c)
		}
	}()
	ctx := g.tb.Context()
	g.change(func(tx *identity.Tx) error {
		_, err := tx.AddTenant(ctx, identity.Tenant{
			Name: "bare", BaseURL: "https://" + l.Addr().String(), TokenURL: g.tenant.URL + "/oauth/token", AuthStyle: "body", CABundle: g.tenant.caPEM,
		})
		if err != nil {
			return err
		}
		return err
	})
	addBareCredential(g)
	g.addRoute(identity.Route{Name: "bare", Path: "/http/bare/*", Tenant: "bare", Role: "orders.send"})
}

func addBareCredential(g *gate) {
	g.tb.Helper()
	g.change(func(tx *identity.Tx) error {
		_, err := tx.AddCredential(g.tb.Context(), identity.Credential{
			Identity: "orders", Tenant: "bare", ClientID: "sb-orders", Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-orders"),
		})
		return err
	})
}

// serveBare answers requests without a body until the connection ends.
func serveBare(c net.Conn) {
	defer c.Close()
	answer := append([]byte("HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n"), bytes.Repeat([]byte("x"), bareBody)...)
	buf := make([]byte, 8<<10)
	for {
		if _, err := readMessage(c, buf, 0); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// readMessage reads a head and the body behind it, whose length is known.
func readMessage(c net.Conn, buf []byte, body int) ([]byte, error) {
	for n := 0; ; {
		m, err := c.Read(buf[n:])
		if err != nil {
			return nil, err
		}
		n += m
		if end := bytes.Index(buf[:n], []byte("\r\n\r\n")); end >= 0 && n >= end+len("\r\n\r\n")+body {
			return buf[:n], nil
		}
	}
}

// BenchmarkProtocols is a GET of 1 KiB with each protocol on either side. Callers and tenant are net/http's, whose time and allocations are most of what is
// reported: the differences are what counts.
func BenchmarkProtocols(b *testing.B) {
	for _, tenant := range []string{identity.ProtocolHTTP1, identity.ProtocolHTTP2} {
		for _, proto := range protocols {
			b.Run(proto+" to "+cmp.Or(tenant, "http1"), func(b *testing.B) {
				tenantsSpeak = tenant
				defer func() { tenantsSpeak = identity.ProtocolHTTP1 }()
				g := newGate(b, proxy.Limits{})
				body := bytes.Repeat([]byte("x"), bareBody)
				g.tenant.answer(func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
				c := g.issue("orders").speaking(proto)
				get := func() {
					if a := c.get("/http/orders/1"); a.status != 200 || len(a.body) != bareBody {
						b.Fatalf("got %+v", a)
					}
				}
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
}
