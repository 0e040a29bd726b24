package servercert_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/pki/servercert"
)

// A CA that has to revoke says that a certificate should be renewed now. It is, once, and advice to wait for years puts nothing off.
func TestTheACMEServersAdviceBringsARenewalForward(t *testing.T) {
	ca, s := newPublic(t), newServer(t)
	s.advises = true
	var issued, asked atomic.Int64
	var about atomic.Value // the first certificate
	s.chain = func(csr *x509.CertificateRequest) []byte {
		issued.Add(1)
		return pki.EncodeCertificates(ca.issue(csr.PublicKey, nil, "gate.example.com"), ca.inter)
	}
	s.instead = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/advice/") {
			return false
		}
		start := time.Now().Add(-time.Hour)
		if about.CompareAndSwap(nil, r.URL.Path); about.Load() != r.URL.Path {
			start = time.Now().Add(100 * 365 * 24 * time.Hour)
			asked.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"suggestedWindow": {"start": %q, "end": %q}}`, start.Format(time.RFC3339), start.Add(30*time.Minute).Format(time.RFC3339))
		return true
	}
	n := open(t, pkitest.New(t), servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: s.URL + "/directory",
		Challenges:   []string{servercert.HTTP01},
		TrustedRoots: s.roots()})
	eventually(t, "a certificate", n.has("gate.example.com"))
	first := n.Certificate("gate.example.com", &tls.ClientHelloInfo{}).Leaf
	if err := n.Look(); err != nil { // an operator who does not want to wait
		t.Fatal(err)
	}
	eventually(t, "its successor", func() bool { return !n.Certificate("gate.example.com", &tls.ClientHelloInfo{}).Leaf.Equal(first) })
	for range 3 {
		_ = n.Look()
	}
	eventually(t, "advice about the successor", func() bool { return asked.Load() >= 2 }) // when it came, and since
	if issued.Load() != 2 {
		t.Errorf("%d certificates were issued", issued.Load())
	}
}
