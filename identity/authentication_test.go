package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// parameters are token parameters of each kind.
func parameters(pairs ...string) identity.TokenParameters {
	values := map[string][]string{}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = append(values[name], value)
	}
	return identity.NewTokenParameters(values)
}

// signing is a credential with a key that signs assertions.
func signing(t *testing.T) identity.Credential {
	t.Helper()
	_, key := keyPair(t, time.Now().Add(time.Hour))
	return identity.Credential{Identity: "erp", Tenant: "ias", ClientID: "sb", Kind: identity.KindAssertion, AuthStyle: identity.AuthPrivateKeyJWT,
		Secret: identity.NewSecret(key)}
}

func testKeepsAuthentication(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	ias := tenant("ias")
	ias.TokenURL, ias.Issuer, ias.TokenParameters = "", "https://ias.example.com", parameters("token_format=jwt", "resource=b", "resource=a")
	route := identity.Route{Name: "orders", Path: "/orders", Tenant: "ias", Role: "x", TokenParameters: parameters("audience=orders & more")}
	c := signing(t)
	c.Issuer, c.KeyID, c.AssertionAlgorithm, c.AssertionAudience, c.Keyless = "https://own.example.com", "k-1", "ES256", identity.AudienceIssuer, true
	c.TokenParameters = parameters("app_tid=1")
	query := tenant("neo")
	query.TokenURL += "?grant_type=client_credentials"
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, ias)
		_, e2 := tx.AddRoute(ctx, route)
		_, e3 := tx.AddIdentity(ctx, person("erp"))
		stored, e4 := tx.AddCredential(ctx, c)
		neo, e5 := tx.AddTenant(ctx, query)
		if neo.TokenURL != "https://neo.example.com/oauth/token" {
			t.Errorf("the token URL is stored as %s", neo.TokenURL)
		}
		c.ID, c.Created = stored.ID, stored.Created
		ias.Timeout = identity.Duration(time.Second)
		_, e6 := tx.SetTenant(ctx, ias)
		route.MaxBody = 7
		_, e7 := tx.SetRoute(ctx, route)
		return errors.Join(e1, e2, e3, e4, e5, e6, e7)
	})
	wantSame(t, db, sealer, r)
	again := openRegistry(t, db, sealer).Snapshot()
	if got, _ := again.Credential(c.ID); got == nil || got.Issuer != c.Issuer || got.KeyID != c.KeyID || got.AssertionAlgorithm != c.AssertionAlgorithm ||
		got.AssertionAudience != c.AssertionAudience || !got.Keyless || got.TokenParameters != c.TokenParameters {
		t.Errorf("got %+v, want %+v", got, c)
	}
	if got, _ := again.Tenant("ias"); got.Issuer != ias.Issuer || got.TokenParameters != ias.TokenParameters {
		t.Errorf("got %+v, want %+v", got, ias)
	}
	if got, _ := again.Route("orders"); got.Route.TokenParameters != route.TokenParameters {
		t.Errorf("got %+v, want %+v", got.Route, route)
	}
}

// Whoever may write to the database and has no key cannot have a secret sent elsewhere by naming another issuer, nor an assertion made for
// another audience.
func testAlteredAuthentication(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r := openRegistry(t, db, sealer)
	mine := signing(t)
	mine.Issuer, mine.TokenParameters, mine.Keyless = "https://ias.example.com", parameters("resource=a"), true
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, tenant("ias"))
		_, e2 := tx.AddIdentity(ctx, person("erp"))
		_, e3 := tx.AddCredential(ctx, mine)
		return errors.Join(e1, e2, e3)
	})
	for _, c := range []struct{ column, altered string }{
		{"issuer", "'https://evil.example.com'"}, {"issuer", "''"}, {"token_parameters", "'resource=b'"}, {"key_id", "'k'"},
		{"assertion_algorithm", "'ES256'"}, {"assertion_audience", "'https://evil.example.com'"}, {"keyless", "0"},
	} {
		var before any
		if err := db.QueryRow(`SELECT ` + c.column + ` FROM credentials`).Scan(&before); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(`UPDATE credentials SET ` + c.column + ` = ` + c.altered); err != nil {
			t.Fatal(err)
		}
		if _, err := identity.Open(t.Context(), db.DB, sealer); !errors.Is(err, identity.ErrKey) {
			t.Errorf("%s = %s: got %v, want a refusal", c.column, c.altered, err)
		}
		if _, err := db.Exec(`UPDATE credentials SET `+c.column+` = $1`, before); err != nil {
			t.Fatal(err)
		}
	}
	wantSame(t, db, sealer, r)
}

