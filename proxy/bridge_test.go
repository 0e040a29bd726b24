package proxy_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// bridge is a gate with a listener on which logins are accepted.
type bridge struct {
	*gate
	addr string
}

func newBridge(tb testing.TB, with ...func(*proxy.Config)) *bridge {
	tb.Helper()
	return bridgeOf(tb, newGate(tb, proxy.Limits{}, with...))
}

// bridgeOf gives a gate such a listener.
func bridgeOf(tb testing.TB, g *gate) *bridge {
	tb.Helper()
	b := &bridge{gate: g}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	b.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- b.server.ServeBridge(l) }()
	tb.Cleanup(func() { l.Close() })
	return b
}

// on has a caller use the bridge.
func (b *bridge) on(c *client) *client {
	c.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, b.addr)
	}
	return c
}

// stranger is a caller on the bridge without a certificate.
func (b *bridge) stranger() *client { return b.on(b.caller(tls.Certificate{})) }

var secretHash = sync.OnceValue(func() identity.PasswordHash {
	h, err := identity.HashPassword("s3cret:päss")
	if err != nil {
		panic(err)
	}
	return h
})

// right is the Authorization of the login that addLogin makes.
var right = basicAuth("P2001234567", "s3cret:päss")

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// addLogin adds the login P2001234567 for the identity orders.
func (b *bridge) addLogin(edit ...func(*identity.Login)) {
	b.tb.Helper()
	l := identity.Login{User: "P2001234567", Identity: "orders", Password: secretHash(), Sunset: time.Now().Add(24 * time.Hour)}
	for _, e := range edit {
		e(&l)
	}
	b.change(func(tx *identity.Tx) error { _, err := tx.AddLogin(b.tb.Context(), l); return err })
}

func (b *bridge) setLogin(edit func(*identity.Login)) {
	b.tb.Helper()
	b.change(func(tx *identity.Tx) error {
		l, err := tx.Login("P2001234567")
		if err != nil {
			return err
		}
		edit(&l)
		_, err = tx.SetLogin(b.tb.Context(), l)
		return err
	})
}

// Law 1.

func TestALoginIsServedAsItsIdentity(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			b := newBridge(t)
			b.addLogin()
			c := b.stranger()
			if proto == "HTTP/2.0" {
				c.h2()
			}
			for range 3 {
				a := c.get("/http/orders/1", "Authorization", right)
				if a.status != 200 || a.proto != proto || a.header.Get("X-Client") != "sb-orders" {
					t.Fatalf("got %+v", a)
				}
				r := b.record(a.header.Get("X-Request-Id"))
				if r["login"] != "P2001234567" || r["stage"] != "open" || r["identity"] != "orders" || r["serial"] != nil {
					t.Errorf("record = %v", r)
				}
			}
			if uses := b.server.LoginUses(); len(uses) != 1 || time.Since(uses["P2001234567"]) > time.Minute {
				t.Errorf("got uses %v", uses)
			}
		})
	}
}

