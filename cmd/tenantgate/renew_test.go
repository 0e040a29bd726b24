package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// Killed between two of its last steps, in a directory that was there, it goes on with the same files.
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

// A certificate that was got by ACME has no CN; this program renews it all the same, into one that has.
func TestRenewOfACertificateThatWasGotByACME(t *testing.T) {
	h := newEnrolmentHouse(t)
	profile, err := pki.ClientProfile().WithHosts([]string{"erp.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	pair := h.pki.Issue(profile, "erp", 0)
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.BindCertificate(ctx, identity.Certificate{Fingerprint: sha256.Sum256(pair.Leaf.Raw), Identity: "erp",
			Serial: pki.FormatSerial(pair.Leaf.SerialNumber), Subject: pair.Leaf.Subject.String(), NotBefore: pair.Leaf.NotBefore, NotAfter: pair.Leaf.NotAfter})
		return err
	})
	dir := t.TempDir()
	key, err := pki.EncodePrivateKey(pair.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"erp.pem": pkitest.PEM(pair), "erp.key": key, "ca.pem": pki.EncodeCertificates(h.pki.CA.Trust().Roots()...)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if status, said := h.tenantgate("renew", "--cert", filepath.Join(dir, "erp.pem"), "--ca-url", h.url, "--force"); status != exitOK {
		t.Fatalf("exit %d: %s", status, said)
	}
	b, err := os.ReadFile(filepath.Join(dir, "erp.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if chain, err := pki.ParseCertificates(b); err != nil || chain[0].Subject.CommonName != "erp" {
		t.Errorf("got %v, %v", chain, err)
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
		tell := "cp $TENANTGATE_CERT " + ran + ".new && mv " + ran + ".new " + ran
		ended <- run(ctx, []string{"renew", "--cert", filepath.Join(out, "erp.pem"), "--daemon", "--exec", tell}, strings.NewReader(""), log, log)
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
