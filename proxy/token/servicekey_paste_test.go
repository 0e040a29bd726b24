package token_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// vendorChain makes a client certificate as the vendor hands it out: RSA, PKCS#1 key, with intermediate and root. All PEM.
type vendorChain struct{ leaf, intermediate, root, key string }

func newVendorChain(t testing.TB, end time.Time, usage ...x509.ExtKeyUsage) vendorChain {
	t.Helper()
	make := func(name string, parent *x509.Certificate, parentKey *rsa.PrivateKey, ca bool) (*x509.Certificate, *rsa.PrivateKey) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name, Organization: []string{"SAP SE"}},
			NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: end, IsCA: ca, BasicConstraintsValid: true}
		if !ca {
			template.ExtKeyUsage = usage
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return certificate, key
	}
	root, rootKey := make("Cloud Root", nil, nil, true)
	intermediate, intermediateKey := make("Client CA of the Cloud", root, rootKey, true)
	leaf, key := make("sb-8d3e4f50", intermediate, intermediateKey, false)
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return vendorChain{encode("CERTIFICATE", leaf.Raw), encode("CERTIFICATE", intermediate.Raw), encode("CERTIFICATE", root.Raw),
		encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))}
}

func nextYear() time.Time { return time.Now().Add(365 * 24 * time.Hour).Truncate(time.Second).UTC() }

var secretKey = doc("createdate", "2023-07-17T16:39:46.446Z", "clientid", "sb-6b!b1|it-rt-acme!b5", "clientsecret", "0b$R=", "tokenurl",
	authURL+"/oauth/token", "url", pirURL)

