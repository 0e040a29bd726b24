package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
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
		_, err := h.pki.CA.AddEnrolmentToken(ctx, tx.SQL(), pki.EnrolmentToken{ID: hex.EncodeToString(hash[:8]), Name: "erp", Expires: time.Now().Add(time.Hour)}, hash)
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

func TestEnrollGoesOnAfterALostAnswer(t *testing.T) {
	h := newEnrolmentHouse(t)
	for _, there := range []bool{false, true} { // the directory
		before := h.certificates()
		out := filepath.Join(t.TempDir(), "files")
		if there {
			if err := os.Mkdir(out, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		token := h.token()
		h.lose.Store(3) // every attempt of one run
		status, said := h.tenantgate("enroll", token, "--out", out)
		if status != exitFailed || !strings.Contains(said, "a certificate may have been issued") || !strings.Contains(said, "hint: run the same command again") || strings.Contains(said, "tge1_") {
			t.Fatalf("exit %d: %s", status, said)
		}
		if _, err := os.Stat(filepath.Join(out, "erp.pem")); err == nil {
			t.Fatal("there is a certificate that nobody has got")
		}
		h.lose.Store(0)
		if status, said = h.tenantgate("enroll", token, "--out", out); status != exitOK {
			t.Fatalf("exit %d: %s", status, said)
		}
		complete(t, out)
		if got := h.certificates() - before; got != 1 {
			t.Errorf("%d certificates were issued, want 1", got)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), ".*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestEnrollAsksAgainByItself(t *testing.T) {
	h := newEnrolmentHouse(t)
	out := filepath.Join(t.TempDir(), "files")
	h.lose.Store(1)
	if status, said := h.tenantgate("enroll", h.token(), "--out", out); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	complete(t, out)
	if h.certificates() != 1 || h.asked.Load() != 2 {
		t.Errorf("%d certificates after %d requests", h.certificates(), h.asked.Load())
	}
}

// Killed between two of its last steps, in a directory that was there, it goes on with the same files.
func TestEnrollFinishesWhatWasHalfInPlace(t *testing.T) {
	h := newEnrolmentHouse(t)
	token := h.token()
	whole := filepath.Join(t.TempDir(), "whole")
	if status, said := h.tenantgate("enroll", token, "--out", whole); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	parsed, err := enrolment.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	hash := parsed.Hash()
	for _, placed := range [][]string{{"erp.key"}, {"erp.key", "ca.pem"}, {"erp.key", "ca.pem", "erp.json", "erp.pem"}} {
		out := t.TempDir()
		if err := os.CopyFS(filepath.Join(out, ".enrolling-"+hex.EncodeToString(hash[:6])), os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		private(t, filepath.Join(out, ".enrolling-"+hex.EncodeToString(hash[:6]), "erp.key"))
		for _, name := range placed {
			b, err := os.ReadFile(filepath.Join(whole, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(out, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if status, said := h.tenantgate("enroll", token, "--out", out); status != exitOK {
			t.Fatalf("with %v in place: exit %d: %s", placed, status, said)
		}
		complete(t, out)
	}
	if h.certificates() != 1 {
		t.Errorf("%d certificates", h.certificates())
	}
}

func private(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEnrollRefusedLeavesNothing(t *testing.T) {
	h := newEnrolmentHouse(t)
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.DisableIdentity(ctx, "erp")
		return err
	})
	dir := t.TempDir()
	for _, out := range []string{filepath.Join(dir, "a", "b", "files"), filepath.Join(dir, "files"), dir} {
		status, said := h.tenantgate("enroll", h.token(), "--out", out)
		if status != exitFailed || !strings.Contains(said, "disabled") {
			t.Errorf("exit %d: %s", status, said)
		}
	}
	// A server of another CA is not even asked.
	other := newEnrolmentHouse(t)
	if status, said := h.tenantgate("enroll", h.token(), "--out", filepath.Join(dir, "files"), "--ca-url", other.url); status != exitFailed || !strings.Contains(said, "another CA") || other.asked.Load() != 0 {
		t.Errorf("exit %d: %s", status, said)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if left = append(left, hidden...); err != nil || len(left) > 1 || len(left) == 1 && filepath.Base(left[0]) != "a" {
		t.Errorf("left behind: %v", left)
	}
	if h.certificates() != 0 {
		t.Error("something was issued")
	}
}

func TestRenewGoesOnAfterALostAnswer(t *testing.T) {
	h := newEnrolmentHouse(t)
	out := filepath.Join(t.TempDir(), "files")
	if status, said := h.tenantgate("enroll", h.token(), "--out", out); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	cert := filepath.Join(out, "erp.pem")
	h.lose.Store(3)
	if status, said := h.tenantgate("renew", "--cert", cert, "--force"); status != exitFailed {
		t.Fatalf("exit %d: %s", status, said)
	}
	if _, err := tls.LoadX509KeyPair(cert, filepath.Join(out, "erp.key")); err != nil {
		t.Errorf("after a lost answer: %v", err)
	}
	h.lose.Store(0)
	if status, said := h.tenantgate("renew", "--cert", cert, "--force"); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	complete(t, out)
	if h.certificates() != 2 {
		t.Errorf("%d certificates, want the old and the new one", h.certificates())
	}
}

// Killed between replacing the key and replacing the certificate, the next run finishes that before anything else.
func TestRenewFinishesWhatWasHalfInPlace(t *testing.T) {
	h := newEnrolmentHouse(t)
	out := filepath.Join(t.TempDir(), "files")
	if status, said := h.tenantgate("enroll", h.token(), "--out", out); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	cert := filepath.Join(out, "erp.pem")
	old, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	if status, said := h.tenantgate("renew", "--cert", cert, "--force"); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	if err := os.Rename(cert, cert+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, old, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(cert, filepath.Join(out, "erp.key")); err == nil {
		t.Fatal("key and certificate fit: nothing to finish")
	}
	if status, said := h.tenantgate("renew", "--cert", cert); status != exitOK || !strings.Contains(said, "will be renewed after") {
		t.Errorf("exit %d: %s", status, said)
	}
	complete(t, out)
	if h.certificates() != 2 {
		t.Errorf("%d certificates", h.certificates())
	}
}

// Within the grace that the operator allows, and not without it, an expired certificate is renewed.
func TestRenewOfAnExpiredCertificate(t *testing.T) {
	h := newEnrolmentHouse(t)
	out := filepath.Join(t.TempDir(), "files")
	if status, said := h.tenantgate("enroll", h.token(), "--out", out); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	cert := filepath.Join(out, "erp.pem")
	at := time.Now().Add(91 * 24 * time.Hour)
	server := &enrolment.Server{Registry: h.registry, CA: h.pki.CA, Trust: h.pki.CA.Trust, Now: func() time.Time { return at }}
	certificate := h.pki.Server("localhost")
	late := server.HTTP(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = late.ServeTLS(l, "", "") }()
	defer late.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	renew := []string{"renew", "--cert", cert, "--force", "--ca-url", "https://localhost:" + port}
	if status, said := h.tenantgate(renew...); status != exitFailed || !strings.Contains(said, "has expired") || !strings.Contains(said, "hint: enrol anew") {
		t.Errorf("exit %d: %s", status, said)
	}
	complete(t, out)
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		erp, err := tx.Identity("erp")
		if err != nil {
			return err
		}
		erp.RenewGrace = identity.Duration(72 * time.Hour)
		_, err = tx.SetIdentity(ctx, erp)
		return err
	})
	if status, said := h.tenantgate(renew...); status != exitOK {
		t.Errorf("exit %d: %s", status, said)
	}
	complete(t, out)
}

// A file of roots that is shared is read and never written; one of ours gets a new root with the first renewal.
func TestRenewKeepsRootsUpToDateAndSharedOnesAlone(t *testing.T) {
	h := newEnrolmentHouse(t)
	out := filepath.Join(t.TempDir(), "files")
	if status, said := h.tenantgate("enroll", h.token(), "--out", out); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	own, next := h.pki.CA.SigningRoot(), pkitest.New(t).CA.SigningRoot()
	shared := filepath.Join(out, "..", "shared.pem")
	if err := os.WriteFile(shared, pki.EncodeCertificates(pkitest.New(t).CA.SigningRoot(), own), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(shared)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pki.NewTrust([]*x509.Certificate{own, next}, h.pki.CA.Trust().Intermediates())
	if err != nil {
		t.Fatal(err)
	}
	h.trust.Store(trust)
	cert := filepath.Join(out, "erp.pem")
	if status, said := h.tenantgate("renew", "--cert", cert, "--force", "--ca", shared); status != exitOK || !strings.Contains(said, "has a root that") {
		t.Errorf("exit %d: %s", status, said)
	}
	if after, err := os.ReadFile(shared); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the shared file was written: %v", err)
	}
	if status, said := h.tenantgate("renew", "--cert", cert, "--force"); status != exitOK {
		t.Errorf("exit %d: %s", status, said)
	}
	if b, err := os.ReadFile(filepath.Join(out, "ca.pem")); err != nil || !bytes.Equal(b, pki.EncodeCertificates(own, next)) {
		t.Errorf("ca.pem has not got the new root: %v", err)
	}
	complete(t, out)
}

func TestEnrollTakesADirectoryOfTheSameCAOnly(t *testing.T) {
	h := newEnrolmentHouse(t)
	for _, c := range []struct {
		roots []*x509.Certificate
		ok    bool
	}{
		{[]*x509.Certificate{pkitest.New(t).CA.SigningRoot()}, false},
		{[]*x509.Certificate{pkitest.New(t).CA.SigningRoot(), h.pki.CA.SigningRoot()}, true},
	} {
		out := t.TempDir()
		if err := os.WriteFile(filepath.Join(out, "ca.pem"), pki.EncodeCertificates(c.roots...), 0o644); err != nil {
			t.Fatal(err)
		}
		status, said := h.tenantgate("enroll", h.token(), "--out", out)
		if (status == exitOK) != c.ok || !c.ok && !strings.Contains(said, "holds another CA") {
			t.Errorf("exit %d: %s", status, said)
		}
		if b, err := os.ReadFile(filepath.Join(out, "ca.pem")); err != nil || !bytes.Equal(b, pki.EncodeCertificates(c.roots...)) {
			t.Errorf("ca.pem was written: %v", err)
		}
	}
	if h.certificates() != 1 {
		t.Errorf("%d certificates, want that of the second", h.certificates())
	}
}

// What runs as root must not be led elsewhere by the user who owns the directory.
func TestRenewWritesThroughNoLink(t *testing.T) {
	h := newEnrolmentHouse(t)
	out := filepath.Join(t.TempDir(), "files")
	if status, said := h.tenantgate("enroll", h.token(), "--out", out); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"erp.key.new", "erp.pem.new", "erp.pem.reload"} {
		if err := os.Symlink(victim, filepath.Join(out, name)); err != nil {
			t.Fatal(err)
		}
	}
	if status, said := h.tenantgate("renew", "--cert", filepath.Join(out, "erp.pem"), "--force", "--exec", "true"); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
		t.Errorf("the file that links led to holds %q, %v", b, err)
	}
	complete(t, out)
}

// enrolledBefore is a directory with a certificate that was issued so long ago.
func (h *enrolmentHouse) enrolledBefore(ago time.Duration) string {
	h.t.Helper()
	h.behind.Store(int64(ago))
	defer h.behind.Store(0)
	out := filepath.Join(h.t.TempDir(), "files")
	if status, said := h.tenantgate("enroll", h.token(), "--out", out); status != exitOK {
		h.t.Fatalf("exit %d: %s", status, said)
	}
	return out
}

func TestRenewKnowsWhenItIsTime(t *testing.T) {
	h := newEnrolmentHouse(t)
	for _, c := range []struct {
		ago  time.Duration
		does string
	}{{50 * 24 * time.Hour, "will be renewed after"}, {61 * 24 * time.Hour, "renewed certificate of identity erp"}} {
		out := h.enrolledBefore(c.ago)
		if status, said := h.tenantgate("renew", "--cert", filepath.Join(out, "erp.pem")); status != exitOK || !strings.Contains(said, c.does) {
			t.Errorf("issued %v ago: exit %d: %s", c.ago, status, said)
		}
		complete(t, out)
	}
}

// A daemon renews what is due at once, goes on after failures, makes it known, and ends when it is told to.
func TestADaemonRenewsByItself(t *testing.T) {
	h := newEnrolmentHouse(t)
	out := h.enrolledBefore(80 * 24 * time.Hour)
	ran := filepath.Join(t.TempDir(), "ran")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int)
	log := &terminal{}
	go func() {
		ended <- run(ctx, []string{"renew", "--cert", filepath.Join(out, "erp.pem"), "--daemon", "--exec", "cp $TENANTGATE_CERT " + ran + ".new && mv " + ran + ".new " + ran}, strings.NewReader(""), log, log)
	}()
	if err := awaitFile(ran); err != nil {
		t.Fatalf("%v: %s", err, log.text.String())
	}
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(5 * time.Millisecond) { // until the command is not owed any more
		if _, err := os.Stat(filepath.Join(out, "erp.pem.reload")); err != nil {
			break
		}
	}
	stop()
	if status := <-ended; status != exitOK {
		t.Errorf("exit %d: %s", status, log.text.String())
	}
	complete(t, out)
	shown, err := os.ReadFile(ran)
	if now, err2 := os.ReadFile(filepath.Join(out, "erp.pem")); err != nil || err2 != nil || !bytes.Equal(shown, now) {
		t.Errorf("the command was not run for the new certificate: %v, %v", err, err2)
	}
	if h.certificates() != 2 {
		t.Errorf("%d certificates, want the old and the new one", h.certificates())
	}
}
