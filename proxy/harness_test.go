package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// tenantsSpeak is the protocol of the gates' own tenants. A test that sets it must not run beside others.
var tenantsSpeak = identity.ProtocolHTTP1

// gate is a whole data plane on loopback with real parts: database, registry, CA, token engine, record file, and a tenant that keeps what reached it.
type gate struct {
	tb       testing.TB
	registry *identity.Registry
	ca       *pki.CA
	trust    atomic.Pointer[pki.Trust]
	server   *proxy.Server
	tokens   *token.Engine
	log      *record.Log
	logPath  string
	addr     string
	tenant   *tenant
	roots    *x509.CertPool
}

// newGate starts one with the identities orders (role orders.send) and stock (role stock.read) and these routes to the tenant acme:
//
//	orders  /http/orders/*  orders.send
//	exact   /http/exact     orders.send  (POST only, at most 1 KiB)
//	stock   /http/stock/*   stock.read
func newGate(tb testing.TB, limits proxy.Limits, with ...func(*proxy.Config)) *gate {
	tb.Helper()
	ctx := tb.Context()
	dir := tb.TempDir()
	g := &gate{tb: tb, logPath: filepath.Join(dir, "access.log"), tenant: newTenant(tb)}

	db, err := database.Open(ctx, filepath.Join(dir, "tenantgate.db"))
	must(tb, err)
	tb.Cleanup(func() { db.Close() })
	must(tb, database.Migrate(ctx, db, "identity", identity.Migrations()))
	must(tb, database.Migrate(ctx, db, "pki", pki.Migrations()))
	keyset, err := identity.GenerateKey()
	must(tb, err)
	sealer, err := identity.NewSealer(keyset)
	must(tb, err)
	g.registry, err = identity.Open(ctx, db.DB, sealer)
	must(tb, err)

	// Keys in memory: deriving one from a passphrase takes longer than most tests.
	authority, err := pki.NewAuthority(pki.InitOptions{TrustDomain: "test.internal"})
	must(tb, err)
	for name, c := range map[string]*x509.Certificate{"root_ca.crt": authority.Root, "intermediate_ca.crt": authority.Intermediate} {
		must(tb, os.WriteFile(filepath.Join(dir, name), pki.EncodeCertificates(c), 0o600))
	}
	g.ca, err = pki.Open(ctx, pki.Options{Dir: dir, Key: authority.IntermediateKey, TrustDomain: "test.internal", DB: db.DB, Sealer: sealer})
	must(tb, err)
	g.trust.Store(g.ca.Trust())
	certs, err := g.ca.ServerCertificates(ctx, []string{"localhost", "gate.test", "127.0.0.1"})
	must(tb, err)
	tb.Cleanup(func() { certs.Close() })
	g.roots = g.ca.Trust().CertPool()

	g.change(func(tx *identity.Tx) error {
		_, err := tx.AddTenant(ctx, identity.Tenant{Name: "acme", BaseURL: g.tenant.URL, TokenURL: g.tenant.URL + "/oauth/token", AuthStyle: "body", CABundle: g.tenant.caPEM, Protocol: tenantsSpeak})
		return err
	})
	for name, role := range map[string]string{"orders": "orders.send", "stock": "stock.read"} {
		g.addIdentity(name, role)
	}
	g.addRoute(identity.Route{Name: "orders", Path: "/http/orders/*", Tenant: "acme", Role: "orders.send"})
	g.addRoute(identity.Route{Name: "exact", Path: "/http/exact", Tenant: "acme", Role: "orders.send", Methods: []string{"POST"}, MaxBody: 1 << 10})
	g.addRoute(identity.Route{Name: "stock", Path: "/http/stock/*", Tenant: "acme", Role: "stock.read"})

	g.tokens = &token.Engine{}
	tb.Cleanup(func() { g.tokens.Close() })
	g.log, err = record.Open(record.LogOptions{Path: g.logPath, FlushInterval: time.Millisecond})
	must(tb, err)
	tb.Cleanup(func() { g.log.Close() })
	cfg := proxy.Config{
		Registry: g.registry, Trust: g.trust.Load, GetCertificate: certs.GetCertificate, Tokens: g.tokens, Log: g.log, Limits: limits,
	}
	for _, set := range with {
		set(&cfg)
	}
	g.server = proxy.New(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	g.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- g.server.Serve(l) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		g.server.Shutdown(ctx)
		if err := <-done; err != nil {
			tb.Errorf("Serve ended with %v", err)
		}
	})
	return g
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (g *gate) change(fn func(tx *identity.Tx) error) {
	g.tb.Helper()
	must(g.tb, g.registry.Change(g.tb.Context(), fn))
}

