package token_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// metadataServer answers everything below /.well-known/ with metadata and the rest with tokens.
type metadataServer struct {
	*httptest.Server
	cred token.Credential // by issuer

	mu       sync.Mutex
	metadata http.HandlerFunc
	asked    []string // paths, and "with certificate" behind one where the client showed it
}

func newMetadataServer(t *testing.T) *metadataServer {
	t.Helper()
	m := &metadataServer{}
	var server *httptest.Server
	m.cred = tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.asked = append(m.asked, r.URL.Path)
		if len(r.TLS.PeerCertificates) > 0 {
			m.asked = append(m.asked, "with certificate")
		}
		metadata := m.metadata
		m.mu.Unlock()
		if strings.Contains(r.URL.Path, "/.well-known/") {
			metadata(w, r)
			return
		}
		_, _ = io.WriteString(w, good)
	}, func(s *httptest.Server) { server, s.TLS = s, &tls.Config{ClientAuth: tls.RequestClientCert} })
	m.Server = server
	m.cred.TokenURL, m.cred.Issuer = "", server.URL
	m.serve(map[string]any{})
	return m
}

// serve has the metadata be these, with issuer and token_endpoint added where they are missing.
func (m *metadataServer) serve(fields map[string]any) {
	for name, value := range map[string]any{"issuer": m.URL, "token_endpoint": m.URL + "/token"} {
		if _, given := fields[name]; !given {
			fields[name] = value
		}
	}
	m.set(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(fields) })
}

func (m *metadataServer) set(h http.HandlerFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.metadata = h
}

// taken returns the paths that were asked for since the last call.
func (m *metadataServer) taken() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked := strings.Join(m.asked, " ")
	m.asked = nil
	return asked
}

// An issuer whose metadata cannot be read fails as a token server does; one that has none at that address does not.
func TestAnIssuerThatFailsIsKnownToFail(t *testing.T) {
	for code, failing := range map[int]bool{500: true, 200: true, 404: false} {
		m := newMetadataServer(t)
		m.set(status(code, "no metadata"))
		e := &token.Engine{}
		defer e.Close()
		mustFail(t, e.Source(m.cred))
		if servers := e.Servers(); len(servers) != 1 || servers[0].Failing != failing || servers[0].Without != 1 {
			t.Errorf("status %d: got %+v", code, servers)
		}
	}
}

func TestDiscoveryFindsTheTokenEndpoint(t *testing.T) {
	m := newMetadataServer(t)
	e := &token.Engine{}
	defer e.Close()
	s := e.Source(m.cred)
	if got := e.Endpoint(m.cred.ID); got != "" {
		t.Errorf("before the first token the endpoint is %q", got)
	}
	mustToken(t, s)
	if got := e.Endpoint(m.cred.ID); got != m.URL+"/token" {
		t.Errorf("the endpoint is %q", got)
	}
	if got := m.taken(); got != "/.well-known/openid-configuration /token" {
		t.Errorf("asked for %s", got)
	}
	second := m.cred
	second.ID = "c2"
	mustToken(t, e.Source(second))
	if got := m.taken(); got != "/token" {
		t.Errorf("a second credential asked for %s: what is known was not shared", got)
	}
	stranger := m.cred
	stranger.ID, stranger.RootCAs = "c3", x509.NewCertPool()
	if err := mustFail(t, e.Source(stranger)); err.Step != token.StepDiscover || !strings.Contains(err.Description, "certificate") {
		t.Errorf("without trust in the issuer got %v: what another one trusts was shared", err)
	}
}

func TestDiscoveryAsksWhereTheStandardsSay(t *testing.T) {
	m := newMetadataServer(t)
	m.cred.Issuer += "/realms/acme"
	m.set(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/oauth-authorization-server/realms/acme" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q}`, m.cred.Issuer, m.URL+"/token")
	})
	e := &token.Engine{}
	defer e.Close()
	mustToken(t, e.Source(m.cred))
	if got, want := m.taken(), "/realms/acme/.well-known/openid-configuration /.well-known/oauth-authorization-server/realms/acme /token"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

// Whoever tells the way is shown no certificate.
func TestDiscoveryPrefersTheAliasForCertificates(t *testing.T) {
	m := newMetadataServer(t)
	m.serve(map[string]any{"mtls_endpoint_aliases": map[string]any{"token_endpoint": m.URL + "/mtls/token"}})
	e := &token.Engine{}
	defer e.Close()
	withCertificate := m.cred
	withCertificate.ID, withCertificate.Style, withCertificate.Certificate = "c2", token.MTLS, selfSigned(t, "erp")
	mustToken(t, e.Source(withCertificate))
	mustToken(t, e.Source(m.cred))
	if got := m.taken(); got != "/.well-known/openid-configuration /mtls/token with certificate /token" {
		t.Errorf("asked for %s", got)
	}
}