func TestALoginIsRefused(t *testing.T) {
	b := newBridge(t)
	b.addLogin()
	latin1 := "Basic " + base64.StdEncoding.EncodeToString([]byte("P2001234567:s3cret:p\xe4ss"))
	for _, tc := range []struct {
		name    string
		path    string
		header  []string
		outcome record.Outcome // Served: it is served
	}{
		{"nothing", "", nil, record.Unidentified},
		{"wrong password", "", []string{basicAuth("P2001234567", "wrong")}, record.LoginRefused},
		{"unknown user", "", []string{basicAuth("P2001234568", "s3cret:päss")}, record.LoginRefused},
		{"other case", "", []string{basicAuth("p2001234567", "s3cret:päss")}, record.LoginRefused},
		{"no colon", "", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("P2001234567"))}, record.LoginRefused},
		{"no padding", "", []string{strings.TrimRight(basicAuth("P2001234567", "x"), "=")}, record.LoginRefused},
		{"two spaces", "", []string{"Basic  " + right[6:]}, record.LoginRefused},
		{"trailing text", "", []string{right + " x"}, record.LoginRefused},
		{"control character", "", []string{basicAuth("P2001234567", "s3cret:päss\n")}, record.LoginRefused},
		{"too long", "", []string{basicAuth("P2001234567", strings.Repeat("x", 2000))}, record.LoginRefused},
		{"password over 1 KiB", "", []string{basicAuth("P2001234567", strings.Repeat("x", 1025))}, record.LoginRefused},
		{"Bearer", "", []string{"Bearer x"}, record.LoginRefused},
		{"two", "", []string{right, right}, record.LoginRefused},
		{"another route", "/http/stock/1", []string{right}, record.Denied},
		{"ISO-8859-1", "", []string{latin1}, record.Served},
		{"scheme in another case", "", []string{"bAsIc " + right[6:]}, record.Served},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var header []string
			for _, v := range tc.header {
				header = append(header, "Authorization", v)
			}
			path := tc.path
			if path == "" {
				path = "/http/orders/1"
			}
			before := len(b.tenant.requests())
			a := b.stranger().get(path, header...)
			if tc.outcome == record.Served {
				if a.status != 200 {
					t.Errorf("got %+v", a)
				}
				return
			}
			r := b.wantOutcome(a, tc.outcome)
			if a.status == 401 && a.header.Get("WWW-Authenticate") != `Basic realm="tenantgate", charset="UTF-8"` {
				t.Errorf("got challenge %q", a.header.Get("WWW-Authenticate"))
			}
			if text := fmt.Sprint(r, a.body); strings.Contains(text, "s3cret") || strings.Contains(text, "P2001234568") || strings.Contains(text, right[6:]) {
				t.Errorf("what was typed is repeated: %s", text)
			}
			if len(b.tenant.requests()) != before {
				t.Error("it reached the tenant")
			}
		})
	}
}

func TestALoginIsBoundToNetworksAndRoutes(t *testing.T) {
	b := newBridge(t)
	b.addLogin(func(l *identity.Login) { l.Networks = []string{"192.0.2.0/24"} })
	b.wantOutcome(b.stranger().get("/http/orders/1", "Authorization", right), record.Denied)
	b.setLogin(func(l *identity.Login) { l.Networks, l.Routes = []string{"127.0.0.0/8"}, []string{"exact"} })
	b.wantOutcome(b.stranger().get("/http/orders/1", "Authorization", right), record.Denied)
	b.setLogin(func(l *identity.Login) { l.Routes = []string{"orders"} })
	if a := b.stranger().get("/http/orders/1", "Authorization", right); a.status != 200 {
		t.Errorf("got %+v", a)
	}
}

// Law 2.

func TestALoginIsNoLoginOnOtherListeners(t *testing.T) {
	b := newBridge(t)
	b.addLogin()
	if a := b.caller(tls.Certificate{}).get("/http/orders/1", "Authorization", right); a.err == nil {
		t.Errorf("got status %d without a certificate", a.status)
	}
	if a := b.issue("stock").get("/http/stock/1", "Authorization", right); a.status != 200 || a.header.Get("X-Client") != "sb-stock" {
		t.Errorf("beside a certificate of another identity, elsewhere than on the bridge: %+v", a)
	}
}

func TestATicketOfTheBridgeIsWorthNothingElsewhere(t *testing.T) {
	b := newBridge(t)
	b.addLogin()
	c := b.stranger()
	c.transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	c.transport.DisableKeepAlives = true
	for range 2 {
		if a := c.get("/http/orders/1", "Authorization", right); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
	}
	b.on(c).transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, b.gate.addr)
	}
	if a := c.get("/http/orders/1", "Authorization", right); a.err == nil {
		t.Errorf("got status %d", a.status)
	}
}

func TestACertificateBesideALogin(t *testing.T) {
	b := newBridge(t)
	b.addLogin()
	c := b.on(b.issue("orders"))
	for name, header := range map[string][]string{
		"alone":              nil,
		"Bearer":             {"Authorization", "Bearer x"},
		"its own login":      {"Authorization", right},
		"its login, changed": {"Authorization", basicAuth("P2001234567", "wrong")},
	} {
		a := c.get("/http/orders/1", header...)
		if a.status != 200 {
			t.Errorf("%s: got %+v", name, a)
			continue
		}
		if r := b.record(a.header.Get("X-Request-Id")); r["serial"] != c.serial() || r["login"] != nil {
			t.Errorf("%s: record = %v", name, r)
		}
	}
	other := b.on(b.issue("stock"))
	b.wantOutcome(other.get("/http/stock/1", "Authorization", right), record.LoginConflict)
	b.wantOutcome(other.get("/http/stock/1", "Authorization", basicAuth("nobody", "x")), record.LoginConflict)
	b.wantOutcome(other.get("/http/stock/1", "Authorization", "Basic x"), record.LoginRefused)
	if a := other.get("/http/stock/1"); a.status != 200 {
		t.Errorf("without a login: %+v", a)
	}
}

