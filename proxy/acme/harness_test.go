package acme_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/acme"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// host is a name that leads to this machine.
const host = "erp.example.com"

// house is an enrolment listener with an ACME server and all that is behind it, and a caller's host that answers http-01.
type house struct {
	t        testing.TB
	db       *sql.DB
	sealer   *pkitest.Sealer
	registry *identity.Registry
	pki      *pkitest.Env
	targets  acme.Targets
	url      string // https://localhost:PORT
	caller   *httptest.Server
	metrics  *prometheus.Registry // of the node that was started last

	mu      sync.Mutex // guards what follows
	shift   time.Duration
	records []record.Access
	hosts   map[string]string                             // addresses by name
	tokens  map[string]string                             // what the caller's host answers
	answer  func(http.ResponseWriter, *http.Request) bool // in place of that, if it reports true
	asked   int                                           // how often the caller's host was
}

func build(t testing.TB) *house { return buildOn(t, databasetest.SQLite(t)) }

func buildOn(t testing.TB, url string) *house { return buildWith(t, url, nil) }

func buildWith(t testing.TB, url string, change func(*pki.Options)) *house {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for _, err := range []error{
		database.Migrate(t.Context(), db, "identity", identity.Migrations()),
		database.Migrate(t.Context(), db, "pki", pki.Migrations()),
		database.Migrate(t.Context(), db, "record", record.Migrations()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h := &house{t: t, db: db.DB, sealer: new(pkitest.Sealer), hosts: map[string]string{host: "127.0.0.1"}, tokens: map[string]string{}}
	h.pki = pkitest.With(t, pkitest.Options{DB: db.DB, Now: h.now, Change: change})
	h.caller = httptest.NewServer(http.HandlerFunc(h.serveCaller))
	t.Cleanup(h.caller.Close)
	_, port, _ := net.SplitHostPort(h.caller.Listener.Addr().String())
	h.targets = acme.Targets{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, UnsafeLoopback: true, Resolve: h.resolve}
	fmt.Sscan(port, &h.targets.HTTPPort)
	h.registry, h.url = h.node()
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team-erp"})
		return err
	})
	return h
}

// node starts a node on the database.
func (h *house) node() (*identity.Registry, string) {
	h.t.Helper()
	registry, err := identity.Open(h.t.Context(), h.db, h.sealer)
	if err != nil {
		h.t.Fatal(err)
	}
	h.metrics = prometheus.NewRegistry()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	server := &enrolment.Server{Registry: registry, CA: h.pki.CA, Trust: h.pki.CA.Trust, Record: h.record, Metrics: record.NewMetrics(h.metrics),
		ACME: &acme.Server{Registry: registry, CA: h.pki.CA, Targets: h.targets,
			Named: func(name string) bool { return name == "localhost" }}}
	certificate := h.pki.Server("localhost")
	serve := server.HTTP(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil })
	go func() { _ = serve.ServeTLS(enrolment.Bound(l), "", "") }()
	h.t.Cleanup(func() { _ = serve.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return registry, "https://localhost:" + port
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.shift)
}

// jump sets the server's clock.
func (h *house) jump(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shift = by
}

func (h *house) resolve(_ context.Context, name string) ([]netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a, ok := h.hosts[name]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, errors.New("no such host")
}

// serveCaller is the web server on the caller's host.
func (h *house) serveCaller(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.asked++
	answer, text := h.answer, h.tokens[strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/")]
	h.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	if text == "" {
		http.NotFound(w, r)
		return
	}
	_, _ = io.WriteString(w, text)
}

func (h *house) record(a *record.Access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, *a)
}

func (h *house) last() record.Access {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.records) == 0 {
		h.t.Fatal("there is no record")
	}
	return h.records[len(h.records)-1]
}

func (h *house) change(fn func(context.Context, *identity.Tx) error) {
	h.t.Helper()
	if err := h.registry.Change(h.t.Context(), func(tx *identity.Tx) error { return fn(h.t.Context(), tx) }); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) disable(name string) {
	h.t.Helper()
	h.change(func(ctx context.Context, tx *identity.Tx) error { _, err := tx.DisableIdentity(ctx, name); return err })
}

// key makes a binding for erp and the host, with whatever change adds.
func (h *house) key(change func(*pki.ACMEKey)) (pki.ACMEKey, []byte) {
	h.t.Helper()
	k := pki.ACMEKey{ID: strings.ToLower(rand.Text()), Name: "erp", Hosts: []string{host}, Expires: h.now().Add(time.Hour)}
	if change != nil {
		change(&k)
	}
	var secret []byte
	h.change(func(ctx context.Context, tx *identity.Tx) (err error) {
		k, secret, err = h.pki.CA.AddACMEKey(ctx, tx.SQL(), k)
		return err
	})
	return k, secret
}

