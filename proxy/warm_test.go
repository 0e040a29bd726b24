package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
)

// Connections to tenants: made ahead, kept, and given up in time.

// doorman is a listener that knows which connections are open.
type doorman struct {
	net.Listener
	mu       sync.Mutex
	open     map[string]bool
	accepted []string // remote addresses
	slam     bool     // close each at once
}

// watch puts a doorman before the listener of a server that has not started.
func watch(l net.Listener) *doorman { return &doorman{Listener: l, open: map[string]bool{}} }

func (d *doorman) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := c.RemoteAddr().String()
		d.mu.Lock()
		d.accepted = append(d.accepted, addr)
		slam := d.slam
		d.open[addr] = !slam
		d.mu.Unlock()
		if !slam {
			return &watched{Conn: c, gone: func() {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.open[addr] = false
			}}, nil
		}
		c.Close()
	}
}

type watched struct {
	net.Conn
	gone func()
}

func (w *watched) Close() error {
	w.gone()
	return w.Conn.Close()
}

// count returns how many connections are open and how many there have been.
func (d *doorman) count() (open, ever int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, is := range d.open {
		if is {
			open++
		}
	}
	return open, len(d.accepted)
}

func (d *doorman) has(addr string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[addr]
}

// place is a further tenant: it has a certificate for its names, and trusts the tokens of the gate's own tenant, which it answers for.
type place struct {
	*httptest.Server
	door   *doorman
	caPEM  string
	strict atomic.Pointer[tls.Config] // in place of its own, for further connections
	mu     sync.Mutex
	last   *http.Request
}

