package main

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/servercert"
	"github.com/tenantgate/tenantgate/proxy"
)

// Config is what one node needs to start; its comments are the manual and configs/example.yaml shows
// every key with its default. Tenants, routes, identities and credentials are not here: they are
// objects of the registry, changed by commands on the running server.
//
// Relative paths are relative to the directory of the configuration file. Keys marked [restart] are
// read once; SIGHUP puts the others in force.
type Config struct {
	// Listen is the host:port on which callers are served over TLS. Port 0 takes a free one. [restart]
	Listen string `yaml:"listen"`

	// ServerNames are the DNS names and IP addresses in the certificate that callers see, issued and
	// renewed by the CA below, or had from elsewhere (ServerCertificate). The first one also serves clients that send no SNI.
	ServerNames []string `yaml:"server_names"`

	ServerCertificate ServerCertificateConfig `yaml:"server_certificate"`

	// Database is the SQL database: the path of an SQLite file, or postgres://... [restart]
	Database string `yaml:"database"`

	// KeyFile holds the key under which secrets in the database are encrypted; credential:NAME is a credential
	// of the systemd unit. Back it up apart from the database: one is worthless without the other. [restart]
	KeyFile string `yaml:"key_file"`

	CA      CAConfig      `yaml:"ca"`
	Publish PublishConfig `yaml:"publish"`
	Admin   AdminConfig   `yaml:"admin"`
	Record  RecordConfig  `yaml:"record"`
	Log     LogConfig     `yaml:"log"`
	Tokens  TokensConfig  `yaml:"tokens"`
	Usage   UsageConfig   `yaml:"usage"`
	Limits  LimitsConfig  `yaml:"limits"`

	Enrolment EnrolmentConfig `yaml:"enrolment"`
	Notify    NotifyConfig    `yaml:"notify"`

	Bridge BridgeConfig `yaml:"bridge"`
}

// BridgeConfig says where callers may still use a legacy user name and password (tenantgate login). Nowhere else is one looked at.
type BridgeConfig struct {
	// Listen is the host:port of the bridge (TLS, HTTP/1.1 and HTTP/2): client certificates are optional there and logins are accepted as HTTP Basic.
	// "" = none. [restart]
	Listen string `yaml:"listen"`

	// Hashers is how many passwords are hashed at once, with 19 MiB each; 0 is half of the processors, at least one and at most four. [restart]
	Hashers int `yaml:"hashers"`
}

// CAConfig says where the CA lives.
type CAConfig struct {
	// Dir holds root_ca.crt, intermediate_ca.crt and their encrypted keys. The certificates are read
	// again on SIGHUP; an empty or broken one is refused and the old ones stay. [restart for a new path]
	Dir string `yaml:"dir"`

	// PassphraseFile holds the passphrase of the CA's keys; credential:NAME is a credential of the systemd unit. "" only with Key. [restart]
	PassphraseFile string `yaml:"passphrase_file"`

	// Key is the URI of a KMS or HSM that holds the intermediate's key, in place of a file in Dir: pkcs11:, awskms:, cloudkms: or azurekms:. Each needs a binary built
	// with its tag. [restart]
	Key string `yaml:"key"`

	// KeyPINFile holds the PIN for pkcs11 keys, Key and those of intermediates that came later; credential:NAME is a credential of the systemd unit. [restart]
	KeyPINFile string `yaml:"key_pin_file"`

	// PKCS11Module is the PKCS#11 library for keys of intermediates that come later, if it is not that of Key: no other one is loaded. [restart]
	PKCS11Module string `yaml:"pkcs11_module"`

	// TrustDomain is the first part of every identity's name in a certificate:
	// spiffe://TRUST_DOMAIN/identity/NAME. Changing it makes admin certificates foreign; those of callers are bound by their fingerprints and stay. [restart]
	TrustDomain string `yaml:"trust_domain"`

	// KeyTypes are the types of keys that get certificates of callers and administrators: P-256, P-384, Ed25519, and RSA-2048, RSA-3072 or
	// RSA-4096 for RSA keys of so many bits and more. [restart]
	KeyTypes []string `yaml:"key_types"`
}