func TestNeitherLoginNorChallengePassesTheGateway(t *testing.T) {
	b := newBridge(t)
	b.addLogin()
	a := b.stranger().get("/http/orders/1", "Authorization", right, "Cookie", "a=b")
	h := b.tenant.last(t).Header
	if a.status != 200 || !strings.HasPrefix(h.Get("Authorization"), "Bearer token-") || h.Get("Cookie") != "" || a.header.Get("Set-Cookie") != "" {
		t.Errorf("the tenant saw %v, the caller %v", h, a.header)
	}
	b.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="tenant"`)
		w.WriteHeader(401)
	})
	a = b.stranger().get("/http/orders/1", "Authorization", right)
	r := b.wantOutcome(a, record.TenantRefused)
	if a.header.Get("WWW-Authenticate") != "" || r["tenant_status"] != 401.0 {
		t.Errorf("got header %v, record %v", a.header, r)
	}
}

// Law 3.

func TestALostLoginIsRefusedAtOnceAndCutInFlight(t *testing.T) {
	other, err := identity.HashPassword("another")
	must(t, err)
	for _, tc := range []struct {
		name string
		act  func(ctx context.Context, tx *identity.Tx) error
		cut  bool
	}{
		{"closed", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.CloseLogin(ctx, "P2001234567")
			return err
		}, true},
		{"removed", func(ctx context.Context, tx *identity.Tx) error { return tx.RemoveLogin(ctx, "P2001234567") }, true},
		{"identity disabled", func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.DisableIdentity(ctx, "orders")
			return err
		}, true},
		{"password changed", func(ctx context.Context, tx *identity.Tx) error {
			l, err := tx.Login("P2001234567")
			if err != nil {
				return err
			}
			l.Password = other
			_, err = tx.SetLogin(ctx, l)
			return err
		}, true},
		{"network taken away", func(ctx context.Context, tx *identity.Tx) error {
			l, err := tx.Login("P2001234567")
			if err != nil {
				return err
			}
			l.Networks = []string{"192.0.2.0/24"}
			_, err = tx.SetLogin(ctx, l)
			return err
		}, true},
		{"described", func(ctx context.Context, tx *identity.Tx) error {
			l, err := tx.Login("P2001234567")
			if err != nil {
				return err
			}
			l.Description = "HR"
			_, err = tx.SetLogin(ctx, l)
			return err
		}, false},
		{"hashed anew", func(ctx context.Context, tx *identity.Tx) error {
			again, err := identity.HashPassword("s3cret:päss")
			if err != nil {
				return err
			}
			_, err = tx.RehashLogin(ctx, "P2001234567", secretHash(), again)
			return err
		}, false},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(tc.name+" "+proto, func(t *testing.T) {
				b := newBridge(t)
				b.addLogin()
				arrived, release := make(chan struct{}, 1), make(chan struct{})
				b.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "POST" {
						arrived <- struct{}{}
						select {
						case <-r.Context().Done():
						case <-release:
						}
					}
				})
				c := b.stranger()
				if proto == "HTTP/2.0" {
					c.h2()
				}
				if a := c.get("/http/orders/1", "Authorization", right); a.status != 200 {
					t.Fatalf("got %+v", a)
				}
				ended := make(chan answer, 1)
				go func() { ended <- c.do("POST", "/http/orders/1", nil, "Authorization", right) }()
				<-arrived
				start := time.Now()
				b.change(func(tx *identity.Tx) error { return tc.act(t.Context(), tx) })
				if !tc.cut {
					close(release)
				}
				a := <-ended
				if took := time.Since(start); took > time.Second {
					t.Errorf("it took %v", took)
				}
				if tc.cut {
					b.wantOutcome(a, record.RevokedInFlight)
				} else if a.status != 200 {
					t.Errorf("in flight: got %+v", a)
				}
				if a := c.get("/http/orders/1", "Authorization", right); tc.cut == (a.status == 200) {
					t.Errorf("the next one: got %+v", a)
				}
			})
		}
	}
}

// Law 4.

func TestAPasswordAppearsNowhere(t *testing.T) {
	b := newBridge(t)
	b.addLogin()
	b.tenant.answer(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Echo", r.Header.Get("Authorization")) })
	a := b.stranger().get("/http/orders/1", "Authorization", right)
	wrong := b.stranger().get("/http/orders/1", "Authorization", basicAuth("P2001234567", "wr0ng"))
	b.record(wrong.header.Get("X-Request-Id"))
	log, _ := os.ReadFile(b.logPath)
	for _, secret := range []string{"s3cret", right[6:], "wr0ng", "argon2", "token-"} {
		if strings.Contains(fmt.Sprint(a.header, wrong.header, wrong.body, string(log)), secret) {
			t.Errorf("%q appears", secret)
		}
	}
}

// Law 5.

func TestLoginAndCertificateOfOneIdentityAreOneCallerToTheTenant(t *testing.T) {
	b := newBridge(t)
	b.addLogin()
	b.addLogin(func(l *identity.Login) { l.User, l.Identity = "P2", "stock" })
	one, two := b.stranger(), b.stranger()
	for range 10 {
		if a := one.get("/http/orders/1", "Authorization", right); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
		if a := two.get("/http/stock/1", "Authorization", basicAuth("P2", "s3cret:päss")); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
	}
	if len(b.tenant.mixed) > 0 {
		t.Errorf("connections %v carried two identities", b.tenant.mixed)
	}
}

// Stages.

func TestStagesOfALogin(t *testing.T) {
	clock := time.Date(2027, 3, 2, 9, 0, 0, 0, time.UTC) // a Tuesday
	var mu sync.Mutex
	now := clock
	b := newBridge(t, func(c *proxy.Config) {
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	at := func(when time.Time) { mu.Lock(); defer mu.Unlock(); now = when }
	b.change(func(tx *identity.Tx) error {
		_, err := tx.SetLoginPolicy(t.Context(), identity.LoginPolicy{MaxSunset: identity.Duration(5 * 365 * 24 * time.Hour), Contact: "Team Integration",
			Guide: "https://wiki.example.com/certificates", Realm: "Old logins"})
		return err
	})
	b.addLogin(func(l *identity.Login) {
		l.WarnOn, l.BrownoutFrom, l.CloseOn = clock.Add(time.Hour), clock.Add(48*time.Hour), clock.Add(30*24*time.Hour)
		l.Sunset, l.Brownouts = clock.Add(40*24*time.Hour), []string{"Tue 10:00-10:15 Europe/Berlin"}
	})
	b.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Sunset", "Thu, 01 Jan 2037 00:00:00 GMT")
		w.Header().Set("Deprecation", "@1")
	})
	get := func() answer { return b.stranger().get("/http/orders/1", "Authorization", right) }
	certificate := b.issue("orders").cert
	if a := get(); a.status != 200 || a.header.Get("Sunset") != "Thu, 01 Jan 2037 00:00:00 GMT" {
		t.Errorf("open: got %+v", a)
	}
	at(clock.Add(2 * time.Hour))
	a := get()
	wantWarned := func(a answer) {
		t.Helper()
		if a.header.Get("Deprecation") != fmt.Sprintf("@%d", clock.Add(time.Hour).Unix()) || a.header.Get("Sunset") != "Thu, 01 Apr 2027 09:00:00 GMT" ||
			strings.Join(a.header.Values("Link"), " ") != `<https://wiki.example.com/certificates>; rel="deprecation" <https://wiki.example.com/certificates>; rel="sunset"` {
			t.Errorf("got header %v", a.header)
		}
	}
	if a.status != 200 {
		t.Errorf("warned: got %+v", a)
	}
	wantWarned(a)
	at(time.Date(2027, 3, 9, 9, 5, 0, 0, time.UTC))
	a = get()
	r := b.wantOutcome(a, record.LoginBrownout)
	wantWarned(a)
	var problem struct{ Detail, Contact, Guide, Until string }
	must(t, json.Unmarshal([]byte(a.body), &problem))
	if problem.Until != "2027-03-09T09:15:00Z" || problem.Contact != "Team Integration" || !strings.Contains(problem.Detail, "2027-04-01T09:00:00Z") ||
		problem.Guide != "https://wiki.example.com/certificates" || a.header.Get("Retry-After") != "600" || r["stage"] != "brownout" {
		t.Errorf("got %s, header %v, record %v", a.body, a.header, r)
	}
	at(time.Date(2027, 3, 9, 9, 15, 0, 0, time.UTC))
	if a := get(); a.status != 200 {
		t.Errorf("behind the window: got %+v", a)
	}
	at(clock.Add(31 * 24 * time.Hour))
	a = get()
	r = b.wantOutcome(a, record.LoginClosed)
	must(t, json.Unmarshal([]byte(a.body), &problem))
	if problem.Contact != "Team Integration" || !strings.Contains(problem.Detail, "client certificate") || r["stage"] != "closed" ||
		a.header.Get("WWW-Authenticate") != `Basic realm="Old logins", charset="UTF-8"` {
		t.Errorf("got %s, header %v, record %v", a.body, a.header, r)
	}
	b.wantOutcome(b.stranger().get("/http/orders/1", "Authorization", basicAuth("P2001234567", "wrong")), record.LoginRefused)
	at(time.Now())
	if a := b.on(b.caller(certificate)).get("/http/orders/1", "Authorization", right); a.status != 200 || a.header.Get("Deprecation") != "@1" {
		t.Errorf("with a certificate beside it: got %+v", a)
	}
}

