package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// tlsServer starts an HTTPS server and returns a credential for it.
func tlsServer(t *testing.T, h http.HandlerFunc, change ...func(*httptest.Server)) token.Credential {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, f := range change {
		f(server)
	}
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c := credential()
	c.TokenURL, c.RootCAs = server.URL+"/oauth/token", roots
	return c
}

// selfSigned makes a client certificate that chains to nothing.
func selfSigned(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

const good = `{"access_token":"abc","token_type":"bearer","expires_in":3600}`

func TestStylesOnTheWire(t *testing.T) {
	const id, secret = "sb-1!b2|it!b3", "0b1c$x+y/=="
	for _, c := range []struct {
		style         token.Style
		authorization string // decoded
		form          url.Values
		encoded       string
	}{
		{token.Body, "", url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {"a b"}}, ""},
		{token.Basic, url.QueryEscape(id) + ":" + url.QueryEscape(secret), url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}}, "true"},
		{token.BasicRaw, id + ":" + secret, url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}}, ""},
		{token.MTLS, "", url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "scope": {"a b"}}, ""},
	} {
		t.Run(string(c.style), func(t *testing.T) {
			var requests atomic.Int64
			cred := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				if err := r.ParseForm(); err != nil {
					t.Error(err)
				}
				if got := r.PostForm.Encode(); got != c.form.Encode() || r.URL.RawQuery != "" {
					t.Errorf("got form %s and query %q, want %s", got, r.URL.RawQuery, c.form.Encode())
				}
				user, pass, ok := r.BasicAuth()
				if got := user + ":" + pass; ok != (c.authorization != "") || (ok && got != c.authorization) {
					t.Errorf("got Authorization %q, want %q", got, c.authorization)
				}
				if got := r.Header.Get("X-CF-ENCODED-CREDENTIALS"); got != c.encoded {
					t.Errorf("got X-CF-ENCODED-CREDENTIALS %q, want %q", got, c.encoded)
				}
				if r.Header.Get("Accept") != "application/json" || r.Header.Get("Cookie") != "" || r.Header.Get("Accept-Encoding") != "" {
					t.Errorf("got headers %v", r.Header)
				}
				if got := len(r.TLS.PeerCertificates); (got > 0) != (c.style == token.MTLS) {
					t.Errorf("got %d client certificates", got)
				}
				w.Header().Set("Set-Cookie", "a=b")
				_, _ = io.WriteString(w, good)
			}, func(s *httptest.Server) {
				// The server names one authority, which the certificate does not chain to.
				other := x509.NewCertPool()
				other.AddCert(selfSigned(t, "some CA").Leaf)
				s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, ClientCAs: other}
			})
			cred.Style, cred.ClientID, cred.Secret, cred.Scope = c.style, id, token.NewSecret(secret), "a b"
			cred.Certificate = selfSigned(t, "client")
			e := &token.Engine{}
			defer e.Close()
			tok := mustToken(t, e.Source(cred))
			if tok.Header() != "Bearer abc" || tok.Value.Reveal() != "abc" {
				t.Errorf("got header %q", tok.Header())
			}
			if requests.Load() != 1 {
				t.Errorf("got %d requests, want 1: no probing", requests.Load())
			}
		})
	}
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://192.0.2.1:1")
	}
	cred := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) })
	e := &token.Engine{}
	defer e.Close()
	mustToken(t, e.Source(cred))
}

