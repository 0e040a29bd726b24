package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// keys are one private key of each kind that signs.
func keys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"RS256": r, "PS256": r, "ES256": p256, "ES384": p384, "EdDSA": ed}
}

func assertionKey(t testing.TB, key crypto.Signer, o token.AssertionOptions) *token.AssertionKey {
	t.Helper()
	k, err := token.NewAssertionKey(key, o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// assertion is what reached a token endpoint, verified.
type assertion struct {
	header map[string]any
	claims map[string]any
	form   url.Values
}

func verified(t testing.TB, form url.Values, key crypto.PublicKey) assertion {
	t.Helper()
	algorithms := []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA}
	parsed, err := jose.ParseSignedCompact(form.Get("client_assertion"), algorithms)
	if err != nil {
		t.Fatalf("reading the assertion: %v", err)
	}
	payload, err := parsed.Verify(key)
	if err != nil {
		t.Fatalf("verifying the assertion: %v", err)
	}
	a := assertion{form: form}
	if err := json.Unmarshal(payload, &a.claims); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(form.Get("client_assertion"), ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err == nil {
		err = json.Unmarshal(raw, &a.header)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAssertionsAreFreshShortAndForTheTokenEndpoint(t *testing.T) {
	key := keys(t)["ES256"]
	var forms []url.Values
	cred := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		forms = append(forms, r.PostForm)
		_, _ = io.WriteString(w, good)
	})
	cred.Style, cred.Secret = token.PrivateKeyJWT, token.Secret{}
	cred.Assertion = assertionKey(t, key, token.AssertionOptions{KeyID: "k-1"})
	e := &token.Engine{}
	defer e.Close()
	for range 2 {
		mustToken(t, e.Source(cred))
		e.Drop(cred.ID)
	}
	seen := map[any]bool{}
	for _, form := range forms {
		a := verified(t, form, key.Public())
		iat, exp := int64(a.claims["iat"].(float64)), int64(a.claims["exp"].(float64))
		now := time.Now().Unix()
		if exp-iat > 60 || exp < now+40 || iat > now {
			t.Errorf("the assertion is good from %d to %d, now it is %d", iat, exp, now)
		}
		if a.claims["iss"] != cred.ClientID || a.claims["sub"] != cred.ClientID || a.claims["aud"] != cred.TokenURL {
			t.Errorf("got claims %v", a.claims)
		}
		if a.header["kid"] != "k-1" || a.header["alg"] != "ES256" || a.header["typ"] != "JWT" {
			t.Errorf("got header %v", a.header)
		}
		if jti := a.claims["jti"]; jti == "" || seen[jti] {
			t.Errorf("jti %v was used before", jti)
		}
		seen[a.claims["jti"]] = true
		form.Del("client_assertion")
		want := url.Values{"grant_type": {"client_credentials"}, "client_id": {cred.ClientID},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
		if form.Encode() != want.Encode() {
			t.Errorf("got form %v, want %v", form, want)
		}
	}
	if len(seen) != 2 {
		t.Errorf("got %d assertions, want 2", len(seen))
	}
}

func TestAssertionNamesItsCertificateAndAudience(t *testing.T) {
	certificate := selfSigned(t, "signer")
	signer := certificate.PrivateKey.(crypto.Signer)
	var form url.Values
	cred := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		form = r.PostForm
		_, _ = io.WriteString(w, good)
	})
	cred.Style, cred.Secret, cred.AssertionAudience = token.PrivateKeyJWT, token.Secret{}, "https://login.example.com"
	cred.Assertion = assertionKey(t, signer, token.AssertionOptions{Certificate: certificate.Leaf})
	e := &token.Engine{}
	defer e.Close()
	mustToken(t, e.Source(cred))
	a := verified(t, form, signer.Public())
	sum := sha256.Sum256(certificate.Leaf.Raw)
	if got, want := a.header["x5t#S256"], base64.RawURLEncoding.EncodeToString(sum[:]); got != want {
		t.Errorf("x5t#S256 is %v, want %v", got, want)
	}
	if _, named := a.header["kid"]; named || a.claims["aud"] != "https://login.example.com" {
		t.Errorf("got header %v, claims %v", a.header, a.claims)
	}
}

func TestAssertionKeyRefusesWhatDoesNotFit(t *testing.T) {
	all := keys(t)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key crypto.Signer
		o   token.AssertionOptions
	}{
		"algorithm of another type": {all["ES256"], token.AssertionOptions{Algorithm: "RS256"}},
		"PS256 without RSA":         {all["ES256"], token.AssertionOptions{Algorithm: "PS256"}},
		"no signature":              {all["RS256"], token.AssertionOptions{Algorithm: "none"}},
		"a MAC":                     {all["RS256"], token.AssertionOptions{Algorithm: "HS256"}},
		"certificate of another":    {all["ES256"], token.AssertionOptions{Certificate: selfSigned(t, "other").Leaf}},
		"P-521":                     {p521, token.AssertionOptions{}},
	} {
		if _, err := token.NewAssertionKey(c.key, c.o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// A credential of the same id whose assertions would be others is another one: its tokens are fetched anew.
func TestAnotherAssertionKeyIsAnotherCredential(t *testing.T) {
	s, e := newTokenServer(t)
	certificate := selfSigned(t, "signer")
	key := certificate.PrivateKey.(crypto.Signer)
	c := credential()
	c.Style, c.Secret = token.PrivateKeyJWT, token.Secret{}
	ask := func(key crypto.Signer, o token.AssertionOptions) int {
		c.Assertion = assertionKey(t, key, o)
		mustToken(t, e.Source(c))
		return s.count()
	}
	for n, change := range []func() int{
		func() int { return ask(key, token.AssertionOptions{}) },
		func() int { return ask(key, token.AssertionOptions{KeyID: "k"}) },
		func() int { return ask(key, token.AssertionOptions{Certificate: certificate.Leaf}) },
		func() int { return ask(keys(t)["ES256"], token.AssertionOptions{}) },
		func() int { return ask(keys(t)["RS256"], token.AssertionOptions{}) },
	} {
		if got := change(); got != n+1 {
			t.Errorf("after %d keys there were %d requests", n+1, got)
		}
	}
	before := s.count()
	if got := ask(key, token.AssertionOptions{}); got != before+1 {
		t.Errorf("got %d requests, want %d", got, before+1)
	}
	if got := ask(key, token.AssertionOptions{Algorithm: "ES256"}); got != before+1 {
		t.Errorf("the same key made anew: got %d requests, want %d", got, before+1)
	}
}

// A server that echoes what it was sent must not get the assertion into a log.
func TestAssertionIsNotShown(t *testing.T) {
	key := keys(t)["EdDSA"]
	cred := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"server_error","error_description":%q}`, r.PostForm.Get("client_assertion"))
	})
	cred.Style, cred.Secret = token.PrivateKeyJWT, token.Secret{}
	cred.Assertion = assertionKey(t, key, token.AssertionOptions{})
	e := &token.Engine{}
	defer e.Close()
	if err := mustFail(t, e.Source(cred)); !strings.Contains(err.Error(), "[redacted]") || strings.Contains(err.Error(), "eyJ") {
		t.Errorf("got %v", err)
	}
	hidden := string(key.(ed25519.PrivateKey))
	for name, v := range map[string]any{"key": cred.Assertion, "credential": cred, "in a field": struct{ k *token.AssertionKey }{cred.Assertion}} {
		cut := v
		if name == "credential" {
			c := cred
			c.RootCAs = nil // has functions, which JSON does not take
			cut = c
		}
		if got := shown(t, cut); strings.Contains(got, hidden) || strings.Contains(got, fmt.Sprintf("%x", hidden[:8])) || strings.Contains(got, fmt.Sprint([]byte(hidden[:8]))[1:20]) {
			t.Errorf("%s: the key is shown: %s", name, got)
		}
	}
}

func TestOIDCProviderAcceptsAssertionsOfEveryKind(t *testing.T) {
	all := keys(t)
	var clients []outside.OAuthClient
	made := map[string]*token.AssertionKey{}
	for algorithm, key := range all {
		made[algorithm] = assertionKey(t, key, token.AssertionOptions{Algorithm: algorithm, KeyID: "k"})
		jwks, err := made[algorithm].JWKS()
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, outside.OAuthClient{ID: "sb-" + algorithm, Method: "private_key_jwt", JWKS: jwks, Algorithm: algorithm})
	}
	p := outside.StartOIDCProvider(t, clients...)
	cred := func(algorithm string) token.Credential {
		return token.Credential{ID: algorithm, ClientID: "sb-" + algorithm, TokenURL: p.TokenURL, RootCAs: p.Roots,
			Style: token.PrivateKeyJWT, Assertion: made[algorithm]}
	}
	e := &token.Engine{}
	defer e.Close()
	for algorithm := range all {
		tok := mustToken(t, e.Source(cred(algorithm)))
		if got := p.Introspect(tok.Value.Reveal()); !got.Active || got.ClientID != "sb-"+algorithm {
			t.Errorf("%s: the server knows the token as %+v", algorithm, got)
		}
	}
	for _, r := range p.Requests() {
		if r.Proof != "assertion" || r.Status != 200 {
			t.Errorf("got request %+v", r)
		}
	}
	byIssuer := cred("ES256")
	byIssuer.ID, byIssuer.TokenURL, byIssuer.Issuer, byIssuer.AssertionAudience = "by issuer", "", p.Issuer, token.IssuerAudience
	mustToken(t, e.Source(byIssuer))

	other := cred("ES256")
	other.ID, other.Assertion = "other", assertionKey(t, keys(t)["ES256"], token.AssertionOptions{KeyID: "k"})
	if err := mustFail(t, e.Source(other)); err.Step != token.StepRefused || err.Status != 401 {
		t.Errorf("another key: got %v, want refused", err)
	}
	elsewhere := cred("ES256")
	elsewhere.ID, elsewhere.AssertionAudience = "elsewhere", "https://login.example.com"
	if err := mustFail(t, e.Source(elsewhere)); err.Step != token.StepRefused {
		t.Errorf("another audience: got %v, want refused", err)
	}
}

func TestOIDCProviderAcceptsASelfSignedCertificate(t *testing.T) {
	certificate, other := selfSigned(t, "erp"), selfSigned(t, "erp")
	jwks, err := token.CertificateJWKS(certificate.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	p := outside.StartOIDCProvider(t, outside.OAuthClient{ID: "sb-self", Method: "self_signed_tls_client_auth", JWKS: jwks})
	e := &token.Engine{}
	defer e.Close()
	cred := token.Credential{ID: "self", ClientID: "sb-self", Issuer: p.Issuer, RootCAs: p.Roots, Style: token.MTLS, Certificate: certificate}
	mustToken(t, e.Source(cred))
	if r := p.Requests(); len(r) != 1 || !r[0].Alias || r[0].Proof != "certificate" {
		t.Errorf("got requests %+v, want one to the endpoint for certificates", r)
	}
	cred.ID, cred.Certificate = "other", other
	if err := mustFail(t, e.Source(cred)); err.Step != token.StepRefused {
		t.Errorf("another certificate of the same name: got %v, want refused", err)
	}
}

// A raw '%' cannot be decoded; the server says 400 and means a failed log-on.
func TestOIDCProviderCannotReadARawPercent(t *testing.T) {
	p := outside.StartOIDCProvider(t, outside.OAuthClient{ID: "sb-percent", Secret: "a%b", Method: "client_secret_basic"})
	e := &token.Engine{BackoffMin: time.Nanosecond, BackoffMax: time.Nanosecond}
	defer e.Close()
	cred := token.Credential{ID: "raw", ClientID: "sb-percent", TokenURL: p.TokenURL, RootCAs: p.Roots, Style: token.BasicRaw, Secret: token.NewSecret("a%b")}
	s := e.Source(cred)
	var err *token.Error
	for range 5 {
		err = mustFail(t, s)
		time.Sleep(time.Millisecond)
	}
	if err.Step != token.StepRefused || err.Status != 400 || time.Until(err.Until) < 14*time.Minute {
		t.Errorf("got %v, want refused and held", err)
	}
	if got := len(p.Requests()); got != 2 {
		t.Errorf("the server counts %d requests, want 2", got)
	}
	cred.ID, cred.Style = "encoded", token.Basic
	mustToken(t, e.Source(cred))
}

func TestOIDCProviderGetsResourceAndAudience(t *testing.T) {
	p := outside.StartOIDCProvider(t, outside.OAuthClient{ID: "sb", Secret: "s", Method: "client_secret_post"})
	e := &token.Engine{}
	defer e.Close()
	source := func(parameters url.Values) *token.Source {
		return e.Source(token.Credential{ID: "c", ClientID: "sb", TokenURL: p.TokenURL, RootCAs: p.Roots, Style: token.Body,
			Secret: token.NewSecret("s"), Parameters: parameters.Encode()})
	}
	orders := url.Values{"resource": {"https://api.example.com/orders"}, "audience": {"orders & more"}}
	with, without := mustToken(t, source(orders)), mustToken(t, source(nil))
	if with.Value.Equal(without.Value) {
		t.Error("a token for one resource is used for another")
	}
	r := p.Requests()
	if len(r) != 2 || r[0].Resource != "https://api.example.com/orders" || r[0].Audience != "orders & more" || r[1].Resource != "" {
		t.Errorf("got requests %+v", r)
	}
	for _, c := range []struct {
		resources []string
		code      string
	}{{[]string{"https://api.example.com/unknown"}, "invalid_target"}, {[]string{"urn:tenant", "https://api.example.com/orders"}, "invalid_target"}} {
		err := mustFail(t, source(url.Values{"resource": c.resources}))
		if err.Code != c.code || err.Step != token.StepStatus {
			t.Errorf("%v: got %v, want %s", c.resources, err, c.code)
		}
	}
	if got := mustToken(t, source(orders)); !got.Value.Equal(with.Value) {
		t.Error("what one resource was refused cost another its token")
	}
}