// Observe.

func TestAnObservedLoginGoesToTheTenantAsItCame(t *testing.T) {
	b := newBridge(t)
	b.addLogin(func(l *identity.Login) { l.Stage, l.Password = identity.StageObserve, identity.PasswordHash{} })
	value := "bAsIc " + right[6:]
	b.tenant.mu.Lock()
	b.tenant.valid[value] = "the caller"
	b.tenant.mu.Unlock()
	c := b.stranger()
	a := c.do("POST", "/http/orders/1?x=1", strings.NewReader("body"), "Authorization", value, "Cookie", "a=b")
	h := b.tenant.last(t).Header
	if a.status != 200 || a.header.Get("X-Client") != "the caller" || h.Get("Authorization") != value || h.Get("Cookie") != "" || a.header.Get("Set-Cookie") != "" {
		t.Fatalf("the caller got %+v, the tenant saw %v", a, h)
	}
	if r := b.record(a.header.Get("X-Request-Id")); r["login"] != "P2001234567" || r["stage"] != "observe" || r["identity"] != "orders" || r["outcome"] != "served" {
		t.Errorf("record = %v", r)
	}
	eventually(t, "a request that would have worked", func() bool {
		a := c.get("/http/orders/1", "Authorization", value)
		return b.record(a.header.Get("X-Request-Id"))["would"] == "served"
	})
	if a := c.get("/http/stock/1", "Authorization", value); a.status != 200 {
		t.Errorf("without the role: got %+v", a)
	} else if r := b.record(a.header.Get("X-Request-Id")); r["would"] != "denied" || r["would_cause"] != "identity does not hold the role of the route" {
		t.Errorf("record = %v", r)
	}
	// The tenant says whether the password is right, and its challenge is the caller's.
	if a := c.get("/http/orders/1", "Authorization", basicAuth("P2001234567", "wrong")); a.status != 401 || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("got %+v", a)
	}
	b.wantOutcome(c.get("/http/orders/1", "Authorization", basicAuth("P3", "x")), record.LoginRefused)
	b.wantOutcome(c.get("/nowhere", "Authorization", value), record.NoRoute)
	var served, denied int64
	for _, f := range b.server.LoginFindings() {
		switch f.Would {
		case "served":
			served += f.Count
		case "denied":
			denied += f.Count
		}
	}
	if served == 0 || denied != 1 {
		t.Errorf("found %d served and %d denied", served, denied)
	}
}