func TestFaultsOfTheTokenServer(t *testing.T) {
	reply := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	var elsewhere atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(target.Close)
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		change  func(*token.Credential)
		step    token.Step
		text    string
	}{
		{name: "500", handler: reply(500, "boom"), step: token.StepStatus, text: "status 500"},
		{name: "429 HTML", handler: reply(429, "<html>", "Content-Type", "text/html", "Retry-After", "7"), step: token.StepStatus, text: "text/html"},
		{name: "HTML 200", handler: reply(200, "<html>", "Content-Type", "text/html"), step: token.StepParse, text: "text/html"},
		{name: "truncated JSON", handler: reply(200, good[:20]), step: token.StepParse, text: "no JSON object"},
		{name: "two documents", handler: reply(200, good+good), step: token.StepParse, text: "something follows"},
		{name: "null", handler: reply(200, "null"), step: token.StepParse, text: "no JSON object"},
		{name: "10 MB", handler: reply(200, `{"a":"`+strings.Repeat("x", 10<<20)+`"}`), step: token.StepParse, text: "larger than 1048576 bytes"},
		{name: "10 MB error", handler: reply(500, strings.Repeat("x", 10<<20)), step: token.StepStatus, text: "status 500"},
		{name: "redirect 302", handler: reply(302, "", "Location", target.URL+"/?secret=1"), step: token.StepStatus, text: "redirects to " + target.URL},
		{name: "redirect 307", handler: reply(307, "", "Location", target.URL), step: token.StepStatus, text: "not followed with a secret"},
		{name: "redirect 308 nowhere", handler: reply(308, ""), step: token.StepStatus, text: "redirects elsewhere"},
		{name: "204", handler: reply(204, ""), step: token.StepStatus, text: "status 204"},
		{name: "error with 200", handler: reply(200, `{"error":"invalid_client"}`), step: token.StepRefused, text: "invalid_client"},
		{name: "403", handler: reply(403, ""), step: token.StepRefused, text: "status 403"},
		{name: "invalid_scope", handler: reply(400, `{"error":"invalid_scope"}`), step: token.StepStatus, text: "invalid_scope"},
		{name: "mac token", handler: reply(200, `{"access_token":"a","token_type":"mac"}`), step: token.StepParse, text: "not bearer"},
		{name: "no token type", handler: reply(200, `{"access_token":"a"}`), step: token.StepParse, text: "no token_type"},
		{name: "empty token", handler: reply(200, `{"access_token":"","token_type":"bearer"}`), step: token.StepParse, text: "no access_token"},
		{name: "no token", handler: reply(200, `{"token_type":"bearer"}`), step: token.StepParse, text: "no access_token"},
		{name: "other case", handler: reply(200, `{"Access_Token":"a","token_type":"bearer"}`), step: token.StepParse, text: "no access_token"},
		{name: "newline in token", handler: reply(200, `{"access_token":"a\nX: y","token_type":"bearer"}`), step: token.StepParse, text: "control"},
		{name: "space in token", handler: reply(200, `{"access_token":"a b","token_type":"bearer"}`), step: token.StepParse, text: "space"},
		{name: "token is a number", handler: reply(200, `{"access_token":7,"token_type":"bearer"}`), step: token.StepParse, text: "no string"},
		{name: "huge token", handler: reply(200, `{"access_token":"`+strings.Repeat("x", 65<<10)+`","token_type":"bearer"}`), step: token.StepParse, text: "longer than"},
		{name: "body cut off", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "500")
			_, _ = io.WriteString(w, good)
		}, step: token.StepRequest, text: "unexpected EOF"},
		{name: "no answer", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, step: token.StepRequest, text: "EOF"},
		{name: "header bomb", handler: reply(200, good, "X-Bomb", strings.Repeat("x", 200<<10)), step: token.StepRequest, text: "exceeded"},
		{name: "unknown CA", handler: reply(200, good), change: func(c *token.Credential) { c.RootCAs = x509.NewCertPool() }, step: token.StepTLS, text: "unknown authority"},
		{name: "system roots", handler: reply(200, good), change: func(c *token.Credential) { c.RootCAs = nil }, step: token.StepTLS, text: "unknown authority"},
		{name: "nobody listens", change: func(c *token.Credential) { c.TokenURL = "https://127.0.0.1:1/oauth/token" }, step: token.StepDial, text: "refused"},
		{name: "no such host", change: func(c *token.Credential) { c.TokenURL = "https://nothing.invalid/oauth/token" }, step: token.StepDial, text: "nothing.invalid"},
		{name: "plain http", change: func(c *token.Credential) { c.TokenURL = "http://example.com/oauth/token" }, step: token.StepRequest, text: "https"},
		{name: "user in URL", change: func(c *token.Credential) { c.TokenURL = "https://u:p@example.com/" }, step: token.StepRequest, text: "without user"},
		{name: "no secret", change: func(c *token.Credential) { c.Secret = token.Secret{} }, step: token.StepRequest, text: "needs a client secret"},
		{name: "no certificate", change: func(c *token.Credential) { c.Style = token.MTLS }, step: token.StepRequest, text: "needs a certificate"},
		{name: "no style", change: func(c *token.Credential) { c.Style = "" }, step: token.StepRequest, text: "none of body"},
		{name: "colon", change: func(c *token.Credential) { c.Style, c.ClientID = token.BasicRaw, "a:b" }, step: token.StepRequest, text: "colon"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.handler == nil {
				c.handler = reply(200, good)
			}
			cred := tlsServer(t, c.handler)
			if c.change != nil {
				c.change(&cred)
			}
			e := &token.Engine{}
			defer e.Close()
			got := mustFail(t, e.Source(cred))
			if got.Step != c.step || !strings.Contains(got.Error(), c.text) {
				t.Errorf("got step %s: %v; want step %s with %q", got.Step, got, c.step, c.text)
			}
			if len(got.Error()) > 600 {
				t.Errorf("got an error of %d bytes", len(got.Error()))
			}
		})
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestAMissingClientCertificateIsATLSFault(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cred := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) }, func(s *httptest.Server) {
			s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: version}
		})
		e := &token.Engine{}
		if got := mustFail(t, e.Source(cred)); got.Step != token.StepTLS {
			t.Errorf("%s: got %v, want step tls", tls.VersionName(version), got)
		}
		e.Close()
	}
}

