package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Callers with certificates of other CAs.

// trusts makes a CA an authority of this name.
func (g *gate) trusts(name string, ca *pkitest.Company, with ...func(*identity.Authority)) {
	g.tb.Helper()
	a := identity.Authority{Name: name, CA: ca.PEM()}
	for _, set := range with {
		set(&a)
	}
	must(g.tb, external.Check(&a, g.trust.Load()))
	g.change(func(tx *identity.Tx) error { _, err := tx.AddAuthority(g.tb.Context(), a); return err })
}

func (g *gate) maps(authority, kind, value, who string) {
	g.tb.Helper()
	g.change(func(tx *identity.Tx) error {
		_, err := tx.AddMapping(g.tb.Context(), authority, identity.Mapping{Kind: kind, Value: value, Identity: who})
		return err
	})
}

func uris(list ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, s := range list {
			u, err := url.Parse(s)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

// svid is a certificate as SPIRE's server makes it: C=US, O=SPIRE, both extended key usages, one URI.
func svid(list ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject = pkix.Name{Country: []string{"US"}, Organization: []string{"SPIRE"}}
		c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		c.NotAfter = time.Now().Add(time.Hour)
		uris(list...)(c)
	}
}

func TestNobodyOfAnotherCAComesInWithoutAMapping(t *testing.T) {
	g := withAuthorities(t, nil)
	corp := pkitest.NewCompany(t, "Example Root", nil).Sub("Example Issuing", nil)
	root := pkitest.NewCompany(t, "Example Root", nil) // the same name, another key
	leaf := corp.Leaf("erp", nil)
	if a := g.caller(leaf).get("/http/orders/1"); a.err == nil {
		t.Errorf("without an authority: got %+v", a)
	}
	g.trusts("other", root)
	g.maps("other", identity.MapSubject, "CN=erp,O=Example,C=DE", "orders")
	if a := g.caller(leaf).get("/http/orders/1"); a.err == nil {
		t.Errorf("with an authority of the same name and another key: got %+v", a)
	}
	g.trusts("corp", corp, func(a *identity.Authority) { a.IntermediateAnchor = true })
	if a := g.caller(leaf).get("/http/orders/1"); a.err == nil {
		t.Errorf("without a mapping: got %+v", a)
	}
	r := g.recordWhere("authority corp", func(r map[string]any) bool { return r["authority"] == "corp" })
	if cause, _ := r["cause"].(string); r["outcome"] != "unidentified" || r["serial"] != pki.FormatSerial(leaf.Leaf.SerialNumber) || !strings.Contains(cause, "no mapping fits") {
		t.Errorf("record = %v", r)
	}
	g.maps("corp", identity.MapSubject, "CN=erp,O=Example,C=DE", "orders")
	a := g.caller(leaf).get("/http/orders/1")
	if a.status != 200 || a.header.Get("X-Client") != "sb-orders" {
		t.Errorf("with a mapping: got %+v", a)
	}
	r = g.record(a.header.Get("X-Request-Id"))
	if r["authority"] != "corp" || r["identity"] != "orders" || r["serial"] != pki.FormatSerial(leaf.Leaf.SerialNumber) {
		t.Errorf("record = %v", r)
	}
	if a := g.caller(leaf).get("/http/stock/1"); a.status != 403 {
		t.Errorf("a route whose role the identity lacks: got %+v", a)
	}
	if a := g.issue("orders").get("/http/orders/1"); a.status != 200 {
		t.Errorf("a caller of our own CA: got %+v", a)
	}
}

func TestALoginBesideACertificateOfAnotherCA(t *testing.T) {
	g := withAuthorities(t, nil)
	b := bridgeOf(t, g)
	b.addLogin()
	corp := pkitest.NewCompany(t, "Example Root", nil)
	g.trusts("corp", corp)
	g.maps("corp", identity.MapSubject, "CN=erp,O=Example,C=DE", "orders")
	g.maps("corp", identity.MapSubject, "CN=wms,O=Example,C=DE", "stock")
	own, other := b.on(g.caller(corp.Leaf("erp", nil))), b.on(g.caller(corp.Leaf("wms", nil)))
	if a := own.get("/http/orders/1", "Authorization", right); a.status != 200 {
		t.Errorf("its own login: got %+v", a)
	}
	if a := other.get("/http/stock/1"); a.status != 200 {
		t.Errorf("without a login: got %+v", a)
	}
	b.wantOutcome(other.get("/http/stock/1", "Authorization", right), record.LoginConflict)
	b.wantOutcome(other.get("/http/stock/1", "Authorization", basicAuth("nobody", "x")), record.LoginConflict)
}

func TestMappingsSayForWhomACertificateStands(t *testing.T) {
	g := withAuthorities(t, nil)
	root := pkitest.NewCompany(t, "Example Root", nil)
	corp := root.Sub("Example Policy", nil).Sub("Example Issuing", nil) // three levels
	g.trusts("corp", root)
	pinned := corp.Leaf("pinned", nil)
	g.maps("corp", identity.MapFingerprint, identity.FingerprintOf(pinned.Leaf.Raw).String(), "orders")
	g.maps("corp", identity.MapDNS, "erp.example.com", "orders")
	g.maps("corp", identity.MapDNS, "stock.example.com", "stock")
	g.maps("corp", identity.MapSPIFFE, "spiffe://prod.example.com/erp", "orders")
	g.maps("corp", identity.MapSPIFFE, "spiffe://prod.example.com/ns/b/{identity}", "*")
	g.maps("corp", identity.MapSubject, "CN={identity},OU=Systems,O=Example", "*")
	dns := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	subject := func(cn string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.Subject = pkix.Name{Organization: []string{"Example"}, OrganizationalUnit: []string{"Systems"}, CommonName: cn}
		}
	}
	raw := func(change func(*x509.Certificate)) func(*x509.Certificate) { return change }
	for _, tc := range []struct {
		name   string
		leaf   tls.Certificate
		served bool
	}{
		{"fingerprint", pinned, true},
		{"the same names and another fingerprint", corp.Leaf("pinned", nil), false},
		{"DNS name", corp.Leaf("x", dns("erp.example.com")), true},
		{"DNS name in capitals", corp.Leaf("x", dns("ERP.example.com")), true},
		{"one of several DNS names", corp.Leaf("x", dns("a.example.com", "erp.example.com")), true},
		{"wildcard", corp.Leaf("x", dns("*.example.com")), false},
		{"DNS names of two identities", corp.Leaf("x", dns("erp.example.com", "stock.example.com")), false},
		{"two marks of one identity", corp.Leaf("x", func(c *x509.Certificate) {
			dns("erp.example.com")(c)
			uris("spiffe://prod.example.com/erp")(c)
		}), true},
		{"two marks of two identities", corp.Leaf("x", func(c *x509.Certificate) {
			dns("stock.example.com")(c)
			uris("spiffe://prod.example.com/erp")(c)
		}), false},
		{"common name that is a DNS name", corp.Leaf("erp.example.com", nil), false},
		{"SVID", corp.Leaf("", svid("spiffe://prod.example.com/erp")), true},
		{"SVID without a subject", corp.Leaf("", func(c *x509.Certificate) {
			svid("spiffe://prod.example.com/erp")(c)
			c.Subject = pkix.Name{}
		}), true},
		{"SVID by template", corp.Leaf("", svid("spiffe://prod.example.com/ns/b/orders")), true},
		{"SVID by template of nobody", corp.Leaf("", svid("spiffe://prod.example.com/ns/b/nobody")), false},
		{"SVID with a segment more", corp.Leaf("", svid("spiffe://prod.example.com/ns/b/orders/x")), false},
		{"SVID of another trust domain", corp.Leaf("", svid("spiffe://test.example.com/erp")), false},
		{"SVID in capitals", corp.Leaf("", svid("spiffe://prod.example.com/ERP")), false},
		{"SVID with a query", corp.Leaf("", svid("spiffe://prod.example.com/erp?x")), false},
		{"two URIs", corp.Leaf("", svid("spiffe://prod.example.com/erp", "https://example.com")), false},
		{"two SPIFFE IDs", corp.Leaf("", svid("spiffe://prod.example.com/erp", "spiffe://prod.example.com/ns/b/orders")), false},
		{"subject by template", corp.Leaf("x", subject("orders")), true},
		{"subject of nobody", corp.Leaf("x", subject("nobody")), false},
		{"subject that is the placeholder", corp.Leaf("x", subject("{identity}")), false},
		{"subject with one part more", corp.Leaf("x", raw(func(c *x509.Certificate) {
			subject("orders")(c)
			c.Subject.Country = []string{"DE"}
		})), false},
		{"subject with two units", corp.Leaf("x", raw(func(c *x509.Certificate) {
			subject("orders")(c)
			c.Subject.OrganizationalUnit = []string{"Systems", "Systems"} // one RDN of two values
		})), false},
		{"no clientAuth", corp.Leaf("x", func(c *x509.Certificate) {
			dns("erp.example.com")(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), false},
		{"expired", corp.Leaf("x", func(c *x509.Certificate) {
			dns("erp.example.com")(c)
			c.NotAfter = time.Now().Add(-time.Second)
		}), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := g.caller(tc.leaf).get("/http/orders/1")
			if served := a.err == nil && a.status == 200; served != tc.served {
				t.Errorf("got %+v", a)
			}
			if tc.served && a.header.Get("X-Client") != "sb-orders" {
				t.Errorf("it was served as %s", a.header.Get("X-Client"))
			}
		})
	}
}

// A CA may be as powerful as it likes: names of our trust domain, our own CA's keys and administrators are not its to give.
func TestAnotherCADoesNotSpeakForOurs(t *testing.T) {
	g := withAuthorities(t, nil)
	corp := pkitest.NewCompany(t, "Example Root", nil)
	g.trusts("corp", corp)
	g.maps("corp", identity.MapDNS, "erp.example.com", "orders")
	for _, id := range []string{"spiffe://test.internal/identity/orders", "spiffe://test.internal/admin/orders", "SPIFFE://test.internal/identity/orders"} {
		leaf := corp.Leaf("orders", func(c *x509.Certificate) {
			c.DNSNames = []string{"erp.example.com"}
			uris(id)(c)
		})
		if a := g.caller(leaf).get("/http/orders/1"); a.err == nil {
			t.Errorf("%s: got %+v", id, a)
		}
	}
	own := identity.Authority{Name: "own", CA: string(pki.EncodeCertificates(g.trust.Load().Roots()...))}
	if err := external.Check(&own, g.trust.Load()); err == nil {
		t.Error("our own root can be an authority")
	}
	// An intermediate of ours that the company has cross-signed leads to the company; what it signs stays ours.
	own.CA, own.Intermediates = corp.PEM(), string(pki.EncodeCertificates(g.trust.Load().Intermediates()...))
	if err := external.Check(&own, g.trust.Load()); err == nil {
		t.Error("our own intermediate can help an authority")
	}
	c := g.issue("orders")
	g.maps("corp", identity.MapFingerprint, identity.FingerprintOf(c.leaf.Raw).String(), "stock")
	if a := c.get("/http/orders/1"); a.status != 200 || a.header.Get("X-Client") != "sb-orders" {
		t.Errorf("our own certificate, which an authority has a rule for: got %+v", a)
	}
}

// Roots that have signed each other lead a certificate to two authorities: what both say of it must agree.
func TestCrossSignedRootsMustAgree(t *testing.T) {
	g := withAuthorities(t, nil)
	a, b := pkitest.NewCompany(t, "Root A", nil), pkitest.NewCompany(t, "Root B", nil)
	leaf := a.Leaf("erp", nil)
	leaf.Certificate = append(leaf.Certificate, a.Cross(b).Raw)
	g.trusts("a", a)
	g.trusts("b", b)
	const subject = "CN=erp,O=Example,C=DE"
	g.maps("a", identity.MapSubject, subject, "orders")
	if got := g.caller(leaf).get("/http/orders/1"); got.status != 200 {
		t.Errorf("with a rule of one: got %+v", got)
	}
	g.maps("b", identity.MapSubject, subject, "orders")
	if got := g.caller(leaf).get("/http/orders/1"); got.status != 200 {
		t.Errorf("with the same rule of both: got %+v", got)
	}
	g.change(func(tx *identity.Tx) error {
		_, err := tx.AddBlock(t.Context(), "b", pki.FormatSerial(leaf.Leaf.SerialNumber), "")
		return err
	})
	if got := g.caller(leaf).get("/http/orders/1"); got.err == nil {
		t.Errorf("blocked by one of both: got %+v", got)
	}
	g.change(func(tx *identity.Tx) error {
		if _, err := tx.RemoveBlock(t.Context(), "b", pki.FormatSerial(leaf.Leaf.SerialNumber)); err != nil {
			return err
		}
		if _, err := tx.RemoveMapping(t.Context(), "b", identity.Mapping{Kind: identity.MapSubject, Value: subject, Identity: "orders"}); err != nil {
			return err
		}
		_, err := tx.AddMapping(t.Context(), "b", identity.Mapping{Kind: identity.MapSubject, Value: subject, Identity: "stock"})
		return err
	})
	if got := g.caller(leaf).get("/http/orders/1"); got.err == nil {
		t.Errorf("for two identities: got %+v", got)
	}
	// Two roots of one authority, a root and its successor, are one judge.
	g.change(func(tx *identity.Tx) error { return tx.RemoveAuthority(t.Context(), "b", true) })
	g.change(func(tx *identity.Tx) error {
		both, err := tx.Authority("a")
		if err == nil {
			both.CA += b.PEM()
			_, err = tx.SetAuthority(t.Context(), both)
		}
		return err
	})
	if got := g.caller(b.Leaf("erp", nil)).get("/http/orders/1"); got.status != 200 {
		t.Errorf("by the successor: got %+v", got)
	}
}

// ends are all ways to end what a certificate of another CA may do.
var ends = []struct {
	name string
	act  func(ctx context.Context, tx *identity.Tx, ca *pkitest.Company, leaf *x509.Certificate) error
}{
	{"mapping removed", func(ctx context.Context, tx *identity.Tx, _ *pkitest.Company, _ *x509.Certificate) error {
		_, err := tx.RemoveMapping(ctx, "corp", identity.Mapping{Kind: identity.MapSubject, Value: "CN=erp,O=Example,C=DE", Identity: "orders"})
		return err
	}},
	{"authority removed", func(ctx context.Context, tx *identity.Tx, _ *pkitest.Company, _ *x509.Certificate) error {
		return tx.RemoveAuthority(ctx, "corp", true)
	}},
	{"authority disabled", func(ctx context.Context, tx *identity.Tx, _ *pkitest.Company, _ *x509.Certificate) error {
		a, err := tx.Authority("corp")
		if err == nil {
			a.Disabled = true
			_, err = tx.SetAuthority(ctx, a)
		}
		return err
	}},
	{"identity disabled", func(ctx context.Context, tx *identity.Tx, _ *pkitest.Company, _ *x509.Certificate) error {
		_, err := tx.DisableIdentity(ctx, "orders")
		return err
	}},
	{"identity removed", func(ctx context.Context, tx *identity.Tx, _ *pkitest.Company, _ *x509.Certificate) error {
		_, err := tx.RemoveIdentity(ctx, "orders", true)
		return err
	}},
	{"serial blocked", func(ctx context.Context, tx *identity.Tx, _ *pkitest.Company, leaf *x509.Certificate) error {
		_, err := tx.AddBlock(ctx, "corp", pki.FormatSerial(leaf.SerialNumber), "stolen")
		return err
	}},
	{"intermediate blocked", func(ctx context.Context, tx *identity.Tx, ca *pkitest.Company, _ *x509.Certificate) error {
		_, err := tx.AddBlock(ctx, "corp", identity.FingerprintOf(ca.Cert.Raw).String(), "")
		return err
	}},
	{"on the revocation list", func(ctx context.Context, tx *identity.Tx, ca *pkitest.Company, leaf *x509.Certificate) error {
		a, err := tx.Authority("corp")
		if err != nil {
			return err
		}
		list, err := external.ReadCRL(&a, "", ca.CRL(2, nil, leaf), time.Now())
		if err == nil {
			_, err = tx.PutRevocationList(ctx, "corp", list)
		}
		return err
	}},
}

// corpGate has an authority corp of three levels with a revocation list, and a caller whose certificate stands for orders.
func corpGate(t *testing.T) (*gate, *pkitest.Company, *client) {
	g := withAuthorities(t, nil)
	root := pkitest.NewCompany(t, "Example Root", nil)
	corp := root.Sub("Example Issuing", nil)
	g.trusts("corp", root, func(a *identity.Authority) { a.Intermediates, a.CRLRequired = corp.PEM(), true })
	g.maps("corp", identity.MapSubject, "CN=erp,O=Example,C=DE", "orders")
	g.change(func(tx *identity.Tx) error {
		a, err := tx.Authority("corp")
		if err != nil {
			return err
		}
		list, err := external.ReadCRL(&a, "", corp.CRL(1, nil), time.Now())
		if err == nil {
			_, err = tx.PutRevocationList(t.Context(), "corp", list)
		}
		return err
	})
	return g, corp, g.caller(corp.Leaf("erp", nil))
}

func TestTheEndOfAnotherCAsCertificateActsOnTheNextRequest(t *testing.T) {
	for _, end := range ends {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(end.name+" "+proto, func(t *testing.T) {
				g, corp, c := corpGate(t)
				if proto == "HTTP/2.0" {
					c.h2()
				}
				if a := c.get("/http/orders/1"); a.status != 200 || a.proto != proto {
					t.Fatalf("before: got %+v", a)
				}
				g.change(func(tx *identity.Tx) error { return end.act(t.Context(), tx, corp, c.leaf) })
				if a := c.get("/http/orders/1"); a.err != nil || a.status != 401 && a.status != 403 {
					t.Errorf("on the open connection: got %+v", a)
				}
				c.transport.CloseIdleConnections()
				if a := c.get("/http/orders/1"); a.status == 200 {
					t.Errorf("on a new connection: got %+v", a)
				}
				if n := len(g.tenant.requests()); n != 1 {
					t.Errorf("%d requests reached the tenant", n)
				}
			})
		}
	}
}

