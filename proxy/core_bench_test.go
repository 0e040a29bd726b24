package proxy_test

import (
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// BenchmarkDecide is the decision of an allowed request: certificate, path, query, route and role.
func BenchmarkDecide(b *testing.B) {
	g := newGate(b, proxy.Limits{})
	g.change(func(tx *identity.Tx) error {
		for i := range 1000 {
			if _, err := tx.AddIdentity(b.Context(), identity.Identity{Name: "id" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)), Owner: "team"}); err != nil {
				return err
			}
		}
		return nil
	})
	c := g.issue("orders")
	core := proxy.Core{Registry: g.registry, Trust: g.trust.Load}
	req := proxy.Request{
		Peer:   proxy.NewPeer(c.leaf, "localhost", g.trust.Load()),
		Host:   "localhost:8443",
		Method: "POST",
		Target: "/http/orders/4711/items?$top=1&language=EN",
		Length: 1024,
		Fields: wire.Fields{{Name: "Content-Type", Value: "application/json"}},
	}
	var d proxy.Decision
	core.Decide(&req, &d)
	if d.Outcome != record.Served {
		b.Fatalf("outcome %s: %s", d.Outcome, d.Cause)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		core.Decide(&req, &d)
	}
}