// XSUAA's metadata name the issuer of its tokens.
func TestDiscoveryKnowsXSUAAsIssuer(t *testing.T) {
	m := newMetadataServer(t)
	m.serve(map[string]any{"issuer": m.URL + "/oauth/token"})
	e := &token.Engine{}
	defer e.Close()
	mustToken(t, e.Source(m.cred))
}

func TestDiscoveryRefusesBadMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		fields map[string]any
		answer http.HandlerFunc
		says   string
	}{
		"another issuer":                 {fields: map[string]any{"issuer": "https://login.example.com"}, says: `issuer "https://login.example.com"`},
		"another host's /oauth/token":    {fields: map[string]any{"issuer": "https://login.example.com/oauth/token"}, says: "section 3.3"},
		"issuer but for a slash":         {fields: map[string]any{"issuer": "SLASH"}, says: "section 3.3"},
		"no issuer":                      {fields: map[string]any{"issuer": nil}, says: "section 3.3"},
		"no token endpoint":              {fields: map[string]any{"token_endpoint": nil}, says: "no token_endpoint"},
		"token endpoint without TLS":     {fields: map[string]any{"token_endpoint": "http://login.example.com/token"}, says: "https"},
		"token endpoint on plain lo":     {fields: map[string]any{"token_endpoint": "http://127.0.0.1:1/token"}, says: "https"},
		"token endpoint with a password": {fields: map[string]any{"token_endpoint": "https://a:b@login.example.com/token"}, says: "without user"},
		"alias without TLS":              {fields: map[string]any{"mtls_endpoint_aliases": map[string]any{"token_endpoint": "http://127.0.0.1:1/"}}, says: "https"},
		"alias of another type":          {fields: map[string]any{"mtls_endpoint_aliases": "x"}, says: "mtls_endpoint_aliases"},
		"token endpoint of another type": {fields: map[string]any{"token_endpoint": 1}, says: "token_endpoint"},
		"HTML":                           {answer: status(200, "<html>", "Content-Type", "text/html"), says: "no JSON object"},
		"too large":                      {answer: status(200, `{"issuer":"`+strings.Repeat("x", 1<<20)+`"}`), says: "larger than"},
		"server error":                   {answer: status(503, ""), says: "status 503"},
		"nowhere":                        {answer: status(404, ""), says: "/.well-known/oauth-authorization-server"},
		"redirect":                       {answer: status(302, "", "Location", "https://login.example.com/"), says: "redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMetadataServer(t)
			switch {
			case c.answer != nil:
				m.set(c.answer)
			case c.fields["issuer"] == "SLASH":
				m.serve(map[string]any{"issuer": m.URL + "/"})
			default:
				m.serve(c.fields)
			}
			e := &token.Engine{}
			defer e.Close()
			err := mustFail(t, e.Source(m.cred))
			if err.Step != token.StepDiscover || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want discover: ... %s", err, c.says)
			}
			if asked := m.taken(); strings.Contains(asked, "/token") {
				t.Errorf("asked for %s: a secret went out", asked)
			}
		})
	}
}

// plainIssuer is a token server of the bubble that is also an issuer, http://localhost.
func plainIssuer(s *tokenServer) (metadata *atomic.Pointer[http.HandlerFunc], reads *atomic.Int32) {
	metadata, reads = new(atomic.Pointer[http.HandlerFunc]), new(atomic.Int32)
	described := status(200, `{"issuer":"http://localhost","token_endpoint":"http://localhost/token"}`)
	metadata.Store(&described)
	tokens := s.lifetime("3600")
	s.set(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			reads.Add(1)
			(*metadata.Load())(w, r)
			return
		}
		tokens(w, r)
	})
	return metadata, reads
}

func byIssuer(id string) token.Credential {
	c := credential()
	c.ID, c.TokenURL, c.Issuer = id, "", "http://localhost"
	return c
}

