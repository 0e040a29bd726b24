package proxy

import (
	"crypto/tls"
	"net/http"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// noteHello keeps what a client hello tells of its sender, once a connection. It changes nothing about the handshake.
func (s *Server) noteHello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if raw, ok := hello.Conn.(*socket); ok && (s.cfg.Usage != nil || s.cfg.Registry.Snapshot().AnyMoves()) {
		raw.hello = usage.Fingerprint(hello)
	}
	return nil, nil
}

// noteUse counts the request for whoever was recognised, behind its answer. A caller that was not recognised is in no history: it could fill it. One whose
// password is right and who is refused is counted, because that is how a forgotten one is found.
func (x *exchange) noteUse() {
	d, a := &x.decision, &x.access
	b := d.Binding
	switch {
	case x.server.cfg.Usage == nil:
		return
	case d.Login != nil:
		// In stage observe it is the tenant who says whether the password is right.
		if d.Changed || x.basic.observed != nil && (a.TenantStatus == 0 || a.TenantStatus == http.StatusUnauthorized) {
			return
		}
	case b == nil:
		return
	}
	o := usage.Observation{
		Kind: usage.Identity, Source: x.conn.address, Fingerprint: x.conn.raw.hello, Agent: x.req.Fields.Get("User-Agent"),
		Route: a.Route, Failed: a.Outcome != record.Served, Octets: a.BytesIn + a.BytesOut, Time: a.Time,
	}
	if d.Login != nil {
		o.Kind, o.Subject = usage.Login, d.Login.User
	} else {
		o.Subject = b.Identity.Name
	}
	x.server.cfg.Usage.Observe(&o, &x.conn.uses)
}
