package pki

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// ServerCerts are the certificates of our own listeners, one a name, kept in the database with sealed keys and renewed
// in the background by certmagic. Nothing leaves the machine: the issuer is the CA in this process. Safe for concurrent
// use. Close it before the database.
type ServerCerts struct {
	names   []string // normalised; the first is the default
	cache   *certmagic.Cache
	storage *storage
	stop    context.CancelFunc
	closing sync.Once
	staples staples
}

// ServerCertificates loads, issues or renews a certificate for each of names (DNS names or IP addresses, at least one)
// and keeps them renewed until Close. The first name is the default, for clients that send no server name or an unknown one.
func (ca *CA) ServerCertificates(ctx context.Context, names []string) (*ServerCerts, error) {
	if len(names) == 0 {
		return nil, errors.New("preparing server certificates: no server name given")
	}
	if ca.options.Sealer == nil {
		return nil, errors.New("preparing server certificates: no sealer given, private keys are not stored in the clear")
	}
	s := &ServerCerts{storage: newStorage(ca.options.DB, ca.options.Sealer, ca.options.DatabaseTimeout)}
	for _, name := range names {
		name = normalName(name)
		if err := ca.options.ServerProfile.CheckName(name); err != nil {
			return nil, fmt.Errorf("preparing server certificates: %w", err)
		}
		if !slices.Contains(s.names, name) {
			s.names = append(s.names, name)
		}
	}
	life, stop := context.WithCancel(context.Background())
	s.stop = stop
	log := ZapLogger(ca.options.Logger)
	var magic *certmagic.Config
	s.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return magic, nil },
		RenewCheckInterval: ca.options.RenewCheck,
		OCSPCheckInterval:  365 * 24 * time.Hour, // our own responder is asked, without a way over the network
		Logger:             log,
	})
	magic = certmagic.New(s.cache, ca.magicConfig(s.storage, life, log))
	if err := magic.ManageSync(ctx, s.names); err != nil {
		s.Close()
		return nil, fmt.Errorf("preparing server certificates: %w", err)
	}
	if ca.options.PublicURL != "" {
		s.staple(life, ca)
	}
	return s, nil
}

// magicConfig sets every field that certmagic would otherwise take from its package-wide defaults, whose issuer is Let's
// Encrypt and whose storage is the home directory.
func (ca *CA) magicConfig(s *storage, life context.Context, log *zap.Logger) certmagic.Config {
	key := certmagic.StandardKeyGenerator{KeyType: certmagic.P256}
	_, rsaCA := ca.Intermediate().PublicKey.(*rsa.PublicKey)
	switch kt := ca.options.ServerKeyType; {
	case kt == RSA2048, kt == "" && rsaCA:
		key.KeyType = certmagic.RSA2048
	case kt == P384:
		key.KeyType = certmagic.P384
	case kt == RSA4096:
		key.KeyType = certmagic.RSA4096
	}
	return certmagic.Config{
		RenewalWindowRatio: 1.0 / 3,
		OnEvent:            func(context.Context, string, map[string]any) error { return nil },
		ShouldEmitFunc:     func(string) bool { return false },
		Issuers:            []certmagic.Issuer{&serverIssuer{ca: ca, storage: s, life: life, issuer: ca.signing().id}},
		KeySource:          key,
		OCSP:               certmagic.OCSPConfig{DisableStapling: true},
		Storage:            s,
		DisableARI:         true,
		Logger:             log,
	}
}

// GetCertificate is for [crypto/tls.Config].GetCertificate: the certificate for the server name asked for, for the address
// connected to when none is asked for and the address has one, and the default certificate otherwise. It reads memory
// only. certmagic's own GetCertificate is not used: for a name without a certificate it takes process-wide locks, and it
// answers ACME challenges.
func (s *ServerCerts) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.Certificate(RequestedName(hello))
}

// RequestedName is the name that a client asks for, as [ServerCerts.Names] has it: the server name of its hello or, when there is none, the address that
// it has connected to.
func RequestedName(hello *tls.ClientHelloInfo) string {
	name := normalName(hello.ServerName)
	if name == "" && hello.Conn != nil {
		if addr, ok := hello.Conn.LocalAddr().(*net.TCPAddr); ok {
			name = addr.IP.String()
		}
	}
	return name
}

// Has reports whether there is a certificate of this name, as [RequestedName] returns it.
func (s *ServerCerts) Has(name string) bool { return slices.Contains(s.names, name) }

// current returns the certificate of name that lives longest.
func (s *ServerCerts) current(name string) (*tls.Certificate, error) {
	var best *tls.Certificate
	for _, c := range s.cache.AllMatchingCertificates(name) {
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c.Certificate
		}
	}
	if best == nil {
		return nil, fmt.Errorf("there is no server certificate for %s", name)
	}
	return best, nil
}

// Certificate returns the certificate of a name, or the default one where there is none.
func (s *ServerCerts) Certificate(name string) (*tls.Certificate, error) {
	if !slices.Contains(s.names, name) {
		name = s.names[0]
	}
	c, err := s.current(name)
	if err != nil {
		return nil, err
	}
	return s.staples.on(name, c), nil
}

// Names returns the names served, the default first; the slice is the caller's.
func (s *ServerCerts) Names() []string { return slices.Clone(s.names) }

// NotAfter returns when the first of the certificates expires. While renewal works it is never less than a third of the
// lifetime away.
func (s *ServerCerts) NotAfter() time.Time {
	var first time.Time
	for _, name := range s.names {
		if c, err := s.current(name); err == nil && (first.IsZero() || c.Leaf.NotAfter.Before(first)) {
			first = c.Leaf.NotAfter
		}
	}
	return first
}

// Close stops renewal and waits until nothing of it uses the database any more. GetCertificate keeps answering with what
// is in memory. Closing again does nothing.
func (s *ServerCerts) Close() {
	s.closing.Do(func() {
		s.stop() // an issue under way fails, and with it the renewal
		s.cache.Stop()
		s.storage.end()
	})
}

// NormalServerName is how names of servers are compared: lower case, without the final dot; IP addresses as net prints them.
func NormalServerName(name string) string { return normalName(name) }

// normalName is how names are compared: lower case, without the final dot; IP addresses as net prints them.
func normalName(name string) string {
	name = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(name)), ".")
	if ip := net.ParseIP(strings.Trim(name, "[]")); ip != nil {
		return ip.String()
	}
	return name
}