func TestTokenParameters(t *testing.T) {
	base := parameters("resource=a", "resource=b", "audience=x")
	if got := base.With(parameters("resource=c", "token_format=jwt")); got != parameters("audience=x", "resource=c", "token_format=jwt") {
		t.Errorf("got %s", got)
	}
	if got := base.With(""); got != base {
		t.Errorf("got %s", got)
	}
	if got := strings.Join(base.Pairs(), " "); got != "audience=x resource=a resource=b" {
		t.Errorf("got %s", got)
	}
	written, err := json.Marshal(base)
	if err != nil || string(written) != `{"audience":["x"],"resource":["a","b"]}` {
		t.Errorf("got %s, %v", written, err)
	}
	var read identity.TokenParameters
	if err := json.Unmarshal([]byte(`{"resource":["a","b"],"audience":"x"}`), &read); err != nil || read != base {
		t.Errorf("got %s, %v", read, err)
	}
	for _, bad := range []string{`[]`, `"a=b"`, `{"a":1}`, `{"a":[1]}`, `{"a":null}`, `1`} {
		if err := json.Unmarshal([]byte(bad), &read); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

func TestValidateRefusesAuthenticationThatCannotBe(t *testing.T) {
	certificate, certificateKey := keyPair(t, time.Now().Add(time.Hour))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("no key of 1024 bits can be made: ", err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pemOf := func(key any) identity.SecretMaterial {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return identity.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	}
	for name, c := range map[string]struct {
		field  string
		change func(*identity.Credential)
	}{
		"issuer beside a token URL": {"issuer", func(c *identity.Credential) {
			c.Issuer, c.TokenURL = "https://a.example.com", "https://a.example.com/token"
		}},
		"address of metadata":         {"issuer", func(c *identity.Credential) { c.Issuer = "https://a.example.com/.well-known/openid-configuration" }},
		"issuer without TLS":          {"issuer", func(c *identity.Credential) { c.Issuer = "http://a.example.com" }},
		"token URL with a query":      {"token_url", func(c *identity.Credential) { c.TokenURL = "https://a.example.com/token?token_format=jwt" }},
		"style of another kind":       {"auth_style", func(c *identity.Credential) { c.AuthStyle = identity.AuthBody }},
		"secret signs nothing":        {"auth_style", func(c *identity.Credential) { *c = secret("erp", "ias"); c.AuthStyle = identity.AuthPrivateKeyJWT }},
		"no key":                      {"secret", func(c *identity.Credential) { c.Secret = identity.NewSecret("no PEM") }},
		"certificate in place of key": {"secret", func(c *identity.Credential) { c.Secret = identity.NewSecret(certificate) }},
		"weak key":                    {"secret", func(c *identity.Credential) { c.Secret = pemOf(weak) }},
		"P-521":                       {"secret", func(c *identity.Credential) { c.Secret = pemOf(p521) }},
		"encrypted key": {"secret", func(c *identity.Credential) {
			c.Secret = identity.NewSecret("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
		}},
		"certificate of another":   {"certificate", func(c *identity.Credential) { c.Certificate = certificate }},
		"algorithm of another key": {"assertion_algorithm", func(c *identity.Credential) { c.AssertionAlgorithm = "RS256" }},
		"no algorithm":             {"assertion_algorithm", func(c *identity.Credential) { c.AssertionAlgorithm = "none" }},
		"key id with a line end":   {"key_id", func(c *identity.Credential) { c.KeyID = "a\nb" }},
		"key id of a secret":       {"key_id", func(c *identity.Credential) { *c = secret("erp", "ias"); c.KeyID = "a" }},
		"keyless secret":           {"keyless", func(c *identity.Credential) { *c = secret("erp", "ias"); c.Keyless = true }},
		"lifetime of a key alone":  {"lifetime", func(c *identity.Credential) { c.Keyless, c.Lifetime = true, identity.Duration(time.Hour) }},
		"lifetime of a foreign one": {"lifetime", func(c *identity.Credential) {
			c.Kind, c.AuthStyle, c.Certificate, c.Secret, c.Lifetime = identity.KindCertificate, "", certificate, identity.NewSecret(certificateKey), 1
		}},
		"audience of a certificate": {"assertion_audience", func(c *identity.Credential) {
			c.Kind, c.AuthStyle, c.Certificate, c.Secret, c.AssertionAudience = identity.KindCertificate, "", certificate, identity.NewSecret(certificateKey), "x"
		}},
		"parameter grant_type":        {"token_parameters", func(c *identity.Credential) { c.TokenParameters = parameters("grant_type=password") }},
		"parameter Client_Secret":     {"token_parameters", func(c *identity.Credential) { c.TokenParameters = parameters("Client_Secret=x") }},
		"parameter scope":             {"token_parameters", func(c *identity.Credential) { c.TokenParameters = parameters("scope=x") }},
		"parameter with a space":      {"token_parameters", func(c *identity.Credential) { c.TokenParameters = parameters("a b=x") }},
		"parameter without a value":   {"token_parameters", func(c *identity.Credential) { c.TokenParameters = parameters("a=") }},
		"parameter with a line end":   {"token_parameters", func(c *identity.Credential) { c.TokenParameters = parameters("a=b\nc") }},
		"parameters out of order":     {"token_parameters", func(c *identity.Credential) { c.TokenParameters = "b=1&a=2" }},
		"parameters that are no form": {"token_parameters", func(c *identity.Credential) { c.TokenParameters = "a=%zz" }},
		"parameters without end": {"token_parameters", func(c *identity.Credential) {
			c.TokenParameters = parameters(strings.Split(strings.Repeat("a=b ", 33), " ")[:33]...)
		}},
	} {
		v := signing(t)
		c.change(&v)
		var e *identity.Error
		if err := v.Validate(); !errors.As(err, &e) || e.Field != c.field || e.Hint == "" {
			t.Errorf("%s: got %v, want a refusal of %s with a hint", name, err, c.field)
		}
	}
}

func TestRegistryRefusesAuthenticationThatDoesNotFitTheTenant(t *testing.T) {
	r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
	byIssuer := tenant("ias")
	byIssuer.TokenURL, byIssuer.Issuer, byIssuer.AuthStyle = "", "https://ias.example.com", identity.AuthPrivateKeyJWT
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, byIssuer)
		_, e2 := tx.AddTenant(ctx, tenant("cpi"))
		_, e3 := tx.AddIdentity(ctx, person("erp"))
		good := signing(t)
		good.AuthStyle, good.AssertionAudience = "", identity.AudienceIssuer
		_, e4 := tx.AddCredential(ctx, good)
		return errors.Join(e1, e2, e3, e4)
	})
	noIssuer := signing(t)
	noIssuer.Tenant, noIssuer.AssertionAudience = "cpi", identity.AudienceIssuer
	wrongStyle := signing(t)
	wrongStyle.Tenant, wrongStyle.AuthStyle = "cpi", ""
	for field, c := range map[string]identity.Credential{"assertion_audience": noIssuer, "auth_style": wrongStyle} {
		e := refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.AddCredential(ctx, c); return err })
		if e.Field != field {
			t.Errorf("got %v, want a refusal of %s", e, field)
		}
	}
	// The tenant may not lose what its credentials rely on.
	byIssuer.Issuer, byIssuer.TokenURL = "", "https://ias.example.com/token"
	refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.SetTenant(ctx, byIssuer); return err })
}
