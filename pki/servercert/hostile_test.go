package servercert_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/pki/servercert"
)

// server is an ACME server that checks nothing and asks for no challenge, with a knob for each thing that it may do wrong.
type server struct {
	*httptest.Server
	chain    func(*x509.CertificateRequest) []byte             // what it issues
	instead  func(w http.ResponseWriter, r *http.Request) bool // answers a request in its place
	advises  bool                                              // on renewal, by instead
	requests atomic.Int64
	issued   []byte
}

func newServer(t *testing.T) *server {
	s := &server{}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// ServeHTTP implements [http.Handler].
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if s.instead != nil && s.instead(w, r) {
		return
	}
	w.Header().Set("Replay-Nonce", fmt.Sprint("nonce-", s.requests.Load()))
	answer := func(status int, location string, v map[string]any) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", s.URL+location)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	order := map[string]any{"status": "ready", "identifiers": []any{map[string]any{"type": "dns", "value": "gate.example.com"}},
		"authorizations": []string{s.URL + "/authorization"}, "finalize": s.URL + "/finalize"}
	switch r.URL.Path {
	case "/directory":
		directory := map[string]any{"newNonce": s.URL + "/nonce", "newAccount": s.URL + "/account", "newOrder": s.URL + "/order"}
		if s.advises {
			directory["renewalInfo"] = s.URL + "/advice"
		}
		answer(200, "", directory)
	case "/account":
		answer(201, "/account/1", map[string]any{"status": "valid"})
	case "/order":
		answer(201, "/order/1", order)
	case "/authorization":
		answer(200, "", map[string]any{"status": "valid", "identifier": map[string]any{"type": "dns", "value": "gate.example.com"}})
	case "/finalize":
		var jws struct{ Payload string }
		var payload struct{ CSR string }
		_ = json.NewDecoder(r.Body).Decode(&jws)
		text, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
		_ = json.Unmarshal(text, &payload)
		der, _ := base64.RawURLEncoding.DecodeString(payload.CSR)
		if csr, err := x509.ParseCertificateRequest(der); err == nil {
			s.issued = s.chain(csr)
		}
		order["status"], order["certificate"] = "valid", s.URL+"/certificate"
		answer(200, "/order/1", order)
	case "/certificate":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(s.issued)
	}
}

// openAt opens a source at the server, which has no challenge answered.
func openAt(t *testing.T, env *pkitest.Env, s *server) *node {
	return open(t, env, servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: s.URL + "/directory", Challenges: []string{servercert.HTTP01},
		TrustedRoots: s.roots()})
}

// Whatever an ACME server sends for a certificate, only one that was ordered is ever served.
func TestACertificateThatWasNotOrderedIsNeverServed(t *testing.T) {
	ca := newPublic(t)
	own := func(change func(*x509.Certificate), names ...string) func(csr *x509.CertificateRequest) []byte {
		return func(csr *x509.CertificateRequest) []byte {
			return pki.EncodeCertificates(ca.issue(csr.PublicKey, change, names...), ca.inter)
		}
	}
	for _, c := range []struct {
		name  string
		chain func(*x509.CertificateRequest) []byte
		want  string
	}{
		{"other name", own(nil, "other.example.org"), "is for other.example.org"},
		{"other key", func(*x509.CertificateRequest) []byte { cert, _, _ := ca.pair("gate.example.com"); return cert }, "the key belongs to none"},
		{"expired", own(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, "gate.example.com"), "expired on"},
		{"not yet valid", own(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "gate.example.com"), "not valid before"},
		{"for clients", own(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "gate.example.com"), "not for servers"},
		{"a CA", own(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, "gate.example.com"), "that of a CA"},
		{"rubbish", func(*x509.CertificateRequest) []byte { return []byte("-----BEGIN CERTIFICATE-----\nrubbish") }, "gave none"},
		{"nothing", func(*x509.CertificateRequest) []byte { return nil }, "gave none"},
		{"a private key", func(*x509.CertificateRequest) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
		}, "gave none"},
		{"eleven certificates", func(csr *x509.CertificateRequest) []byte {
			all := []*x509.Certificate{ca.issue(csr.PublicKey, nil, "gate.example.com")}
			for range 10 {
				all = append(all, ca.inter)
			}
			return pki.EncodeCertificates(all...)
		}, "a chain of 11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.chain = c.chain
			env := pkitest.New(t)
			n := openAt(t, env, s)
			eventually(t, "a refusal", func() bool { return strings.Contains(n.log.String(), "the ACME server gave none") })
			state := n.States()[0]
			if n.Certificate("gate.example.com", &tls.ClientHelloInfo{}) != nil || state.Problem == "" || state.Next.Before(time.Now().Add(time.Minute)) ||
				!strings.Contains(n.log.String(), c.want) {
				t.Errorf("state %+v, want %q", state, c.want)
			}
			var stored int
			if err := env.DB.QueryRow(`SELECT COUNT(*) FROM pki_storage WHERE path LIKE 'certificates/%'`).Scan(&stored); err != nil || stored != 0 {
				t.Errorf("%d parts of it are stored, %v", stored, err)
			}
		})
	}
}

