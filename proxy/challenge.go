package proxy

import (
	"crypto/tls"
	"errors"
)

// challengeProtocol is what an ACME server offers, and nothing else, to see whether the name in its hello is ours (RFC 8737 section 3).
const challengeProtocol = "acme-tls/1"

var errNoChallenge = errors.New("acme-tls/1: no challenge is open for that name")

// configForChallenge is for [tls.Config].GetConfigForClient: the configuration of a handshake that is a challenge and can be nothing else, nil (the
// listener's) for all others. A hello that offers acme-tls/1 among others is one of the others: it is asked for a certificate, and acme-tls/1 is not
// chosen. No ticket is given that could be resumed as something else. What the hellos of others tell is kept, as without challenges.
func (s *Server) configForChallenge(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != challengeProtocol {
		return s.noteHello(hello)
	}
	answer := s.cfg.Challenge(hello)
	if answer == nil {
		return nil, errNoChallenge
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{*answer},
		NextProtos:             []string{challengeProtocol},
		SessionTicketsDisabled: true,
	}, nil
}
