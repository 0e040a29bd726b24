package servercert_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/pki/servercert"
)

// Two nodes on one database: one account, one order, one certificate, and each answers the challenges of the other.
func TestNodesShareAccountCertificateAndChallenges(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		db := pkitest.OpenDatabase(t, create(t))
		var a, b current
		var asked, both atomic.Int64
		port := answering(t, func(l net.Listener) {
			config := &tls.Config{NextProtos: []string{servercert.ALPN}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				asked.Add(1)
				one, other := a.challenge(h), b.challenge(h)
				if one != nil && other != nil {
					both.Add(1)
				}
				return one, nil
			}}
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_ = tls.Server(c, config).Handshake()
				}()
			}
		})
		pebble := outside.StartPebble(t, outside.PebbleOptions{TLSPort: port, HTTPPort: 1})
		env := pkitest.With(t, pkitest.Options{DB: db})
		o := servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: pebble.Directory, Challenges: []string{servercert.TLSALPN01},
			TrustedRoots: pool(t, pebble.CA), Shared: true}
		a.Store(open(t, env, o))
		b.Store(open(t, env, o))
		eventually(t, "one certificate on both nodes", func() bool { return a.Load().serial() != "" && a.Load().serial() == b.Load().serial() })
		if pebble.Accounts() != 1 || pebble.Issued() != 1 {
			t.Errorf("%d accounts, %d certificates: want one of each", pebble.Accounts(), pebble.Issued())
		}
		if asked.Load() == 0 || both.Load() != asked.Load() {
			t.Errorf("of %d questions of the ACME server both nodes knew the answer to %d", asked.Load(), both.Load())
		}
		isSealed(t, db)
	})
}

// serial is that of the certificate that is served, "" while there is none.
func (n *node) serial() string {
	if c := n.Certificate("gate.example.com", &tls.ClientHelloInfo{}); c != nil {
		return pki.FormatSerial(c.Leaf.SerialNumber)
	}
	return ""
}

// A certificate is due on both nodes at the same time: one of them orders its successor, and both serve it.
func TestNodesRenewACertificateOnce(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		ca, s := newPublic(t), newServer(t)
		var issued atomic.Int64
		s.chain = func(csr *x509.CertificateRequest) []byte {
			change := func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Now().Add(-10*time.Second), time.Now().Add(20*time.Second)
			}
			if issued.Add(1) > 1 {
				change = nil
			}
			return pki.EncodeCertificates(ca.issue(csr.PublicKey, change, "gate.example.com"), ca.inter)
		}
		env := pkitest.With(t, pkitest.Options{DB: pkitest.OpenDatabase(t, create(t))})
		o := servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: s.URL + "/directory", Challenges: []string{servercert.HTTP01},
			TrustedRoots: s.roots(), Shared: true, Pause: time.Second}
		a, b := open(t, env, o), open(t, env, o)
		eventually(t, "the successor on both nodes", func() bool { return issued.Load() > 1 && a.serial() != "" && a.serial() == b.serial() })
		for range 2 {
			_, _ = a.Look(), b.Look()
		}
		if n := issued.Load(); n != 2 {
			t.Errorf("%d certificates were issued", n)
		}
	})
}

// isSealed fails when a key, of a certificate or an account, lies in the database in the clear.
func isSealed(t *testing.T, db *sql.DB) {
	t.Helper()
	rows, err := db.Query(`SELECT path, value FROM pki_storage`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var path string
		var value []byte
		if err := rows.Scan(&path, &value); err != nil {
			t.Fatal(err)
		}
		n++
		if bytes.Contains(value, []byte("PRIVATE KEY")) || bytes.Contains(value, []byte("keyAuthorization")) {
			t.Errorf("%s is in the clear", path)
		}
	}
	if n < 4 {
		t.Errorf("%d values are stored", n)
	}
}

