package publish_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/publish"
)

// One address that opens connections and says nothing keeps no other one out; when it has closed some, it is served again.
func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	env := pkitest.New(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(&publish.Handler{CA: env.CA, Trust: env.CA.Trust})
	server.Listener.Close()
	server.Listener = publish.Bound(l)
	server.Start()
	defer server.Close()
	get := func(from string) error {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, address)
			}}}
		response, err := client.Get("http://" + l.Addr().String() + "/ocsp")
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	if err := get("127.0.0.2"); err != nil {
		t.Skipf("SKIPPED: there is one loopback address only: %v", err)
	}
	var held []net.Conn
	for range 600 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	if err := get("127.0.0.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
	if err := get("127.0.0.1"); err == nil {
		t.Error("the address is served beyond its connections")
	}
	for _, conn := range held {
		conn.Close()
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err = get("127.0.0.1"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("its connections closed: %v", err)
		}
	}
	// A connection that is over counts no more, however it ended.
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "nonsense\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("nonsense: %v", err)
	}
}
