package proxy_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
)

// addCertificateCredential gives an identity a credential with a new certificate, which it returns, for a tenant.
func (g *gate) addCertificateCredential(name, tenant string) (id string, der []byte) {
	g.tb.Helper()
	pair, certPEM := selfSigned(g.tb, name)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	must(g.tb, err)
	g.change(func(tx *identity.Tx) error {
		c, err := tx.AddCredential(g.tb.Context(), identity.Credential{
			Identity: name, Tenant: tenant, ClientID: "sb-" + name, Kind: identity.KindCertificate, Certificate: certPEM,
			Secret: identity.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))),
		})
		id = c.ID
		return err
	})
	return id, pair.Certificate[0]
}

// newShownPlace is a place whose tenants, shown and unshown, take credentials with a certificate; a role leads to both.
func newShownPlace(t *testing.T, g *gate) *place {
	t.Helper()
	p := newPlace(t, "", "localhost")
	base := "https://localhost:" + p.port()
	g.change(func(tx *identity.Tx) error {
		for name, show := range map[string]string{"shown": identity.ShowCredential, "unshown": identity.ShowNone} {
			if _, err := tx.AddTenant(t.Context(), identity.Tenant{
				Name: name, BaseURL: base, TokenURL: base + "/oauth/token", AuthStyle: identity.AuthMTLS, CABundle: p.caPEM, ClientCertificate: show,
			}); err != nil {
				return err
			}
		}
		for _, name := range []string{"orders", "stock"} {
			if _, err := tx.SetIdentity(t.Context(), identity.Identity{Name: name, Owner: "team", Roles: []string{"both"}}); err != nil {
				return err
			}
		}
		return nil
	})
	for _, name := range []string{"shown", "unshown"} {
		g.addRoute(identity.Route{Name: "at-" + name, Path: "/at/" + name, Tenant: name, Role: "both"})
	}
	return p
}

// showed is the certificate that the place's last caller showed.
func (p *place) showed() []byte {
	if certs := p.request().TLS.PeerCertificates; len(certs) > 0 {
		return certs[0].Raw
	}
	return nil
}

func TestATenantIsShownTheCertificateOfTheIdentitysCredential(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	p := newShownPlace(t, g)
	_, first := g.addCertificateCredential("orders", "shown")
	g.addCertificateCredential("orders", "unshown")
	_, others := g.addCertificateCredential("stock", "shown")
	orders, stock := g.issue("orders"), g.issue("stock")
	call := func(step string, c *client, path string, want []byte) {
		t.Helper()
		if a := c.get(path); a.status != 200 {
			t.Fatalf("%s: got %+v", step, a)
		}
		if !bytes.Equal(p.showed(), want) {
			t.Errorf("%s: another certificate was shown, or none", step)
		}
	}
	call("first", orders, "/at/shown", first)
	call("on a kept connection", orders, "/at/shown", first)
	call("another identity", stock, "/at/shown", others)
	call("a tenant that is shown nothing", orders, "/at/unshown", nil)
	id, second := g.addCertificateCredential("orders", "shown")
	eventually(t, "the other credential to come into use", func() bool {
		a, shown := orders.get("/at/shown"), p.showed()
		if a.status != 200 || !bytes.Equal(shown, first) && !bytes.Equal(shown, second) {
			t.Errorf("another credential: got %+v, or another certificate was shown, or none", a)
		}
		return bytes.Equal(shown, second)
	})
	if p.request().TLS.DidResume {
		t.Error("with another credential, a TLS session of the one before was resumed")
	}
	call("another identity, afterwards", stock, "/at/shown", others)
	g.change(func(tx *identity.Tx) error { return tx.RemoveCredential(t.Context(), id) })
	call("the first again", orders, "/at/shown", first)
	g.change(func(tx *identity.Tx) error {
		tenant, err := tx.Tenant("shown")
		if err != nil {
			return err
		}
		tenant.ClientCertificate = identity.ShowNone
		_, err = tx.SetTenant(t.Context(), tenant)
		return err
	})
	call("switched off", orders, "/at/shown", nil)
}

// A resumed session is of the same certificate, and a spare shows it too.
func TestSparesShowTheCertificate(t *testing.T) {
	g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Keep(shortLife, 0, 0) })
	p := newShownPlace(t, g)
	first, cert := g.addCertificateCredential("orders", "shown")
	c := g.issue("orders")
	if a := c.get("/at/shown"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	used := p.request().RemoteAddr
	eventually(t, "a spare in place of the link", func() bool { open, _ := p.door.count(); return open > 0 && !p.door.has(used) })
	if a := c.get("/at/shown"); a.status != 200 || !bytes.Equal(p.showed(), cert) || !p.request().TLS.DidResume {
		t.Errorf("got %+v, resumed %v", a, p.request().TLS.DidResume)
	}
	g.addCertificateCredential("orders", "shown")
	g.change(func(tx *identity.Tx) error { return tx.RemoveCredential(t.Context(), first) })
	eventually(t, "the end of what showed a certificate that is no more", func() bool { open, _ := p.door.count(); return open == 0 })
	time.Sleep(shortLife)
	if open, _ := p.door.count(); open != 0 {
		t.Errorf("%d connections were made for nobody", open)
	}
}