// ServerCertificateConfig says where the certificate that callers see comes from. That of the admin listener and of the enrolment listener is always of the
// CA below, because their clients know its root and no other. So is what callers see while there is none from elsewhere that is valid.
type ServerCertificateConfig struct {
	// Source is internal (the CA below), acme (an ACME CA, such as Let's Encrypt) or files.
	Source string `yaml:"source"`

	// Names are those of server_names for which the certificate is; the others keep one of the CA below. Empty = all of server_names.
	Names []string `yaml:"names"`

	// Roots is a PEM file with the roots of the CA that the certificate is from. No certificate is used that does not lead to one of them, and callers get
	// them when they enrol and renew. "" = a CA that callers trust anyway.
	Roots string `yaml:"roots"`

	ACME  ServerACMEConfig  `yaml:"acme"`
	Files []CertificateFile `yaml:"files"`
}

// ServerACMEConfig says from which ACME CA, and how it is shown that the names are ours.
type ServerACMEConfig struct {
	// Directory is the ACME server's directory, such as https://acme-v02.api.letsencrypt.org/directory. There is no default.
	Directory string `yaml:"directory"`

	// Email is where the ACME server's operator may write to: of a team. "" = none.
	Email string `yaml:"email"`

	// AgreeTerms says that you agree with the terms of service of the ACME server's operator. It must be true.
	AgreeTerms bool `yaml:"agree_terms"`

	// Challenges are tls-alpn-01, which the callers' listener answers and which reaches it on port 443, or http-01, which reaches HTTPListen (or
	// publish.listen) on port 80, or both.
	Challenges []string `yaml:"challenges"`

	// HTTPListen is the host:port on which http-01 challenges are answered, and nothing else. "" = on publish.listen alone. [restart]
	HTTPListen string `yaml:"http_listen"`

	// Profile is a certificate profile of the ACME server. "" = its default.
	Profile string `yaml:"profile"`

	// EABKeyID and EABHMACFile (base64url, as the CA hands it out) bind the account to one that you have with the CA. "" = none.
	EABKeyID    string `yaml:"eab_key_id"`
	EABHMACFile string `yaml:"eab_hmac_file"`

	// TrustedRoots is a PEM file with what verifies the ACME server itself. "" = the system's roots.
	TrustedRoots string `yaml:"trusted_roots"`

	// KeyType is P-256, P-384, RSA-2048 or RSA-4096.
	KeyType string `yaml:"key_type"`
}

// CertificateFile names the files of one certificate, which are read again when they change: certificate (with its chain) and key, or pkcs12.
type CertificateFile struct {
	Certificate  string `yaml:"certificate"`
	Key          string `yaml:"key"`
	PKCS12       string `yaml:"pkcs12"`
	PasswordFile string `yaml:"password_file"`
}

// PublishConfig says where others find out whether a certificate of the CA was revoked. Callers need none of it: this server knows. It is for those who check
// this server's certificate, and for other servers that accept the CA's certificates.
type PublishConfig struct {
	// Listen is the host:port on which revocation lists, OCSP answers and the CA's certificates are served, in plain HTTP. "" = none. [restart]
	Listen string `yaml:"listen"`

	// URL is where the others find them: http://HOST[:PORT][/PATH]. It is written into every certificate that is issued from then on; the listener
	// must be reachable there, on this node or another one. "" writes nothing. [restart]
	URL string `yaml:"url"`

	// CRLLifetime is how long a revocation list is valid. Another one follows after half of it, and within a second of each revocation. [restart]
	CRLLifetime Duration `yaml:"crl_lifetime"`

	// OCSPLifetime is how long an answer about one certificate is valid. [restart]
	OCSPLifetime Duration `yaml:"ocsp_lifetime"`
}

