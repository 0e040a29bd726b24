package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// handshake verifies who is on the connection and hands it to an engine.
func (s *Server) handshake(c *conn, from netip.Prefix) {
	ctx, cancel := context.WithTimeout(context.Background(), c.engine.limits.HandshakeTimeout)
	defer cancel()
	lt, err := s.listenerTLS(c.bridge)
	if err != nil {
		s.refuseHandshake(c, nil, err)
		return
	}
	tc := tls.Server(c.raw, lt.config)
	turn := shaking{turnstile: &s.turnstile, from: from, patience: c.engine.limits.HandshakeTimeout / 4}
	turn.begin(c.raw)
	err = tc.HandshakeContext(ctx)
	turn.end(c.raw)
	switch {
	case errors.Is(err, errShed):
		c.raw.Close()
		s.forget(c)
		s.cfg.Metrics.Handshake(record.HandshakeShed)
		s.recordRefusal(c, record.Overloaded, errShed.Error(), nil)
		return
	case err != nil:
		s.refuseHandshake(c, tc, err)
		return
	}
	state := tc.ConnectionState()
	if state.NegotiatedProtocol == challengeProtocol { // it has what it came for; nothing is served to whoever shows no certificate
		tc.Close()
		s.forget(c)
		return
	}
	s.certs.all(state.PeerCertificates)
	s.shaken.Add(1)
	peer, err := newPeer(state, lt.trust)
	if err != nil && c.bridge && len(state.PeerCertificates) == 0 {
		peer, err = newAnonymous(state, lt.trust), nil
		if !s.estrange(c) {
			tc.Close()
			s.forget(c)
			s.cfg.Metrics.Handshake(record.HandshakeShed)
			s.recordRefusal(c, record.Overloaded, "too many callers are connected that have not said who they are", nil)
			return
		}
	}
	if err != nil {
		s.refuseHandshake(c, tc, err)
		return
	}
	if lt.authorities != nil {
		s.settle(ctx, peer)
	}
	if peer.outsider == nil && !peer.anonymous() {
		peer.last = s.cfg.Registry.Calls().Of(peer.Fingerprint)
	}
	s.mu.Lock()
	c.peer = peer
	s.mu.Unlock()
	s.cfg.Metrics.Handshake(record.HandshakeDone)
	if state.NegotiatedProtocol == "h2" && !suitable(state) {
		s.log.Debug("HTTP/2 over a cipher suite that it forbids", "source", c.source)
		tc.Close()
		s.forget(c)
		return
	}
	for !c.engine.serve(c, tc, state.NegotiatedProtocol) { // limits were changed meanwhile
		next := s.currentEngine()
		if next == c.engine {
			tc.Close()
			s.forget(c)
			return
		}
		c.engine = next
	}
}

// refuseHandshake closes the connection, and records who was refused for his certificate.
func (s *Server) refuseHandshake(c *conn, tc *tls.Conn, err error) {
	linger(c.raw)
	s.forget(c)
	cause, known := handshakeCause(err)
	if !known {
		s.cfg.Metrics.Handshake(record.HandshakeFailed)
		s.log.Debug("handshake", "source", c.source, "error", err)
		return
	}
	s.cfg.Metrics.Handshake(record.HandshakeRefused)
	s.recordRefusal(c, record.Unidentified, cause, err)
}

// recordRefusal records a connection on which no request was read. Whoever reaches the port can cause one: there is a bound on how many are recorded.
func (s *Server) recordRefusal(c *conn, outcome record.Outcome, cause string, err error) {
	if !s.refusals.Allow() {
		return
	}
	a := record.Access{
		Time: s.cfg.Now(), RequestID: record.NewRequestID(), Protocol: "TLS", Source: c.source,
		Outcome: outcome, Cause: cause,
	}
	var refused *refusedPeer
	if errors.As(err, &refused) {
		a.Serial, a.Identity, a.Host, a.Authority = refused.serial, refused.identity, refused.serverName, refused.authority
	}
	s.cfg.Log.Append(&a)
}

// handshakeCause reports the reason if the handshake ended over the caller's certificate, and not over noise on the port.
func handshakeCause(err error) (cause string, known bool) {
	var refused *refusedPeer
	if errors.As(err, &refused) {
		return refused.Error(), true
	}
	var peer *peerError
	if errors.As(err, &peer) {
		return peer.cause, true
	}
	// crypto/tls has no type for this one. A client that can only sign with SHA-1 ends here too.
	const none = "tls: client didn't provide a certificate"
	if err.Error() == none {
		return "no client certificate was presented (a client that signs with SHA-1 only is taken for one without)", true
	}
	return "", false
}

// listenerTLS is a TLS configuration and the bundle that it was made for.
type listenerTLS struct {
	config      *tls.Config
	trust       *pki.Trust
	authorities *identity.Authorities // nil when there are none
	made        time.Time
	key         [32]byte // of session tickets
}