func newPlace(tb testing.TB, address string, names ...string) *place {
	tb.Helper()
	cert, caPEM := selfSigned(tb, names...)
	p := &place{caPEM: caPEM}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth/token" { // for clients with a certificate
			if len(r.TLS.PeerCertificates) == 1 {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"access_token":"token-of-a-certificate","token_type":"bearer","expires_in":43199}`)
			}
			return
		}
		p.mu.Lock()
		p.last = r.Clone(context.Background())
		p.mu.Unlock()
		io.WriteString(w, "at "+address)
	}))
	if address != "" {
		p.Listener.Close()
		var err error
		p.Listener, err = net.Listen("tcp", address)
		must(tb, err)
	}
	p.door = watch(p.Listener)
	p.Listener = p.door
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, ClientCAs: x509.NewCertPool()}
	p.TLS.ClientCAs.AppendCertsFromPEM([]byte(caPEM)) // to nobody's certificate of ours: a client that looks shows none
	p.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return p.strict.Load(), nil }
	p.EnableHTTP2 = tenantsSpeak == identity.ProtocolHTTP2
	p.StartTLS()
	tb.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *place) port() string {
	_, port, _ := net.SplitHostPort(p.Listener.Addr().String())
	return port
}

func (p *place) request() *http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// selfSigned makes a certificate for names and addresses.
func selfSigned(tb testing.TB, names ...string) (tls.Certificate, string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(tb, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// addPlace adds a tenant of the given base URL, with the gate's token endpoint, a route /at/NAME to it for the role orders.send, and a credential of the
// identity orders.
func (g *gate) addPlace(name, baseURL, caPEM string, change ...func(*identity.Tenant)) {
	g.tb.Helper()
	ctx := g.tb.Context()
	tenant := identity.Tenant{Name: name, BaseURL: baseURL, TokenURL: g.tenant.URL + "/oauth/token", AuthStyle: "body", CABundle: caPEM + g.tenant.caPEM,
		Protocol: tenantsSpeak}
	for _, c := range change {
		c(&tenant)
	}
	g.change(func(tx *identity.Tx) error {
		if _, err := tx.AddTenant(ctx, tenant); err != nil {
			return err
		}
		_, err := tx.AddCredential(ctx, identity.Credential{
			Identity: "orders", Tenant: name, ClientID: "sb-orders", Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-orders"),
		})
		return err
	})
	g.addRoute(identity.Route{Name: "at-" + name, Path: "/at/" + name, Tenant: name, Role: "orders.send"})
}

const shortLife = 300 * time.Millisecond

func TestTheFirstCallAfterAPausePaysNoHandshake(t *testing.T) {
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Keep(shortLife, 0, 0) })
	p := newPlace(t, "", "localhost")
	g.addPlace("p", "https://localhost:"+p.port(), p.caPEM)
	c := g.issue("orders")
	for range 3 {
		if a := c.get("/at/p"); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
		first := p.request().RemoteAddr
		// A pause in which every link that was there has come to its end, twice.
		for range 2 {
			_, before := p.door.count()
			eventually(t, "another link", func() bool { _, ever := p.door.count(); return ever > before })
		}
		eventually(t, "the end of the link that was used", func() bool { return !p.door.has(first) })
		eventually(t, "a single spare", func() bool { open, _ := p.door.count(); return open == 1 })
		p.door.mu.Lock()
		before := slices.Clone(p.door.accepted)
		p.door.mu.Unlock()
		if a := c.get("/at/p"); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
		if used := p.request().RemoteAddr; !slices.Contains(before, used) {
			t.Errorf("the first call after the pause made a connection of its own, %s, with %d there before", used, len(before))
		}
	}
}

// A tenant that closes a spare gets another one; none that closes them all at once gets no more than it can do with.
func TestASpareThatTheTenantClosesIsReplaced(t *testing.T) {
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Keep(0, 0, 0) })
	p := newPlace(t, "", "localhost")
	g.addPlace("p", "https://localhost:"+p.port(), p.caPEM)
	if a := g.issue("orders").get("/at/p"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	_, before := p.door.count()
	p.CloseClientConnections()
	eventually(t, "another link", func() bool { open, ever := p.door.count(); return ever == before+1 && open == 1 })
	p.door.mu.Lock()
	p.door.slam = true
	p.door.mu.Unlock()
	p.CloseClientConnections()
	time.Sleep(1200 * time.Millisecond) // 120 rounds
	if _, ever := p.door.count(); ever-before > 4 {
		t.Errorf("%d connections were made to a tenant that closes each of them", ever-before)
	}
}

func TestNoSpareOutlivesItsUse(t *testing.T) {
	for name, end := range map[string]func(g *gate){
		"nobody calls": func(*gate) {},
		"the identity is disabled": func(g *gate) {
			g.change(func(tx *identity.Tx) error { _, err := tx.DisableIdentity(g.tb.Context(), "orders"); return err })
		},
		"the tenant is removed": func(g *gate) {
			g.change(func(tx *identity.Tx) error {
				if err := tx.RemoveRoute(g.tb.Context(), "at-p"); err != nil {
					return err
				}
				for _, c := range g.registry.Snapshot().Credentials("orders", "p") {
					if err := tx.RemoveCredential(g.tb.Context(), c.ID); err != nil {
						return err
					}
				}
				return tx.RemoveTenant(g.tb.Context(), "p")
			})
		},
		"shutdown": func(g *gate) { g.server.Shutdown(g.tb.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			warmFor := time.Minute
			if name == "nobody calls" {
				warmFor = shortLife
			}
			g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Keep(shortLife, 0, warmFor) })
			p := newPlace(t, "", "localhost")
			g.addPlace("p", "https://localhost:"+p.port(), p.caPEM)
			if a := g.issue("orders").get("/at/p"); a.status != 200 {
				t.Fatalf("got %+v", a)
			}
			eventually(t, "a spare", func() bool { _, ever := p.door.count(); return ever > 1 })
			end(g)
			eventually(t, "the end of all links", func() bool { open, _ := p.door.count(); return open == 0 })
			_, before := p.door.count()
			time.Sleep(2 * shortLife)
			if _, ever := p.door.count(); ever != before {
				t.Errorf("%d links were made afterwards", ever-before)
			}
		})
	}
}

// nameServer answers every question for an address with the ones it is given.
type nameServer struct {
	v4, v6 atomic.Pointer[net.IP]
	asked  atomic.Int64
}

// resolver asks the name server and nobody else.
func (n *nameServer) resolver(tb testing.TB) *net.Resolver {
	tb.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(tb, err)
	tb.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			m, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			n.asked.Add(1)
			conn.WriteTo(n.reply(buf[:m]), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// reply is RFC 1035, as little of it as there must be.
func (n *nameServer) reply(q []byte) []byte {
	end := 12
	for q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5
	var addr net.IP
	switch kind := binary.BigEndian.Uint16(q[end-4:]); {
	case kind == 1 && n.v4.Load() != nil:
		addr = n.v4.Load().To4()
	case kind == 28 && n.v6.Load() != nil:
		addr = n.v6.Load().To16()
	}
	out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end]...)
	if addr != nil {
		out[7] = 1
		out = append(out, 0xc0, 12, q[end-4], q[end-3], 0, 1, 0, 0, 0, 0, 0, byte(len(addr)))
		out = append(out, addr...)
	}
	return out
}

func (n *nameServer) leadTo(v4, v6 string) {
	set := func(p *atomic.Pointer[net.IP], s string) {
		if ip := net.ParseIP(s); ip != nil {
			p.Store(&ip)
		} else {
			p.Store(nil)
		}
	}
	set(&n.v4, v4)
	set(&n.v6, v6)
}

// A tenant that moves is followed, though its old address still answers and is called all the time.
func TestATenantsNewAddressIsFollowed(t *testing.T) {
	var dns nameServer
	r := dns.resolver(t)
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) {
		c.Keep(0, shortLife, 0)
		c.Resolve(r)
	})
	before := newPlace(t, "127.0.0.1:0", "tenant.example")
	after := newPlace(t, "127.0.0.2:"+before.port(), "tenant.example")
	dns.leadTo("127.0.0.1", "")
	g.addPlace("p", "https://tenant.example:"+before.port(), before.caPEM+after.caPEM)
	c := g.issue("orders")
	call := func() string {
		a := c.get("/at/p")
		if a.status != 200 {
			t.Fatalf("got %+v", a)
		}
		return a.body
	}
	for range 3 {
		if got := call(); !strings.HasPrefix(got, "at 127.0.0.1") {
			t.Fatalf("got %q", got)
		}
	}
	dns.leadTo("127.0.0.2", "")
	moved := time.Now()
	eventually(t, "an answer from the new address", func() bool { return strings.HasPrefix(call(), "at 127.0.0.2") })
	if d := time.Since(moved); d > 3*shortLife {
		t.Errorf("it took %v", d)
	}
	time.Sleep(shortLife) // the old links have come of age
	for range 20 {
		if got := call(); !strings.HasPrefix(got, "at 127.0.0.2") {
			t.Fatalf("afterwards: got %q", got)
		}
	}
	eventually(t, "the end of the links to the old address", func() bool { open, _ := before.door.count(); return open == 0 })
}

// Of two addresses, one of IPv6 that refuses costs the caller nothing (RFC 8305).
func TestAnAddressThatRefusesIsPassedOver(t *testing.T) {
	var dns nameServer
	r := dns.resolver(t)
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Resolve(r) })
	p := newPlace(t, "127.0.0.1:0", "tenant.example")
	g.addPlace("p", "https://tenant.example:"+p.port(), p.caPEM)
	dns.leadTo("127.0.0.1", "::1")
	if a := g.issue("orders").get("/at/p"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	if n := dns.asked.Load(); n < 2 {
		t.Errorf("the name server was asked %d times: this test shows nothing", n)
	}
}

// TLS sessions are resumed, each by the identity that has begun it.
func TestTLSSessionsAreResumedByTheirIdentityOnly(t *testing.T) {
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Keep(shortLife, 0, time.Millisecond) })
	p := newPlace(t, "", "localhost")
	g.addPlace("p", "https://localhost:"+p.port(), p.caPEM)
	g.change(func(tx *identity.Tx) error {
		if _, err := tx.SetIdentity(t.Context(), identity.Identity{Name: "stock", Owner: "team-stock", Roles: []string{"orders.send"}}); err != nil {
			return err
		}
		_, err := tx.AddCredential(t.Context(), identity.Credential{
			Identity: "stock", Tenant: "p", ClientID: "sb-stock", Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-stock"),
		})
		return err
	})
	orders, stock := g.issue("orders"), g.issue("stock")
	for i, step := range []struct {
		c    *client
		want bool
	}{{orders, false}, {orders, true}, {stock, false}, {stock, true}, {orders, true}} {
		if a := step.c.get("/at/p"); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
		if got := p.request().TLS.DidResume; got != step.want {
			t.Errorf("call %d: resumed is %v, want %v", i+1, got, step.want)
		}
		eventually(t, "the end of the link", func() bool { open, _ := p.door.count(); return open == 0 })
	}
}
