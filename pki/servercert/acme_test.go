package servercert_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/pki/servercert"
)

// node is one of several that share a database: its source, and the listeners at which it answers challenges.
type node struct {
	*servercert.ACME
	log *logged
}

// logged is a log that a test reads.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func open(t *testing.T, env *pkitest.Env, o servercert.ACMEOptions) *node {
	t.Helper()
	storage, err := env.CA.Storage()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{log: new(logged)}
	o.AgreeTerms, o.Storage, o.Logger = true, storage, slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if n.ACME, err = servercert.OpenACME(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Close()
		storage.Close()
		if t.Failed() {
			t.Logf("log of the node:\n%s", n.log.String())
		}
	})
	return n
}

// answering has a listener answer the challenges of a node, and returns its port.
func answering(t *testing.T, serve func(net.Listener)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serve(l)
	return l.Addr().(*net.TCPAddr).Port
}

// current is the node that is asked for challenges now.
type current struct{ atomic.Pointer[node] }

// challenge answers as the node does, and as none while there is none.
func (c *current) challenge(h *tls.ClientHelloInfo) *tls.Certificate {
	if n := c.Load(); n != nil {
		return n.Challenge(h)
	}
	return nil
}

// byTLS answers tls-alpn-01.
func byTLS(n *current) func(net.Listener) {
	return func(l net.Listener) {
		config := &tls.Config{NextProtos: []string{servercert.ALPN}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return n.challenge(h), nil
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
	}
}

// byHTTP answers http-01.
func byHTTP(n *current) func(net.Listener) {
	return func(l net.Listener) {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.Load().ServeHTTP(w, r) }))
	}
}

func pool(t *testing.T, pem string) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(pem)) {
		t.Fatal("no certificate")
	}
	return p
}

func parsed(t *testing.T, pem string) []*x509.Certificate {
	t.Helper()
	certs, err := pki.ParseCertificates([]byte(pem))
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

// eventually waits for what happens in the background, in real time: the ACME server is another process.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func (n *node) has(name string) func() bool {
	return func() bool { return n.Certificate(name, &tls.ClientHelloInfo{}) != nil }
}

func TestACertificateComesByEitherChallenge(t *testing.T) {
	for _, kind := range []string{servercert.TLSALPN01, servercert.HTTP01} {
		t.Run(kind, func(t *testing.T) {
			var asked current
			pebble := outside.StartPebble(t, outside.PebbleOptions{TLSPort: answering(t, byTLS(&asked)), HTTPPort: answering(t, byHTTP(&asked)), NonceReject: 30})
			n := open(t, pkitest.New(t), servercert.ACMEOptions{Names: []string{"Gate.Example.com", "other.example.com"}, Directory: pebble.Directory,
				Challenges: []string{kind}, TrustedRoots: pool(t, pebble.CA), Roots: parsed(t, pebble.Root()), Email: "operators@example.com"})
			asked.Store(n)
			eventually(t, "certificates", func() bool { return n.has("gate.example.com")() && n.has("other.example.com")() })
			c := n.Certificate("gate.example.com", &tls.ClientHelloInfo{})
			options := x509.VerifyOptions{Roots: pool(t, pebble.Root()), Intermediates: x509.NewCertPool(), DNSName: "gate.example.com"}
			for _, der := range c.Certificate[1:] {
				helper, err := x509.ParseCertificate(der)
				if err != nil {
					t.Fatal(err)
				}
				options.Intermediates.AddCert(helper)
			}
			if _, err := c.Leaf.Verify(options); err != nil {
				t.Errorf("the certificate: %v", err)
			}
			if n.Certificate("unknown.example.com", &tls.ClientHelloInfo{}) != nil {
				t.Error("a certificate for a name that was not asked for")
			}
			if pebble.Accounts() != 1 || pebble.Issued() != 2 {
				t.Errorf("%d accounts, %d certificates: want 1 and 2", pebble.Accounts(), pebble.Issued())
			}
			for _, s := range n.States() {
				if !s.Valid(time.Now()) || s.Problem != "" || s.Source != "acme" {
					t.Errorf("state %+v", s)
				}
			}
			if strings.Contains(n.log.String(), "level=ERROR") {
				t.Error("something went wrong on the way")
			}
		})
	}
}
