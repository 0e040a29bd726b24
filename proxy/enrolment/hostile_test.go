package enrolment_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// hostileRequests ask for what nobody gets, or prove nothing.
func hostileRequests(h *house, key crypto.Signer) map[string][]byte {
	h.t.Helper()
	erp := pkix.Name{CommonName: "erp"}
	basicCA, err := asn1.Marshal(struct{ IsCA bool }{true})
	if err != nil {
		h.t.Fatal(err)
	}
	good := h.csr(key)
	block, _ := pem.Decode(good)
	forged := bytes.Clone(block.Bytes)
	forged[len(forged)-1] ^= 1
	private, err := pki.EncodePrivateKey(h.pki.Key(pki.P256))
	if err != nil {
		h.t.Fatal(err)
	}
	return map[string][]byte{
		"no proof of possession": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged}),
		"another identity":       h.pki.Request(key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "shop"}}),
		"another SPIFFE ID": h.pki.Request(key, &x509.CertificateRequest{Subject: erp,
			URIs: []*url.URL{{Scheme: "spiffe", Host: "test.internal", Path: "/identity/shop"}}}),
		"an administrator": h.pki.Request(key, &x509.CertificateRequest{Subject: erp,
			URIs: []*url.URL{{Scheme: "spiffe", Host: "test.internal", Path: "/admin/erp"}}}),
		"a DNS name":              h.pki.Request(key, &x509.CertificateRequest{Subject: erp, DNSNames: []string{"bank.example"}}),
		"an address":              h.pki.Request(key, &x509.CertificateRequest{Subject: erp, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}),
		"a person":                h.pki.Request(key, &x509.CertificateRequest{Subject: erp, EmailAddresses: []string{"anna@example.com"}}),
		"to be a CA":              h.pki.Request(key, &x509.CertificateRequest{Subject: erp, ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: basicCA}}}),
		"two at once":             append(bytes.Clone(good), h.csr(h.pki.Key(pki.P256))...),
		"a certificate behind it": append(bytes.Clone(good), pki.EncodeCertificates(h.pki.CA.SigningRoot())...),
		"its key behind it":       append(bytes.Clone(good), private...),
		"text behind it":          append(bytes.Clone(good), "and more"...),
		"a private key":           private,
		"nothing":                 {},
		"noise":                   []byte(strings.Repeat("x", 1000)),
	}
}

// send makes one request by hand; header lines are "Name: value".
func (h *house) send(method, path string, body io.Reader, header ...string) (int, http.Header, string) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.pki.Root}, DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(b)
}

func TestRequestsThatNoCallerSends(t *testing.T) {
	h := build(t)
	csr, bearer, kind := string(h.csr(h.pki.Key(pki.P256))), "Authorization: Bearer "+h.token(nil).Reveal(), "Content-Type: application/pkcs10"
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code                     string
	}{
		{"no token", "POST", "/v1/enroll", csr, []string{kind}, 401, "no_token"},
		{"an empty token", "POST", "/v1/enroll", csr, []string{kind, "Authorization: Bearer "}, 401, "no_token"},
		{"a token in Basic", "POST", "/v1/enroll", csr, []string{kind, strings.Replace(bearer, "Bearer", "Basic", 1)}, 401, "no_token"},
		{"no content type", "POST", "/v1/enroll", csr, []string{bearer}, 415, "not_a_request"},
		{"a form, as curl declares it", "POST", "/v1/enroll", csr, []string{bearer, "Content-Type: application/x-www-form-urlencoded"}, 415, "not_a_request"},
		{"JSON", "POST", "/v1/enroll", csr, []string{bearer, "Content-Type: application/json"}, 415, "not_a_request"},
		{"10 MB", "POST", "/v1/enroll", strings.Repeat("x", 10<<20), []string{bearer, kind}, 413, "too_large"},
		{"64 KiB and one", "POST", "/v1/enroll", strings.Repeat("x", 64<<10+1), []string{bearer, kind}, 413, "too_large"},
		{"a web page", "POST", "/v1/enroll", csr, []string{bearer, kind, "Origin: https://evil.example"}, 403, "cross_origin"},
		{"a page of the same site", "POST", "/v1/enroll", csr, []string{bearer, kind, "Sec-Fetch-Site: same-origin"}, 403, "cross_origin"},
		{"GET", "GET", "/v1/enroll", "", []string{bearer}, 405, "method_not_allowed"},
		{"PUT of roots", "PUT", "/v1/roots", "x", nil, 405, "method_not_allowed"},
		{"a query", "POST", "/v1/enroll?token=x", csr, []string{bearer, kind}, 404, "no_address"},
		{"an escaped path", "POST", "/v1/%65nroll", csr, []string{bearer, kind}, 404, "no_address"},
		{"the admin API", "GET", "/v1/identities", "", nil, 404, "no_address"},
		{"status", "GET", "/v1/status", "", nil, 404, "no_address"},
		{"metrics", "GET", "/metrics", "", nil, 404, "no_address"},
		{"debug", "GET", "/debug/pprof/", "", nil, 404, "no_address"},
		{"the root", "GET", "/", "", nil, 404, "no_address"},
	} {
		status, header, answer := h.send(c.method, c.path, strings.NewReader(c.body), c.header...)
		if status != c.status || !strings.Contains(answer, `"code":"`+c.code+`"`) || !strings.Contains(answer, header.Get("X-Request-Id")) ||
			header.Get("Content-Type") != "application/problem+json" || header.Get("X-Request-Id") == "" {
			t.Errorf("%s: got %d %v %s, want %d %s", c.name, status, header, answer, c.status, c.code)
		}
		if strings.Contains(answer, "tge1_") {
			t.Errorf("%s: the answer tells the token", c.name)
		}
		if last := h.last(); last.RequestID != header.Get("X-Request-Id") || last.Status != c.status || last.Outcome == record.Served {
			t.Errorf("%s: got the record %+v", c.name, last)
		}
	}
	if h.certificates() != 0 {
		t.Error("something was issued")
	}
	if status, header, answer := h.send("POST", "/v1/enroll", strings.NewReader(csr), strings.Replace(bearer, "Bearer", "bEARER", 1), kind); status != 200 ||
		header.Get("Content-Type") != "application/pem-certificate-chain" || strings.Count(answer, "BEGIN CERTIFICATE") != 2 {
		t.Errorf("the token is good no more: %d %s", status, answer)
	}
}