func TestTheEndOfAnotherCAsCertificateRefusesResumedSessions(t *testing.T) {
	for _, end := range ends {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(end.name+" "+tls.VersionName(version), func(t *testing.T) {
				g, corp, c := corpGate(t)
				c.transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
				c.transport.TLSClientConfig.MaxVersion = version
				c.transport.DisableKeepAlives = true
				call := func() (resumed bool, status int) {
					resp, err := c.Get("https://localhost/http/orders/1")
					if err != nil {
						return false, 0
					}
					defer resp.Body.Close()
					io.Copy(io.Discard, resp.Body)
					return resp.TLS.DidResume, resp.StatusCode
				}
				if _, status := call(); status != 200 {
					t.Fatalf("first: %d", status)
				}
				if resumed, status := call(); !resumed || status != 200 {
					t.Fatalf("second: %d, resumed %v", status, resumed)
				}
				g.change(func(tx *identity.Tx) error { return end.act(t.Context(), tx, corp, c.leaf) })
				if _, status := call(); status == 200 {
					t.Error("a resumed session was served")
				}
			})
		}
	}
}

func TestTheEndOfAnotherCAsCertificateCutsWhatIsInFlight(t *testing.T) {
	for _, end := range ends {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(end.name+" "+proto, func(t *testing.T) {
				g, corp, c := corpGate(t)
				if proto == "HTTP/2.0" {
					c.h2()
				}
				arrived := make(chan struct{})
				g.tenant.answer(func(w http.ResponseWriter, r *http.Request) {
					w.Write(make([]byte, 1<<16))
					w.(http.Flusher).Flush()
					close(arrived)
					<-r.Context().Done()
				})
				ended := make(chan time.Time, 1)
				go func() {
					if resp, err := c.Get("https://localhost/http/orders/1"); err == nil {
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
					ended <- time.Now()
				}()
				<-arrived
				start := time.Now()
				g.change(func(tx *identity.Tx) error { return end.act(t.Context(), tx, corp, c.leaf) })
				select {
				case at := <-ended:
					if took := at.Sub(start); took > time.Second {
						t.Errorf("it took %v", took)
					}
				case <-time.After(5 * time.Second):
					t.Error("the transfer goes on")
				}
			})
		}
	}
}

