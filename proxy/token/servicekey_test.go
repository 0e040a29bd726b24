package token_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/token"
)

const (
	pirURL  = "https://acme-dev.it-cpi018-rt.cfapps.eu10-003.hana.ondemand.com"
	authURL = "https://acme-dev.authentication.eu10.hana.ondemand.com"
	certURL = "https://acme-dev.authentication.cert.eu10.hana.ondemand.com"
)

// pemPair returns a certificate and its key as PEM.
func pemPair(t testing.TB) (certificate, key string) {
	t.Helper()
	c := selfSigned(t, "client")
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// doc renders a document; members are name, value pairs.
func doc(members ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(members); i += 2 {
		m[members[i].(string)] = members[i+1]
	}
	return m
}

func render(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestServiceKeysOfEveryShape(t *testing.T) {
	cert, key := pemPair(t)
	pir := doc("createdate", "2023-07-17T16:39:46.446Z", "clientid", "sb-6b!b1|it-rt-acme!b5", "clientsecret", "0b$R=", "tokenurl", authURL+"/oauth/token",
		"url", pirURL)
	pirCert := doc("clientid", "sb-8d!b1|it", "certificate", cert, "key", key, "certificatedetails", doc("validuntil", "2023"), "tokenurl",
		certURL+"/oauth/token", "url", pirURL)
	plainHost := doc("clientid", "sb-8d!b1|it", "certificate", cert, "key", key, "tokenurl", authURL+"/oauth/token", "url", pirURL)
	xsuaa := doc("apiurl", "https://api.x", "clientid", "sb-sample-app!t1", "clientsecret", "s", "credential-type", "binding-secret", "uaadomain", "x",
		"url", authURL, "xsappname", "a!t1", "tenantmode", nil)
	x509Key := doc("clientid", "sb-x5app!t7", "certificate", cert, "key", key, "certurl", certURL, "credential-type", "x509", "url", authURL, "xsappname", "x")
	ias := doc("clientid", "1aa234ca-faed", "clientsecret", "s", "domains", []string{"accounts.ondemand.com"}, "url", "https://acme.accounts.ondemand.com")
	iasCert := doc("clientid", "1aa234ca-faed", "certificate", cert, "key", key, "url", "https://acme.accounts.cloud.sap/")
	for _, c := range []struct {
		name     string
		document any
		shape    token.Shape
		id, url  string
	}{
		{"integration", doc("oauth", pir), token.ShapeIntegration, "sb-6b!b1|it-rt-acme!b5", authURL + "/oauth/token"},
		{"integration, unwrapped", pir, token.ShapeIntegration, "sb-6b!b1|it-rt-acme!b5", authURL + "/oauth/token"},
		{"integration in credentials", doc("credentials", doc("oauth", pir)), token.ShapeIntegration, "sb-6b!b1|it-rt-acme!b5", authURL + "/oauth/token"},
		{"integration certificate", doc("oauth", pirCert), token.ShapeIntegrationCertificate, "sb-8d!b1|it", certURL + "/oauth/token"},
		{"integration certificate on the host for secrets", doc("oauth", plainHost), token.ShapeIntegrationCertificate, "sb-8d!b1|it", certURL + "/oauth/token"},
		{"xsuaa flat", xsuaa, token.ShapeXSUAA, "sb-sample-app!t1", authURL + "/oauth/token"},
		{"xsuaa in uaa", doc("endpoints", doc("a", "b"), "grant_type", "client_credentials", "uaa", xsuaa), token.ShapeXSUAA, "sb-sample-app!t1",
			authURL + "/oauth/token"},
		{"xsuaa in credentials and uaa", doc("credentials", doc("uaa", xsuaa)), token.ShapeXSUAA, "sb-sample-app!t1", authURL + "/oauth/token"},
		{"xsuaa x509", doc("credentials", x509Key), token.ShapeXSUAACertificate, "sb-x5app!t7", certURL + "/oauth/token"},
		{"ias", ias, token.ShapeIAS, "1aa234ca-faed", "https://acme.accounts.ondemand.com/oauth2/token"},
		{"ias certificate", iasCert, token.ShapeIASCertificate, "1aa234ca-faed", "https://acme.accounts.cloud.sap/oauth2/token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := token.ParseServiceKey(render(t, c.document), token.KeyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if k.Shape != c.shape || k.ClientID != c.id || k.TokenURL != c.url {
				t.Errorf("got %s %s %s, want %s %s %s", k.Shape, k.ClientID, k.TokenURL, c.shape, c.id, c.url)
			}
			if k.Style == token.MTLS {
				if _, err := tls.X509KeyPair([]byte(k.CertificatePEM), []byte(k.KeyPEM.Reveal())); err != nil || k.NotAfter.IsZero() || !k.Secret.Empty() {
					t.Errorf("got %+v (%v), want a key pair and its end", k, err)
				}
			} else if k.Style != token.Body || k.Secret.Empty() || !k.NotAfter.IsZero() {
				t.Errorf("got %+v, want a secret in the body", k)
			}
		})
	}
}