// A restart needs no ACME server, and neither do two parts of a certificate that do not fit, once there is one again.
func TestARestartServesWhatIsStored(t *testing.T) {
	var asked current
	pebble := outside.StartPebble(t, outside.PebbleOptions{HTTPPort: answering(t, byHTTP(&asked)), TLSPort: 1})
	env := pkitest.New(t)
	o := servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: pebble.Directory, Challenges: []string{servercert.HTTP01},
		TrustedRoots: pool(t, pebble.CA)}
	n := open(t, env, o)
	asked.Store(n)
	eventually(t, "a certificate", n.has("gate.example.com"))
	n.Close()
	again := open(t, env, o)
	if !again.has("gate.example.com")() || pebble.Issued() != 1 {
		t.Errorf("after a restart: served %v, %d certificates issued", again.has("gate.example.com")(), pebble.Issued())
	}
	again.Close()

	storage, err := env.CA.Storage()
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	keys, err := storage.List(t.Context(), "certificates", true)
	if err != nil {
		t.Fatal(err)
	}
	_, other, _ := newPublic(t).pair("gate.example.com")
	for _, key := range keys { // as if a node had died between the two
		if strings.HasSuffix(key, ".key") {
			if err := storage.Store(t.Context(), key, other); err != nil {
				t.Fatal(err)
			}
		}
	}
	n = open(t, env, o)
	asked.Store(n)
	eventually(t, "a certificate in the place of one whose key is another's", n.has("gate.example.com"))
	if pebble.Issued() != 2 {
		t.Errorf("%d certificates issued", pebble.Issued())
	}
}

// The ACME server is down when the first certificate is wanted. It is asked again, and believed when it is there.
func TestAnACMEServerThatComesLateIsFound(t *testing.T) {
	var asked current
	port := answering(t, byHTTP(&asked))
	first := outside.StartPebble(t, outside.PebbleOptions{HTTPPort: port, TLSPort: 1})
	first.Stop()
	n := open(t, pkitest.New(t), servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: first.Directory, Challenges: []string{servercert.HTTP01},
		TrustedRoots: pool(t, first.CA)})
	asked.Store(n)
	eventually(t, "a problem", func() bool { return strings.Contains(n.States()[0].Problem, "connection refused") })
	if s := n.States()[0]; time.Until(s.Next) > time.Minute {
		t.Errorf("it is tried again only at %s", s.Next)
	}
	second := outside.StartPebble(t, outside.PebbleOptions{HTTPPort: port, TLSPort: 1, After: first})
	eventually(t, "a certificate", n.has("gate.example.com"))
	if s := n.States()[0]; s.Problem != "" || second.Issued() != 1 {
		t.Errorf("state %+v, %d certificates", s, second.Issued())
	}
}

func TestAnAccountIsBoundToAnExternalOne(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	var asked current
	pebble := outside.StartPebble(t, outside.PebbleOptions{HTTPPort: answering(t, byHTTP(&asked)), TLSPort: 1,
		EAB: map[string]string{"kid-1": base64.RawURLEncoding.EncodeToString(key)}})
	o := servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: pebble.Directory, Challenges: []string{servercert.HTTP01},
		TrustedRoots: pool(t, pebble.CA), EABKeyID: "kid-1", EABKey: []byte("another key of thirty-two octets")}
	wrong := open(t, pkitest.New(t), o)
	eventually(t, "a refusal", func() bool { return strings.Contains(wrong.log.String(), "gave none") })
	if strings.Contains(wrong.log.String(), string(o.EABKey)) || strings.Contains(wrong.log.String(), base64.RawURLEncoding.EncodeToString(o.EABKey)) {
		t.Error("the key is in the log")
	}
	o.EABKey = key
	n := open(t, pkitest.New(t), o)
	asked.Store(n)
	eventually(t, "a certificate", n.has("gate.example.com"))
}

// certmagic's defaults are of the whole process: none of them must leak into what is done here.
func TestNothingIsAskedOfLetsEncryptUnlessItIsConfigured(t *testing.T) {
	if _, err := servercert.OpenACME(t.Context(), servercert.ACMEOptions{Names: []string{"gate.example.com"}, AgreeTerms: true,
		Challenges: []string{servercert.HTTP01}}); err == nil {
		t.Error("without a directory there is an ACME source")
	}
	if _, err := servercert.OpenACME(t.Context(), servercert.ACMEOptions{Names: []string{"gate.example.com"}, Directory: certmagic.LetsEncryptStagingCA,
		Challenges: []string{servercert.HTTP01}}); err == nil {
		t.Error("without agreement there is an ACME source")
	}
}
