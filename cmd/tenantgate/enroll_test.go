package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

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
		if status != exitFailed || !strings.Contains(said, "a certificate may have been issued") ||
			!strings.Contains(said, "hint: run the same command again") || strings.Contains(said, "tge1_") {
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
	status, said := h.tenantgate("enroll", h.token(), "--out", filepath.Join(dir, "files"), "--ca-url", other.url)
	if status != exitFailed || !strings.Contains(said, "another CA") || other.asked.Load() != 0 {
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
