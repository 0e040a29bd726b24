package servercert_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/pki/servercert"
)

// The public CA's answer goes with its certificate, is kept over a restart, and where a certificate demands one that cannot be had it is said.
func TestAnswersOfThePublicCAAreStapled(t *testing.T) {
	ca, p := newPublic(t), newPlace(t)
	k := newKey(t)
	var leaf *x509.Certificate
	var asked atomic.Int64
	responder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		answer, err := ocsp.CreateResponse(ca.inter, ca.inter, ocsp.Response{Status: ocsp.Good, SerialNumber: leaf.SerialNumber,
			ThisUpdate: time.Now().Add(-time.Minute),
			NextUpdate: time.Now().Add(24 * time.Hour)}, ca.key)
		if err != nil {
			t.Error(err)
		}
		w.Write(answer)
	}))
	defer responder.Close()
	mustStaple := func(c *x509.Certificate) {
		c.OCSPServer = []string{responder.URL}
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 0x03, 0x02, 0x01, 0x05}}}
	}
	leaf = ca.issue(k.Public(), mustStaple, "gate.example.com")
	p.write("cert.pem", pki.EncodeCertificates(leaf, ca.inter))
	p.write("key.pem", keyPEM(t, k))
	env := pkitest.New(t)
	opened := func() (f *files, close func()) {
		storage, err := env.CA.Storage()
		if err != nil {
			t.Fatal(err)
		}
		stapler := servercert.NewStapler(storage, slog.New(slog.DiscardHandler))
		f = openFiles(t, servercert.FilesOptions{Pairs: p.pair(), Stapler: stapler})
		return f, func() {
			f.Close()
			stapler.Close()
			storage.Close()
		}
	}
	stapled := func(f *files) func() bool {
		return func() bool {
			c := f.Certificate("gate.example.com", &tls.ClientHelloInfo{})
			answer, err := ocsp.ParseResponseForCert(c.OCSPStaple, c.Leaf, ca.inter)
			return err == nil && answer.Status == ocsp.Good
		}
	}
	f, end := opened()
	eventually(t, "an answer", stapled(f))
	if w := f.States()[0].Warnings; len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
	end()
	f, end = opened()
	eventually(t, "the answer after a restart", stapled(f))
	if asked.Load() != 1 {
		t.Errorf("the responder was asked %d times", asked.Load())
	}
	end()

	k = newKey(t)
	responder.Close() // another certificate, and nobody to ask about it
	leaf = ca.issue(k.Public(), mustStaple, "gate.example.com")
	p.write("cert.pem", pki.EncodeCertificates(leaf, ca.inter))
	p.write("key.pem", keyPEM(t, k))
	f, end = opened()
	defer end()
	f.shows("without an answer", leaf)
	if w := strings.Join(f.States()[0].Warnings, " "); !strings.Contains(w, "demands a stapled OCSP answer") {
		t.Errorf("warnings %q", w)
	}
}