// AdminConfig says how the running server is administered.
type AdminConfig struct {
	// Socket is the Unix socket that the commands use; only the server's user may open it. "" = none. [restart]
	Socket string `yaml:"socket"`

	// Listen is the host:port of the admin listener (TLS): /v1 for certificates of the admin profile,
	// /healthz, /readyz and /metrics for everybody who can reach it. "" = none. [restart]
	Listen string `yaml:"listen"`
}

// EnrolmentConfig says where callers get certificates by themselves.
type EnrolmentConfig struct {
	// Listen is the host:port of the enrolment listener (TLS): callers enrol there with a token and their own key, and renew with the
	// certificate that they have. Whoever can reach it may ask. "" = none. [restart]
	Listen string `yaml:"listen"`

	// URL is the address of that listener as callers reach it, https://host:port, which tokens carry. "" = the first of server_names and the port
	// of listen.
	URL string `yaml:"url"`

	// ProxyURL is the address at which callers use their certificates; they are told it. "" = the first of server_names and the port callers
	// connect to.
	ProxyURL string `yaml:"proxy_url"`

	// ACME serves callers who have an ACME client, on the same listener.
	ACME ACMEConfig `yaml:"acme"`
}

// ACMEConfig says which hosts the ACME server may call to look at their answers to challenges.
type ACMEConfig struct {
	// Allow are the networks in which callers' hosts are, such as 10.0.0.0/8. No other address is called; loopback, link-local and metadata addresses never
	// are. Without any there is no ACME. [restart]
	Allow []string `yaml:"allow"`

	// UnsafeLoopback has addresses of this machine called, too, if Allow has them. [restart]
	UnsafeLoopback bool `yaml:"unsafe_loopback"`

	// UnsafeHTTPPort and UnsafeTLSPort are where http-01 and tls-alpn-01 are looked for in place of 80 and 443, which only root opens on most hosts; on
	// others whoever may open a port can prove to have the host. 0 = 80 and 443. [restart]
	UnsafeHTTPPort int `yaml:"unsafe_http_port"`
	UnsafeTLSPort  int `yaml:"unsafe_tls_port"`
}

// NotifyConfig says whom to tell of what ends, was renewed or revoked, or fails: one receiver of HTTP POSTs, which tells people in its turn.
type NotifyConfig struct {
	// URL is the receiver, https://HOST[:PORT][/PATH]; plain http only to this machine. "" = none.
	URL string `yaml:"url"`

	// SecretFile holds the secret that signs notifications (Standard Webhooks): whsec_ and the base64 of 24 to 64 octets. While it is changed, a second line
	// may hold the other one, and both sign. SIGHUP reads it again.
	SecretFile string `yaml:"secret_file"`

	// CAFile holds the certificates, in PEM, that the receiver's certificate must come from. "" = the system's.
	CAFile string `yaml:"ca_file"`

	// Timeout is how long one attempt may take.
	Timeout Duration `yaml:"timeout"`
}

// RecordConfig says where access records go.
type RecordConfig struct {
	// Access is the file that gets one JSON line a request, or "-" for standard output. SIGHUP opens it
	// again, after a rotation. While it cannot be written, requests are refused. [restart for a new path]
	Access string `yaml:"access"`

	// UnsafeDropWhenFull serves requests although their records are lost, and counts the losses. [restart]
	UnsafeDropWhenFull bool `yaml:"unsafe_drop_when_full"`
}

