package servercert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ocsp"

	"github.com/tenantgate/tenantgate/pki"
)

// Stapler has the OCSP answers (RFC 6960) of the CAs that issued the certificates which it is shown, for clients that ask for one (RFC 6066 section 8).
// certmagic fetches and judges them, and keeps them in the storage. Handshakes never wait for one. The methods of a nil Stapler do nothing. Safe for
// concurrent use.
type Stapler struct {
	config *certmagic.Config
	cache  *certmagic.Cache
	logger *slog.Logger

	closing sync.Once

	mu      sync.Mutex // guards what follows; not held across the network
	answers map[string]answer
}

// answer is what is known of one certificate.
type answer struct {
	der         []byte // nil while there is none
	until, next time.Time
}

// How often answers are asked for: after half of their life, but not more often than hourly, and again soon when none was had.
const (
	stapleLook  = time.Minute
	stapleLeast = time.Hour
	stapleRetry = 10 * time.Minute
)

// NewStapler makes a stapler. The storage must stay open until Close.
func NewStapler(storage pki.Storage, logger *slog.Logger) *Stapler {
	s := &Stapler{logger: logger, answers: make(map[string]answer)}
	s.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return s.config, nil },
		RenewCheckInterval: idle, OCSPCheckInterval: idle,
		Logger: pki.ZapLogger(logger),
	})
	config := settings(storage, logger, &noIssuer{})
	// With a proxy function certmagic makes a client with a timeout; without one it uses the default client, which waits for ever.
	config.OCSP = certmagic.OCSPConfig{HTTPProxy: http.ProxyFromEnvironment}
	s.config = certmagic.New(s.cache, config)
	return s
}

// Close ends what certmagic does in the background. Closing again does nothing.
func (s *Stapler) Close() {
	if s != nil {
		s.closing.Do(s.cache.Stop)
	}
}

// keep asks for the answers about the certificates until life ends, and tells when there is another one.
func (s *Stapler) keep(life context.Context, certificates func() []*tls.Certificate, changed func()) {
	if s == nil {
		return
	}
	ticker := time.NewTicker(stapleLook)
	defer ticker.Stop()
	for {
		for _, c := range certificates() {
			if c != nil && s.refresh(life, c) {
				changed()
			}
		}
		select {
		case <-life.Done():
			return
		case <-ticker.C:
		}
	}
}

// refresh asks for an answer when it is time, and reports whether there is another one.
func (s *Stapler) refresh(life context.Context, c *tls.Certificate) bool {
	if len(c.Leaf.OCSPServer) == 0 || life.Err() != nil {
		return false
	}
	id, now := string(c.Leaf.Raw), time.Now()
	s.mu.Lock()
	known := s.answers[id]
	s.mu.Unlock()
	if now.Before(known.next) {
		return false
	}
	fresh := answer{next: now.Add(stapleRetry)}
	if der, err := s.fetch(life, c); err == nil {
		fresh = answer{der: der}
		if parsed, err := ocsp.ParseResponse(der, nil); err == nil {
			fresh.until = parsed.NextUpdate
			fresh.next = now.Add(max(parsed.NextUpdate.Sub(now)/2, stapleLeast))
		}
	} else {
		s.logger.Warn("server certificate: no OCSP answer to staple", "names", describe(c.Leaf), "error", err)
		fresh.der, fresh.until = known.der, known.until
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for old := range s.answers { // of certificates that are no more
		if a := s.answers[old]; old != id && now.After(a.until) && now.After(a.next.Add(stapleLook)) {
			delete(s.answers, old)
		}
	}
	s.answers[id] = fresh
	return !slices.Equal(fresh.der, known.der)
}

var errNoStaple = errors.New("its CA's responder gave none, or none that is good")

// fetch has certmagic find an answer, in the storage or at the responder.
func (s *Stapler) fetch(ctx context.Context, c *tls.Certificate) ([]byte, error) {
	bare := *c
	bare.OCSPStaple = nil
	hash, err := s.config.CacheUnmanagedTLSCertificate(ctx, bare, nil)
	if err != nil {
		return nil, err
	}
	defer s.cache.Remove([]string{hash})
	names := slices.Clone(c.Leaf.DNSNames)
	for _, ip := range c.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, name := range names {
		for _, cached := range s.cache.AllMatchingCertificates(name) {
			if cached.Hash() == hash && len(cached.OCSPStaple) > 0 {
				return cached.OCSPStaple, nil
			}
		}
	}
	return nil, errNoStaple
}

// with returns the certificate with its answer, or as it is when there is none that is still good.
func (s *Stapler) with(c *tls.Certificate) *tls.Certificate {
	if s == nil || c == nil {
		return c
	}
	s.mu.Lock()
	a := s.answers[string(c.Leaf.Raw)]
	s.mu.Unlock()
	if a.der == nil || time.Now().After(a.until) {
		return c
	}
	stapled := *c
	stapled.OCSPStaple = a.der
	return &stapled
}

// warning says what is amiss with the answer about a certificate.
func (s *Stapler) warning(c *tls.Certificate) string {
	if c == nil || !mustStaple(c.Leaf) || s != nil && len(s.with(c).OCSPStaple) > 0 {
		return ""
	}
	return "it demands a stapled OCSP answer, and none could be had: some clients will refuse"
}

// mustStaple reports whether the certificate has the TLS feature status_request (RFC 7633).
func mustStaple(leaf *x509.Certificate) bool {
	for _, e := range leaf.Extensions {
		var features []int
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}) {
			_, err := asn1.Unmarshal(e.Value, &features)
			return err == nil && slices.Contains(features, 5)
		}
	}
	return false
}