func TestAServiceKeyIsTakenAsItIsPasted(t *testing.T) {
	plain := string(render(t, doc("oauth", secretKey)))
	vcap := func(v any) string { return string(render(t, v)) }
	one := doc("it-rt", []any{doc("name", "erp", "credentials", doc("oauth", secretKey))}, "postgresql-db", []any{doc("name", "db", "credentials", doc("uri",
		"postgres://x"))})
	for name, document := range map[string]string{
		"as it is":                      plain,
		"with a byte order mark":        "\xef\xbb\xbf" + plain,
		"with CRLF":                     strings.ReplaceAll(plain, ",", ",\r\n") + "\r\n",
		"as cf service-key prints it":   "Getting key k for service instance erp as anna@example.com...\n\n" + plain + "\n",
		"as cf 8 prints it":             "Getting key k for service instance erp as anna...\n\n" + string(render(t, doc("credentials", doc("oauth", secretKey)))),
		"as the only client binding":    vcap(one),
		"within VCAP_SERVICES":          vcap(doc("VCAP_SERVICES", one)),
		"behind its name in the output": "VCAP_SERVICES: " + vcap(one),
	} {
		t.Run(name, func(t *testing.T) {
			k, err := token.ParseServiceKey([]byte(document), token.KeyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if k.ClientID != "sb-6b!b1|it-rt-acme!b5" || k.Secret.Reveal() != "0b$R=" || k.URL != pirURL || k.Plan != token.PlanIntegrationFlow ||
				k.Created.Year() != 2023 {
				t.Errorf("got %+v", k)
			}
			if !strings.HasSuffix(k.From.ClientID, "clientid") || !strings.HasSuffix(k.From.TokenURL, "tokenurl") || !strings.HasSuffix(k.From.URL, "url") {
				t.Errorf("got origins %+v", k.From)
			}
		})
	}
}

// Who replaces \n by line breaks, as the vendor's documentation says, does so in the whole document, which then is no JSON any more.
func TestLineBreaksWithinTheDocumentAreTaken(t *testing.T) {
	c := newVendorChain(t, nextYear(), x509.ExtKeyUsageClientAuth)
	document := string(render(t, doc("oauth", doc("clientid", "a", "certificate", c.leaf, "key", c.key, "tokenurl", certURL))))
	for name, broken := range map[string]string{
		"LF": strings.ReplaceAll(document, `\n`, "\n"), "CRLF": strings.ReplaceAll(document, `\n`, "\r\n"), "tabs": strings.ReplaceAll(document, `\n`, "\n\t"),
	} {
		if k, err := token.ParseServiceKey([]byte(broken), token.KeyOptions{}); err != nil || k.CertificatePEM != c.leaf || k.KeyPEM.Reveal() != c.key {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestOneOfSeveralBindingsIsChosenByName(t *testing.T) {
	other := doc("clientid", "sb-other", "clientsecret", "s", "url", authURL, "xsappname", "x")
	document := render(t, doc("it-rt", []any{doc("name", "erp", "credentials", doc("oauth", secretKey))}, "xsuaa", []any{
		doc("name", "a", "credentials", other), doc("instance_name", "b", "credentials", other)}))
	var e *token.KeyError
	if _, err := token.ParseServiceKey(document, token.KeyOptions{}); !errors.As(err, &e) || e.Hint != "choose one: it-rt/erp, xsuaa/a, xsuaa/b" {
		t.Errorf("got %v, want to be asked, with the names", err)
	}
	for binding, want := range map[string]string{"it-rt": "sb-6b!b1|it-rt-acme!b5", "erp": "sb-6b!b1|it-rt-acme!b5", "xsuaa/a": "sb-other", "b": "sb-other"} {
		if k, err := token.ParseServiceKey(document, token.KeyOptions{Binding: binding}); err != nil || k.ClientID != want {
			t.Errorf("%s: got %s, %v, want %s", binding, k.ClientID, err, want)
		}
	}
	for binding, want := range map[string]string{"xsuaa": "several bindings", "c": "no such binding"} {
		if _, err := token.ParseServiceKey(document, token.KeyOptions{Binding: binding}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", binding, err, want)
		}
	}
	if _, err := token.ParseServiceKey(render(t, secretKey), token.KeyOptions{Binding: "erp"}); err == nil || !strings.Contains(err.Error(),
		"no bindings to choose from") {
		t.Errorf("a binding of a plain key: got %v", err)
	}
}

func TestTheChainIsPutInOrderByTheKey(t *testing.T) {
	c := newVendorChain(t, nextYear(), x509.ExtKeyUsageClientAuth)
	want := c.leaf + c.intermediate + c.root
	for name, certificate := range map[string]string{
		"leaf first": want, "root first": c.root + c.intermediate + c.leaf, "leaf in the middle": c.intermediate + c.leaf + c.root, "leaf twice": c.leaf + want,
	} {
		t.Run(name, func(t *testing.T) {
			k, err := token.ParseServiceKey(render(t, doc("oauth", doc("clientid", "a", "certificate", certificate, "key", c.key, "tokenurl", certURL))),
				token.KeyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if k.CertificatePEM != want {
				t.Errorf("got another order than leaf, intermediate, root")
			}
			moved := slices.ContainsFunc(k.Notes, func(s string) bool { return strings.Contains(s, "another order") })
			if first := strings.HasPrefix(certificate, c.leaf); moved == first {
				t.Errorf("got notes %q", k.Notes)
			}
		})
	}
}

func TestAnExternalCertificateTakesItsKeyFromBeside(t *testing.T) {
	end := nextYear()
	c, foreign := newVendorChain(t, end, x509.ExtKeyUsageClientAuth), newVendorChain(t, end)
	strange, strangeKey := pemPair(t)
	key := func(s string) token.Secret { return token.NewSecret(s) }
	pir := doc("clientid", "a", "certificate", c.leaf, "tokenurl", certURL+"/oauth/token", "url", pirURL)
	xsuaa := doc("clientid", "a", "credential-type", "x509", "certurl", certURL, "url", authURL, "xsappname", "x", "uaadomain", "y")
	ias := doc("clientid", "a", "certificate", c.leaf, "domains", []string{"x"}, "url", "https://acme.accounts.ondemand.com")
	none := doc("clientid", "a", "credential-type", "NONE", "domains", []string{"x"}, "url", "https://acme.accounts.ondemand.com")
	for _, test := range []struct {
		name     string
		document any
		o        token.KeyOptions
		shape    token.Shape
		problem  string
	}{
		{"integration", doc("oauth", pir), token.KeyOptions{KeyPEM: key(c.key)}, token.ShapeIntegrationExternal, ""},
		{"integration, chain beside", doc("oauth", pir), token.KeyOptions{KeyPEM: key(c.key), CertificatePEM: c.intermediate + c.leaf},
			token.ShapeIntegrationExternal, ""},
		{"xsuaa with a hidden certificate", doc("credentials", xsuaa), token.KeyOptions{KeyPEM: key(c.key), CertificatePEM: c.leaf}, token.ShapeXSUAAExternal, ""},
		{"provided to Identity Authentication", ias, token.KeyOptions{KeyPEM: key(c.key)}, token.ShapeIASExternal, ""},
		{"Identity Authentication, NONE", none, token.KeyOptions{KeyPEM: key(c.key), CertificatePEM: c.leaf}, token.ShapeIASExternal, ""},
		{"foreign key", doc("oauth", pir), token.KeyOptions{KeyPEM: key(foreign.key)}, "", "do not belong together"},
		{"foreign certificate beside", doc("oauth", pir), token.KeyOptions{KeyPEM: key(strangeKey), CertificatePEM: strange}, "",
			"another one than the certificate given beside it"},
		{"key that is none", doc("oauth", pir), token.KeyOptions{KeyPEM: key("x")}, "", "the key given beside it: it is no PEM"},
		{"certificate hidden, key alone", doc("credentials", xsuaa), token.KeyOptions{KeyPEM: key(c.key)}, "",
			"credentials.certificate: it is missing beside the key"},
		{"a certificate beside a secret", doc("oauth", secretKey), token.KeyOptions{KeyPEM: key(c.key), CertificatePEM: c.leaf}, "",
			"a client has only one of the two"},
		{"a style for secrets", doc("oauth", pir), token.KeyOptions{KeyPEM: key(c.key), Style: token.Basic}, "", "leave out one of the two"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, err := token.ParseServiceKey(render(t, test.document), test.o)
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Errorf("got %v, want %q", err, test.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if k.Shape != test.shape || k.Style != token.MTLS || !strings.HasPrefix(k.CertificatePEM, c.leaf) || k.KeyPEM.Reveal() != c.key || !k.NotAfter.Equal(end) {
				t.Errorf("got %+v", k)
			}
		})
	}
	renewed := token.KeyOptions{KeyPEM: key(foreign.key), CertificatePEM: foreign.leaf} // of the same names
	if k, err := token.ParseServiceKey(render(t, pir), renewed); err != nil || len(k.Notes) != 1 || !strings.Contains(k.Notes[0], "without pinning") {
		t.Errorf("a renewed certificate: got %q, %v, want to be told of pinning", k.Notes, err)
	}
}

func TestServiceKeysThatContradictThemselvesAreRefused(t *testing.T) {
	cert, key := pemPair(t)
	with := func(members ...any) []byte {
		return render(t, doc("oauth", doc(append([]any{"clientid", "sb-1", "tokenurl", authURL + "/oauth/token"}, members...)...)))
	}
	for _, c := range []struct {
		name     string
		document []byte
		o        token.KeyOptions
		want     string
	}{
		{"secret and certificate", with("clientsecret", "s", "certificate", cert, "key", key), token.KeyOptions{}, "beside a certificate"},
		{"secret and the type of a certificate", with("clientsecret", "s", "credential-type", "x509"), token.KeyOptions{}, "credential-type"},
		{"certificate and the type of a secret", with("certificate", cert, "key", key, "credential-type", "binding-secret"), token.KeyOptions{}, "credential-type"},
		{"secret on the host for certificates", render(t, doc("clientid", "a", "clientsecret", "s", "tokenurl", certURL+"/oauth/token")), token.KeyOptions{},
			"takes certificates only"},
		{"two clients", render(t, doc("oauth", secretKey, "uaa", doc("clientid", "b", "clientsecret", "s", "url", authURL))), token.KeyOptions{},
			"oauth.clientid, uaa.clientid: it describes two clients"},
		{"two clients of odd types", render(t, doc("clientid", []any{}, "uaa", doc("clientid", []any{}))), token.KeyOptions{}, "wrong JSON type"},
		{"for people", render(t, doc("grant_type", "user_token", "uaa", doc("clientid", "a", "clientsecret", "s", "url", authURL, "xsappname", "x"))),
			token.KeyOptions{}, "in the name of people"},
		{"a member twice", []byte(`{"oauth":{"clientid":"a","clientsecret":"s","clientsecret":"t","tokenurl":"https://x/y"}}`), token.KeyOptions{},
			"clientsecret: it is given twice"},
		{"an object twice", []byte(`{"oauth":{"clientid":"a"},"oauth":{}}`), token.KeyOptions{}, "oauth: it is given twice"},
		{"names of another style", []byte(`{"clientId":"a","clientSecret":"s"}`), token.KeyOptions{}, "small letters"},
		{"too deep", []byte(strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)), token.KeyOptions{}, "nested"},
		{"style that has nothing to send", with("certificate", cert, "key", key), token.KeyOptions{Style: token.Basic},
			"the style that is given sends a secret: there is a certificate"},
		{"style that has nothing to show", with("clientsecret", "s"), token.KeyOptions{Style: token.MTLS}, "both are missing"},
		{"no certurl", render(t, doc("clientid", "a", "certificate", cert, "key", key, "xsappname", "x", "url", authURL)), token.KeyOptions{},
			"probably " + certURL + "/oauth/token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if k, err := token.ParseServiceKey(c.document, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want %q", k, err, c.want)
			}
		})
	}
	slipped := []byte(`{"clientid":"a","0b1c2d3e-0000-4000-8000-0123456789ab":1,"0b1c2d3e-0000-4000-8000-0123456789ab":2}`)
	if _, err := token.ParseServiceKey(slipped, token.KeyOptions{}); err == nil || strings.Contains(err.Error(), "0b1c2d3e") ||
		!strings.Contains(err.Error(), "given twice") {
		t.Errorf("a secret that has slipped: got %v", err)
	}
	if k, err := token.ParseServiceKey(with("clientsecret", "s", "certificate", cert, "key", key), token.KeyOptions{Style: token.BasicRaw}); err != nil ||
		k.Style != token.BasicRaw || k.Secret.Empty() || !k.KeyPEM.Empty() {
		t.Errorf("a style decides: got %+v, %v", k, err)
	}
	if k, err := token.ParseServiceKey(with("clientsecret", "s"), token.KeyOptions{TokenURL: "https://other/token"}); err != nil ||
		k.TokenURL != "https://other/token" || k.From.TokenURL != "as given" {
		t.Errorf("a token URL that is given counts: got %+v, %v", k, err)
	}
}

func TestWhatIsOddAboutAKeyIsSaid(t *testing.T) {
	end := nextYear()
	c, old, server := newVendorChain(t, end, x509.ExtKeyUsageClientAuth), newVendorChain(t, time.Now().Add(-time.Hour)), newVendorChain(t, end,
		x509.ExtKeyUsageServerAuth)
	certificate := func(v vendorChain, validuntil, tokenURL string) any {
		return doc("oauth", doc("clientid", "a", "certificate", v.leaf, "key", v.key, "tokenurl", tokenURL, "certificatedetails", doc("validuntil", validuntil)))
	}
	said := end.Format("2006-01-02T15:04:05.000Z")
	for _, test := range []struct {
		name     string
		document any
		want     string // "" for nothing
	}{
		{"nothing", certificate(c, said, certURL+"/oauth/token"), ""},
		{"another end", certificate(c, "2023-06-24T12:56:52.000Z", certURL+"/oauth/token"),
			"2023-06-24T12:56:52Z, the certificate itself says " + end.Format(time.RFC3339)},
		{"an end that is none", certificate(c, "soon", certURL+"/oauth/token"), ""},
		{"the host for secrets", certificate(c, said, authURL+"/oauth/token"), "on its .cert host only"},
		{"over", certificate(old, "", certURL+"/oauth/token"), "has ended"},
		{"for servers", certificate(server, said, certURL+"/oauth/token"), "not for client authentication"},
		{"IAS secret", doc("clientid", "a", "clientsecret", "s", "url", "https://x.accounts.ondemand.com"), "after one or two years"},
		{"plans", doc("oauth", doc("clientid", "sb!b1|it!b5", "clientsecret", "s", "tokenurl", authURL, "url", pirURL)),
			"client id is one of plan api, the address is one of plan integration-flow"},
		{"endpoints", doc("endpoints", doc("b_url", "https://b", "a_url", "https://a"), "uaa", doc("clientid", "a", "clientsecret", "s", "url", authURL,
			"xsappname", "x")), "endpoints has a_url, b_url"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, err := token.ParseServiceKey(render(t, test.document), token.KeyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if notes := strings.Join(k.Notes, "\n"); (test.want == "") != (notes == "") || !strings.Contains(notes, test.want) {
				t.Errorf("got notes %q, want %q", k.Notes, test.want)
			}
		})
	}
}

func TestATenantNeedsNoProof(t *testing.T) {
	c := newVendorChain(t, nextYear())
	for name, document := range map[string]any{
		"external certificate": doc("oauth", doc("clientid", "a", "certificate", c.leaf, "tokenurl", certURL+"/oauth/token", "url", pirURL)),
		"foreign key":          doc("oauth", doc("clientid", "a", "certificate", c.leaf, "key", "x", "tokenurl", certURL+"/oauth/token", "url", pirURL)),
		"hidden certificate":   doc("clientid", "a", "credential-type", "x509", "certurl", certURL, "xsappname", "x"),
		"secret":               doc("oauth", secretKey),
	} {
		k, err := token.ParseServiceKey(render(t, document), token.KeyOptions{TenantOnly: true})
		if err != nil || k.TokenURL == "" || k.Style == "" || !k.Secret.Empty() || !k.KeyPEM.Empty() {
			t.Errorf("%s: got %+v, %v, want endpoint and style and no secret", name, k, err)
		}
	}
	none := render(t, doc("clientid", "a", "credential-type", "NONE", "domains", []string{"x"}, "url", "https://x.accounts.ondemand.com"))
	if _, err := token.ParseServiceKey(none, token.KeyOptions{TenantOnly: true}); err == nil || !strings.Contains(err.Error(), "no authentication style") {
		t.Errorf("NONE: got %v", err)
	}
}

func TestAKeyAndATenantThatDoNotFitAreSaidTo(t *testing.T) {
	const apiURL = "https://acme-dev.it-cpi018.cfapps.eu10-003.hana.ondemand.com"
	key := func(id, url string) token.ServiceKey { return token.ServiceKey{ClientID: id, URL: url} }
	for _, c := range []struct {
		key     token.ServiceKey
		baseURL string
		want    string // "" for nothing
	}{
		{key("sb!b1|it-rt-acme!b5", pirURL), pirURL, ""},
		{key("sb!b1|it-rt-acme!b5", pirURL), apiURL, "for the runtime"},
		{key("sb!b1|it!b5", apiURL), pirURL, "for the OData API"},
		{key("free", apiURL), pirURL, "the key is for the OData API (/api/v1) at acme-dev.it-cpi018."},
		{key("sb!b1|it!b5", ""), pirURL, "the client is one of plan api"},
		{key("free", ""), pirURL, ""},
		{key("sb", pirURL), strings.Replace(pirURL, "acme-dev", "acme-prod", 1), "the key is for acme-dev.it-cpi018-rt."},
		{key("sb", "https://l1-iflmap.hcisbp.eu1.hana.ondemand.com"), "https://l1-tmn.hci.eu1.hana.ondemand.com", "for the runtime"},
		{key("sb", "https://other.example.com"), "https://acme.example.com", ""},
		{key("sb!b1|it-rt-acme!b5", pirURL), strings.ToUpper(pirURL), ""},
	} {
		if got := c.key.HostMismatch(c.baseURL); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s at %s: got %q, want %q", c.key.URL, c.baseURL, got, c.want)
		}
	}
	for tokenURL, want := range map[string]string{"": "", authURL + "/oauth/token": "", certURL: "",
		"https://acme-prod.authentication.eu10.hana.ondemand.com/oauth/token": "come from acme-dev."} {
		if got := (token.ServiceKey{TokenURL: authURL + "/oauth/token"}).EndpointMismatch(tokenURL); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", tokenURL, got, want)
		}
	}
	for path, want := range map[string]string{"/http/x": "", "/API/v1/x": "without -rt"} {
		if got := token.PathMismatch(pirURL, path); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if got := token.PathMismatch(apiURL, "/http/x"); !strings.Contains(got, "with -rt") {
		t.Errorf("got %q", got)
	}
}