// ticketLife is how long tickets are encrypted under one key; they can be opened for twice as long.
const ticketLife = 12 * time.Hour

// listenerTLS returns the configuration for a new connection. A new bundle, or a change of other authorities, means a new configuration with a new ticket
// key, so that no ticket outlives the trust it was given under. The bridge has a configuration and tickets of its own: no ticket that was given without a
// certificate is of any use elsewhere.
func (s *Server) listenerTLS(bridge bool) (*listenerTLS, error) {
	trust, now := s.cfg.Trust(), s.cfg.Now()
	authorities := s.cfg.Registry.Snapshot().Authorities()
	slot := &s.tlsConfig
	if bridge {
		slot = &s.bridgeTLS
	}
	current := func() *listenerTLS {
		lt := slot.Load()
		if lt == nil || lt.trust != trust || lt.authorities != authorities || now.Sub(lt.made) > ticketLife {
			return nil
		}
		return lt
	}
	if lt := current(); lt != nil {
		return lt, nil
	}
	s.tlsMu.Lock()
	defer s.tlsMu.Unlock()
	if lt := current(); lt != nil {
		return lt, nil
	}
	next := &listenerTLS{trust: trust, authorities: authorities, made: now}
	if _, err := rand.Read(next.key[:]); err != nil {
		return nil, fmt.Errorf("making ticket key: %w", err)
	}
	keys := [][32]byte{next.key}
	if old := slot.Load(); old != nil && old.trust == trust && old.authorities == authorities {
		keys = append(keys, old.key)
	}
	next.config = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.cfg.GetCertificate,
		// Unlike GetCertificate, it is asked on resumed handshakes, too.
		GetConfigForClient: s.noteHello,
		// Small first records help browsers to render early; here they would be one system call for each 1.4 kB.
		DynamicRecordSizingDisabled: true,
		NextProtos:                  []string{"h2", "http/1.1"},
		// The chain is verified by VerifyConnection, which runs on resumed sessions too; ClientCAs is here for the list of acceptable CAs that is
		// sent to the caller.
		ClientAuth:       tls.RequireAnyClientCert,
		ClientCAs:        s.acceptable(trust, authorities),
		VerifyConnection: func(state tls.ConnectionState) error { return s.verifyConnection(state, trust) },
	}
	if bridge {
		next.config.ClientAuth = tls.RequestClientCert
		next.config.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil // nobody, until a login says who
			}
			return s.verifyConnection(state, trust)
		}
	}
	next.config.SetSessionTicketKeys(keys)
	if s.cfg.Challenge != nil {
		next.config.GetConfigForClient = s.configForChallenge
	}
	slot.Store(next)
	return next, nil
}

// acceptable are the CAs whose names are sent to callers, so that those with several certificates choose the right one.
func (s *Server) acceptable(trust *pki.Trust, authorities *identity.Authorities) *x509.CertPool {
	pool := trust.CertPool()
	if s.cfg.External == nil {
		return pool
	}
	for _, e := range authorities.All() {
		if !e.Authority.Disabled {
			pool.AppendCertsFromPEM([]byte(e.Authority.CA))
			pool.AppendCertsFromPEM([]byte(e.Authority.Intermediates))
		}
	}
	return pool
}

// verifyConnection accepts or refuses a caller's certificate at the end of every handshake, full or resumed: the chain by the CA's own profile, and then
// whom it is bound to. A disabled identity passes here and is refused at its first request, with a problem document that says so.
func (s *Server) verifyConnection(state tls.ConnectionState, trust *pki.Trust) error {
	peer, err := newPeer(state, trust)
	if err != nil {
		return err
	}
	refused := &refusedPeer{serial: peer.Serial, serverName: peer.ServerName}
	if err := trust.VerifyClient(peer.chain, s.cfg.Now()); err != nil {
		if snap := s.cfg.Registry.Snapshot(); snap.Authorities() != nil && s.cfg.External != nil {
			_, other := s.admit(peer, snap, trust)
			if r, ok := other.(*refusedPeer); !ok || r.authority != "" {
				return other
			}
		}
		refused.cause = err
		return refused
	}
	snap := s.cfg.Registry.Snapshot()
	if b, ok := snap.Binding(peer.Fingerprint); ok {
		refused.identity = b.Identity.Name
	}
	if _, err := identify(snap, trust, peer, s.cfg.Now()); err != nil {
		refused.cause = err
		return refused
	}
	return nil
}

// refusedPeer is a handshake that was refused for the caller's certificate.
type refusedPeer struct {
	serial, serverName string
	authority          string // of another CA, "" for our own
	identity           string // "" unless the certificate is bound to one
	cause              error
}

func (e *refusedPeer) Error() string { return e.cause.Error() }
func (e *refusedPeer) Unwrap() error { return e.cause }
