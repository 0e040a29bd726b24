package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/servercert"
)

// certificateSource has certificates for callers from elsewhere than the CA of this node.
type certificateSource interface {
	Certificate(name string, hello *tls.ClientHelloInfo) *tls.Certificate // nil while there is none that is valid
	Covers(name string) bool
	Names() []string // the default first
	States() []servercert.State
	Look() error // now, and not when it is time
	Close()
}

// callerSource is the source that is in force, and what it needs.
type callerSource struct {
	certificateSource                  // nil where it is the CA of this node
	acme              *servercert.ACME // the same, where it is one
	roots             []*x509.Certificate
	before            certificateSource // what was in force before, closed: served while there is no certificate from this one yet; nil if there was none
	config            ServerCertificateConfig
	serverNames       []string
	inputs            [sha256.Size]byte // of the files that the configuration names, but for the certificates
	storage           pki.Storage
	stapler           *servercert.Stapler
}

// checkCallerSource looks at the files that the source needs.
func checkCallerSource(cfg *Config) error {
	c := &cfg.ServerCertificate
	if c.Source == sourceInternal {
		return nil
	}
	roots, err := readRoots("server_certificate.roots", c.Roots)
	if err != nil {
		return err
	}
	if c.Source == sourceFiles {
		return filesProblem(servercert.CheckFiles(servercert.FilesOptions{Pairs: pairs(c.Files), Names: cfg.callerNames(), Roots: roots}))
	}
	if _, err := readEABKey(c.ACME.EABHMACFile); err != nil {
		return err
	}
	_, err = readRoots("server_certificate.acme.trusted_roots", c.ACME.TrustedRoots)
	return err
}

func filesProblem(err error) error {
	if err == nil {
		return nil
	}
	return hinted(fmt.Errorf("server_certificate.files: %w", err),
		"if it is for some of server_names only, list those in server_certificate.names; docs/server-certificates.md says what the files must hold")
}

// openCallerSource opens what the configuration asks for.
func (n *node) openCallerSource(ctx context.Context, cfg *Config) (_ *callerSource, err error) {
	c := &cfg.ServerCertificate
	s := &callerSource{config: *c, serverNames: cfg.ServerNames, inputs: c.digest()}
	if c.Source == sourceInternal {
		return s, nil
	}
	if s.roots, err = readRoots("server_certificate.roots", c.Roots); err != nil {
		return nil, err
	}
	if s.storage, err = n.ca.Storage(); err != nil {
		return nil, err
	}
	s.stapler = servercert.NewStapler(s.storage, n.log)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if c.Source == sourceFiles {
		files, err := servercert.OpenFiles(servercert.FilesOptions{
			Pairs: pairs(c.Files), Names: cfg.callerNames(), Roots: s.roots, Stapler: s.stapler, Logger: n.log,
		})
		if err != nil {
			return nil, filesProblem(err)
		}
		s.certificateSource = files
		return s, nil
	}
	options := servercert.ACMEOptions{
		Names: cfg.callerNames(), Directory: c.ACME.Directory, Email: c.ACME.Email, AgreeTerms: c.ACME.AgreeTerms, Challenges: c.ACME.Challenges,
		Profile: c.ACME.Profile, EABKeyID: c.ACME.EABKeyID, Roots: s.roots, KeyType: c.ACME.KeyType,
		Storage: s.storage, Shared: cfg.sharedDatabase(), Stapler: s.stapler, Logger: n.log,
	}
	if options.EABKey, err = readEABKey(c.ACME.EABHMACFile); err != nil {
		return nil, err
	}
	trusted, err := readRoots("server_certificate.acme.trusted_roots", c.ACME.TrustedRoots)
	if err != nil {
		return nil, err
	}
	if trusted != nil {
		options.TrustedRoots = x509.NewCertPool()
		for _, root := range trusted {
			options.TrustedRoots.AddCert(root)
		}
	}
	if s.acme, err = servercert.OpenACME(ctx, options); err != nil {
		return nil, fmt.Errorf("server_certificate: %w", err)
	}
	s.certificateSource = s.acme
	return s, nil
}