func TestDiscoveryIsReadAgainAndKeepsTheLastGoodValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := newTokenServer(t)
		var log strings.Builder
		e.Logger = slog.New(slog.NewTextHandler(&log, nil))
		metadata, reads := plainIssuer(s)
		fresh := func(id string) { // a token that is not cached yet
			t.Helper()
			mustToken(t, e.Source(byIssuer(id)))
			synctest.Wait()
		}
		fresh("a")
		time.Sleep(59 * time.Minute)
		fresh("b")
		if got := reads.Load(); got != 1 {
			t.Fatalf("within the hour the metadata were read %d times", got)
		}
		down := status(503, "")
		metadata.Store(&down)
		time.Sleep(2 * time.Minute)
		before := time.Now()
		fresh("c") // with what was read before
		if waited := time.Since(before); waited != 0 {
			t.Errorf("a token waited %v for metadata that were known", waited)
		}
		fresh("d")
		if got := reads.Load(); got != 2 {
			t.Errorf("a failing issuer was asked %d times, want 2: once an hour ago, once now", got)
		}
		var hang http.HandlerFunc = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		metadata.Store(&hang)
		time.Sleep(2 * time.Minute)
		before = time.Now()
		mustToken(t, e.Source(byIssuer("e")))
		if waited := time.Since(before); waited != 0 {
			t.Errorf("a token waited %v for an issuer that hangs", waited)
		}
		moved := status(200, `{"issuer":"http://localhost","token_endpoint":"http://localhost/moved"}`)
		metadata.Store(&moved)
		time.Sleep(2 * time.Minute)
		fresh("f")
		if got := e.Endpoint("f"); got != "http://localhost/moved" {
			t.Errorf("the endpoint is still %s", got)
		}
		if got := log.String(); strings.Count(got, "token endpoint discovered") != 2 || !strings.Contains(got, "level=WARN msg=\"token endpoint discovered\"") ||
			!strings.Contains(got, "not read again") {
			t.Errorf("the log says %s", got)
		}
	})
}

func TestDiscoveryFailureIsFoundOutOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := newTokenServer(t)
		metadata, reads := plainIssuer(s)
		described := metadata.Load()
		down := status(500, "")
		metadata.Store(&down)
		for i := range 100 {
			if err := mustFail(t, e.Source(byIssuer(fmt.Sprint(i)))); err.Step != token.StepDiscover {
				t.Fatalf("got %v, want discover", err)
			}
		}
		if got := reads.Load(); got != 1 {
			t.Errorf("100 credentials asked %d times, want 1", got)
		}
		metadata.Store(described)
		time.Sleep(10 * time.Second)
		mustToken(t, e.Source(byIssuer("1")))
	})
}

// An endpoint that is not there any more is not waited for until the hour is over.
func TestDiscoveryIsDoubtedWhenTheEndpointIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := newTokenServer(t)
		mustMove := atomic.Bool{}
		tokens := s.lifetime("3600")
		s.set(func(w http.ResponseWriter, r *http.Request) {
			path := "/old"
			if mustMove.Load() {
				path = "/new"
			}
			switch {
			case strings.HasPrefix(r.URL.Path, "/.well-known/"):
				fmt.Fprintf(w, `{"issuer":"http://localhost","token_endpoint":"http://localhost%s"}`, path)
			case r.URL.Path == path:
				tokens(w, r)
			default:
				http.NotFound(w, r)
			}
		})
		mustToken(t, e.Source(byIssuer("a")))
		mustMove.Store(true)
		source := e.Source(byIssuer("b"))
		mustFail(t, source)
		for end := time.Now().Add(10 * time.Minute); ; time.Sleep(10 * time.Second) {
			if _, err := source.Token(t.Context()); err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatal("ten minutes later the old endpoint is still asked")
			}
		}
	})
}

func TestDiscoveryOfOIDCProvider(t *testing.T) {
	p := outside.StartOIDCProvider(t, outsideClients...)
	certificate := p.ClientCertificate(holder)
	e := &token.Engine{}
	defer e.Close()
	for style, n := range map[token.Style]int{token.Body: 1, token.Basic: 0, token.MTLS: 2} {
		cred := outsideCredential(p, style, n)
		cred.TokenURL, cred.Issuer, cred.Certificate = "", p.Issuer, &certificate
		mustToken(t, e.Source(cred))
	}
	for _, r := range p.Requests() {
		if r.Alias != (r.Proof == "certificate") {
			t.Errorf("got request %+v: only certificates belong to the alias", r)
		}
	}
}

func TestCredentialRefusesParametersThatAreNotItsOwn(t *testing.T) {
	s, e := newTokenServer(t)
	for _, parameters := range []string{"grant_type=password", "scope=all", "client_id=other", "client_secret=x", "client_assertion=x",
		"client_assertion_type=x", "resource=a&scope=b", "broken=%zz"} {
		c := credential()
		c.Parameters = parameters
		if err := mustFail(t, e.Source(c)); err.Step != token.StepRequest || !strings.Contains(err.Description, "parameter") {
			t.Errorf("%s: got %v", parameters, err)
		}
	}
	if got := s.count(); got != 0 {
		t.Errorf("%d requests went out", got)
	}
}
