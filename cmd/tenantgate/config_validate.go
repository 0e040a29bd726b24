package main

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/notify"
)

// invalidKey is a configuration key whose value cannot be used.
type invalidKey struct{ key, problem string }

func (e *invalidKey) Error() string { return e.key + ": " + e.problem }

// validate refuses what no server could run on. The first problem is returned as an *invalidKey.
func (c *Config) validate() error {
	const second, minute = Duration(time.Second), Duration(time.Minute)
	checks := []invalidKey{
		{"listen", addressProblem(c.Listen)},
		{"server_names", serverNamesProblem(c.ServerNames)},
		{"database", requiredProblem(c.Database)},
		{"key_file", requiredProblem(c.KeyFile)},
		{"ca.dir", requiredProblem(c.CA.Dir)},
		{"ca.passphrase_file", passphraseProblem(&c.CA)},
		{"ca.key", caKeyProblem(&c.CA)},
		{"ca.trust_domain", trustDomainProblem(c.CA.TrustDomain)},
		{"ca.key_types", keyTypesProblem(c.CA.KeyTypes)},
		{"publish.url", publicURLProblem(c.Publish.URL)},
		{"publish.crl_lifetime", rangeProblem(c.Publish.CRLLifetime, 10*minute, 366*24*60*minute)},
		{"publish.ocsp_lifetime", rangeProblem(c.Publish.OCSPLifetime, 10*minute, 30*24*60*minute)},
		{"record.access", requiredProblem(c.Record.Access)},
		{"log.level", choiceProblem(c.Log.Level, "debug", "info", "warn", "error")},
		{"log.format", choiceProblem(c.Log.Format, "text", "json")},
		{"tokens.rate", countProblem(c.Tokens.Rate, 100_000)},
		{"tokens.in_flight", countProblem(c.Tokens.InFlight, 100_000)},
		{"usage.retention", rangeOrZeroProblem(c.Usage.Retention, 24*60*minute, 3660*24*60*minute)},
		{"usage.callers", countProblem(c.Usage.Callers, 100_000)},
		{"tokens.max_age", rangeProblem(c.Tokens.MaxAge, minute, 7*24*60*minute)},
		{"notify.url", notifyURLProblem(&c.Notify)},
		{"notify.secret_file", notifySecretProblem(&c.Notify)},
		{"notify.timeout", rangeProblem(c.Notify.Timeout, second, minute)},
		{"limits.handshake_timeout", rangeProblem(c.Limits.HandshakeTimeout, second, 5*minute)},
		{"limits.header_timeout", rangeProblem(c.Limits.HeaderTimeout, second, 5*minute)},
		{"limits.idle_timeout", rangeProblem(c.Limits.IdleTimeout, second, 60*minute)},
		{"limits.body_idle_timeout", rangeProblem(c.Limits.BodyIdleTimeout, second, 60*minute)},
		{"limits.write_timeout", rangeProblem(c.Limits.WriteTimeout, second, 60*minute)},
		{"limits.drain_timeout", rangeProblem(c.Limits.DrainTimeout, 0, 60*minute)},
		{"limits.header_bytes", rangeProblem(c.Limits.HeaderBytes, 1<<10, 1<<20)},
		{"limits.header_fields", countProblem(c.Limits.HeaderFields, 10_000)},
		{"limits.connections", countProblem(c.Limits.Connections, 10_000_000)},
		{"limits.source_handshakes", countProblem(c.Limits.SourceHandshakes, 10_000_000)},
		{"limits.source_rate", optionalCountProblem(c.Limits.SourceRate, 1_000_000)},
		{"limits.handshakes", optionalCountProblem(c.Limits.Handshakes, 10_000)},
		{"limits.requests", countProblem(c.Limits.Requests, 10_000_000)},
		{"limits.memory", memoryProblem(c.Limits.Memory)},
		{"limits.streams", countProblem(c.Limits.Streams, 10_000)},
		{"limits.replay_bytes", rangeProblem(c.Limits.ReplayBytes, 1, 16<<20)},
	}
	checks = append(checks, c.serverCertificateProblems()...)
	if c.Bridge.Listen != "" {
		checks = append(checks, invalidKey{"bridge.listen", addressProblem(c.Bridge.Listen)})
	}
	checks = append(checks, invalidKey{"bridge.hashers", optionalCountProblem(c.Bridge.Hashers, 64)})
	if c.Enrolment.Listen != "" {
		checks = append(checks, invalidKey{"enrolment.listen", addressProblem(c.Enrolment.Listen)})
	}
	checks = append(checks, invalidKey{"enrolment.url", urlProblem(c.Enrolment.URL)}, invalidKey{"enrolment.proxy_url", urlProblem(c.Enrolment.ProxyURL)})
	checks = append(checks, acmeProblems(&c.Enrolment)...)
	if c.Admin.Listen != "" {
		checks = append(checks, invalidKey{"admin.listen", addressProblem(c.Admin.Listen)})
	} else if c.Admin.Socket == "" {
		checks = append(checks, invalidKey{"admin.socket", "neither admin.socket nor admin.listen is set: nothing could administer the server"})
	}
	if c.Publish.Listen != "" {
		checks = append(checks, invalidKey{"publish.listen", addressProblem(c.Publish.Listen)})
	}
	for _, check := range checks {
		if check.problem != "" {
			return &check
		}
	}
	return nil
}

func requiredProblem(s string) string {
	if s == "" {
		return "a value is required"
	}
	return ""
}

