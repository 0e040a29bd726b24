package proxy

import (
	"crypto/tls"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// noteHello keeps what a client hello tells of its sender, once a connection. It changes nothing about the handshake.
func (s *Server) noteHello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if raw, ok := hello.Conn.(*socket); ok && s.cfg.Usage != nil {
		raw.hello = usage.Fingerprint(hello)
	}
	return nil, nil
}

// noteUse counts the request for whoever was recognised, behind its answer. A caller that was not recognised is in no history: it could fill it.
func (x *exchange) noteUse() {
	b := x.decision.Binding
	if x.server.cfg.Usage == nil || b == nil {
		return
	}
	a := &x.access
	o := usage.Observation{
		Kind: usage.Identity, Subject: b.Identity.Name, Source: x.conn.addr, Fingerprint: x.conn.raw.hello, Agent: x.req.Fields.Get("User-Agent"),
		Route: a.Route, Failed: a.Outcome != record.Served, Octets: a.BytesIn + a.BytesOut, Time: a.Time,
	}
	if b.Login != nil {
		o.Kind, o.Subject = usage.Login, b.Login.User
	}
	x.server.cfg.Usage.Observe(&o, &x.conn.uses)
}
