package check_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/check"
)

// speaking starts a tenant that answers everything, and returns the way to it of calls by HTTP/2.
func speaking(t *testing.T, protocols ...string) (base string, w check.Way) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	t.Cleanup(s.Close)
	w = check.Way{HTTP2: true, Dial: (&net.Dialer{}).DialContext}
	if protocols == nil {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	} else {
		s.EnableHTTP2 = protocols[0] == "h2"
		s.TLS = &tls.Config{NextProtos: protocols}
		if protocols[0] == "" {
			s.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { // knows nothing of ALPN
				return &tls.Config{Certificates: s.TLS.Certificates}, nil
			}
		}
		s.StartTLS()
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		w.TLS = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}
	}
	w.Address = s.Listener.Addr().String()
	return s.URL, w
}

func TestATenantThatDoesNotChooseHTTP2Fails(t *testing.T) {
	for name, protocols := range map[string][]string{"refuses": {"http/1.1"}, "ignores": {""}, "chooses": {"h2"}} {
		t.Run(name, func(t *testing.T) {
			_, w := speaking(t, protocols...)
			got := find(w.Reach(t.Context()), check.StepTenantTLS)
			if name == "chooses" {
				if got.State != check.OK || !strings.Contains(got.Detail, "h2") {
					t.Errorf("got %+v", got)
				}
				return
			}
			if got.State != check.Fail || !strings.Contains(got.Detail, "HTTP/2") || !strings.Contains(got.Hint, "--protocol http1") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A probe speaks what calls speak.
func TestAProbeOfATenantOfHTTP2(t *testing.T) {
	for name, protocols := range map[string][]string{"over TLS": {"h2"}, "in the clear": nil} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, newSim(t))
			base, w := speaking(t, protocols...)
			w.Credential = s.client.Way.Credential
			s.client.Way, s.client.Probe = w, &check.Probe{Method: "GET", URL: base + "/http/ping"}
			steps, _ := s.client.Try(t.Context(), s.engine)
			if got := find(steps, check.StepTenantProbe); got.State != check.OK || !strings.Contains(got.Detail, "status 200") {
				t.Errorf("got\n%s", show(steps))
			}
		})
	}
}