// A tenant that takes no such certificate says so behind the handshake (TLS 1.3): nothing has been served.
func TestATenantThatTakesNoSuchCertificateIsOnRecord(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	p := newShownPlace(t, g)
	g.addCertificateCredential("orders", "shown")
	c := g.issue("orders")
	if a := c.get("/at/shown"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	strict := p.TLS.Clone()
	strict.ClientAuth = tls.RequireAndVerifyClientCert
	p.strict.Store(strict)
	p.CloseClientConnections()
	if a := c.get("/at/shown"); a.status != 502 {
		t.Errorf("got %+v", a)
	}
	if r := g.recordWhere("status 502", func(r map[string]any) bool { return r["status"] == 502.0 }); r["outcome"] == "served" {
		t.Errorf("record = %v", r)
	}
}

// A tenant that takes no connection with the new credential's certificate yet is called with that of the old one.
func TestATenantThatDoesNotTakeTheNewCertificateIsShownTheOldOne(t *testing.T) {
	for name, version := range map[string]uint16{"refused in the handshake": tls.VersionTLS12, "refused behind it": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			switched := make(chan proxy.CredentialSwitch, 10)
			g := newGate(t, proxy.Limits{}, func(c *proxy.Config) { c.Switched = func(s proxy.CredentialSwitch) { switched <- s } })
			p, tokens := newPlace(t, "", "localhost"), newPlace(t, "", "localhost")
			g.change(func(tx *identity.Tx) error {
				_, err := tx.AddTenant(t.Context(), identity.Tenant{
					Name: "shown", BaseURL: "https://localhost:" + p.port(), TokenURL: "https://localhost:" + tokens.port() + "/oauth/token", AuthStyle: identity.AuthMTLS,
					CABundle: p.caPEM + tokens.caPEM, ClientCertificate: identity.ShowCredential,
				})
				return err
			})
			g.addRoute(identity.Route{Name: "at-shown", Path: "/at/shown", Tenant: "shown", Role: "orders.send"})
			first, old := g.addCertificateCredential("orders", "shown")
			strict := p.TLS.Clone()
			strict.MaxVersion, strict.ClientAuth = version, tls.RequireAnyClientCert
			strict.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
				if !bytes.Equal(raw[0], old) {
					return errors.New("not this one")
				}
				return nil
			}
			p.strict.Store(strict)
			c := g.issue("orders")
			if a := c.get("/at/shown"); a.status != 200 {
				t.Fatalf("got %+v", a)
			}
			second, _ := g.addCertificateCredential("orders", "shown")
			if s := <-switched; s.To != second {
				t.Fatalf("switched to %+v", s)
			}
			for range 3 {
				if a := c.get("/at/shown"); a.status != 200 || !bytes.Equal(p.showed(), old) {
					t.Errorf("got %+v", a)
				}
			}
			if s := <-switched; s.To != first || !s.Fallback || !strings.Contains(s.Cause, "certificate") {
				t.Errorf("switched to %+v", s)
			}
			if n := len(switched); n != 0 {
				t.Errorf("%d more switches", n)
			}
		})
	}
}

// What a caller or a flow does wrong says nothing about the certificate that was shown.
func TestABodyThatBreaksOffOrASlowFlowSaysNothingAboutACertificate(t *testing.T) {
	for name, call := range map[string]func(*client) answer{
		"a body that breaks off": func(c *client) answer {
			half, w := io.Pipe()
			go w.Write([]byte("half"))
			q, err := http.NewRequest("POST", "https://localhost/at/shown", half)
			must(c.gate.tb, err)
			q.ContentLength = 8
			return c.send(q)
		},
		"a slow flow": func(c *client) answer { return c.post("/at/shown", "x", "X-Slow", "yes") },
	} {
		t.Run(name, func(t *testing.T) {
			switched := make(chan proxy.CredentialSwitch, 10)
			limits := proxy.Limits{BodyIdleTimeout: 300 * time.Millisecond}
			g := newGate(t, limits, func(c *proxy.Config) { c.Switched = func(s proxy.CredentialSwitch) { switched <- s } })
			p := newShownPlace(t, g)
			serve := p.Config.Handler
			p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if r.Header.Get("X-Slow") != "" {
					<-r.Context().Done()
				}
				serve.ServeHTTP(w, r)
			})
			g.change(func(tx *identity.Tx) error {
				_, err := tx.SetRoute(t.Context(), identity.Route{Name: "at-shown", Path: "/at/shown", Tenant: "shown", Role: "both",
					ResponseTimeout: identity.Duration(600 * time.Millisecond)})
				return err
			})
			first, _ := g.addCertificateCredential("orders", "shown")
			c := g.issue("orders")
			if a := c.get("/at/shown"); a.status != 200 {
				t.Fatalf("got %+v", a)
			}
			second, _ := g.addCertificateCredential("orders", "shown")
			if s := <-switched; s.To != second || s.From != first {
				t.Fatalf("switched to %+v", s)
			}
			for range 2 {
				if a := call(c); a.status == 200 {
					t.Errorf("got %+v", a)
				}
			}
			if len(switched) != 0 {
				t.Errorf("switched to %+v", <-switched)
			}
		})
	}
}
