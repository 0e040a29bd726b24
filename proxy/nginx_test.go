package proxy_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy"
)

const nginxConfig = `daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  keepalive_requests 50;
  server {
    listen 127.0.0.1:%[2]s ssl http2; ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem;
    location / { return 200 "$request_method $request_uri $server_protocol"; }
    location /nginx/large { alias %[1]s/large; }
    location /nginx/small { client_max_body_size 1k; return 204; }
  }
}
`

// nginx as a tenant of HTTP/2: it ends a connection (GOAWAY) after some requests, which nobody notices, and refuses bodies before it has taken them.
func TestNginxAsATenantOfHTTP2(t *testing.T) {
	nginx := outside.Program(t, "nginx")
	g := newGate(t, proxy.Limits{})
	dir := t.TempDir()
	cert, caPEM := selfSigned(t, "localhost")
	key, err := pki.EncodePrivateKey(cert.PrivateKey)
	must(t, err)
	large := bytes.Repeat([]byte("0123456789"), 1<<19)
	for name, content := range map[string][]byte{"cert.pem": []byte(caPEM), "key.pem": key, "large": large} {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	must(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), fmt.Appendf(nil, nginxConfig, dir, port), 0o600))
	cmd := exec.Command(nginx, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, "nginx", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	g.addPlace("nginx", "https://localhost:"+port, caPEM, func(t *identity.Tenant) { t.Protocol = identity.ProtocolHTTP2 })
	g.addRoute(identity.Route{Name: "nginx", Path: "/nginx/*", Tenant: "nginx", Role: "orders.send", MaxBody: -1})
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			c := g.issue("orders").speaking(proto)
			for i := range 300 {
				if a := c.do("POST", "/nginx/1?a=b", strings.NewReader("hello")); a.status != 200 || a.body != "POST /nginx/1?a=b HTTP/2.0" {
					t.Fatalf("request %d: got %+v", i, a)
				}
			}
			if a := c.get("/nginx/large"); a.status != 200 || a.body != string(large) {
				t.Errorf("got %d octets, %v", len(a.body), a.err)
			}
			if a := c.do("POST", "/nginx/small", bytes.NewReader(make([]byte, 1<<20))); a.status != 413 {
				t.Errorf("got %+v", a)
			}
		})
	}
}
