package main

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// invalidKey is a configuration key whose value cannot be used.
type invalidKey struct{ key, problem string }

func (e *invalidKey) Error() string { return e.key + ": " + e.problem }

// validate refuses what no server could run on. The first problem is returned as an *invalidKey.
func (c *Config) validate() error {
	const second, minute = Duration(time.Second), Duration(time.Minute)
	checks := []struct{ key, problem string }{
		{"listen", addressProblem(c.Listen)},
		{"server_names", serverNamesProblem(c.ServerNames)},
		{"database", requiredProblem(c.Database)},
		{"key_file", requiredProblem(c.KeyFile)},
		{"ca.dir", requiredProblem(c.CA.Dir)},
		{"ca.passphrase_file", requiredProblem(c.CA.PassphraseFile)},
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
	if c.Bridge.Listen != "" {
		checks = append(checks, invalidKey{"bridge.listen", addressProblem(c.Bridge.Listen)})
	}
	checks = append(checks, invalidKey{"bridge.hashers", optionalCountProblem(c.Bridge.Hashers, 64)})
	if c.Enrolment.Listen != "" {
		checks = append(checks, invalidKey{"enrolment.listen", addressProblem(c.Enrolment.Listen)})
	}
	checks = append(checks, invalidKey{"enrolment.url", urlProblem(c.Enrolment.URL)}, invalidKey{"enrolment.proxy_url", urlProblem(c.Enrolment.ProxyURL)})
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
			return &invalidKey{check.key, check.problem}
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
