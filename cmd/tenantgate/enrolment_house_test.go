package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
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
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// enrolmentHouse is an enrolment listener whose answers can be lost.
type enrolmentHouse struct {
	t        *testing.T
	registry *identity.Registry
	pki      *pkitest.Env
	url      string
	trust    atomic.Pointer[pki.Trust]
	behind   atomic.Int64 // by so much (nanoseconds) the CA's clock is behind when it issues
	lose     atomic.Int32 // so many answers to POST are lost, after what they tell of has happened
	asked    atomic.Int32 // how many POSTs came
}

func newEnrolmentHouse(t *testing.T) *enrolmentHouse {
	t.Helper()
	db, err := database.Open(t.Context(), filepath.Join(t.TempDir(), "tenantgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, err := range []error{
		database.Migrate(t.Context(), db, "identity", identity.Migrations()),
		database.Migrate(t.Context(), db, "pki", pki.Migrations()),
		database.Migrate(t.Context(), db, "record", record.Migrations()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h := &enrolmentHouse{t: t}
	h.behind.Store(int64(100 * 24 * time.Hour)) // the CA has been there for a while
	h.pki = pkitest.With(t, pkitest.Options{DB: db.DB, Now: func() time.Time { return time.Now().Add(-time.Duration(h.behind.Load())) }})
	h.behind.Store(0)
	if h.registry, err = identity.Open(t.Context(), db.DB, new(pkitest.Sealer)); err != nil {
		t.Fatal(err)
	}
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team"})
		return err
	})
	h.trust.Store(h.pki.CA.Trust())
	server := &enrolment.Server{Registry: h.registry, CA: h.pki.CA, Trust: h.trust.Load}
	certificate := h.pki.Server("localhost")
	tlsServer := server.HTTP(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil })
	tlsServer.Handler = h.losing(server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = tlsServer.ServeTLS(l, "", "") }()
	t.Cleanup(func() { tlsServer.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	h.url = "https://localhost:" + port
	return h
}

func (h *enrolmentHouse) losing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		h.asked.Add(1)
		if h.lose.Add(-1) < 0 {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
}

func (h *enrolmentHouse) change(fn func(context.Context, *identity.Tx) error) {
	h.t.Helper()
	if err := h.registry.Change(h.t.Context(), func(tx *identity.Tx) error { return fn(h.t.Context(), tx) }); err != nil {
		h.t.Fatal(err)
	}
}

func (h *enrolmentHouse) token() string {
	h.t.Helper()
	token := enrolment.NewToken(h.url, sha256.Sum256(h.pki.CA.SigningRoot().Raw), "erp")
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		hash := token.Hash()
		rules := pki.EnrolmentToken{ID: hex.EncodeToString(hash[:8]), Name: "erp", Expires: time.Now().Add(time.Hour)}
		_, err := h.pki.CA.AddEnrolmentToken(ctx, tx.SQL(), rules, hash)
		return err
	})
	return token.Reveal()
}

func (h *enrolmentHouse) certificates() int { return len(h.registry.Snapshot().Certificates("erp")) }

// tenantgate runs a command in this process.
func (h *enrolmentHouse) tenantgate(args ...string) (status int, out string) {
	h.t.Helper()
	b := &terminal{}
	status = run(h.t.Context(), args, strings.NewReader(""), b, b)
	b.mu.Lock()
	defer b.mu.Unlock()
	return status, b.text.String()
}

// terminal takes standard output and standard error, on which a command that takes long says so from a goroutine of its own.
type terminal struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (s *terminal) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// complete fails unless the directory holds all files and nothing else, and key and certificate fit.
func complete(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), "ca.pem erp.json erp.key erp.pem"; got != want {
		t.Errorf("%s holds %s, want %s", dir, got, want)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "erp.pem"), filepath.Join(dir, "erp.key")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "erp.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", info.Mode(), err)
	}
}
