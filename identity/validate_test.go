package identity_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

func TestValidateRefuses(t *testing.T) {
	withTenant := func(f func(*identity.Tenant)) func() error {
		return func() error { v := tenant("cpi"); f(&v); return v.Validate() }
	}
	withRoute := func(f func(*identity.Route)) func() error {
		return func() error {
			v := identity.Route{Name: "r", Path: "/a", Tenant: "cpi", Role: "x"}
			f(&v)
			return v.Validate()
		}
	}
	withIdentity := func(f func(*identity.Identity)) func() error {
		return func() error { v := person("erp", "x"); f(&v); return v.Validate() }
	}
	withCredential := func(f func(*identity.Credential)) func() error {
		return func() error { v := secret("erp", "cpi"); f(&v); return v.Validate() }
	}
	withCertificate := func(f func(*identity.Certificate)) func() error {
		return func() error { v := certificate("erp", "x"); f(&v); return v.Validate() }
	}
	path := func(p string) func() error { return withRoute(func(r *identity.Route) { r.Path = p }) }
	csrfPath := func(p string) func() error {
		return withRoute(func(r *identity.Route) { r.CSRF, r.CSRFPath = identity.CSRFOn, p })
	}
	callerHeader := func(name string) func() error { return withRoute(func(r *identity.Route) { r.CallerHeader = name }) }
	proxied := func(u string) func() error { return withTenant(func(v *identity.Tenant) { v.HTTPProxy = u }) }
	base := func(u string) func() error { return withTenant(func(v *identity.Tenant) { v.BaseURL = u }) }
	for _, tc := range []struct {
		name, field string
		validate    func() error
	}{
		{"identity without name", "name", withIdentity(func(v *identity.Identity) { v.Name = "" })},
		{"person's address as name", "name", withIdentity(func(v *identity.Identity) { v.Name = "jo@example.com" })},
		{"capital in name", "name", withIdentity(func(v *identity.Identity) { v.Name = "ERP" })},
		{"name begins with a dot", "name", withIdentity(func(v *identity.Identity) { v.Name = ".erp" })},
		{"long name", "name", withIdentity(func(v *identity.Identity) { v.Name = strings.Repeat("a", 64) })},
		{"no owner", "owner", withIdentity(func(v *identity.Identity) { v.Owner = " " })},
		{"person as owner", "owner", withIdentity(func(v *identity.Identity) { v.Owner = "jo@example.com" })},
		{"role with a space", "roles", withIdentity(func(v *identity.Identity) { v.Roles = []string{"a b"} })},
		{"empty role", "roles", withIdentity(func(v *identity.Identity) { v.Roles = []string{""} })},
		{"no date", "review_date", withIdentity(func(v *identity.Identity) { v.ReviewDate = "31.12.2027" })},
		{"line end in description", "description", withIdentity(func(v *identity.Identity) { v.Description = "a\nb" })},
		{"no UTF-8", "description", withIdentity(func(v *identity.Identity) { v.Description = "\xff" })},
		{"negative grace", "renew_grace", withIdentity(func(v *identity.Identity) { v.RenewGrace = -1 })},
		{"grace without end", "renew_grace", withIdentity(func(v *identity.Identity) { v.RenewGrace = identity.Duration(identity.MaxRenewGrace + 1) })},
		{"unknown type of key", "key_types", withIdentity(func(v *identity.Identity) { v.KeyTypes = []string{"DSA-1024"} })},
		{"negative rate", "rate", withIdentity(func(v *identity.Identity) { v.Rate = -1 })},
		{"rate that is no number", "rate", withIdentity(func(v *identity.Identity) { v.Rate = math.NaN() })},
		{"rate without end", "rate", withIdentity(func(v *identity.Identity) { v.Rate = math.Inf(1) })},
		{"rate of one request in an hour", "rate", withIdentity(func(v *identity.Identity) { v.Rate = 1.0 / 3600 })},
		{"burst without a rate", "burst", withIdentity(func(v *identity.Identity) { v.Burst = 1 })},
		{"negative burst", "burst", withIdentity(func(v *identity.Identity) { v.Rate, v.Burst = 1, -1 })},
		{"negative concurrency", "concurrency", withIdentity(func(v *identity.Identity) { v.Concurrency = -1 })},
		{"bandwidth of a telex", "bandwidth", withIdentity(func(v *identity.Identity) { v.Bandwidth = 6 })},

		{"no window", "calling_windows", withIdentity(func(v *identity.Identity) { v.CallingWindows = []string{} })},
		{"no network", "networks", withIdentity(func(v *identity.Identity) { v.Networks = []string{} })},
		{"window without hours", "calling_windows", withIdentity(func(v *identity.Identity) { v.CallingWindows = []string{"Mon-Fri"} })},
		{"seventeen windows", "calling_windows", withIdentity(func(v *identity.Identity) { v.CallingWindows = make([]string, 17) })},
		{"network with bits behind its length", "networks", withIdentity(func(v *identity.Identity) { v.Networks = []string{"10.0.0.1/8"} })},
		{"network of a host name", "networks", withIdentity(func(v *identity.Identity) { v.Networks = []string{"erp.example.com"} })},
		{"IPv4 written as IPv6", "networks", withIdentity(func(v *identity.Identity) { v.Networks = []string{"::ffff:10.0.0.0/104"} })},
		{"negative body", "max_body", withIdentity(func(v *identity.Identity) { v.MaxBody = -1 })},
		{"negative quota", "daily_requests", withIdentity(func(v *identity.Identity) { v.DailyRequests = -1 })},
		{"quota without end", "daily_octets", withIdentity(func(v *identity.Identity) { v.DailyOctets = 1 << 60 })},

		{"negative concurrency of a tenant", "concurrency", withTenant(func(v *identity.Tenant) { v.Concurrency = -1 })},
		{"failures below none", "breaker_failures", withTenant(func(v *identity.Tenant) { v.BreakerFailures = -2 })},
		{"too many failures", "breaker_failures", withTenant(func(v *identity.Tenant) { v.BreakerFailures = 1001 })},
		{"negative cooldown", "breaker_cooldown", withTenant(func(v *identity.Tenant) { v.BreakerCooldown = -1 })},
		{"cooldown of a day", "breaker_cooldown", withTenant(func(v *identity.Tenant) { v.BreakerCooldown = identity.Duration(24 * time.Hour) })},
		{"no base URL", "base_url", base("")},
		{"not absolute", "base_url", base("tenant.example.com")},
		{"http", "base_url", base("http://tenant.example.com")},
		{"http by a look-alike of localhost", "base_url", base("http://localhost.example.com")},
		{"port out of range", "base_url", base("https://tenant.example.com:99999")},
		{"port zero", "base_url", base("https://tenant.example.com:0")},
		{"password", "base_url", base("https://a:b@tenant.example.com")},
		{"query", "base_url", base("https://tenant.example.com/?a=b")},
		{"empty query", "base_url", base("https://tenant.example.com/?")},
		{"fragment", "base_url", base("https://tenant.example.com/#")},
		{"other scheme", "base_url", base("ftp://tenant.example.com")},
		{"dots", "base_url", base("https://tenant.example.com/a/../b")},
		{"encoded slash", "base_url", base("https://tenant.example.com/a%2fb")},
		{"token URL by http", "token_url", withTenant(func(v *identity.Tenant) { v.TokenURL = "http://tenant.example.com" })},
		{"no style", "auth_style", withTenant(func(v *identity.Tenant) { v.AuthStyle = "" })},
		{"unknown style", "auth_style", withTenant(func(v *identity.Tenant) { v.AuthStyle = "digest" })},
		{"scope with two spaces", "scope", withTenant(func(v *identity.Tenant) { v.Scope = "a  b" })},
		{"scope with a quote", "scope", withTenant(func(v *identity.Tenant) { v.Scope = `a"b` })},
		{"bundle without a certificate", "ca_bundle", withTenant(func(v *identity.Tenant) { v.CABundle = "trust me" })},
		{"bundle with a key", "ca_bundle", withTenant(func(v *identity.Tenant) {
			v.CABundle = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
		})},
		{"bundle with a broken certificate", "ca_bundle", withTenant(func(v *identity.Tenant) {
			v.CABundle = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
		})},
		{"bundle cut short", "ca_bundle", withTenant(func(v *identity.Tenant) { v.CABundle = "-----BEGIN CERTIFICATE-----\nAAAA\n" })},
		{"negative timeout", "timeout", withTenant(func(v *identity.Tenant) { v.Timeout = -1 })},

		{"proxy without a port", "http_proxy", proxied("http://proxy.example.com")},
		{"proxy with a password", "http_proxy", proxied("http://a:b@proxy.example.com:3128")},
		{"proxy of another kind", "http_proxy", proxied("socks5://proxy.example.com:1080")},
		{"proxy with a path", "http_proxy", proxied("http://proxy.example.com:3128/a")},
		{"proxy with a query", "http_proxy", proxied("http://proxy.example.com:3128?")},
		{"proxy without a scheme", "http_proxy", proxied("proxy.example.com:3128")},
		{"proxy before http", "http_proxy", withTenant(func(v *identity.Tenant) {
			v.BaseURL, v.HTTPProxy = "http://localhost:1", "http://proxy.example.com:3128"
		})},
		{"proxy before a token URL by http", "http_proxy", withTenant(func(v *identity.Tenant) {
			v.TokenURL, v.HTTPProxy = "http://localhost:1", "http://proxy.example.com:3128"
		})},

		{"unknown client certificate", "client_certificate", withTenant(func(v *identity.Tenant) { v.ClientCertificate = "mine" })},

		{"unknown protocol", "protocol", withTenant(func(v *identity.Tenant) { v.Protocol = "h3" })},

		{"no path", "path", path("")},
		{"relative path", "path", path("a")},
		{"encoded path", "path", path("/a%2fb")},
		{"dot segment", "path", path("/a/./b")},
		{"dot-dot segment", "path", path("/a/..")},
		{"empty segment", "path", path("/a//b")},
		{"slash at the end", "path", path("/a/")},
		{"empty segment before the star", "path", path("/a//*")},
		{"star in the middle", "path", path("/a/*/b")},
		{"star without slash", "path", path("/a*")},
		{"semicolon", "path", path("/a;b")},
		{"backslash", "path", path(`/a\b`)},
		{"question mark", "path", path("/a?b")},
		{"hash", "path", path("/a#b")},
		{"NUL", "path", path("/a\x00b")},
		{"path that is no UTF-8", "path", path("/a\xffb")},
		{"deep path", "path", path(strings.Repeat("/a", 64))},
		{"long path", "path", path("/" + strings.Repeat("a", 1024))},
		{"host with port", "host", withRoute(func(r *identity.Route) { r.Host = "a.example:443" })},
		{"host in capitals", "host", withRoute(func(r *identity.Route) { r.Host = "A.example" })},
		{"host with a dot at the end", "host", withRoute(func(r *identity.Route) { r.Host = "a.example." })},
		{"wildcard in a host", "host", withRoute(func(r *identity.Route) { r.Host = "*.example" })},
		{"method in small letters", "methods", withRoute(func(r *identity.Route) { r.Methods = []string{"get"} })},
		{"CONNECT", "methods", withRoute(func(r *identity.Route) { r.Methods = []string{"CONNECT"} })},
		{"TRACE", "methods", withRoute(func(r *identity.Route) { r.Methods = []string{"TRACE"} })},
		{"no role", "role", withRoute(func(r *identity.Route) { r.Role = "" })},
		{"no tenant", "tenant", withRoute(func(r *identity.Route) { r.Tenant = "" })},
		{"exact tenant path for a prefix", "tenant_path", withRoute(func(r *identity.Route) { r.Path, r.TenantPath = "/a/*", "/b" })},
		{"prefix tenant path for an exact path", "tenant_path", withRoute(func(r *identity.Route) { r.TenantPath = "/b/*" })},
		{"tenant path that needs encoding", "tenant_path", withRoute(func(r *identity.Route) { r.TenantPath = "/b c" })},
		{"unknown case rule", "case", withRoute(func(r *identity.Route) { r.Case = "lower" })},
		{"negative body", "max_body", withRoute(func(r *identity.Route) { r.MaxBody = -2 })},
		{"endless timeout", "idle_timeout", withRoute(func(r *identity.Route) { r.IdleTimeout = identity.Duration(25 * time.Hour) })},

		{"upgrade to nothing", "upgrade", withRoute(func(r *identity.Route) { r.Upgrade = []string{""} })},
		{"upgrade in capitals", "upgrade", withRoute(func(r *identity.Route) { r.Upgrade = []string{"WebSocket"} })},
		{"two upgrades in one", "upgrade", withRoute(func(r *identity.Route) { r.Upgrade = []string{"websocket, x"} })},
		{"upgrade to HTTP/2 in the clear", "upgrade", withRoute(func(r *identity.Route) { r.Upgrade = []string{"websocket", "h2c"} })},
		{"upgrade to HTTP", "upgrade", withRoute(func(r *identity.Route) { r.Upgrade = []string{"http/2.0"} })},
		{"upgrade to TLS", "upgrade", withRoute(func(r *identity.Route) { r.Upgrade = []string{"tls/1.2"} })},

		{"unknown csrf", "csrf", withRoute(func(r *identity.Route) { r.CSRF = "yes" })},
		{"csrf path without csrf", "csrf_path", withRoute(func(r *identity.Route) { r.CSRFPath = "/api/v1/" })},
		{"csrf path with a query", "csrf_path", csrfPath("/api?x=1")},
		{"csrf path for all below", "csrf_path", csrfPath("/api/*")},
		{"csrf path that needs encoding", "csrf_path", csrfPath("/a b")},
		{"csrf path with a line end", "csrf_path", csrfPath("/a\r\nX: y")},
		{"relative csrf path", "csrf_path", csrfPath("api")},
		{"csrf path with dots", "csrf_path", csrfPath("/api/../x")},
		{"caller header with a space", "caller_header", callerHeader("SAP Sender")},
		{"caller header with a line end", "caller_header", callerHeader("X\r\nY")},
		{"caller header with a colon", "caller_header", callerHeader("X:")},
		{"long caller header", "caller_header", callerHeader(strings.Repeat("x", 65))},
		{"caller header that frames", "caller_header", callerHeader("Content_Length")},
		{"caller header that authenticates", "caller_header", callerHeader("authorization")},
		{"caller header for a proxy", "caller_header", callerHeader("Proxy-Authorization")},
		{"caller header that is another of ours", "caller_header", callerHeader("X_CSRF_Token")},

		{"no client id", "client_id", withCredential(func(c *identity.Credential) { c.ClientID = "" })},
		{"no secret", "secret", withCredential(func(c *identity.Credential) { c.Secret = identity.SecretMaterial{} })},
		{"secret with a line end", "secret", withCredential(func(c *identity.Credential) { c.Secret = identity.NewSecret("abc\n") })},
		{"no kind", "kind", withCredential(func(c *identity.Credential) { c.Kind = "" })},
		{"secret by mtls", "auth_style", withCredential(func(c *identity.Credential) { c.AuthStyle = identity.AuthMTLS })},
		{"certificate by body", "auth_style", withCredential(func(c *identity.Credential) { c.Kind, c.AuthStyle = identity.KindCertificate, identity.AuthBody })},
		{"certificate without one", "certificate", withCredential(func(c *identity.Credential) { c.Kind = identity.KindCertificate })},
		{"certificate beside a secret", "certificate", withCredential(func(c *identity.Credential) { c.Certificate = "x" })},

		{"no fingerprint", "fingerprint", withCertificate(func(c *identity.Certificate) { c.Fingerprint = identity.Fingerprint{} })},
		{"serial with colons", "serial", withCertificate(func(c *identity.Certificate) { c.Serial = "0a:0b" })},
		{"validity that ends before it begins", "not_after", withCertificate(func(c *identity.Certificate) { c.NotAfter = c.NotBefore })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.validate()
			var e *identity.Error
			if !errors.As(err, &e) || !errors.Is(err, identity.ErrInvalid) || e.Field != tc.field || e.Hint == "" {
				t.Errorf("got %#v, want a refusal of %s with a hint", err, tc.field)
			}
			if err != nil && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the secret is in the message: %v", err)
			}
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	local := tenant("local")
	local.BaseURL, local.TokenURL = "http://127.0.0.1:8080/base", "http://[::1]:8080/token"
	named := tenant("named")
	named.BaseURL = "http://localhost:8080"
	for name, validate := range map[string]func() error{
		"loopback by address": local.Validate,
		"loopback by name":    named.Validate,
		"path in UTF-8":       identity.Route{Name: "r", Path: "/straße/a b/*", Tenant: "t", Role: "R.x"}.Validate,
		"everything":          identity.Route{Name: "r", Host: "10.0.0.1", Path: "/*", TenantPath: "/~a/*", Tenant: "t", Role: "r", Methods: []string{"M-SEARCH"}}.Validate,
		"all of csrf":         identity.Route{Name: "r", Path: "/a", Tenant: "t", Role: "r", CSRF: "off", CallerHeader: "X-Forwarded-User"}.Validate,
		"csrf path":           identity.Route{Name: "r", Path: "/a", Tenant: "t", Role: "r", CSRF: "on", CSRFPath: "/"}.Validate,
		"owner in UTF-8":      identity.Identity{Name: "0", Owner: "Löhne & Gehälter"}.Validate,
	} {
		if err := validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseFingerprint(t *testing.T) {
	want := identity.FingerprintOf([]byte("x"))
	hex := want.String()
	var colons []string
	for i := 0; i < len(hex); i += 2 {
		colons = append(colons, strings.ToUpper(hex[i:i+2]))
	}
	for _, s := range []string{hex, strings.ToUpper(hex), strings.Join(colons, ":")} {
		if got, err := identity.ParseFingerprint(s); err != nil || got != want {
			t.Errorf("%s: got %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", hex[:62], hex + "00", "zz" + hex[2:], strings.Repeat(":", 95)} {
		if _, err := identity.ParseFingerprint(s); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%q: got %v, want a refusal", s, err)
		}
	}
}

func TestJSONIsSnakeCaseAndReadsBack(t *testing.T) {
	in := tenant("cpi")
	in.Timeout = identity.Duration(90 * time.Second)
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"base_url"`, `"token_url"`, `"auth_style":"body"`, `"case_sensitive":false`, `"timeout":"1m30s"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("got %s, want %s in it", b, want)
		}
	}
	var out identity.Tenant
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("got %+v, %v, want %+v", out, err, in)
	}
}
