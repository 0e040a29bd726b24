package publish_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/publish"
)

type site struct {
	env *pkitest.Env
	url string
	t   *testing.T
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := newSiteWithoutList(t)
	if _, err := s.env.CA.CRL(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func newSiteWithoutList(t *testing.T) *site {
	t.Helper()
	env := pkitest.New(t)
	server := httptest.NewServer(&publish.Handler{CA: env.CA, Trust: env.CA.Trust})
	t.Cleanup(server.Close)
	return &site{env, server.URL, t}
}

// send makes one request; header lines are "Name: value".
func (s *site) send(method, path string, body []byte, header ...string) (*http.Response, []byte) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response, content
}

func TestTheListIsServedForCaches(t *testing.T) {
	s := newSite(t)
	path := pki.CRLPath(pki.PublicID(s.env.CA.Intermediate()))
	response, content := s.send("GET", path, nil)
	crl, err := s.env.CA.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 200 || !bytes.Equal(content, crl.DER) || response.Header.Get("Content-Type") != "application/pkix-crl" {
		t.Errorf("%s, %s, %d octets", response.Status, response.Header.Get("Content-Type"), len(content))
	}
	if got := response.Header.Get("Cache-Control"); !strings.Contains(got, "max-age=60") {
		t.Errorf("Cache-Control %q", got)
	}
	tag, modified := response.Header.Get("ETag"), response.Header.Get("Last-Modified")
	for _, condition := range []string{"If-None-Match: " + tag, "If-Modified-Since: " + modified} {
		if response, _ := s.send("GET", path, nil, condition); response.StatusCode != http.StatusNotModified {
			t.Errorf("%s: %s", condition, response.Status)
		}
	}
	s.env.Revoke(s.env.Client("c"), "superseded")
	if _, err := s.env.CA.CRL(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, condition := range []string{"If-None-Match: " + tag, "If-Modified-Since: " + modified} { // within the same second
		if response, content := s.send("GET", path, nil, condition); response.StatusCode != 200 || bytes.Equal(content, crl.DER) {
			t.Errorf("after a revocation, %s: %s", condition, response.Status)
		}
	}
}

// A list that could not be made yet is not one that does not exist.
func TestAListThatIsNotThereYetIsToBeAskedForAgain(t *testing.T) {
	s := newSiteWithoutList(t)
	path := pki.CRLPath(pki.PublicID(s.env.CA.Intermediate()))
	if response, _ := s.send("GET", path, nil); response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("before there is one: %s", response.Status)
	}
	if _, err := s.env.CA.CRL(t.Context()); err != nil {
		t.Fatal(err)
	}
	if response, _ := s.send("GET", path, nil); response.StatusCode != http.StatusOK {
		t.Errorf("then: %s", response.Status)
	}
}

func TestCertificatesOfTheCAAreServed(t *testing.T) {
	s := newSite(t)
	for _, c := range append(s.env.CA.Trust().Roots(), s.env.CA.Intermediate()) {
		response, content := s.send("GET", pki.CertificatePath(pki.PublicID(c)), nil)
		if response.StatusCode != 200 || !bytes.Equal(content, c.Raw) || response.Header.Get("Content-Type") != "application/pkix-cert" {
			t.Errorf("%s: %s", c.Subject, response.Status)
		}
	}
}

func TestOCSPByGetAndPost(t *testing.T) {
	s := newSite(t)
	leaf := s.env.Client("erp").Leaf
	request, err := ocsp.CreateRequest(leaf, s.env.CA.Intermediate(), nil)
	if err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString(request)
	for _, c := range []struct {
		method, path string
		body         []byte
	}{
		{"POST", "/ocsp", request},
		{"GET", "/ocsp/" + url.PathEscape(encoded), nil},
		{"GET", "/ocsp/" + encoded, nil}, // as some clients send it
	} {
		response, content := s.send(c.method, c.path, c.body)
		parsed, err := ocsp.ParseResponseForCert(content, leaf, s.env.CA.Intermediate())
		if err != nil || parsed.Status != ocsp.Good || response.Header.Get("Content-Type") != "application/ocsp-response" {
			t.Errorf("%s %s: %s, %v", c.method, c.path, response.Status, err)
		}
		if cached := strings.Contains(response.Header.Get("Cache-Control"), "max-age"); cached != (c.method == "GET") {
			t.Errorf("%s: Cache-Control %q", c.method, response.Header.Get("Cache-Control"))
		}
	}
	for name, c := range map[string]struct {
		method, path string
		body         []byte
	}{
		"a page's worth":    {"POST", "/ocsp", make([]byte, 100_000)},
		"nothing":           {"POST", "/ocsp", nil},
		"nothing by GET":    {"GET", "/ocsp", nil},
		"no base64":         {"GET", "/ocsp/!!", nil},
		"too long a path":   {"GET", "/ocsp/" + strings.Repeat("A", 8000), nil},
		"base64 of nothing": {"GET", "/ocsp/AAAA", nil},
	} {
		response, content := s.send(c.method, c.path, c.body)
		if response.StatusCode != 200 || !bytes.Equal(content, ocsp.MalformedRequestErrorResponse) || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s, %x", name, response.Status, content)
		}
	}
}

// Answers begin with the minute, so that the one after a revocation may have the time of the one before.
func TestOCSPIsNotUnmodifiedByItsTime(t *testing.T) {
	s := newSite(t)
	lost := s.env.Client("lost")
	request, err := ocsp.CreateRequest(lost.Leaf, s.env.CA.Intermediate(), nil)
	if err != nil {
		t.Fatal(err)
	}
	path := pki.OCSPPath + "/" + url.PathEscape(base64.StdEncoding.EncodeToString(request))
	if good, _ := s.send("GET", path, nil); good.StatusCode != http.StatusOK {
		t.Fatal(good.Status)
	}
	s.env.Revoke(lost, "keyCompromise")
	since := "If-Modified-Since: " + time.Now().UTC().Format(http.TimeFormat)
	response, der := s.send("GET", path, nil, since)
	if answer, err := ocsp.ParseResponse(der, s.env.CA.Intermediate()); err != nil || answer.Status != ocsp.Revoked {
		t.Errorf("%s, %+v, %v", response.Status, answer, err)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	s := newSite(t)
	id := pki.PublicID(s.env.CA.Intermediate())
	for _, path := range []string{"/", "/crl/", "/crl/" + id, "/crl/" + strings.ToUpper(id) + ".crl", "/crl/../" + id + ".crl", "/ca/" + id + ".crl",
		"/crl/0123456789abcdef.crl", "/ocspx", "/v1/status", "/metrics", "/healthz"} {
		if response, _ := s.send("GET", path, nil); response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	for _, c := range [][2]string{{"POST", pki.CRLPath(id)}, {"DELETE", pki.CRLPath(id)}, {"PUT", "/ocsp"}, {"POST", "/ocsp/AAAA"}} {
		if response, _ := s.send(c[0], c[1], nil); response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") == "" {
			t.Errorf("%s %s: %s", c[0], c[1], response.Status)
		}
	}
}
