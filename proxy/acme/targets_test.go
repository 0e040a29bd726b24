package acme_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy/acme"
)

func TestOnlyCallersNetworksAreCalled(t *testing.T) {
	prefix := netip.MustParsePrefix
	everything := []netip.Prefix{prefix("0.0.0.0/0"), prefix("::/0")}
	inner := []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/8")}
	for _, c := range []struct {
		allow  []netip.Prefix
		unsafe bool
		a      string
		want   bool
	}{
		{inner, false, "10.1.2.3", true},
		{inner, false, "::ffff:10.1.2.3", true},
		{inner, false, "fd12::1", true},
		{inner, false, "192.168.1.1", false},
		{inner, false, "8.8.8.8", false},
		{inner, false, "fd00:ec2::254", false},
		{nil, true, "10.1.2.3", false},
		{nil, true, "127.0.0.1", false},
		{inner, true, "127.0.0.1", false},
		{everything, false, "192.168.1.1", true},
		{everything, false, "2001:db8::1", true},
		{everything, false, "127.0.0.1", false},
		{everything, false, "127.255.255.254", false},
		{everything, false, "::1", false},
		{everything, true, "::1", true},
		{everything, true, "127.0.0.1", true},
		{everything, true, "::ffff:127.0.0.1", true},
		{everything, false, "::ffff:127.0.0.1", false},
		{everything, true, "0.0.0.0", false},
		{everything, true, "::", false},
		{everything, true, "::7f00:1", false},
		{everything, true, "169.254.169.254", false},
		{everything, true, "::ffff:169.254.169.254", false},
		{everything, true, "64:ff9b::a9fe:a9fe", false},
		{everything, true, "2002:a9fe:a9fe::1", false},
		{everything, true, "fe80::1", false},
		{everything, true, "10.0.0.1%eth0", false},
		{everything, true, "100.100.100.200", false},
		{everything, true, "168.63.129.16", false},
		{everything, true, "224.0.0.1", false},
		{everything, true, "255.255.255.255", false},
		{everything, true, "ff02::1", false},
	} {
		targets := acme.Targets{Allow: c.allow, UnsafeLoopback: c.unsafe}
		a, err := netip.ParseAddr(c.a)
		if err != nil {
			if !strings.Contains(c.a, "%") {
				t.Fatal(err)
			}
			a = netip.MustParseAddr("fe80::1%eth0")
		}
		if got := targets.Allows(a); got != c.want {
			t.Errorf("%s, allowed %v, loopback %v: got %v", c.a, c.allow, c.unsafe, got)
		}
	}
	if (&acme.Targets{Allow: everything, UnsafeLoopback: true}).Allows(netip.Addr{}) {
		t.Error("no address is allowed")
	}
}

// looked makes an order for a name that leads to address and returns the challenge after the look at it.
func (h *house) looked(c *client, kind string) *reply {
	h.t.Helper()
	o := c.order(host)
	if o.status != http.StatusCreated {
		h.t.Fatalf("got %d %s", o.status, o.body)
	}
	ch := c.respond(o, kind)
	if r := c.post(o.header.Get("Location"), nil); ch.object.Status != "valid" && r.object.Status != "invalid" {
		h.t.Errorf("the challenge is %s and the order %s", ch.body, r.body)
	}
	return ch
}

func TestANameThatLeadsElsewhereIsNotCalled(t *testing.T) {
	h := build(t)
	h.targets.UnsafeLoopback = false
	h.targets.Allow = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	h.registry, h.url = h.node()
	c := h.registered(nil)
	for _, address := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0"} {
		for _, kind := range []string{"http-01", "tls-alpn-01"} {
			h.mu.Lock()
			h.hosts[host] = address
			h.mu.Unlock()
			ch := h.looked(c, kind)
			if ch.object.Status != "invalid" || ch.object.Error.Type != "urn:ietf:params:acme:error:connection" || strings.Contains(string(ch.body), address+" ") {
				t.Errorf("%s by %s: got %s", address, kind, ch.body)
			}
		}
	}
	if h.asked != 0 {
		t.Errorf("it was called %d times", h.asked)
	}
	if h.certificates() != 0 {
		t.Error("something was issued")
	}
}

func TestRedirectsStayWithTheHost(t *testing.T) {
	h := build(t)
	other := httptest.NewServer(http.HandlerFunc(h.serveCaller))
	t.Cleanup(other.Close)
	c := h.registered(nil)
	h.hosts["other.example.com"] = "127.0.0.1"
	own := fmt.Sprintf("http://%s:%d", host, h.targets.HTTPPort)
	for _, one := range []struct{ name, to, want string }{
		{"to the same host", own + "/.well-known/acme-challenge/%s?moved", "valid"},
		{"without the port", "http://" + host + "/.well-known/acme-challenge/%s?moved", "valid"},
		{"to a file", "file:///etc/passwd?%s", "invalid"},
		{"to another host", "http://other.example.com/.well-known/acme-challenge/%s?moved", "invalid"},
		{"to an address", fmt.Sprintf("http://127.0.0.1:%d", h.targets.HTTPPort) + "/.well-known/acme-challenge/%s?moved", "invalid"},
		{"to metadata", "http://169.254.169.254/latest/%s", "invalid"},
		{"to another port", strings.Replace(other.URL, "127.0.0.1", host, 1) + "/.well-known/acme-challenge/%s?moved", "invalid"},
		{"to another scheme", "gopher://" + host + "/%s", "invalid"},
		{"with a password", "http://a:b@" + host + "/.well-known/acme-challenge/%s?moved", "invalid"},
		{"round and round", own + "/.well-known/acme-challenge/%s", "invalid"},
	} {
		t.Run(one.name, func(t *testing.T) {
			h.mu.Lock()
			h.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.RawQuery != "" {
					return false
				}
				http.Redirect(w, r, fmt.Sprintf(one.to, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]), http.StatusFound)
				return true
			}
			h.mu.Unlock()
			if ch := h.looked(c, "http-01"); ch.object.Status != one.want {
				t.Errorf("got %s", ch.body)
			}
		})
	}
}

func TestAnswersThatNeverEndAreLetGo(t *testing.T) {
	t.Parallel() // one of them takes all the time that there is
	h := build(t)
	c := h.registered(nil)
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"a body without end": func(w http.ResponseWriter, _ *http.Request) bool {
			b := []byte(strings.Repeat("x", 1<<16))
			for range 1 << 10 {
				if _, err := w.Write(b); err != nil {
					return true
				}
			}
			t.Error("64 MiB were read")
			return true
		},
		"a head without end": func(w http.ResponseWriter, _ *http.Request) bool {
			for i := range 4096 {
				w.Header().Set(fmt.Sprintf("X-%d", i), "xxxxxxxxxxxxxxxx")
			}
			return true
		},
		"another status": func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusAccepted); return true },
		"silence":        func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
	} {
		t.Run(name, func(t *testing.T) {
			h.mu.Lock()
			h.answer = answer
			h.mu.Unlock()
			began := time.Now()
			if ch := h.looked(c, "http-01"); ch.object.Status != "invalid" {
				t.Errorf("got %s", ch.body)
			}
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestTheWrongCertificateProvesNothing(t *testing.T) {
	h := build(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"acme-tls/1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	h.targets.TLSPort = l.Addr().(*net.TCPAddr).Port
	h.registry, h.url = h.node()
	c := h.registered(nil)
	if ch := h.looked(c, "tls-alpn-01"); ch.object.Status != "invalid" || ch.object.Error.Type != "urn:ietf:params:acme:error:incorrectResponse" {
		t.Errorf("got %s", ch.body)
	}
}