// LogConfig is about the server's own messages, on standard error.
type LogConfig struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`

	// Format is text or json. [restart]
	Format string `yaml:"format"`
}

// TokensConfig is about the tokens with which tenants are called.
type TokensConfig struct {
	// Persist keeps tokens, encrypted, in the database, so that a restart needs no token server. false also erases those that are there. [restart]
	Persist bool `yaml:"persist"`

	// Rate is how many requests a second begin at one token server (host and port), of all credentials together. XSUAA answers 60 a second, IAS 50.
	// Each node has its own: with several behind one address, divide. [restart]
	Rate int `yaml:"rate"`

	// InFlight bounds the requests under way at one token server. Half of them are left to those for which a caller waits. [restart]
	InFlight int `yaml:"in_flight"`

	// MaxAge is the age at which a token in use is refreshed, if half of its life is longer: a tenant may rotate its signing keys (SAP keeps old ones for two
	// hours). The old one serves until the new one is there. [restart]
	MaxAge Duration `yaml:"max_age"`
}

// UsageConfig is about the history of who uses which login and which identity: the map by which shared passwords are retired. It holds addresses; they are kept
// as pseudonyms after tenantgate usage pseudonymise.
type UsageConfig struct {
	// Retention is how long it is kept, a caller from when it was last seen. 0 keeps none: nothing is counted, and what there is is let alone. [restart]
	Retention Duration `yaml:"retention"`

	// Callers bounds how many callers of one login or identity are kept apart; the rest is counted as one, "other". [restart]
	Callers int `yaml:"callers"`
}

// LimitsConfig bounds what a caller may cost. Connections that are open during a reload keep theirs.
type LimitsConfig struct {
	// HandshakeTimeout is the time a TLS handshake may take.
	HandshakeTimeout Duration `yaml:"handshake_timeout"`

	// HeaderTimeout is the time from the first byte of a request's head to its last.
	HeaderTimeout Duration `yaml:"header_timeout"`

	// IdleTimeout is the time a connection may stay open between requests.
	IdleTimeout Duration `yaml:"idle_timeout"`

	// BodyIdleTimeout is the longest pause while a caller sends a body.
	BodyIdleTimeout Duration `yaml:"body_idle_timeout"`

	// WriteTimeout is the time a caller gets to take one write of the answer.
	WriteTimeout Duration `yaml:"write_timeout"`

	// DrainTimeout is the time requests in flight get to finish after SIGTERM.
	DrainTimeout Duration `yaml:"drain_timeout"`

	// HeaderBytes bounds a request's head, HeaderFields the number of its fields.
	HeaderBytes  Size `yaml:"header_bytes"`
	HeaderFields int  `yaml:"header_fields"`

	// Connections, Requests and Streams bound open connections, requests in flight, and the HTTP/2
	// streams of one connection.
	Connections int `yaml:"connections"`
	// SourceHandshakes bounds the TLS handshakes that are under way with one address (IPv6: one /64).
	SourceHandshakes int `yaml:"source_handshakes"`
	// SourceRate bounds the connections that one address makes in a second; 0 is any number.
	SourceRate int `yaml:"source_rate"`
	// Handshakes bounds the TLS handshakes that compute at the same time; 0 is one less than there are processors.
	Handshakes int `yaml:"handshakes"`
	Requests   int `yaml:"requests"`
	// Memory is what the process is meant to take; 0 is GOMEMLIMIT of the environment, or no bound.
	Memory  Size `yaml:"memory"`
	Streams int  `yaml:"streams"`

	// ReplayBytes is the size up to which a body is kept until the tenant answers, so that the request can
	// be sent again, once, when the tenant refuses the token.
	ReplayBytes Size `yaml:"replay_bytes"`
}

// forProxy is the limits as the data plane takes them.
func (l *LimitsConfig) forProxy() proxy.Limits {
	return proxy.Limits{
		HandshakeTimeout:    time.Duration(l.HandshakeTimeout),
		HeaderTimeout:       time.Duration(l.HeaderTimeout),
		IdleTimeout:         time.Duration(l.IdleTimeout),
		BodyIdleTimeout:     time.Duration(l.BodyIdleTimeout),
		WriteTimeout:        time.Duration(l.WriteTimeout),
		HeaderBytes:         int(l.HeaderBytes),
		HeaderFields:        l.HeaderFields,
		MaxConnections:      l.Connections,
		MaxSourceHandshakes: l.SourceHandshakes,
		SourceRate:          l.SourceRate,
		Handshakes:          l.Handshakes,
		MaxRequests:         l.Requests,
		MaxMemory:           int64(l.Memory),
		MaxStreams:          l.Streams,
		ReplayBytes:         int64(l.ReplayBytes),
	}
}

// limitsConfig is the limits of the data plane as the file writes them.
func limitsConfig(l proxy.Limits, drain time.Duration) LimitsConfig {
	return LimitsConfig{
		HandshakeTimeout: Duration(l.HandshakeTimeout),
		HeaderTimeout:    Duration(l.HeaderTimeout),
		IdleTimeout:      Duration(l.IdleTimeout),
		BodyIdleTimeout:  Duration(l.BodyIdleTimeout),
		WriteTimeout:     Duration(l.WriteTimeout),
		DrainTimeout:     Duration(drain),
		HeaderBytes:      Size(l.HeaderBytes),
		HeaderFields:     l.HeaderFields,
		Connections:      l.MaxConnections,
		SourceHandshakes: l.MaxSourceHandshakes,
		SourceRate:       l.SourceRate,
		Handshakes:       l.Handshakes,
		Requests:         l.MaxRequests,
		Memory:           Size(l.MaxMemory),
		Streams:          l.MaxStreams,
		ReplayBytes:      Size(l.ReplayBytes),
	}
}

// defaultConfig is the configuration when the file says nothing.
func defaultConfig() Config {
	return Config{
		Listen:      ":8443",
		ServerNames: []string{"localhost"},
		ServerCertificate: ServerCertificateConfig{
			Source: sourceInternal, Names: []string{}, ACME: ServerACMEConfig{Challenges: []string{servercert.TLSALPN01}, KeyType: pki.P256}, Files: []CertificateFile{},
		},
		Database: "tenantgate.db",
		KeyFile:  "keys/master.key",
		CA: CAConfig{
			Dir:            "ca",
			PassphraseFile: "keys/ca-passphrase",
			TrustDomain:    "tenantgate.internal",
			KeyTypes:       []string{pki.RSA2048, pki.P256, pki.P384, pki.Ed25519},
		},
		Publish:   PublishConfig{CRLLifetime: Duration(24 * time.Hour), OCSPLifetime: Duration(time.Hour)},
		Enrolment: EnrolmentConfig{ACME: ACMEConfig{Allow: []string{}}},
		Admin:     AdminConfig{Socket: "admin.sock", Listen: "127.0.0.1:9443"},
		Record:    RecordConfig{Access: "access.log"},
		Log:       LogConfig{Level: "info", Format: "text"},
		Tokens:    TokensConfig{Persist: true, Rate: 50, InFlight: 50, MaxAge: Duration(2 * time.Hour)},
		Limits:    limitsConfig(proxy.DefaultLimits(), 30*time.Second),
		Notify:    NotifyConfig{Timeout: Duration(10 * time.Second)},
		Usage:     UsageConfig{Retention: Duration(400 * 24 * time.Hour), Callers: 1000},
	}
}

// resolve makes the paths absolute, relative ones seen from dir.
func (c *Config) resolve(dir string) {
	paths := []*string{&c.KeyFile, &c.CA.Dir, &c.CA.PassphraseFile, &c.CA.KeyPINFile, &c.Admin.Socket, &c.Notify.SecretFile, &c.Notify.CAFile,
		&c.ServerCertificate.Roots, &c.ServerCertificate.ACME.EABHMACFile, &c.ServerCertificate.ACME.TrustedRoots}
	for i := range c.ServerCertificate.Files {
		f := &c.ServerCertificate.Files[i]
		paths = append(paths, &f.Certificate, &f.Key, &f.PKCS12, &f.PasswordFile)
	}
	for _, path := range paths {
		if *path != "" && !filepath.IsAbs(*path) && !strings.HasPrefix(*path, credentialPrefix) {
			*path = filepath.Join(dir, *path)
		}
	}
	if c.Record.Access != "-" && !filepath.IsAbs(c.Record.Access) {
		c.Record.Access = filepath.Join(dir, c.Record.Access)
	}
	if !strings.Contains(c.Database, "://") && !filepath.IsAbs(c.Database) {
		c.Database = filepath.Join(dir, c.Database)
	}
}

// sharedDatabase reports whether other nodes may use the database, too.
func (c *Config) sharedDatabase() bool { return strings.HasPrefix(c.Database, "postgres") }

// needRestart names the keys that differ between c and next and that SIGHUP cannot put in force.
func (c *Config) needRestart(next *Config) []string {
	var keys []string
	for _, k := range []struct {
		key     string
		changed bool
	}{
		{"listen", c.Listen != next.Listen},
		{"database", c.Database != next.Database},
		{"key_file", c.KeyFile != next.KeyFile},
		{"server_certificate.acme.http_listen", c.ServerCertificate.ACME.HTTPListen != next.ServerCertificate.ACME.HTTPListen},
		{"ca.dir", c.CA.Dir != next.CA.Dir},
		{"ca.passphrase_file", c.CA.PassphraseFile != next.CA.PassphraseFile},
		{"ca.key", c.CA.Key != next.CA.Key},
		{"ca.key_pin_file", c.CA.KeyPINFile != next.CA.KeyPINFile},
		{"ca.pkcs11_module", c.CA.PKCS11Module != next.CA.PKCS11Module},
		{"ca.trust_domain", c.CA.TrustDomain != next.CA.TrustDomain},
		{"ca.key_types", !slices.Equal(c.CA.KeyTypes, next.CA.KeyTypes)},
		{"publish.listen", c.Publish.Listen != next.Publish.Listen},
		{"publish.url", c.Publish.URL != next.Publish.URL},
		{"publish.crl_lifetime", c.Publish.CRLLifetime != next.Publish.CRLLifetime},
		{"publish.ocsp_lifetime", c.Publish.OCSPLifetime != next.Publish.OCSPLifetime},
		{"admin.socket", c.Admin.Socket != next.Admin.Socket},
		{"admin.listen", c.Admin.Listen != next.Admin.Listen},
		{"enrolment.listen", c.Enrolment.Listen != next.Enrolment.Listen},
		{"enrolment.acme.allow", !slices.Equal(c.Enrolment.ACME.Allow, next.Enrolment.ACME.Allow)},
		{"enrolment.acme.unsafe_loopback", c.Enrolment.ACME.UnsafeLoopback != next.Enrolment.ACME.UnsafeLoopback},
		{"enrolment.acme.unsafe_http_port", c.Enrolment.ACME.UnsafeHTTPPort != next.Enrolment.ACME.UnsafeHTTPPort},
		{"enrolment.acme.unsafe_tls_port", c.Enrolment.ACME.UnsafeTLSPort != next.Enrolment.ACME.UnsafeTLSPort},
		{"bridge.listen", c.Bridge.Listen != next.Bridge.Listen},
		{"bridge.hashers", c.Bridge.Hashers != next.Bridge.Hashers},
		{"record.access", c.Record.Access != next.Record.Access},
		{"record.unsafe_drop_when_full", c.Record.UnsafeDropWhenFull != next.Record.UnsafeDropWhenFull},
		{"log.format", c.Log.Format != next.Log.Format},
		{"tokens.persist", c.Tokens.Persist != next.Tokens.Persist},
		{"tokens.rate", c.Tokens.Rate != next.Tokens.Rate},
		{"tokens.in_flight", c.Tokens.InFlight != next.Tokens.InFlight},
		{"usage.retention", c.Usage.Retention != next.Usage.Retention},
		{"usage.callers", c.Usage.Callers != next.Usage.Callers},
		{"tokens.max_age", c.Tokens.MaxAge != next.Tokens.MaxAge},
	} {
		if k.changed {
			keys = append(keys, k.key)
		}
	}
	return keys
}