func TestPEMInAnyState(t *testing.T) {
	cert, key := pemPair(t)
	other, _ := pemPair(t)
	for name, change := range map[string]func(string) string{
		"as it should be": func(s string) string { return s },
		"literal \\n":     func(s string) string { return strings.ReplaceAll(s, "\n", `\n`) },
		"literal \\r\\n":  func(s string) string { return strings.ReplaceAll(s, "\n", `\r\n`) },
		"CRLF":            func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		"CR":              func(s string) string { return strings.ReplaceAll(s, "\n", "\r") },
		"one line":        func(s string) string { return strings.ReplaceAll(s, "\n", "") },
		"spaces":          func(s string) string { return strings.ReplaceAll(s, "\n", " ") },
		"indented":        func(s string) string { return strings.ReplaceAll(s, "\n", "\n    ") },
		"no last dashes":  func(s string) string { return strings.TrimSuffix(strings.TrimSpace(s), "-----") },
		"text around it":  func(s string) string { return "subject=CN = x\n" + s + "\nend" },
	} {
		t.Run(name, func(t *testing.T) {
			k, err := token.ParseServiceKey(render(t, doc("oauth", doc("clientid", "a", "certificate", change(cert)+change(other), "key", change(key), "tokenurl",
				certURL))), token.KeyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if k.CertificatePEM != cert+other || k.KeyPEM.Reveal() != key {
				t.Errorf("got %q, want the same PEM in its common form", k.CertificatePEM)
			}
		})
	}
}

func TestServiceKeysThatAreRefused(t *testing.T) {
	cert, key := pemPair(t)
	_, foreign := pemPair(t)
	pir := func(members ...any) []byte {
		return render(t, doc("oauth", doc(append([]any{"clientid", "sb-1", "tokenurl", authURL + "/oauth/token"}, members...)...)))
	}
	for _, c := range []struct {
		name, document, want string
	}{
		{"empty", " \n", "it is empty"},
		{"a PEM file", cert, "it is a PEM file"},
		{"no JSON", "hello", "no JSON object"},
		{"broken JSON", `{"oauth":{"clientid":x}}`, "broken at byte 22"},
		{"cut off", `{"oauth":{"clientid":"a"`, "cut off"},
		{"an array", `[]`, "no JSON object"},
		{"null", `null`, "no JSON object"},
		{"a text", `"x"`, "no JSON object"},
		{"two documents", string(pir("clientsecret", "s")) + string(pir("clientsecret", "s")), "something follows"},
		{"rubbish behind", string(pir("clientsecret", "s")) + "x", "something follows"},
		{"another document", `{"a":1}`, "nothing else in the document looks like a service key"},
		{"too large", `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, "larger than"},
		{"wrong type", `{"oauth":{"clientid":7}}`, "oauth.clientid: it has the wrong JSON type"},
		{"wrong type above", `{"oauth":7}`, "oauth: it has the wrong JSON type"},
		{"UTF-16", "\xff\xfe{\x00", "not UTF-8"},
		{"no client id", `{"oauth":{"clientsecret":"s","tokenurl":"https://x/y"}}`, "clientid: it is missing"},
		{"no secret", string(pir()), "clientsecret: it is missing, and so are certificate and key"},
		{"no token URL", `{"oauth":{"clientid":"a","clientsecret":"s"}}`, "tokenurl: it is missing"},
		{"plain http", `{"oauth":{"clientid":"a","clientsecret":"s","tokenurl":"http://x/y"}}`, "no plain https address"},
		{"user in URL", `{"oauth":{"clientid":"a","clientsecret":"s","tokenurl":"https://u:p@x/y"}}`, "no plain https address"},
		{"relative URL", `{"oauth":{"clientid":"a","clientsecret":"s","tokenurl":"/oauth/token"}}`, "no plain https address"},
		{"xsuaa without url", `{"clientid":"a","clientsecret":"s","xsappname":"x"}`, "url: it is missing"},
		{"xsuaa x509 without certurl", string(render(t, doc("clientid", "a", "certificate", cert, "key", key, "xsappname", "x", "url", authURL))),
			"certurl: it is missing"},
		{"external certificate", string(pir("certificate", cert)), "key: it is missing: this is an external certificate"},
		{"hidden certificate", `{"credentials":{"clientid":"a","credential-type":"x509","certurl":"https://x","xsappname":"y"}}`,
			"certificate, credentials.key: both are missing"},
		{"key without certificate", string(pir("key", key)), "certificate: it is missing beside the key"},
		{"foreign key", string(pir("certificate", cert, "key", foreign)), "they do not belong together"},
		{"key for a certificate", string(pir("certificate", key, "key", key)), "a PEM block that is no certificate"},
		{"certificate for a key", string(pir("certificate", cert, "key", cert)), "not exactly one private key"},
		{"two keys", string(pir("certificate", cert, "key", key+key)), "not exactly one private key"},
		{"encrypted key", string(pir("certificate", cert, "key", strings.ReplaceAll(key, "PRIVATE", "ENCRYPTED PRIVATE"))), "it is encrypted"},
		{"old encrypted key", string(pir("certificate", cert, "key", strings.Replace(key, "\n", "\nProc-Type: 4,ENCRYPTED\n\n", 1))), "has headers"},
		{"certificate is no PEM", string(pir("certificate", "x", "key", key)), "certificate: it is no PEM"},
		{"certificate cut off", string(pir("certificate", cert[:100], "key", key)), "does not end"},
		{"certificate broken", string(pir("certificate", strings.Replace(cert, "M", "!", 1), "key", key)), "no base64"},
		{"IAS without credentials", `{"clientid":"a","credential-type":"NONE","domains":["x"],"url":"https://x.accounts.ondemand.com"}`,
			"this binding has no credentials"},
		{"newline in secret", `{"oauth":{"clientid":"a","clientsecret":"s\n","tokenurl":"https://x/y"}}`, "control character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := token.ParseServiceKey([]byte(c.document), token.KeyOptions{})
			var keyError *token.KeyError
			if !errors.As(err, &keyError) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want a *KeyError with %q", err, c.want)
			}
			if k.ClientID != "" || !k.Secret.Empty() || !k.KeyPEM.Empty() {
				t.Errorf("got %+v beside the error", k)
			}
			if strings.Contains(fmt.Sprintf("%+v", err), key[40:60]) {
				t.Error("the error quotes the key")
			}
		})
	}
}

// FuzzAParsedServiceKeyIsComplete: whatever the bytes, there is an error or a usable key, and no panic.
func FuzzAParsedServiceKeyIsComplete(f *testing.F) {
	cert, key := pemPair(f)
	for _, seed := range []any{
		doc("oauth", doc("clientid", "a", "clientsecret", "s", "tokenurl", authURL)),
		doc("oauth", doc("clientid", "a", "certificate", cert, "key", key, "tokenurl", certURL)),
		doc("credentials", doc("uaa", doc("clientid", "a", "clientsecret", "s", "url", authURL, "xsappname", "x"))),
		doc("clientid", "a", "clientsecret", "s", "domains", []string{"x"}, "url", "https://x.accounts.ondemand.com"),
	} {
		f.Add(render(f, seed))
	}
	f.Add([]byte(`{"uaa":{"uaa":{"uaa":{"uaa":{}}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := token.ParseServiceKey(b, token.KeyOptions{})
		if err != nil {
			return
		}
		u, err := url.Parse(k.TokenURL)
		if err != nil || u.Scheme != "https" || u.Host == "" || k.ClientID == "" {
			t.Errorf("got %+v, want a client id and an https token URL", k)
		}
		c := token.Credential{TokenURL: k.TokenURL, Style: k.Style, ClientID: k.ClientID, Secret: k.Secret}
		if k.Style == token.MTLS {
			pair, err := tls.X509KeyPair([]byte(k.CertificatePEM), []byte(k.KeyPEM.Reveal()))
			if err != nil {
				t.Fatal(err)
			}
			c.Certificate = &pair
		}
		if err := c.Validate(); err != nil {
			t.Errorf("a parsed key makes no credential: %v", err)
		}
	})
}