func (g *gate) addRoute(r identity.Route) {
	g.tb.Helper()
	g.change(func(tx *identity.Tx) error { _, err := tx.AddRoute(g.tb.Context(), r); return err })
}

// addIdentity adds an identity with a role and a credential of its own: client id and secret are derived from the name.
func (g *gate) addIdentity(name string, roles ...string) {
	g.tb.Helper()
	ctx := g.tb.Context()
	g.change(func(tx *identity.Tx) error {
		if _, err := tx.AddIdentity(ctx, identity.Identity{Name: name, Owner: "team-" + name, Roles: roles}); err != nil {
			return err
		}
		_, err := tx.AddCredential(ctx, identity.Credential{
			Identity: name, Tenant: "acme", ClientID: "sb-" + name, Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-" + name),
		})
		return err
	})
}

// client is a caller with a certificate.
type client struct {
	gate   *gate
	cert   tls.Certificate
	leaf   *x509.Certificate
	issued *pki.Issued // nil unless the gate's CA issued it
	*http.Client
	transport *http.Transport
}

// issue makes a key and a certificate bound to the identity, and a caller with its own connections that uses it.
func (g *gate) issue(name string) *client {
	g.tb.Helper()
	ctx := g.tb.Context()
	key, err := pki.GenerateKey("P-256")
	must(g.tb, err)
	var issued *pki.Issued
	g.change(func(tx *identity.Tx) (err error) {
		issued, err = g.ca.Issue(ctx, tx.SQL(), pki.IssueOptions{Profile: pki.ClientProfile(), Name: name, PublicKey: key.Public()})
		if err != nil {
			return err
		}
		_, err = tx.BindCertificate(ctx, identity.Certificate{
			Fingerprint: issued.Fingerprint, Identity: name, Serial: issued.Serial, Subject: issued.Leaf.Subject.String(),
			NotBefore: issued.Leaf.NotBefore, NotAfter: issued.Leaf.NotAfter,
		})
		return err
	})
	cert := tls.Certificate{PrivateKey: key, Leaf: issued.Leaf}
	for _, c := range issued.Chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	c := g.caller(cert)
	c.issued = issued
	return c
}

// caller is a client with any certificate, or none when it is the zero value.
func (g *gate) caller(cert tls.Certificate) *client {
	c := &client{gate: g, cert: cert, leaf: cert.Leaf}
	c.transport = &http.Transport{TLSClientConfig: c.tls("localhost"), DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, g.addr)
		}}
	c.Client = &http.Client{Transport: c.transport, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	g.tb.Cleanup(c.transport.CloseIdleConnections)
	return c
}

func (c *client) tls(serverName string) *tls.Config {
	conf := &tls.Config{RootCAs: c.gate.roots, ServerName: serverName}
	if c.cert.Certificate != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.cert, nil }
	}
	return conf
}

// h2 makes the client speak HTTP/2.
func (c *client) h2() *client {
	c.transport.Protocols = new(http.Protocols)
	c.transport.Protocols.SetHTTP2(true)
	return c
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
	proto  string
	err    error
}

func (c *client) do(method, path string, body io.Reader, header ...string) answer {
	req, err := http.NewRequest(method, "https://localhost"+path, body)
	must(c.gate.tb, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
	}
	return c.send(req)
}

func (c *client) send(req *http.Request) answer {
	resp, err := c.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), resp.Proto, err}
}

func (c *client) get(path string, header ...string) answer { return c.do("GET", path, nil, header...) }

