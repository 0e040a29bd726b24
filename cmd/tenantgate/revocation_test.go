//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// Law 3, measured: a caller calls all the time on one connection while its certificate is revoked through the admin API of the running server. The time is
// from before the revocation is asked for, its durable commit included, until the caller has read that it is refused. Run with -v for the figures.
func TestRevocationReachesLiveConnectionsWithinASecond(t *testing.T) {
	h := newHandover(t, &executions{seen: map[string]int{}})
	server := h.start()
	defer h.stop(server)
	h.furnish()
	api := socketClient(filepath.Join(h.dir, "node", "admin.sock"))
	roots, err := os.ReadFile(filepath.Join(h.dir, "erp", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	var took []time.Duration
	for i := range rounds {
		c := newLiveCaller(t, api, roots, h.address, i%2 == 1)
		c.run()
		asked := time.Now()
		if _, err := api.RevokeCertificate(t.Context(), c.serial, "keyCompromise"); err != nil {
			t.Fatal(err)
		}
		c.revoked.Store(true)
		refused := <-c.refused
		took = append(took, refused.Sub(asked))
		if c.late.Load() {
			t.Errorf("round %d: a request that began after the answer to the revocation was served", i)
		}
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("revocation to refusal on a live connection, %d times: median %v, p99 %v, longest %v", rounds, took[len(took)/2], p99, took[len(took)-1])
	if p99 > time.Second {
		t.Errorf("p99 is %v, want less than a second", p99)
	}
}

// liveCaller is a caller with a certificate of its own that calls on one connection until it is refused.
type liveCaller struct {
	t       *testing.T
	client  *http.Client
	serial  string
	revoked atomic.Bool // the revocation was answered
	late    atomic.Bool // and a request that began then was served
	refused chan time.Time
}

func newLiveCaller(t *testing.T, api *admin.Client, roots []byte, address string, h2 bool) *liveCaller {
	t.Helper()
	key, err := pki.GenerateKey(pki.P256)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := requestFor("erp", key)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := api.IssueCertificate(t.Context(), "erp", admin.CertificateRequest{CSR: csr})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := pki.ParseCertificates([]byte(issued.Chain))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	c := &liveCaller{t: t, serial: issued.Serial, refused: make(chan time.Time, 1)}
	var dialled atomic.Bool
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{chain[0].Raw, chain[1].Raw}, PrivateKey: key}}},
		Protocols:       new(http.Protocols),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			if dialled.Swap(true) {
				return nil, net.ErrClosed // the one connection was cut
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetHTTP2(h2)
	t.Cleanup(transport.CloseIdleConnections)
	c.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	return c
}

// run returns after the first request was served; the others follow until one is refused.
func (c *liveCaller) run() {
	c.t.Helper()
	if !c.call() {
		c.t.Fatal("the first request was refused")
	}
	go func() {
		for {
			revoked := c.revoked.Load()
			if !c.call() {
				c.refused <- time.Now()
				return
			}
			if revoked {
				c.late.Store(true)
			}
		}
	}()
}

// call reports whether a request was served.
func (c *liveCaller) call() bool {
	response, err := c.client.Get("https://localhost/http/live")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil && response.StatusCode == http.StatusOK
}

// The published list follows a revocation within a second. Run with -v for the figures.
func TestRevocationIsPublishedWithinASecond(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	cfg := defaultConfig()
	cfg.Listen, cfg.Admin.Listen, cfg.Publish.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	if err := initialize(t.Context(), initOptions{dir: dir, adminName: "admin", config: cfg}); err != nil {
		t.Fatal(err)
	}
	loaded, err := loadConfig(filepath.Join(dir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	n, err := openNode(t.Context(), loaded, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.listen(inherited{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.serve() }()
	ctx, stop := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() { n.publish.keep(ctx); close(kept) }()
	defer func() {
		stop()
		<-kept
		if err := errors.Join(n.shutdown(context.Background()), <-ended); err != nil {
			t.Error(err)
		}
	}()
	api := socketClient(loaded.Admin.Socket)
	if _, err := api.AddIdentity(t.Context(), identity.Identity{Name: "erp", Owner: "team"}); err != nil {
		t.Fatal(err)
	}
	url := "http://" + n.front.addresses().publish + pki.CRLPath(pki.PublicID(n.ca.Intermediate()))
	var took []time.Duration
	for range 20 {
		key, err := pki.GenerateKey(pki.P256)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := requestFor("erp", key)
		if err != nil {
			t.Fatal(err)
		}
		issued, err := api.IssueCertificate(t.Context(), "erp", admin.CertificateRequest{CSR: csr})
		if err != nil {
			t.Fatal(err)
		}
		asked := time.Now()
		if _, err := api.RevokeCertificate(t.Context(), issued.Serial, "superseded"); err != nil {
			t.Fatal(err)
		}
		for !listed(t, url, issued.Serial) && time.Since(asked) < 20*time.Second {
			time.Sleep(5 * time.Millisecond)
		}
		took = append(took, time.Since(asked))
	}
	slices.Sort(took)
	t.Logf("revocation to the published list, %d times: median %v, longest %v", len(took), took[len(took)/2], took[len(took)-1])
	if longest := took[len(took)-1]; longest > time.Second {
		t.Errorf("longest is %v, want less than a second", longest)
	}
}

// listed reports whether the published list has the serial number.
func listed(t *testing.T, url, serial string) bool {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return false // the first list is being made
	}
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(b)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return pki.FormatSerial(e.SerialNumber) == serial })
}