// dial makes a TLS connection without a client certificate.
func (h *house) dial() *tls.Conn {
	h.t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(h.url, "https://"), &tls.Config{RootCAs: h.pki.Root})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// Whoever puts his token into the address gets nothing for it, and nobody reads it later.
func TestATokenInAnAddressIsNotOnRecord(t *testing.T) {
	h := build(t)
	token := h.token(nil).Reveal()
	if status, _, answer := h.send("POST", "/v1/enroll/"+token, nil); status != 404 || strings.Contains(answer, token) {
		t.Errorf("got %d %s", status, answer)
	}
	if last := h.last(); last.Path != "/v1/enroll/[redacted]" || strings.Contains(fmt.Sprintf("%+v", last), token) {
		t.Errorf("got the record %+v", last)
	}
}

// A request that is for no address at all is answered by us too, and not by net/http.
func TestOptionsOfTheWholeServer(t *testing.T) {
	h := build(t)
	conn := h.dial()
	fmt.Fprint(conn, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 404 ") || !strings.Contains(string(answer), `"code":"no_address"`) {
		t.Errorf("got %s, %v", answer, err)
	}
	if last := h.last(); last.Method != "OPTIONS" || last.Status != 404 {
		t.Errorf("got the record %+v", last)
	}
}

// Whoever sends slowly is cut: while he shakes hands, in the head, and in the body.
func TestSlowCallersAreCut(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes ten seconds")
	}
	h := build(t)
	cut := func(t *testing.T, conn net.Conn, drip string) {
		t.Parallel()
		began := time.Now()
		gone := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			close(gone)
		}()
		for {
			select {
			case <-gone:
				return
			case <-time.After(500 * time.Millisecond):
				_, _ = io.WriteString(conn, drip)
			}
			if time.Since(began) > 25*time.Second {
				t.Fatal("still open")
			}
		}
	}
	raw, err := net.Dial("tcp", strings.TrimPrefix(h.url, "https://localhost"))
	if err != nil {
		t.Fatal(err)
	}
	head, body := h.dial(), h.dial()
	fmt.Fprintf(body, "POST /v1/enroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nAuthorization: Bearer x\r\nContent-Length: 60000\r\n\r\n")
	t.Run("callers", func(t *testing.T) {
		t.Run("handshake", func(t *testing.T) { cut(t, raw, "\x16") })
		t.Run("head", func(t *testing.T) { cut(t, head, "G") })
		t.Run("body", func(t *testing.T) { cut(t, body, "x") })
	})
	if last := h.last(); last.Outcome != record.Malformed || last.Path != "/v1/enroll" {
		t.Errorf("got the record %+v", last)
	}
}

func TestAnAddressComesSoOftenAndNoMore(t *testing.T) {
	h := build(t)
	registry := prometheus.NewRegistry()
	h.server.Metrics = record.NewMetrics(registry)
	conn := h.dial()
	for range 200 {
		fmt.Fprintf(conn, "GET /v1/roots HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	_ = conn.CloseWrite()
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	served, limited := strings.Count(string(b), "HTTP/1.1 200 "), strings.Count(string(b), "HTTP/1.1 429 ")
	if served < 50 || limited == 0 || served+limited != 200 {
		t.Errorf("%d of 200 served and %d limited, want 50 and what time brings", served, limited)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "tenantgate_enrolment_requests_total" {
			for _, m := range f.GetMetric() {
				counted[m.GetLabel()[1].GetValue()] += m.GetCounter().GetValue()
			}
		}
	}
	if int(counted["served"]) != served || int(counted["limited"]) != limited {
		t.Errorf("%d served, %d limited, but counted were %v", served, limited, counted)
	}
}

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := enrolment.Bound(inner)
	defer l.Close()
	accepted := make(chan net.Conn, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	open := func() net.Conn {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var first net.Conn
	for range 32 {
		open()
		first = <-accepted
	}
	refused := open()
	_ = refused.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := refused.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the 33rd connection of an address: %v", err)
	}
	first.Close()
	first.Close() // counts once
	open()
	<-accepted
	refused = open()
	_ = refused.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := refused.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("after one was closed and another opened: %v", err)
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}