// certificates counts what was issued to erp, in the registry and at the CA, which must agree.
func (h *house) certificates() int {
	h.t.Helper()
	if err := h.registry.Refresh(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	bound := len(h.registry.Snapshot().Certificates("erp"))
	signed, err := h.pki.CA.Certificates(h.t.Context(), pki.Filter{Name: "erp"})
	if err != nil {
		h.t.Fatal(err)
	}
	if len(signed) != bound {
		h.t.Errorf("the CA has %d certificates of erp and the registry %d", len(signed), bound)
	}
	return bound
}

// client is an ACME client by hand, so that it can send what no other would.
type client struct {
	h      *house
	url    string
	http   *http.Client
	signer crypto.Signer
	kid    string
	nonce  string
}

func (h *house) client() *client { return h.clientAt(h.url) }

func (h *house) clientAt(url string) *client {
	return &client{h: h, url: url, signer: h.pki.Key(pki.P256), http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.pki.Root}}}}
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   []byte
	object struct {
		Type, Detail, Hint, Status, Finalize, Certificate, Token, URL string
		RequestID                                                     string `json:"request_id"`
		Authorizations, Orders                                        []string
		Challenges                                                    []struct{ Type, URL, Status, Token string }
		Error                                                         struct{ Type, Detail string }
	}
}

func (c *client) do(method, url, kind string, body []byte) *reply {
	c.h.t.Helper()
	q, err := http.NewRequestWithContext(c.h.t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		c.h.t.Fatal(err)
	}
	if kind != "" {
		q.Header.Set("Content-Type", kind)
	}
	response, err := c.http.Do(q)
	if err != nil {
		c.h.t.Fatal(err)
	}
	defer response.Body.Close()
	r := &reply{status: response.StatusCode, header: response.Header}
	r.body, _ = io.ReadAll(response.Body)
	var status struct{ Status any }
	if json.Unmarshal(r.body, &status) == nil {
		if _, number := status.Status.(float64); number { // of a problem document
			var p struct {
				Type, Detail, Hint string
				RequestID          string `json:"request_id"`
			}
			_ = json.Unmarshal(r.body, &p)
			r.object.Type, r.object.Detail, r.object.Hint, r.object.RequestID = p.Type, p.Detail, p.Hint, p.RequestID
		} else {
			_ = json.Unmarshal(r.body, &r.object)
		}
	}
	if n := response.Header.Get("Replay-Nonce"); n != "" {
		c.nonce = n
	}
	return r
}

// sign makes a JWS for an address.
func (c *client) sign(url string, payload any, change map[jose.HeaderKey]any) []byte {
	c.h.t.Helper()
	if c.nonce == "" {
		c.do("HEAD", c.url+"/acme/new-nonce", "", nil)
	}
	headers := map[jose.HeaderKey]any{"url": url, "nonce": c.nonce}
	c.nonce = ""
	for k, v := range change {
		headers[k] = v
		if v == nil {
			delete(headers, k)
		}
	}
	return c.signWith(c.signer, c.kid, payload, headers)
}

func (c *client) signWith(key crypto.Signer, kid string, payload any, headers map[jose.HeaderKey]any) []byte {
	c.h.t.Helper()
	algorithm := jose.ES256
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P384() {
			algorithm = jose.ES384
		}
	case ed25519.PrivateKey:
		algorithm = jose.EdDSA
	case *rsa.PrivateKey:
		algorithm = jose.RS256
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}},
		&jose.SignerOptions{EmbedJWK: kid == "", ExtraHeaders: headers})
	if err != nil {
		c.h.t.Fatal(err)
	}
	content := []byte{} // an empty payload is a member, too
	switch p := payload.(type) {
	case nil:
	case []byte:
		content = p
	default:
		if content, err = json.Marshal(p); err != nil {
			c.h.t.Fatal(err)
		}
	}
	signed, err := signer.Sign(content)
	if err != nil {
		c.h.t.Fatal(err)
	}
	return []byte(signed.FullSerialize())
}

func (c *client) post(url string, payload any) *reply {
	c.h.t.Helper()
	return c.do("POST", url, "application/jose+json", c.sign(url, payload, nil))
}

// object is a payload.
type object = map[string]any

// binding is an external account binding of the account's key.
func (c *client) binding(id string, secret []byte, url string) object {
	c.h.t.Helper()
	jwk, err := (&jose.JSONWebKey{Key: c.signer.Public()}).MarshalJSON()
	if err != nil {
		c.h.t.Fatal(err)
	}
	header, _ := json.Marshal(object{"alg": "HS256", "kid": id, "url": url})
	protected, payload := base64.RawURLEncoding.EncodeToString(header), base64.RawURLEncoding.EncodeToString(jwk)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(protected + "." + payload))
	return object{"protected": protected, "payload": payload, "signature": base64.RawURLEncoding.EncodeToString(mac.Sum(nil))}
}