func TestATicketDiesWithTheAuthorities(t *testing.T) {
	g, corp, c := corpGate(t)
	c.transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	c.transport.DisableKeepAlives = true
	resumed := func() bool {
		resp, err := c.Get("https://localhost/http/orders/1")
		must(t, err)
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.TLS.DidResume
	}
	resumed()
	if !resumed() {
		t.Fatal("sessions are not resumed")
	}
	g.change(func(tx *identity.Tx) error {
		_, err := tx.AddBlock(t.Context(), "corp", "ffff", "")
		return err
	})
	if resumed() {
		t.Error("a session outlived a change of the authorities")
	}
	_ = corp
}

// A list that goes stale ends what it has vouched for, on open connections too, unless the operator has chosen otherwise.
func TestAStaleListRefusesUnlessUnsafe(t *testing.T) {
	for _, choice := range []string{"refuse", "unsafe_accept"} {
		t.Run(choice, func(t *testing.T) {
			g := withAuthorities(t, nil)
			corp := pkitest.NewCompany(t, "Example Root", nil)
			g.trusts("corp", corp, func(a *identity.Authority) { a.CRLRequired, a.CRLOnStale = true, choice })
			g.maps("corp", identity.MapSubject, "CN=erp,O=Example,C=DE", "orders")
			c := g.caller(corp.Leaf("erp", nil))
			if a := c.get("/http/orders/1"); (a.status == 200) != (choice == "unsafe_accept") {
				t.Errorf("without a list: got %+v", a)
			}
			g.change(func(tx *identity.Tx) error {
				a, err := tx.Authority("corp")
				if err != nil {
					return err
				}
				list, err := external.ReadCRL(&a, "", corp.CRL(1, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(2 * time.Second) }), time.Now())
				if err == nil {
					_, err = tx.PutRevocationList(t.Context(), "corp", list)
				}
				return err
			})
			if a := c.get("/http/orders/1"); a.status != 200 {
				t.Fatalf("with a list: got %+v", a)
			}
			time.Sleep(2100 * time.Millisecond)
			if a := c.get("/http/orders/1"); a.err != nil || (a.status == 200) != (choice == "unsafe_accept") {
				t.Errorf("with a stale list, on the open connection: got %+v", a)
			}
		})
	}
}

