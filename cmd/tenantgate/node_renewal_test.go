package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// aged is a keyless credential of a certificate that has lived nine tenths of its life.
func aged(t *testing.T) identity.Credential {
	t.Helper()
	key, err := pki.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "erp"},
		NotBefore: time.Now().Add(-9 * 24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := pki.EncodePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return identity.Credential{Identity: "erp", Tenant: "acme", ClientID: "sb", Kind: identity.KindCertificate, Keyless: true,
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), Secret: identity.NewSecret(string(keyPEM))}
}

func TestServeRenewsWhatIsDue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	defaults := defaultConfig()
	defaults.Listen, defaults.Admin.Listen, defaults.ServerNames = "127.0.0.1:0", "127.0.0.1:0", []string{"localhost"}
	if err := initialize(t.Context(), initOptions{dir: dir, adminName: "admin", config: defaults}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tenantgate.yaml")
	cfg, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := openNode(t.Context(), cfg, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	if err != nil {
		t.Fatal(err)
	}
	err = n.registry.Change(t.Context(), func(tx *identity.Tx) error {
		_, e1 := tx.AddTenant(t.Context(), identity.Tenant{Name: "acme", BaseURL: "https://acme.example.com", TokenURL: "https://auth.example.com/token", AuthStyle: "mtls"})
		_, e2 := tx.AddIdentity(t.Context(), identity.Identity{Name: "erp", Owner: "team"})
		_, e3 := tx.AddCredential(t.Context(), aged(t))
		return errors.Join(e1, e2, e3)
	})
	n.renewed(errors.New("no intermediate"))
	if c := n.renewalCheck(); !c.OK || !c.Warning || !strings.Contains(c.Detail, "no intermediate") {
		t.Errorf("after a failure the status says %+v", c)
	}
	n.renewed(nil)
	if c := n.renewalCheck(); c.Warning {
		t.Errorf("after a success the status says %+v", c)
	}
	if err := errors.Join(err, n.close()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int)
	go func() { done <- run(ctx, []string{"serve", "-c", path}, strings.NewReader(""), io.Discard, io.Discard) }()
	client := socketClient(cfg.Admin.Socket)
	var list []admin.Credential
	for end := time.Now().Add(20 * time.Second); len(list) < 2 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		list, err = client.Credentials(t.Context(), "erp")
	}
	if len(list) != 2 || list[0].NotAfter.Sub(list[1].NotAfter) < 80*24*time.Hour {
		t.Errorf("got %+v, %v, want the old one and one that lives 90 days", list, err)
	}
	stop()
	if status := <-done; status != exitOK {
		t.Errorf("serve ended with %d", status)
	}
}