func TestAnObservedBodyOverTheIdentitysLimitIsNoted(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			b := newBridge(t)
			b.addLogin(func(l *identity.Login) { l.Stage = identity.StageObserve })
			b.limit("orders", func(i *identity.Identity) { i.MaxBody = 10 })
			b.tenant.mu.Lock()
			b.tenant.valid[right] = "the caller"
			b.tenant.mu.Unlock()
			c := b.stranger().speaking(proto)
			eventually(t, "a token", func() bool {
				a := c.get("/http/orders/1", "Authorization", right)
				return b.record(a.header.Get("X-Request-Id"))["would"] == "served"
			})
			for name, body := range map[string]io.Reader{"sized": strings.NewReader(strings.Repeat("x", 11)), "chunked": io.MultiReader(strings.NewReader("xxxxxx"), strings.NewReader("xxxxxx"))} {
				a := c.do("POST", "/http/orders/1", body, "Authorization", right)
				r := b.record(a.header.Get("X-Request-Id"))
				if a.status != 200 || r["would"] != "body_too_large" || r["would_cause"] != "body is over the identity's limit of 10 octets" {
					t.Errorf("%s: got %+v, record %v", name, a, r)
				}
			}
			a := c.do("POST", "/http/orders/1", strings.NewReader("0123456789"), "Authorization", right)
			if r := b.record(a.header.Get("X-Request-Id")); a.status != 200 || r["would"] != "served" {
				t.Errorf("at the limit: got %+v, record %v", a, r)
			}
		})
	}
}

