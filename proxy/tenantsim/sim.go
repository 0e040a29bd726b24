// Package tenantsim is a simulated tenant: a token server and an integration runtime that behave as SAP Cloud Integration
// and its relatives were seen to behave, oddities included, each with a switch. Tests and `tenantgate demo` run on it.
//
// It runs in the process, on loopback, over HTTPS with a throw-away CA, speaks HTTP/1.1 only and records every request that
// reaches it, headers byte for byte, so that a test can prove what was stripped and that nothing was sent twice.
//
// The package knows nothing of tenantgate. It is no test of itself: what the vendor's documentation does not say (the text
// of a 401 and its WWW-Authenticate) is assumed, so the token side is also tried against a server nobody here wrote. It
// holds everything in memory and its clocks are real: it must not be reachable by anybody but tests.
package tenantsim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a Sim. The zero value is a faithful Cloud Foundry tenant on free loopback ports.
type Options struct {
	// Host is the address to listen on. "" means 127.0.0.1.
	Host string
	// OneHost serves /api/v1 on the runtime's host as well; a real tenant has it on another host only.
	OneHost bool
	// MaxRecords bounds the recorded requests; the oldest go first. 0 means 100000.
	MaxRecords int
	// Switches are the quirks to begin with; Sim.Switch changes them later.
	Switches Switches
}

// Listener names one of the addresses of a Sim.
type Listener string

const (
	Runtime   Listener = "runtime"    // flows: /http/*, /cxf/*
	API       Listener = "api"        // /api/v1/*
	Token     Listener = "token"      // /oauth/token, /token_keys, discovery
	MTLSToken Listener = "mtls-token" // /oauth/token for client certificates
)

// Sim is a running simulated tenant. Its methods are safe for concurrent use.
type Sim struct {
	options   Options
	authority *authority
	servers   map[Listener]*http.Server
	addresses map[Listener]string
	switches  atomic.Pointer[Switches]
	done      chan struct{} // closed by Close: ends what hangs
	closing   sync.Once

	mu       sync.Mutex // guards what follows
	clients  map[string]*registered
	flows    map[string]Flow // by lower-case path
	sessions sessions
	issuer   *issuer
	nextSlot time.Time       // of the token server's rate limit
	reject   int             // flow requests yet to be answered 401
	asserts  map[string]bool // jti of the assertions that were used

	records recorder
}

// New starts a tenant. Close stops it.
func New(o Options) (*Sim, error) {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.MaxRecords == 0 {
		o.MaxRecords = 100_000
	}
	a, err := newAuthority()
	if err != nil {
		return nil, err
	}
	i, err := newIssuer()
	if err != nil {
		return nil, err
	}
	s := &Sim{options: o, authority: a, issuer: i, done: make(chan struct{}), servers: map[Listener]*http.Server{},
		addresses: map[Listener]string{}, clients: map[string]*registered{}, flows: map[string]Flow{}, asserts: map[string]bool{}}
	s.records.limit = o.MaxRecords
	s.switches.Store(&o.Switches)
	handlers := map[Listener]http.HandlerFunc{Runtime: s.serveRuntime, API: s.serveAPI, Token: s.serveToken, MTLSToken: s.serveToken}
	for name, handler := range handlers {
		if err := s.listen(name, handler); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// listen starts one server.
func (s *Sim) listen(name Listener, handler http.HandlerFunc) error {
	certificate, err := s.authority.server(s.options.Host)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	switch name {
	case MTLSToken:
		// Any certificate passes the handshake; which client it belongs to is decided by the endpoint. The CA is named all
		// the same, as real servers do.
		config.ClientAuth, config.ClientCAs = tls.RequireAnyClientCert, s.authority.pool
	case Runtime, API:
		config.ClientAuth, config.ClientCAs = tls.RequestClientCert, s.authority.pool
	}
	inner, err := net.Listen("tcp", net.JoinHostPort(s.options.Host, "0"))
	if err != nil {
		return fmt.Errorf("listening for %s: %w", name, err)
	}
	server := &http.Server{
		Handler:           s.recorded(name, handler),
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	s.servers[name], s.addresses[name] = server, inner.Addr().String()
	go func() { _ = server.Serve(&tapListener{Listener: inner, config: config, sim: s, name: name}) }()
	return nil
}

// Close stops all servers and cuts what is under way.
func (s *Sim) Close() error {
	var errs []error
	s.closing.Do(func() {
		close(s.done)
		for _, server := range s.servers {
			errs = append(errs, server.Close())
		}
	})
	return errors.Join(errs...)
}

// CAPEM returns the certificate of the throw-away CA that all servers' certificates chain to, as PEM.
func (s *Sim) CAPEM() []byte { return s.authority.pem() }

// BaseURL returns the address of the runtime, without a slash at the end.
func (s *Sim) BaseURL() string { return s.url(Runtime) }

// APIURL returns the address of the API host, without a slash at the end.
func (s *Sim) APIURL() string { return s.url(API) }

// TokenURL returns the token endpoint for secrets.
func (s *Sim) TokenURL() string { return s.url(Token) + "/oauth/token" }

// MTLSTokenURL returns the token endpoint for client certificates, on a listener that requires one.
func (s *Sim) MTLSTokenURL() string { return s.url(MTLSToken) + "/oauth/token" }

// IssuerURL returns the address of the token server, under which discovery lives.
func (s *Sim) IssuerURL() string { return s.url(Token) }

func (s *Sim) url(name Listener) string { return "https://" + s.addresses[name] }