// dial opens a TLS connection that speaks HTTP/1.1.
func (c *client) dial(serverName string) *tls.Conn {
	c.gate.tb.Helper()
	conf := c.tls(serverName)
	conf.InsecureSkipVerify = serverName == ""
	conf.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", c.gate.addr, conf)
	must(c.gate.tb, err)
	c.gate.tb.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// raw sends octets on a connection of its own and returns everything that comes back.
func (c *client) raw(octets string) string {
	c.gate.tb.Helper()
	conn := c.dial("localhost")
	io.WriteString(conn, octets)
	out, _ := io.ReadAll(conn)
	conn.Close()
	return string(out)
}

// wantOutcome checks a refusal: status, problem document and access record.
func (g *gate) wantOutcome(a answer, o record.Outcome) map[string]any {
	g.tb.Helper()
	if a.err != nil {
		g.tb.Fatalf("got error %v, want outcome %s", a.err, o)
	}
	if a.status != o.Status() {
		g.tb.Errorf("got status %d (%s), want %d", a.status, a.body, o.Status())
	}
	var problem struct {
		Type      string
		Status    int
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		g.tb.Fatalf("the answer %q (%s) is not a problem document: %v", a.body, a.header.Get("Content-Type"), err)
	}
	if problem.Type != o.Type() || problem.Status != a.status || problem.RequestID == "" || problem.RequestID != a.header.Get("X-Request-Id") {
		g.tb.Errorf("problem document %s does not fit outcome %s and header %v", a.body, o, a.header)
	}
	return g.record(problem.RequestID)
}

// records are the access records written so far.
func (g *gate) records() []map[string]any {
	b, err := os.ReadFile(g.logPath)
	must(g.tb, err)
	var all []map[string]any
	for line := range strings.Lines(string(b)) {
		var r map[string]any
		if json.Unmarshal([]byte(line), &r) == nil {
			all = append(all, r)
		}
	}
	return all
}

// record waits for the access record with this request id.
func (g *gate) record(id string) map[string]any {
	g.tb.Helper()
	return g.recordWhere("request id "+id, func(r map[string]any) bool { return r["request_id"] == id })
}

func (g *gate) recordWhere(what string, match func(map[string]any) bool) map[string]any {
	g.tb.Helper()
	var found map[string]any
	eventually(g.tb, "an access record with "+what, func() bool {
		for _, r := range g.records() {
			if match(r) {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	tb.Fatalf("waited in vain for %s", what)
}

// tenant is an HTTPS server with a token endpoint that keeps the octets and the requests that reached it.
type tenant struct {
	*httptest.Server
	caPEM string

	mu       sync.Mutex
	seen     []*http.Request
	bodies   []string
	handler  http.HandlerFunc
	valid    map[string]string // token -> client id
	fetches  int
	conns    map[string]string // remote address -> client id of the first request on it
	mixed    []string          // remote addresses that carried more than one client
	tokenErr int               // status of the token endpoint, 0: tokens
}

func newTenant(tb testing.TB) *tenant {
	t := &tenant{valid: map[string]string{}, conns: map[string]string{}}
	t.Server = httptest.NewUnstartedServer(http.HandlerFunc(t.serve))
	t.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return ctx }
	t.EnableHTTP2 = tenantsSpeak == identity.ProtocolHTTP2
	t.StartTLS()
	t.caPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: t.Certificate().Raw}))
	tb.Cleanup(func() {
		t.CloseClientConnections()
		t.Close()
	})
	return t
}

func (t *tenant) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth/token" {
		t.token(w, r)
		return
	}
	auth := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	t.mu.Lock()
	who, ok := t.valid[auth]
	if first, known := t.conns[r.RemoteAddr]; known && first != who {
		t.mixed = append(t.mixed, r.RemoteAddr)
	}
	t.conns[r.RemoteAddr] = who
	t.seen = append(t.seen, r.Clone(context.Background()))
	h := t.handler
	t.mu.Unlock()
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("X-Client", who)
	if h != nil {
		h(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	t.mu.Lock()
	t.bodies = append(t.bodies, string(body))
	t.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: "of-" + who})
	fmt.Fprintf(w, "%s %s %d", r.Method, r.RequestURI, len(body))
}

func (t *tenant) token(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fetches++
	id, secret := r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	if t.tokenErr != 0 || secret != "secret-of-"+strings.TrimPrefix(id, "sb-") {
		w.WriteHeader(max(t.tokenErr, 401))
		io.WriteString(w, `{"error":"invalid_client"}`)
		return
	}
	tok := fmt.Sprintf("token-%d-of-%s", t.fetches, id)
	t.valid[tok] = id
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":43199}`, tok)
}

// revokeTokens makes the tenant refuse all tokens that it has given.
func (t *tenant) revokeTokens() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.valid)
}

func (t *tenant) answer(h http.HandlerFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handler = h
}

func (t *tenant) requests() []*http.Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]*http.Request(nil), t.seen...)
}

func (t *tenant) tokenFetches() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fetches
}

// last is the newest request that reached the tenant.
func (t *tenant) last(tb testing.TB) *http.Request {
	tb.Helper()
	all := t.requests()
	if len(all) == 0 {
		tb.Fatal("nothing reached the tenant")
	}
	return all[len(all)-1]
}

func (c *client) serial() string { return pki.FormatSerial(c.leaf.SerialNumber) }