func TestAnObservedLoginSharesNothing(t *testing.T) {
	b := newBridge(t)
	b.addLogin(func(l *identity.Login) { l.Stage = identity.StageObserve })
	b.addLogin(func(l *identity.Login) { l.User = "P2" })
	for _, v := range []string{right, basicAuth("P2001234567", "wrong")} {
		b.tenant.mu.Lock()
		b.tenant.valid[v] = v
		b.tenant.mu.Unlock()
	}
	observed, other, login, certificate := b.stranger(), b.stranger(), b.stranger(), b.issue("orders")
	for range 10 {
		observed.get("/http/orders/1", "Authorization", right)
		other.get("/http/orders/1", "Authorization", basicAuth("P2001234567", "wrong"))
		login.get("/http/orders/1", "Authorization", basicAuth("P2", "s3cret:päss"))
		certificate.get("/http/orders/1")
	}
	if n := len(b.tenant.requests()); n != 40 {
		t.Errorf("%d requests reached the tenant", n)
	}
	if len(b.tenant.mixed) > 0 {
		t.Errorf("connections %v carried more than one caller", b.tenant.mixed)
	}
	for _, r := range b.tenant.requests() {
		if v := r.Header.Get("Authorization"); strings.HasPrefix(v, "Basic ") && r.Header.Get("Cookie") != "" {
			t.Errorf("a cookie went along with %s", v)
		}
	}
}

func TestADisabledIdentityIsNotObserved(t *testing.T) {
	b := newBridge(t)
	b.addLogin(func(l *identity.Login) { l.Stage = identity.StageObserve })
	b.change(func(tx *identity.Tx) error { _, err := tx.DisableIdentity(t.Context(), "orders"); return err })
	b.wantOutcome(b.stranger().get("/http/orders/1", "Authorization", right), record.Denied)
	if n := len(b.tenant.requests()); n != 0 {
		t.Errorf("%d requests reached the tenant", n)
	}
}

func TestAnImportedHashIsMadeAnewWhenItsPasswordComes(t *testing.T) {
	made, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	must(t, err)
	hash, err := identity.ParsePasswordHash(string(made))
	must(t, err)
	told := make(chan string, 10)
	b := newBridge(t, func(c *proxy.Config) {
		c.Bridge.Rehash = func(user string, old identity.PasswordHash, password string) { told <- user + " " + password }
	})
	b.addLogin(func(l *identity.Login) { l.Password = hash })
	b.wantOutcome(b.stranger().get("/http/orders/1", "Authorization", basicAuth("P2001234567", "wrong")), record.LoginRefused)
	if a := b.stranger().get("/http/orders/1", "Authorization", basicAuth("P2001234567", "secret")); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	if got := <-told; got != "P2001234567 secret" || len(told) != 0 {
		t.Errorf("got %q and %d more", got, len(told))
	}
}
