package proxy_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"

	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy"
)

// The listener's certificate is replaced while connections are open: requests on them end, further ones are served on them, and whoever connects sees the
// new one. A session from before may be resumed: it is judged by the caller's certificate, as every handshake is.
func TestAnotherCertificateOfTheListenerDropsNoConnection(t *testing.T) {
	var current atomic.Pointer[tls.Certificate]
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) {
		own := c.GetCertificate
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := current.Load(); c != nil {
				return c, nil
			}
			return own(hello)
		}
	})
	next := pkitest.New(t).Client("another")
	for _, speak := range []string{"HTTP/1.1", "HTTP/2.0"} {
		current.Store(nil)
		caller := g.issue("orders")
		busy := g.caller(caller.cert) // on a connection of its own
		if speak == "HTTP/2.0" {
			caller.h2()
			busy.h2()
		}
		if a := caller.get("/http/orders/1"); a.status != 200 || a.proto != speak {
			t.Fatalf("%s: got %+v", speak, a)
		}
		body, send := io.Pipe()
		done := make(chan answer)
		begun := make(chan struct{})
		go func() { done <- busy.do("POST", "/http/orders/1", body) }()
		go func() {
			io.WriteString(send, "begun ")
			close(begun)
		}()
		<-begun
		current.Store(&next)
		io.WriteString(send, "and ended")
		send.Close()
		if a := <-done; a.status != 200 {
			t.Errorf("%s: a request that was under way: got %+v", speak, a)
		}
		reused := false
		req, err := http.NewRequest("GET", "https://localhost/http/orders/2", nil)
		must(t, err)
		req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}))
		if a := caller.send(req); a.status != 200 || !reused {
			t.Errorf("%s: the next request: got %+v, on the same connection: %v", speak, a, reused)
		}
		conn, err := g.hello("localhost", tls.VersionTLS13, []string{"http/1.1"}, nil, caller.cert)
		if err != nil || !conn.ConnectionState().PeerCertificates[0].Equal(next.Leaf) {
			t.Errorf("%s: whoever connects does not see the new certificate: %v", speak, err)
		}
	}
}
