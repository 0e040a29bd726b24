package acme_test

import (
	"testing"

	"github.com/tenantgate/tenantgate/pki"
)

// BenchmarkOrder is an order from its beginning to the certificate, with its client and its host, on SQLite: six requests, each of them signed, and a look at
// the host.
func BenchmarkOrder(b *testing.B) {
	var h *house
	var c *client
	key, err := pki.GenerateKey(pki.P256)
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		if n%20 == 0 { // an address may ask only so often, an identity have only so many
			b.StopTimer()
			h = build(b)
			c = h.registered(nil)
			b.StartTimer()
		}
		if o := c.finalize(c.ready(host), key, host); o.object.Status != "valid" {
			b.Fatalf("%s", o.body)
		}
	}
}
