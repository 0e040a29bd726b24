package enrolment_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// house is an enrolment listener with all that is behind it.
type house struct {
	t        *testing.T
	db       *sql.DB
	sealer   *pkitest.Sealer
	registry *identity.Registry
	pki      *pkitest.Env
	server   *enrolment.Server
	url      string // https://localhost:PORT

	mu      sync.Mutex // guards what follows
	now     time.Time  // of the server; zero is the real time
	records []record.Access
	hosts   map[string][]netip.Addr
}

func build(t *testing.T) *house { return buildOn(t, databasetest.SQLite(t)) }

func buildOn(t *testing.T, url string) *house {
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
	sealer := new(pkitest.Sealer)
	registry, err := identity.Open(t.Context(), db.DB, sealer)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, db: db.DB, sealer: sealer, registry: registry, pki: pkitest.With(t, pkitest.Options{DB: db.DB})}
	h.server = &enrolment.Server{
		Registry: registry, CA: h.pki.CA, Trust: h.pki.CA.Trust, Now: h.clock, Resolve: h.resolve, Record: h.record,
		Proxy: func() string { return "https://proxy.test:8443" },
	}
	h.serve()
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team-erp"})
		return err
	})
	return h
}

func (h *house) serve() { h.url = h.listen(h.server) }

// node starts a second node on the same database and returns its client.
func (h *house) node() *enrolment.Client {
	h.t.Helper()
	registry, err := identity.Open(h.t.Context(), h.db, h.sealer)
	if err != nil {
		h.t.Fatal(err)
	}
	url := h.listen(&enrolment.Server{Registry: registry, CA: h.pki.CA, Trust: h.pki.CA.Trust})
	return enrolment.NewClient(url, h.pki.CA.Trust().Roots(), nil)
}

// listen serves and returns the address.
func (h *house) listen(s *enrolment.Server) string {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	certificate := h.pki.Server("localhost")
	server := s.HTTP(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil })
	go func() { _ = server.ServeTLS(enrolment.Bound(l), "", "") }()
	h.t.Cleanup(func() { _ = server.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return "https://localhost:" + port
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now.IsZero() {
		return time.Now()
	}
	return h.now
}

// at sets the server's clock.
func (h *house) at(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = now
}

func (h *house) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if list, ok := h.hosts[host]; ok {
		return list, nil
	}
	return nil, errors.New("no such host")
}

func (h *house) record(a *record.Access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, *a)
}

// last is the record of the last request that was answered.
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

// set changes the identity erp.
func (h *house) set(fn func(*identity.Identity)) {
	h.t.Helper()
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		erp, err := tx.Identity("erp")
		if err != nil {
			return err
		}
		fn(&erp)
		_, err = tx.SetIdentity(ctx, erp)
		return err
	})
}

// token makes a token for erp that is good for an hour, with whatever rules change adds.
func (h *house) token(change func(*pki.EnrolmentToken)) *enrolment.Token {
	h.t.Helper()
	token := enrolment.NewToken(h.url, sha256.Sum256(h.pki.CA.SigningRoot().Raw), "erp")
	rules := pki.EnrolmentToken{ID: strings.ToLower(rand.Text()), Name: "erp", Expires: h.clock().Add(time.Hour)}
	if change != nil {
		change(&rules)
	}
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := h.pki.CA.AddEnrolmentToken(ctx, tx.SQL(), rules, token.Hash())
		return err
	})
	return token
}

func (h *house) client(show ...tls.Certificate) *enrolment.Client {
	h.t.Helper()
	if len(show) == 0 {
		return enrolment.NewClient(h.url, h.pki.CA.Trust().Roots(), nil)
	}
	return enrolment.NewClient(h.url, h.pki.CA.Trust().Roots(), &show[0])
}

// csr is a request for erp with the key.
func (h *house) csr(key crypto.Signer) []byte {
	h.t.Helper()
	return h.pki.Request(key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "erp"}})
}

// enrolled is a certificate of erp that a token was used for.
func (h *house) enrolled(change func(*pki.EnrolmentToken)) tls.Certificate {
	h.t.Helper()
	key := h.pki.Key(pki.P256)
	answer, err := h.client().Enroll(h.t.Context(), h.token(change), h.csr(key))
	if err != nil {
		h.t.Fatal(err)
	}
	return pair(h.t, answer, key)
}

func pair(t *testing.T, answer *enrolment.Answer, key crypto.Signer) tls.Certificate {
	t.Helper()
	pem, err := pki.EncodePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(answer.Chain), pem)
	if err != nil {
		t.Fatalf("certificate and key do not fit: %v", err)
	}
	return pair
}

// certificates counts what was issued to erp, in the registry and at the CA, which must agree.
func (h *house) certificates() int {
	h.t.Helper()
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

// refused fails unless err is a refusal of that code, nothing more was issued than there were, and the record says so.
func (h *house) refused(err error, code string, outcome record.Outcome, before int) {
	h.t.Helper()
	refusal, ok := errors.AsType[*enrolment.Refusal](err)
	if !ok || refusal.Code != code {
		h.t.Errorf("got %v, want the refusal %s", err, code)
		return
	}
	if refusal.Hint == "" || refusal.RequestID == "" {
		h.t.Errorf("the refusal has no hint or request id: %+v", refusal)
	}
	if got := h.certificates(); got != before {
		h.t.Errorf("%s: %d certificates, want %d", code, got, before)
	}
	if last := h.last(); last.Outcome != outcome || last.RequestID != refusal.RequestID || last.Cause == "" {
		h.t.Errorf("got the record %+v, want the outcome %v", last, outcome)
	}
}
