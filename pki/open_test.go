package pki_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

const passphrase = "correct horse battery staple"

func initOptions(dir string) pki.InitOptions {
	return pki.InitOptions{Dir: dir, Passphrase: []byte(passphrase), TrustDomain: pkitest.TrustDomain, Name: "Test"}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestInitMakesACA(t *testing.T) {
	for _, keyType := range []string{"", pki.RSA2048} {
		dir := filepath.Join(t.TempDir(), "new", "ca")
		o := initOptions(dir)
		o.KeyType = keyType
		if err := pki.Init(o); err != nil {
			t.Fatal(err)
		}
		modes := map[string]fs.FileMode{"root_ca.crt": 0o644, "intermediate_ca.crt": 0o644, "root_ca.key": 0o600, "intermediate_ca.key": 0o600}
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != len(modes) {
			t.Errorf("%d files, %v", len(files), err)
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil || info.Mode().Perm() != modes[f.Name()] {
				t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
			}
			if strings.HasSuffix(f.Name(), ".key") && !strings.HasPrefix(string(read(t, filepath.Join(dir, f.Name()))), "-----BEGIN ENCRYPTED PRIVATE KEY-----") {
				t.Errorf("%s is not encrypted", f.Name())
			}
		}
		ca, err := pki.Open(t.Context(), pki.Options{Dir: dir, Passphrase: o.Passphrase, TrustDomain: o.TrustDomain, DB: pkitest.Database(t)})
		if err != nil {
			t.Fatal(err)
		}
		root, inter := ca.Trust().Roots()[0], ca.Intermediate()
		if y := time.Until(root.NotAfter); y < 3649*24*time.Hour || y > 3650*24*time.Hour {
			t.Errorf("root lives %v", y)
		}
		if y := time.Until(inter.NotAfter); y < 1824*24*time.Hour || y > 1825*24*time.Hour {
			t.Errorf("intermediate lives %v", y)
		}
		if inter.MaxPathLen != 0 || !inter.MaxPathLenZero || inter.Issuer.String() != "CN=Test Root CA" {
			t.Errorf("intermediate: path length %d, issuer %s", inter.MaxPathLen, inter.Issuer)
		}
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := pki.Init(initOptions(dir)); err != nil {
		t.Fatal(err)
	}
	before := string(read(t, filepath.Join(dir, "root_ca.key")))
	if err := pki.Init(initOptions(dir)); !errors.Is(err, pki.ErrExists) {
		t.Errorf("again: got %v", err)
	}
	if string(read(t, filepath.Join(dir, "root_ca.key"))) != before {
		t.Error("the key was replaced")
	}
	// One file of the four is enough to refuse, and then none of the others is written.
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "intermediate_ca.crt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := pki.Init(initOptions(other)); !errors.Is(err, pki.ErrExists) {
		t.Errorf("one file there: got %v", err)
	}
	if files, _ := os.ReadDir(other); len(files) != 1 {
		t.Errorf("%d files afterwards", len(files))
	}
}

func TestInitRefusesBadOptions(t *testing.T) {
	for name, change := range map[string]func(*pki.InitOptions){
		"no passphrase":                        func(o *pki.InitOptions) { o.Passphrase = nil },
		"trust domain of none":                 func(o *pki.InitOptions) { o.TrustDomain = "" },
		"trust domain in capitals with a path": func(o *pki.InitOptions) { o.TrustDomain = "Example/x" },
		"key type":                             func(o *pki.InitOptions) { o.KeyType = "RSA-1024" },
	} {
		dir := t.TempDir()
		o := initOptions(dir)
		change(&o)
		if err := pki.Init(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if files, _ := os.ReadDir(dir); len(files) != 0 {
			t.Errorf("%s: left %d files", name, len(files))
		}
	}
}

// Each row breaks a good CA in one way; the error must name the file and say what is wrong.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	db := pkitest.Database(t)
	good, other := t.TempDir(), t.TempDir()
	for _, dir := range []string{good, other} {
		if err := pki.Init(initOptions(dir)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(dir, name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plain, err := pki.GenerateKey(pki.P256)
	if err != nil {
		t.Fatal(err)
	}
	plainPEM, err := pki.EncodePrivateKey(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		file   string // named by the error
		breaks func(dir string, o *pki.Options)
		want   string
		is     error
	}{
		{"wrong passphrase", "intermediate_ca.key", func(_ string, o *pki.Options) { o.Passphrase = []byte("wrong") }, "passphrase", pki.ErrPassphrase},
		{"no passphrase", "intermediate_ca.key", func(_ string, o *pki.Options) { o.Passphrase = nil }, "no passphrase", pki.ErrPassphrase},
		{"root missing", "root_ca.crt", func(d string, _ *pki.Options) { os.Remove(filepath.Join(d, "root_ca.crt")) }, "missing", fs.ErrNotExist},
		{"key missing", "intermediate_ca.key", func(d string, _ *pki.Options) { os.Remove(filepath.Join(d, "intermediate_ca.key")) }, "missing", fs.ErrNotExist},
		{"root empty", "root_ca.crt", func(d string, _ *pki.Options) { write(d, "root_ca.crt", nil) }, "empty", nil},
		{"intermediate garbage", "intermediate_ca.crt", func(d string, _ *pki.Options) { write(d, "intermediate_ca.crt", []byte("x")) }, "no certificate in it", nil},
		{"key garbage", "intermediate_ca.key", func(d string, _ *pki.Options) { write(d, "intermediate_ca.key", []byte("x")) }, "not an encrypted", nil},
		{"key in the clear", "intermediate_ca.key", func(d string, _ *pki.Options) { write(d, "intermediate_ca.key", plainPEM) }, "not an encrypted", nil},
		{"key damaged", "intermediate_ca.key", func(d string, _ *pki.Options) {
			b := read(t, filepath.Join(d, "intermediate_ca.key"))
			block, _ := pem.Decode(b)
			block.Bytes = block.Bytes[:len(block.Bytes)-20]
			write(d, "intermediate_ca.key", pem.EncodeToMemory(block))
		}, "damaged", nil},
		{"key of another CA", "intermediate_ca.key", func(d string, _ *pki.Options) {
			write(d, "intermediate_ca.key", read(t, filepath.Join(other, "intermediate_ca.key")))
		}, "does not belong", nil},
		{"root of another CA", "intermediate_ca.crt", func(d string, _ *pki.Options) { write(d, "root_ca.crt", read(t, filepath.Join(other, "root_ca.crt"))) }, "not signed by a root", nil},
		{"two intermediates", "intermediate_ca.crt", func(d string, _ *pki.Options) {
			write(d, "intermediate_ca.crt", append(read(t, filepath.Join(d, "intermediate_ca.crt")), read(t, filepath.Join(d, "root_ca.crt"))...))
		}, "holds 2", nil},
		{"intermediate expired", "intermediate_ca.crt", func(_ string, o *pki.Options) { o.Now = func() time.Time { return time.Now().AddDate(6, 0, 0) } }, "expired", nil},
		{"clock behind", "intermediate_ca.crt", func(_ string, o *pki.Options) { o.Now = func() time.Time { return time.Now().AddDate(-1, 0, 0) } }, "clock", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			o := pki.Options{Dir: dir, Passphrase: []byte(passphrase), TrustDomain: pkitest.TrustDomain, DB: db}
			c.breaks(dir, &o)
			_, err := pki.Open(context.Background(), o)
			if err == nil {
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), filepath.Join(dir, c.file)) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The root's key may be taken away: nothing but making a new intermediate needs it.
func TestOpenWithoutTheRootKey(t *testing.T) {
	dir := t.TempDir()
	if err := pki.Init(initOptions(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "root_ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(t.Context(), pki.Options{Dir: dir, Passphrase: []byte(passphrase), TrustDomain: pkitest.TrustDomain, DB: pkitest.Database(t)}); err != nil {
		t.Error(err)
	}
}

func TestRSAAuthorityIssuesForOldClients(t *testing.T) {
	env := pkitest.With(t, pkitest.Options{KeyType: pki.RSA2048})
	cert := env.Client("orders")
	if cert.Leaf.SignatureAlgorithm != x509.SHA256WithRSA {
		t.Errorf("signed with %v", cert.Leaf.SignatureAlgorithm)
	}
	if err := env.CA.Trust().VerifyClient(pkitest.Chain(t, cert), time.Now()); err != nil {
		t.Error(err)
	}
}

func TestReadTrustRefusesAnotherCAUnderTheRunningOne(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "ca")
	for _, d := range []string{dir, other} {
		if err := pki.Init(initOptions(d)); err != nil {
			t.Fatal(err)
		}
	}
	ca, err := pki.Open(t.Context(), pki.Options{Dir: dir, Passphrase: []byte(passphrase), TrustDomain: pkitest.TrustDomain, DB: pkitest.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content ...[]byte) {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Join(content, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const root, inter = "root_ca.crt", "intermediate_ca.crt"
	oldRoot, newRoot := read(t, filepath.Join(dir, root)), read(t, filepath.Join(other, root))
	if trust, err := ca.ReadTrust(); err != nil || trust.Generation() != ca.Trust().Generation() {
		t.Errorf("unchanged files: %v, want the same trust", err)
	}
	write(root, newRoot)
	if _, err := ca.ReadTrust(); !isFileError(err) {
		t.Errorf("root of another CA: %v, want a FileError", err)
	}
	write(inter, read(t, filepath.Join(other, inter)))
	if _, err := ca.ReadTrust(); !isFileError(err) {
		t.Errorf("root and intermediate of another CA: %v, want a FileError", err)
	}
	write(root, newRoot, oldRoot)
	trust, err := ca.ReadTrust()
	if err != nil || len(trust.Roots()) != 2 {
		t.Errorf("both roots: %v", err)
	}
}

func isFileError(err error) bool {
	e, ok := errors.AsType[*pki.FileError](err)
	return ok && e.Path != "" && e.Hint != ""
}
