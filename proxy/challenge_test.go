package proxy_test

import (
	"crypto/tls"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy"
)

// answersChallenges has the listener answer challenges for one name, with a certificate of its own.
func answersChallenges(t *testing.T) (with func(*proxy.Config), answer tls.Certificate) {
	answer = pkitest.New(t).Client("challenge")
	return func(c *proxy.Config) {
		c.Challenge = func(hello *tls.ClientHelloInfo) *tls.Certificate {
			if hello.ServerName == "challenged.test" {
				return &answer
			}
			return nil
		}
	}, answer
}

// hello shakes hands as whoever shows the certificates, if any, and offers the protocols.
func (g *gate) hello(name string, version uint16, protocols []string, cache tls.ClientSessionCache, show ...tls.Certificate) (*tls.Conn, error) {
	raw, err := g.from("127.0.0.1")
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(time.Now().Add(5 * time.Second))
	conn := tls.Client(raw, &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: version, NextProtos: protocols, Certificates: show, ClientSessionCache: cache})
	return conn, conn.Handshake()
}

func TestAChallengeIsAnsweredAndNothingElseIsServed(t *testing.T) {
	with, answer := answersChallenges(t)
	g := newGate(t, proxy.Limits{}, with)
	caller := g.issue("orders")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(4)
		for range 2 { // the second could resume the first
			conn, err := g.hello("challenged.test", version, []string{"acme-tls/1"}, cache)
			if err != nil {
				t.Fatalf("a challenge: %v", err)
			}
			state := conn.ConnectionState()
			if state.NegotiatedProtocol != "acme-tls/1" || !state.PeerCertificates[0].Equal(answer.Leaf) || state.DidResume {
				t.Errorf("got protocol %q, certificate of %s, resumed %v", state.NegotiatedProtocol, state.PeerCertificates[0].Subject, state.DidResume)
			}
			io.WriteString(conn, "GET /http/orders/1 HTTP/1.1\r\nHost: gate.test\r\n\r\n")
			if got, _ := io.ReadAll(conn); len(got) > 0 {
				t.Errorf("behind a challenge %q was answered", got)
			}
			conn.Close()
		}
		if a := caller.get("/http/orders/1"); a.status != 200 {
			t.Errorf("a caller beside it: got %+v", a)
		}
		g.recordWhere("outcome served", func(r map[string]any) bool { return r["outcome"] == "served" })
		for _, r := range g.records() {
			if r["outcome"] != "served" && version == tls.VersionTLS12 {
				t.Errorf("a challenge is on record as a caller: %v", r)
			}
		}
		if conn, err := g.hello("challenged.test", version, []string{"http/1.1"}, cache); err == nil { // nor does its session stand in for a certificate
			io.WriteString(conn, "GET /http/orders/1 HTTP/1.1\r\nHost: gate.test\r\n\r\n")
			if got, _ := io.ReadAll(conn); len(got) > 0 {
				t.Errorf("with the session of a challenge %q was answered", got)
			}
		}
		if _, err := g.hello("other.test", version, []string{"acme-tls/1"}, nil); err == nil {
			t.Error("a challenge that is not open was answered")
		}
	}
}

// acme-tls/1 among other protocols is no way around the client certificate, in whatever order.
func TestAChallengeAmongOtherProtocolsIsNone(t *testing.T) {
	with, answer := answersChallenges(t)
	g := newGate(t, proxy.Limits{}, with)
	caller := g.issue("orders")
	for _, protocols := range [][]string{{"acme-tls/1", "http/1.1"}, {"http/1.1", "acme-tls/1"}, {"acme-tls/1", "h2"}, {"acme-tls/1", "acme-tls/1"}, {"acme-tls/1", "x"}} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			conn, err := g.hello("challenged.test", version, protocols, nil)
			if err != nil {
				continue // TLS 1.2 says it here
			}
			if conn.ConnectionState().PeerCertificates[0].Equal(answer.Leaf) || conn.ConnectionState().NegotiatedProtocol == "acme-tls/1" {
				t.Errorf("%q: taken for a challenge", protocols)
			}
			io.WriteString(conn, "GET /http/orders/1 HTTP/1.1\r\nHost: gate.test\r\n\r\n")
			if got, _ := io.ReadAll(conn); len(got) > 0 {
				t.Errorf("%q without a certificate: %q was answered", protocols, got)
			}
		}
		if !slices.Contains(protocols, "http/1.1") {
			continue
		}
		conn, err := g.hello("gate.test", tls.VersionTLS13, protocols, nil, caller.cert)
		if err != nil || conn.ConnectionState().NegotiatedProtocol != "http/1.1" {
			t.Errorf("%q with a certificate: %v", protocols, err)
		}
	}
}