// FuzzServiceKeyErrorQuotesNoSecret damages a document at one place, by cutting it off and by inserting bytes: whatever comes of it, there is no panic,
// and the error shows nothing of the secret and nothing of the key.
func FuzzServiceKeyErrorQuotesNoSecret(f *testing.F) {
	const secret = "0b1c2d3e-0000-4000-8000-0123456789ab$c2VjcmV0LXNlY3JldA=="
	c := newVendorChain(f, nextYear())
	documents := [][]byte{
		render(f, doc("oauth", doc("clientid", "a", "clientsecret", secret, "tokenurl", authURL))),
		render(f, doc("oauth", doc("clientid", "a", "certificate", c.leaf, "key", c.key, "tokenurl", certURL))),
		render(f, doc("xsuaa", []any{doc("name", "x", "credentials", doc("clientid", "a", "clientsecret", secret, "url", authURL, "xsappname", "x"))})),
		render(f, doc("clientid", "a", "clientsecret", secret, "domains", []string{"x"}, "url", "https://x.accounts.ondemand.com")),
	}
	block, _ := pem.Decode([]byte(c.key))
	body := base64.StdEncoding.EncodeToString(block.Bytes)
	for i := range documents {
		f.Add(uint8(i), uint16(20), uint16(0), []byte(nil))
		f.Add(uint8(i), uint16(30), uint16(500), []byte(`","x":"`))
		f.Add(uint8(i), uint16(10), uint16(60000), []byte(`"}{`))
	}
	f.Fuzz(func(t *testing.T, which uint8, at, keep uint16, insert []byte) {
		whole := documents[int(which)%len(documents)]
		cut := int(at) % len(whole)
		b := append(append(slices.Clone(whole[:cut]), insert...), whole[cut:min(len(whole), cut+int(keep))]...)
		for _, o := range []token.KeyOptions{{}, {TenantOnly: true}, {Style: token.MTLS}, {Binding: "x"}} {
			_, err := token.ParseServiceKey(b, o)
			if err == nil {
				continue
			}
			text := err.Error()
			for from := 0; from+12 <= len(secret); from++ {
				if strings.Contains(text, secret[from:from+12]) {
					t.Fatalf("the error shows the secret: %s", text)
				}
			}
			for from := 0; from+16 <= len(body); from++ {
				if strings.Contains(text, body[from:from+16]) {
					t.Fatalf("the error shows the key: %s", text)
				}
			}
		}
	})
}