// The same server is believed when it does what it should.
func TestACertificateThatWasOrderedIsServed(t *testing.T) {
	ca, s := newPublic(t), newServer(t)
	s.chain = func(csr *x509.CertificateRequest) []byte { // the root and the wrong order do no harm
		return pki.EncodeCertificates(ca.root, ca.inter, ca.issue(csr.PublicKey, nil, "gate.example.com"))
	}
	n := openAt(t, pkitest.New(t), s)
	eventually(t, "a certificate", n.has("gate.example.com"))
	if c := n.Certificate("gate.example.com", &tls.ClientHelloInfo{}); len(c.Certificate) != 2 {
		t.Errorf("%d certificates are sent", len(c.Certificate))
	}
}

func TestAnACMEServerThatMisbehavesCostsLittle(t *testing.T) {
	secret := "internal-secret"
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, secret) }))
	defer inner.Close()
	asked := &atomic.Int64{}
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	for _, c := range []struct {
		name    string
		instead func(s *server) func(w http.ResponseWriter, r *http.Request) bool
		want    string
	}{
		{"rubbish", func(*server) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, "\x1b[31m{{{")
				return true
			}
		}, "invalid character"},
		{"10 MB", func(*server) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "application/json")
				w.Write([]byte(`{"x":"` + strings.Repeat("x", 10<<20) + `"}`))
				return true
			}
		}, "larger than 512 KiB"},
		{"an error of 10 MB", func(*server) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(500)
				w.Write([]byte(strings.Repeat("y", 10<<20)))
				return true
			}
		}, "larger than 512 KiB"},
		{"redirect", func(*server) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, other.URL+"/directory", http.StatusFound)
				return true
			}
		}, "redirects"},
		{"addresses in the clear", func(*server) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"newNonce": %q, "newAccount": %q, "newOrder": %q}`, inner.URL, inner.URL, inner.URL)
				return true
			}
		}, "which is not https"},
		{"other server", func(s *server) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool { return false }
		}, "certificate signed by unknown authority"},
		{"no", func(*server) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/account" {
					return false
				}
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(403)
				io.WriteString(w, `{"type":"urn:ietf:params:acme:error:unauthorized","detail":"not you\u001b[2J `+strings.Repeat("z", 3000)+`"}`)
				return true
			}
		}, "not you"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.instead = c.instead(s)
			o := servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: s.URL + "/directory", Challenges: []string{servercert.HTTP01},
				TrustedRoots: s.roots()}
			if c.name == "other server" {
				o.TrustedRoots = x509.NewCertPool()
			}
			n := open(t, pkitest.New(t), o)
			eventually(t, "a refusal", func() bool { return strings.Contains(n.log.String(), "the ACME server gave none") })
			state := n.States()[0]
			if !strings.Contains(state.Problem, c.want) || len(state.Problem) > 520 || strings.Contains(state.Problem, "\x1b") {
				t.Errorf("problem %q, want %q", state.Problem, c.want)
			}
			if strings.Contains(n.log.String(), secret) || asked.Load() > 0 {
				t.Error("another server was asked")
			}
			if n := s.requests.Load(); n > 40 {
				t.Errorf("%d requests in one attempt", n)
			}
		})
	}
}

// A server that hangs holds nothing up: opening and closing are done at once.
func TestAnACMEServerThatHangsHoldsNothingUp(t *testing.T) {
	s := newServer(t)
	hanging := make(chan struct{}, 10)
	s.instead = func(_ http.ResponseWriter, r *http.Request) bool {
		hanging <- struct{}{}
		<-r.Context().Done()
		return true
	}
	env := pkitest.New(t)
	storage, err := env.CA.Storage()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	a, err := servercert.OpenACME(t.Context(), servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: s.URL + "/directory", AgreeTerms: true,
		Challenges: []string{servercert.HTTP01}, TrustedRoots: s.roots(), Storage: storage, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	<-hanging
	a.Close()
	storage.Close()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	var locks int
	if err := env.DB.QueryRow(`SELECT COUNT(*) FROM pki_locks`).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d locks left, %v", locks, err)
	}
}