func TestASlowDripIsCutInTime(t *testing.T) {
	cred := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	e := &token.Engine{Timeout: 100 * time.Millisecond}
	defer e.Close()
	began := time.Now()
	if got := mustFail(t, e.Source(cred)); time.Since(began) > 5*time.Second || got.Description != "no answer in time" {
		t.Errorf("got %v after %v", got, time.Since(began))
	}
}

func TestLifetimes(t *testing.T) {
	const unknown = 5 * time.Minute
	for _, c := range []struct {
		expiresIn string // the JSON text, "" for none
		want      time.Duration
		told      bool
	}{
		{"", unknown, false}, {"null", unknown, false}, {"0", unknown, false}, {"-1", unknown, false}, {`"soon"`, unknown, false}, {`"NaN"`, unknown, false},
		{"{}", unknown, false}, {"true", unknown, false}, {`""`, unknown, false},
		{"60", time.Minute, true}, {"59", 59 * time.Second, true}, {"1", time.Second, true}, {"0.5", 500 * time.Millisecond, true}, {`"3600"`, time.Hour, true},
		{"-1e300", unknown, false}, {`"-5"`, unknown, false}, {"60.0", time.Minute, true}, {"6e1", time.Minute, true}, {`"60"`, time.Minute, true}, {`" 60.5 "`, 60500 * time.Millisecond, true},
		{"1e300", 7 * 24 * time.Hour, true}, {`"1e999"`, 7 * 24 * time.Hour, true}, {"99999999999", 7 * 24 * time.Hour, true}, {"43199", 43199 * time.Second, true},
	} {
		t.Run(c.expiresIn, func(t *testing.T) {
			cred := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) {
				member := ""
				if c.expiresIn != "" {
					member = `,"expires_in":` + c.expiresIn
				}
				fmt.Fprintf(w, `{"access_token":"a","token_type":"Bearer"%s}`, member)
			})
			fetched := make(chan token.Fetch, 1)
			e := &token.Engine{Observe: func(f token.Fetch) { fetched <- f }}
			defer e.Close()
			mustToken(t, e.Source(cred))
			if got := <-fetched; got.Lifetime != c.want || got.LifetimeTold != c.told {
				t.Errorf("got %v (told: %v), want %v (%v)", got.Lifetime, got.LifetimeTold, c.want, c.told)
			}
		})
	}
}

func TestALostScopeIsAnError(t *testing.T) {
	for _, c := range []struct {
		asked, granted string // granted: the JSON text, "" for none
		ok             bool
	}{
		{"a b", "", true}, {"a b", `"b a c"`, true}, {"a b", `"a"`, false}, {"a", `""`, false}, {"", `"x"`, true}, {"", "", true},
		{"ESBMessaging.send", `"it-rt-acme!b55215.ESBMessaging.send"`, true},
		{"it!b106.ESBMessaging.send", `"it-rt-acme!b106.ESBMessaging.send"`, true},
		{"Messaging.send", `"it-rt-acme!b55215.ESBMessaging.send"`, false},
		{"send", `"it-rt-acme!b55215.ESBMessaging.resend"`, false},
		{"a b", `["a","b"]`, true}, {"a b", `["a"]`, false}, {"a", "null", true}, {"a", "{}", false},
	} {
		t.Run(c.asked+"/"+c.granted, func(t *testing.T) {
			cred := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) {
				member := ""
				if c.granted != "" {
					member = `,"scope":` + c.granted
				}
				fmt.Fprintf(w, `{"access_token":"a","token_type":"bearer","expires_in":60%s}`, member)
			})
			cred.Scope = c.asked
			e := &token.Engine{}
			defer e.Close()
			if _, err := e.Source(cred).Token(t.Context()); (err == nil) != c.ok {
				t.Errorf("got %v, want ok=%v", err, c.ok)
			}
		})
	}
}

func TestAHangingServerHoldsOnlyItsOwnCredential(t *testing.T) {
	bad := tlsServer(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http notices a caller's end only behind the body
		<-r.Context().Done()
	})
	fine := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) })
	bad.ID = "bad"
	e := &token.Engine{}
	defer e.Close()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := e.Source(bad).Token(ctx)
		result <- err
	}()
	mustToken(t, e.Source(fine))
	cancel()
	if err := <-result; err == nil {
		t.Error("got a token from a hanging server")
	}
}

func TestAConnectionIsNotKept(t *testing.T) {
	open := atomic.Int64{}
	closed := make(chan struct{}, 1)
	cred := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) }, func(s *httptest.Server) {
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				if open.Add(-1) == 0 {
					closed <- struct{}{}
				}
			}
		}
	})
	e := &token.Engine{}
	defer e.Close()
	mustToken(t, e.Source(cred))
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection to the token server is still open")
	}
}