func TestARespondersAnswerIsAwaitedAndKept(t *testing.T) {
	corp := pkitest.NewCompany(t, "Example Root", nil)
	responder := &pkitest.Responder{CA: corp}
	server := httptest.NewServer(responder)
	defer server.Close()
	start := func(t *testing.T, choice string) (*gate, *client) {
		g := withAuthorities(t, nil)
		g.trusts("corp", corp, func(a *identity.Authority) { a.OCSPURL, a.OCSPOnFailure = server.URL, choice })
		g.maps("corp", identity.MapSubject, "CN=erp,O=Example,C=DE", "orders")
		return g, g.caller(corp.Leaf("erp", nil))
	}
	reset := func(change func(*pkitest.Responder)) {
		responder.Set(func(r *pkitest.Responder) {
			r.Answer, r.By, r.Delay, r.Dead = nil, nil, 0, false
			if change != nil {
				change(r)
			}
		})
		responder.Asked.Store(0)
	}

	t.Run("many handshakes make one request", func(t *testing.T) {
		reset(func(r *pkitest.Responder) { r.Delay = 200 * time.Millisecond })
		g, c := start(t, "refuse")
		done := make(chan int)
		for range 10 {
			go func() { done <- g.caller(c.cert).get("/http/orders/1").status }()
		}
		for range 10 {
			if status := <-done; status != 200 {
				t.Errorf("got %d", status)
			}
		}
		if n := responder.Asked.Load(); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
	for _, tc := range []struct {
		name         string
		change       func(*pkitest.Responder)
		safe, unsafe int // status of the first request
	}{
		{"good", nil, 200, 200},
		{"revoked", func(r *pkitest.Responder) {
			r.Answer = func(a *ocsp.Response) { a.Status, a.RevokedAt = ocsp.Revoked, time.Now().Add(-time.Minute) }
		}, 401, 401},
		{"unknown", func(r *pkitest.Responder) { r.Answer = func(a *ocsp.Response) { a.Status = ocsp.Unknown } }, 401, 401},
		{"dead", func(r *pkitest.Responder) { r.Dead = true }, 401, 200},
		{"slow", func(r *pkitest.Responder) { r.Delay = 4 * time.Second }, 401, 200},
		{"another serial number", func(r *pkitest.Responder) {
			r.Answer = func(a *ocsp.Response) { a.SerialNumber = corp.Cert.SerialNumber }
		}, 401, 200},
		{"expired", func(r *pkitest.Responder) {
			r.Answer = func(a *ocsp.Response) { a.NextUpdate = time.Now().Add(-time.Second) }
		}, 401, 200},
		{"of the future", func(r *pkitest.Responder) {
			r.Answer = func(a *ocsp.Response) {
				a.ThisUpdate = time.Now().Add(time.Hour)
				a.NextUpdate = time.Now().Add(2 * time.Hour)
			}
		}, 401, 200},
		{"a foreign key", func(r *pkitest.Responder) { r.By = pkitest.NewCompany(t, "Foreign", nil) }, 401, 200},
		{"a delegate without OCSPSigning", func(r *pkitest.Responder) { r.By = corp.Sub("Responder", nil) }, 401, 200},
		{"a delegate", func(r *pkitest.Responder) {
			r.By = corp.Sub("Responder", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} })
		}, 200, 200},
		{"an expired delegate", func(r *pkitest.Responder) {
			r.By = corp.Sub("Responder", func(c *x509.Certificate) {
				c.ExtKeyUsage, c.NotAfter = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, time.Now().Add(-time.Minute)
			})
		}, 401, 200},
	} {
		for choice, want := range map[string]int{"refuse": tc.safe, "unsafe_accept": tc.unsafe} {
			t.Run(tc.name+" "+choice, func(t *testing.T) {
				reset(tc.change)
				_, c := start(t, choice)
				begin := time.Now()
				if a := c.get("/http/orders/1"); a.err != nil || a.status != want {
					t.Errorf("got %+v, want %d", a, want)
				}
				if took := time.Since(begin); took > 3*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		}
	}

	t.Run("revoked later", func(t *testing.T) {
		short := func(a *ocsp.Response) { a.NextUpdate = time.Now().Add(4 * time.Second) }
		reset(func(r *pkitest.Responder) { r.Answer = short })
		_, c := start(t, "refuse")
		if a := c.get("/http/orders/1"); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
		reset(func(r *pkitest.Responder) {
			r.Answer = func(a *ocsp.Response) { a.Status, a.RevokedAt = ocsp.Revoked, time.Now() }
		})
		eventually(t, "the open connection to be refused", func() bool { return c.get("/http/orders/1").status == 401 })
	})
}

// A request of another CA's caller allocates no more than one of our own.
func TestOutsidersAllocateNothing(t *testing.T) {
	g, _, c := corpGate(t)
	verifier := external.NewVerifier(g.trust.Load, "test.internal")
	peer := proxy.NewOutsider(verifier, c.cert)
	core := proxy.Core{Registry: g.registry, Trust: g.trust.Load}
	d := &proxy.Decision{}
	ask := proxy.Request{Peer: peer, Host: "localhost", Method: "GET", Target: "/http/orders/1", Length: 0}
	core.Decide(&ask, d)
	if d.Outcome != record.Served {
		t.Fatalf("got %s: %s", d.Outcome, d.Cause)
	}
	if n := testing.AllocsPerRun(100, func() { core.Decide(&ask, d) }); n != 0 {
		t.Errorf("%v allocations a decision", n)
	}
}