func passphraseProblem(c *CAConfig) string {
	if c.Key != "" {
		return ""
	}
	return requiredProblem(c.PassphraseFile)
}

// caKeyProblem takes the URI of a KMS that this binary can use.
func caKeyProblem(c *CAConfig) string {
	if c.Key == "" {
		return ""
	}
	if err := pki.CheckKMS(c.Key); err != nil {
		return err.Error()
	}
	return ""
}

func addressProblem(s string) string {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return strconv.Quote(s) + " is not host:port, such as 0.0.0.0:8443 or :8443"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return strconv.Quote(port) + " is not a port between 0 and 65535"
	}
	return ""
}

// urlProblem takes an address such as https://gate.example.com:8444, and none.
func urlProblem(s string) string {
	if s == "" {
		return ""
	}
	if err := enrolment.CheckURL(s); err != nil {
		return strconv.Quote(s) + " is not https://host:port, such as https://gate.example.com:8444, without a path"
	}
	return ""
}

// acmeProblems are what is wrong with the ACME server's settings.
func acmeProblems(e *EnrolmentConfig) (problems []invalidKey) {
	a := &e.ACME
	const loopback = "this is the machine itself, which is never called; set enrolment.acme.unsafe_loopback, if that is what you want"
	for _, s := range a.Allow {
		network, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			problems = append(problems, invalidKey{"enrolment.acme.allow", strconv.Quote(s) + " is not a network, such as 10.0.0.0/8 or 2001:db8::/32"})
		case network.Addr().Is4In6():
			problems = append(problems, invalidKey{"enrolment.acme.allow", strconv.Quote(s) + " is IPv4 in the form of IPv6: write it as IPv4"})
		case network.Addr().IsLoopback() && !a.UnsafeLoopback:
			problems = append(problems, invalidKey{"enrolment.acme.allow", strconv.Quote(s) + ": " + loopback})
		}
	}
	if len(a.Allow) > 0 && e.Listen == "" {
		problems = append(problems, invalidKey{"enrolment.acme.allow", "ACME is served on the enrolment listener, and enrolment.listen is not set"})
	}
	for key, port := range map[string]int{"enrolment.acme.unsafe_http_port": a.UnsafeHTTPPort, "enrolment.acme.unsafe_tls_port": a.UnsafeTLSPort} {
		if port < 0 || port > 65535 {
			problems = append(problems, invalidKey{key, strconv.Itoa(port) + " is not a port between 1 and 65535, or 0"})
		}
	}
	return problems
}

// notifyURLProblem does not repeat the address, which may hold a secret.
func notifyURLProblem(c *NotifyConfig) string {
	if c.URL == "" {
		return ""
	}
	if err := notify.CheckURL(c.URL); err != nil {
		return err.Error()
	}
	return ""
}

func notifySecretProblem(c *NotifyConfig) string {
	if c.URL != "" && c.SecretFile == "" {
		return "a value is required, because notify.url is set: (printf whsec_; openssl rand -base64 32) > FILE makes one"
	}
	return ""
}

func serverNamesProblem(names []string) string {
	if len(names) == 0 {
		return "at least one name is required"
	}
	for _, name := range names {
		if net.ParseIP(name) == nil && !isDNSName(name) {
			return strconv.Quote(name) + " is neither a DNS name nor an IP address"
		}
	}
	return ""
}

func trustDomainProblem(s string) string {
	if !isDNSName(s) || s != strings.ToLower(s) {
		return strconv.Quote(s) + " is not a trust domain: lower-case letters, digits, dots and hyphens, such as example.internal"
	}
	return ""
}

func keyTypesProblem(types []string) string {
	if len(types) == 0 {
		return "at least one type is required"
	}
	for _, t := range types {
		if problem := choiceProblem(t, pki.RSA2048, pki.RSA3072, pki.RSA4096, pki.P256, pki.P384, pki.Ed25519); problem != "" {
			return problem
		}
	}
	return ""
}

// publicURLProblem wants plain http: whoever follows the address is in the middle of checking a certificate (RFC 5280 section 8).
func publicURLProblem(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?#") || strings.HasSuffix(s, "/") {
		return strconv.Quote(s) + " is not http://HOST[:PORT][/PATH] without a slash at the end"
	}
	return ""
}

// isDNSName accepts host names of letters, digits and hyphens (RFC 1123 section 2.1); no wildcards.
func isDNSName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
				return false
			}
		}
	}
	return true
}

func choiceProblem(s string, choices ...string) string {
	if slices.Contains(choices, s) {
		return ""
	}
	return strconv.Quote(s) + " is not one of " + strings.Join(choices, ", ")
}

// memoryProblem refuses what no server could start in.
func memoryProblem(s Size) string {
	if s == 0 {
		return ""
	}
	return rangeProblem(s, 64<<20, 1<<50)
}

func rangeProblem[T interface {
	~int64
	String() string
}](v, low, high T) string {
	if v < low || v > high {
		return v.String() + " is not between " + low.String() + " and " + high.String()
	}
	return ""
}

// rangeOrZeroProblem is rangeProblem for what may be 0.
func rangeOrZeroProblem(v, low, high Duration) string {
	if v == 0 {
		return ""
	}
	return rangeProblem(v, low, high)
}

func countProblem(n, most int) string {
	if n < 1 || n > most {
		return strconv.Itoa(n) + " is not between 1 and " + strconv.Itoa(most)
	}
	return ""
}

// optionalCountProblem is countProblem for a number that may be 0.
func optionalCountProblem(n, most int) string {
	if n == 0 {
		return ""
	}
	return countProblem(n, most)
}