func pairs(files []CertificateFile) []servercert.FilePair {
	all := make([]servercert.FilePair, len(files))
	for i, f := range files {
		all[i] = servercert.FilePair(f)
	}
	return all
}

// readRoots reads a file of certificates; "" is none.
func readRoots(key, path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, hinted(fmt.Errorf("%s: %w", key, err), "%s", unreadable(err, "it names a PEM file with the roots of a CA"))
	}
	roots, err := pki.ParseCertificates(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", key, path, err)
	}
	return roots, nil
}

// readEABKey reads the key of an external account, as CAs hand it out: base64url, with or without padding. "" is none.
func readEABKey(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	text, err := readSecretFile(path)
	if err != nil {
		return nil, fmt.Errorf("server_certificate.acme.eab_hmac_file: %w", err)
	}
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(string(text)), "="))
	if err != nil || len(key) < 16 { // the error would quote what it read
		return nil, hinted(fmt.Errorf("server_certificate.acme.eab_hmac_file: %s holds no HMAC key in base64url", path),
			"copy it as the CA shows it, and nothing else")
	}
	return key, nil
}

// same reports whether another configuration asks for what is open. What the certificates' files hold is no part of it: they are looked at.
func (s *callerSource) same(cfg *Config) bool {
	next := cfg.ServerCertificate
	return reflect.DeepEqual(s.config, next) && slices.Equal(s.serverNames, cfg.ServerNames) && s.inputs == next.digest()
}

// digest is that of the files which are read when a source is opened.
func (c *ServerCertificateConfig) digest() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, path := range []string{c.Roots, c.ACME.TrustedRoots, c.ACME.EABHMACFile} {
		b, _ := os.ReadFile(path) // one that cannot be read is reported when it is needed
		fmt.Fprintf(h, "%d\n", len(b))
		h.Write(b)
	}
	h.Sum(sum[:0])
	return sum
}

// close ends the source. It may be called on nil.
func (s *callerSource) close() {
	if s == nil || s.storage == nil {
		return
	}
	if s.certificateSource != nil {
		s.Close()
	}
	s.stapler.Close()
	s.storage.Close()
}

// callerCertificate chooses the certificate that a caller sees: of the source for its names, of the CA for other names of the server and while the source has
// none that is valid. A caller that asks for a name which the server does not have gets the default.
func (n *node) callerCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	source, own := n.source.Load(), n.certs.Load()
	if source.certificateSource == nil {
		return own.GetCertificate(hello)
	}
	name := pki.RequestedName(hello)
	if !source.Covers(name) && !own.Has(name) {
		name = source.Names()[0]
	}
	if c := source.Certificate(name, hello); c != nil {
		return c, nil
	}
	if source.before != nil && source.Covers(name) {
		if c := source.before.Certificate(name, hello); c != nil {
			return c, nil
		}
	}
	return own.Certificate(name)
}

// challenge answers an ACME server that asks whether a name is ours (tls-alpn-01), nil when it is not asked for.
func (n *node) challenge(hello *tls.ClientHelloInfo) *tls.Certificate {
	if source := n.source.Load(); source.acme != nil {
		return source.acme.Challenge(hello)
	}
	return nil
}

// httpChallenge answers http-01, and hands what is not one to next.
func (n *node) httpChallenge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if source := n.source.Load(); source.acme != nil && strings.HasPrefix(r.URL.Path, servercert.HTTPPath) {
			source.acme.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// proxyRoots says how callers are to verify the proxy, as [enrolment.Server] has it.
func (n *node) proxyRoots() (roots []*x509.Certificate, system bool) {
	source := n.source.Load()
	if source.certificateSource == nil {
		return nil, false
	}
	return source.roots, len(source.roots) == 0
}
