package outside

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// PebbleOptions say how the ACME server behaves.
type PebbleOptions struct {
	// HTTPPort and TLSPort are where it asks for http-01 and tls-alpn-01 challenges, whatever the name, on loopback.
	HTTPPort, TLSPort int
	// EAB are the keys of external accounts, base64url, by their ID; with any, accounts must be bound to one.
	EAB map[string]string
	// Validity of its certificates in seconds; 0 is 90 days.
	Validity int
	// NonceReject is how many of a hundred good nonces it rejects; 0 means 5.
	NonceReject int
	// After is one that was stopped, and in whose place this one comes: at its address, with its certificate. nil is none.
	After *Pebble
}

// Pebble is the ACME server of that name, over TLS on loopback, with a DNS server that knows every name as 127.0.0.1.
type Pebble struct {
	// Directory is where clients begin; Address is its host and port.
	Directory, Address string
	server             tls.Certificate
	// CA is the PEM certificate to trust for the server itself. Its certificates lead to another one: see Root.
	CA string

	t          testing.TB
	management string
	cmd        *exec.Cmd
	out        *lockedBuffer
	client     *http.Client
}

// StartPebble starts one that ends with the test.
func StartPebble(t testing.TB, o PebbleOptions) *Pebble {
	t.Helper()
	program, names := Program(t, "pebble"), Program(t, "pebble-challtestsrv")
	dir := t.TempDir()
	p := &Pebble{t: t, management: freeAddress(t), out: new(lockedBuffer)}
	if o.After != nil {
		p.Address, p.CA, p.server = o.After.Address, o.After.CA, o.After.server
	} else {
		caCert, caKey := authority(t)
		p.Address, p.CA = freeAddress(t), encode("CERTIFICATE", caCert.Raw)
		p.server = sign(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, caCert, caKey)
	}
	p.Directory = "https://" + p.Address + "/dir"
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.CA))
	p.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}

	if o.Validity == 0 {
		o.Validity = 90 * 86400
	}
	if o.NonceReject == 0 {
		o.NonceReject = 5
	}
	certFile, keyFile, configFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "pebble.json")
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": p.Address, "managementListenAddress": p.management, "certificate": certFile, "privateKey": keyFile,
		"httpPort": o.HTTPPort, "tlsPort": o.TLSPort, "ocspResponderURL": "", "certificateValidityPeriod": o.Validity,
		"externalAccountBindingRequired": len(o.EAB) > 0, "externalAccountMACKeys": o.EAB,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{certFile: encode("CERTIFICATE", p.server.Certificate[0]), keyFile: keyPEM(t, p.server.PrivateKey), configFile: string(config)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	resolver := freeAddress(t)
	p.run(exec.Command(names, "-dns01", resolver, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "",
		"-management", freeAddress(t)))
	p.cmd = exec.Command(program, "-config", configFile, "-dnsserver", resolver)
	p.cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", fmt.Sprintf("PEBBLE_WFE_NONCEREJECT=%d", o.NonceReject), "PEBBLE_AUTHZREUSE=0")
	p.run(p.cmd)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		res, err := p.client.Get(p.Directory)
		if err == nil {
			res.Body.Close()
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("pebble does not answer: %v\n%s", err, p.out.String())
		}
	}
}

// run starts a program that ends with the test.
func (p *Pebble) run(cmd *exec.Cmd) {
	p.t.Helper()
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if p.t.Failed() && cmd == p.cmd {
			p.t.Logf("pebble said:\n%s", p.out.String())
		}
	})
}

// Stop ends it before the test does.
func (p *Pebble) Stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// Root returns the root that its certificates lead to, PEM. Each start makes another one.
func (p *Pebble) Root() string {
	p.t.Helper()
	res, err := p.client.Get("https://" + p.management + "/roots/0")
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Fatalf("asking pebble for its root: status %d, %v", res.StatusCode, err)
	}
	return string(b)
}

// Issued is how many certificates it has issued.
func (p *Pebble) Issued() int { return strings.Count(p.out.String(), "Issued certificate serial") }

// Accounts is how many accounts it has made.
func (p *Pebble) Accounts() int { return strings.Count(p.out.String(), " accounts in memory") }

// Said is what it has logged.
func (p *Pebble) Said() string { return p.out.String() }

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// lockedBuffer takes what several write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements [io.Writer].
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
