package admin_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// house is a whole control plane: a database with all tables, registry, CA, and the API on a Unix socket and on a TLS listener.
type house struct {
	t        *testing.T
	db       *sql.DB
	registry *identity.Registry
	sealed   *pkitest.Sealer
	pki      *pkitest.Env
	log      *safeBuffer
	tokens   token.Engine
	checks   func() []admin.Check
	backup   func(context.Context, string, admin.BackupRequest) (func(io.Writer) error, error)
	explain  func(admin.ExplainQuestion) admin.Explanation
	client   *admin.Client // over the socket
	socket   string
	tlsAddr  string
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func build(t *testing.T) *house { return buildOn(t, databasetest.SQLite(t)) }

func buildOn(t *testing.T, url string) *house {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := database.Migrate(t.Context(), db, "identity", identity.Migrations()); err != nil {
		t.Fatal(err)
	}
	if err := database.Migrate(t.Context(), db, "pki", pki.Migrations()); err != nil {
		t.Fatal(err)
	}
	if err := database.Migrate(t.Context(), db, "record", record.Migrations()); err != nil {
		t.Fatal(err)
	}
	if err := database.Migrate(t.Context(), db, "usage", usage.Migrations()); err != nil {
		t.Fatal(err)
	}
	sealer := new(pkitest.Sealer)
	registry, err := identity.Open(t.Context(), db.DB, sealer)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, db: db.DB, registry: registry, sealed: sealer, pki: pkitest.With(t, pkitest.Options{DB: db.DB}), log: &safeBuffer{}}
	t.Cleanup(h.tokens.Close)
	h.serveSocket()
	h.serveTLS()
	return h
}

func (h *house) server(actor func(*http.Request) (string, error)) *admin.Server {
	return &admin.Server{
		Tokens: &h.tokens, Way: way, Sealer: new(pkitest.Sealer),
		Registry: h.registry, CA: h.pki.CA, DB: h.db, Actor: actor, Logger: slog.New(slog.NewTextHandler(h.log, nil)),
		CredentialUses: states,
		Backup: func(ctx context.Context, actor string, q admin.BackupRequest) (func(io.Writer) error, error) {
			return h.backup(ctx, actor, q)
		},
		Explain: func(q admin.ExplainQuestion) admin.Explanation { return h.explain(q) },
		Ready: func(context.Context) []admin.Check {
			if h.checks == nil {
				return nil
			}
			return h.checks()
		},
		Metrics:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "tenantgate_up 1\n") }),
		Enrolment: func() string { return "https://enrol.test:8444" },
		ACME:      func() string { return "https://enrol.test:8444/acme/directory" },
	}
}

func (h *house) serveSocket() {
	h.t.Helper()
	h.socket = filepath.Join(h.t.TempDir(), "admin.sock")
	l, err := admin.ListenUnix(h.socket)
	if err != nil {
		h.t.Fatal(err)
	}
	h.serve(&http.Server{Handler: h.server(admin.SocketActor), ConnContext: admin.SocketConnContext}, l)
	h.client = &admin.Client{HTTP: h.socketHTTP(), Base: "http://tenantgate"}
}

func (h *house) serve(s *http.Server, l net.Listener) {
	s.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	go func() { _ = s.Serve(l) }()
	h.t.Cleanup(func() { _ = s.Close() })
}

func (h *house) socketHTTP() *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.socket)
	}}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func (h *house) serveTLS() {
	h.t.Helper()
	certificate := h.pki.Server("localhost")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.tlsAddr = l.Addr().String()
	actor := &admin.CertificateActor{Trust: h.pki.CA.Trust, CA: h.pki.CA}
	h.serve(&http.Server{Handler: h.server(actor.Actor)}, l)
}

// tlsClient calls the TLS listener and shows a certificate, or none.
func (h *house) tlsClient(show ...tls.Certificate) *admin.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, h.tlsAddr)
		},
		TLSClientConfig: &tls.Config{RootCAs: h.pki.Root, MinVersion: tls.VersionTLS13,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(show) == 0 {
					return new(tls.Certificate), nil
				}
				return &show[0], nil
			}},
	}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &admin.Client{HTTP: &http.Client{Transport: transport, Timeout: 30 * time.Second}, Base: "https://localhost"}
}

// raw sends bytes over the socket and returns status and whole answer, for requests that no client library would send.
func (h *house) raw(request string) string {
	h.t.Helper()
	conn, err := net.Dial("unix", h.socket)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		h.t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// send makes one request over the socket; header lines are "Name: value".
func (h *house) send(method, path, body string, header ...string) (status int, answer string) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, "http://tenantgate"+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := h.client.HTTP.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// furnish adds a tenant "acme", a route "orders" and an identity "erp".
func (h *house) furnish() {
	h.t.Helper()
	ctx := h.t.Context()
	if _, err := h.client.AddTenant(ctx, identity.Tenant{Name: "acme", BaseURL: "https://acme.example.com", TokenURL: "https://auth.example.com/oauth/token", AuthStyle: "body"}); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.client.AddRoute(ctx, identity.Route{Name: "orders", Path: "/http/orders/*", Tenant: "acme", Role: "orders.send"}); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.client.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team-erp", Roles: []string{"orders.send"}}); err != nil {
		h.t.Fatal(err)
	}
}

// csr makes a request for a certificate of that name.
func (h *house) csr(name string) string {
	h.t.Helper()
	return string(h.pki.Request(h.pki.Key(pki.P256), &x509.CertificateRequest{Subject: subject(name)}))
}

// issue has a certificate issued for an identity.
func (h *house) issue(name string) admin.IssuedCertificate {
	h.t.Helper()
	issued, err := h.client.IssueCertificate(h.t.Context(), name, admin.CertificateRequest{CSR: h.csr(name)})
	if err != nil {
		h.t.Fatal(err)
	}
	return issued
}

func (h *house) changes() []record.Change {
	h.t.Helper()
	list, err := h.client.Changes(h.t.Context(), 0, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}
