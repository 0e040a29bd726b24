package proxy

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// whole is a caller whose body is complete.
type whole struct{ caller }

func (whole) bodyDone() bool { return true }

// Whatever a caller sends, the head that the tenant gets says who calls in our words only, and ends where we say.
func FuzzNoCallerHeaderBecomesIdentity(f *testing.F) {
	const head = "POST /http/orders HTTP/1.1\r\nHost: localhost\r\n"
	for _, fields := range []string{
		"Authorization: Bearer mine\r\n", "authorization : x\r\n", "X_Request_Id: 1\r\nX-Forwarded_User: root\r\n", "Cookie: JSESSIONID=1\r\n",
		"Connection: authorization, x-request-id\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "SSL_CLIENT_CERT: x\r\nForwarded: for=1\r\n",
		"X-Called-By: mine\r\nX_Called-By: mine\r\nX-CSRF-Token: Fetch\r\nX_CSRF_TOKEN: x\r\nTraceParent: 00-1\r\ntracestate: a=1\r\n", "traceparent: x\r\nTraceparent: y\r\n",
		"Content_Length: 9\r\nTransfer_Encoding: chunked\r\nHost_: x\r\n", "X: a\tb\r\nTrailer: Authorization, X-Sum\r\nTransfer-Encoding: chunked\r\n",
	} {
		f.Add([]byte(head + fields + "\r\n"))
	}
	base, _ := url.Parse("https://tenant.example")
	f.Fuzz(func(t *testing.T, in []byte) {
		var r wire.Reader
		r.Init(bytes.NewReader(in))
		x := &exchange{req: new(wire.Request), caller: whole{}}
		if r.ReadRequest(x.req, wire.Limits{Octets: 32 << 10, Fields: 200}) != nil {
			return
		}
		x.decision.Route = &identity.RouteEntry{Base: base, Route: &identity.Route{CallerHeader: "X-Called-By"}}
		x.decision.Target = x.req.Target
		x.access.RequestID = "0123456789abcdef0123456789abcdef"
		x.access.Identity = "orders"
		x.place()
		x.guard, x.session = new(guard), &session{csrf: token.NewSecret("0a1b")}
		x.session.jar.set("JSESSIONID=ours; Path=/", "/", time.Now())
		x.upload.begin(x)
		var tok token.Token
		out := x.appendHead(nil, tok)
		sent, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
		if err != nil {
			t.Fatalf("the tenant cannot read %q: %v", out, err)
		}
		if sent.Method != x.req.Method || sent.RequestURI != x.req.Target || sent.Host != base.Host || sent.ContentLength != x.req.Length {
			t.Fatalf("%q became %q", in, out)
		}
		ours := map[string]string{"Authorization": tok.Header(), "X-Request-Id": x.access.RequestID, "Traceparent": x.trace.value(),
			"X-Called-By": "orders", "X-Csrf-Token": "0a1b", "Cookie": "JSESSIONID=ours"}
		for name, values := range sent.Header {
			if want, ok := ours[name]; ok {
				if len(values) != 1 || values[0] != want {
					t.Fatalf("%s is %q, want only ours", name, values)
				}
				continue
			}
			alias := strings.ReplaceAll(strings.ToLower(name), "_", "-")
			for own := range ours {
				if alias == strings.ToLower(own) {
					t.Fatalf("%s can be read as %s", name, own)
				}
			}
			switch alias {
			case "content-length", "transfer-encoding", "trailer", "expect":
				if strings.Contains(name, "_") {
					t.Fatalf("%s can be read as %s", name, alias)
				}
			case "cookie", "forwarded", "connection", "host", "proxy-authorization", "ssl-client-cert", "x-forwarded-for", "x-forwarded-user", "te", "upgrade":
				t.Fatalf("%s: %q reached the tenant", name, values)
			}
		}
	})
}