// register makes an account with a key.
func (c *client) register(id string, secret []byte) *reply {
	c.h.t.Helper()
	url := c.url + "/acme/new-account"
	r := c.post(url, object{"contact": []string{"mailto:anna@example.com"}, "externalAccountBinding": c.binding(id, secret, url)})
	if r.status == http.StatusCreated || r.status == http.StatusOK {
		c.kid = r.header.Get("Location")
	}
	return r
}

// registered is a client with an account for erp.
func (h *house) registered(change func(*pki.ACMEKey)) *client {
	h.t.Helper()
	c := h.client()
	k, secret := h.key(change)
	if r := c.register(k.ID, secret); r.status != http.StatusCreated {
		h.t.Fatalf("registering: %d %s", r.status, r.body)
	}
	return c
}

func identifiers(names ...string) object {
	list := []object{}
	for _, n := range names {
		list = append(list, object{"type": "dns", "value": n})
	}
	return object{"identifiers": list}
}

// order begins an order.
func (c *client) order(names ...string) *reply {
	c.h.t.Helper()
	return c.post(c.url+"/acme/new-order", identifiers(names...))
}

// respond has the caller's host answer the challenges of that kind and says that it is ready. It returns the last challenge.
func (c *client) respond(order *reply, kind string) *reply {
	c.h.t.Helper()
	var r *reply
	for _, address := range order.object.Authorizations {
		az := c.post(address, nil)
		if az.status != http.StatusOK {
			c.h.t.Fatalf("the authorization: %d %s %+v", az.status, az.body, c.h.last())
		}
		for _, ch := range az.object.Challenges {
			if ch.Type != kind {
				continue
			}
			sum, err := (&jose.JSONWebKey{Key: c.signer.Public()}).Thumbprint(crypto.SHA256)
			if err != nil {
				c.h.t.Fatal(err)
			}
			c.h.mu.Lock()
			c.h.tokens[ch.Token] = ch.Token + "." + base64.RawURLEncoding.EncodeToString(sum)
			c.h.mu.Unlock()
			r = c.post(ch.URL, object{})
		}
	}
	return r
}

// ready is an order all of whose names are proved.
func (c *client) ready(names ...string) *reply {
	c.h.t.Helper()
	o := c.order(names...)
	if o.status != http.StatusCreated {
		c.h.t.Fatalf("ordering: %d %s", o.status, o.body)
	}
	if ch := c.respond(o, "http-01"); ch == nil || ch.object.Status != "valid" {
		c.h.t.Fatalf("the challenge is %+v, the order %s", ch, o.body)
	}
	return o
}

// csr is a request for names.
func (h *house) csr(key crypto.Signer, template *x509.CertificateRequest) object {
	h.t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		h.t.Fatal(err)
	}
	return object{"csr": base64.RawURLEncoding.EncodeToString(der)}
}

// finalize asks for the certificate.
func (c *client) finalize(o *reply, key crypto.Signer, names ...string) *reply {
	c.h.t.Helper()
	return c.post(o.object.Finalize, c.h.csr(key, &x509.CertificateRequest{DNSNames: names}))
}

// obtain gets a certificate for the host.
func (c *client) obtain(key crypto.Signer) *x509.Certificate {
	c.h.t.Helper()
	o := c.finalize(c.ready(host), key, host)
	if o.status != http.StatusOK || o.object.Status != "valid" {
		c.h.t.Fatalf("finalizing: %d %s", o.status, o.body)
	}
	chain, err := pki.ParseCertificates(c.post(o.object.Certificate, nil).body)
	if err != nil {
		c.h.t.Fatal(err)
	}
	return chain[0]
}

// refused fails unless r is a problem of that type, with what belongs to one, nothing more was issued than there were, and the record says so.
func (h *house) refused(r *reply, kind string, outcome record.Outcome, before int) {
	h.t.Helper()
	if r.object.Type != "urn:ietf:params:acme:error:"+kind {
		h.t.Errorf("got %d %s, want the problem %s", r.status, r.body, kind)
		return
	}
	if r.object.Detail == "" || r.object.Hint == "" || r.object.RequestID == "" || r.header.Get("Content-Type") != record.ProblemContentType {
		h.t.Errorf("the problem lacks detail, hint, request id or type: %s", r.body)
	}
	if got := h.certificates(); got != before {
		h.t.Errorf("%s: %d certificates, want %d", kind, got, before)
	}
	if last := h.last(); last.Outcome != outcome || last.RequestID != r.object.RequestID || last.Cause == "" {
		h.t.Errorf("%s: got the record %+v, want the outcome %v", kind, last, outcome)
	}
}
