package usage_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/usage"
)

// BenchmarkObserve is what a request costs on a connection that keeps calling one route, and on one that keeps looking like somebody new.
func BenchmarkObserve(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "x.db"))
	b.Run("known", func(b *testing.B) {
		r := recorder(b, db, usage.Options{})
		b.RunParallel(func(pb *testing.PB) {
			var conn usage.Memo
			o := seen("10.0.0.1", "curl/8.5.0", "orders")
			for pb.Next() {
				r.Observe(o, &conn)
			}
		})
	})
	b.Run("off", func(b *testing.B) {
		var r *usage.Recorder
		var conn usage.Memo
		o := seen("10.0.0.1", "curl/8.5.0", "orders")
		b.ReportAllocs()
		for b.Loop() {
			r.Observe(o, &conn)
		}
	})
	b.Run("new-connection", func(b *testing.B) {
		r := recorder(b, db, usage.Options{})
		o := seen("10.0.0.1", "curl/8.5.0", "orders")
		b.ReportAllocs()
		for b.Loop() {
			r.Observe(o, new(usage.Memo))
		}
	})
	b.Run("hostile", func(b *testing.B) {
		r := recorder(b, db, usage.Options{})
		agents := make([]string, 4096)
		for i := range agents {
			agents[i] = fmt.Sprintf("bot-%x", i)
		}
		var conn usage.Memo
		o := seen("10.0.0.1", "", "orders")
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			o.Agent = agents[n%len(agents)]
			r.Observe(o, &conn)
		}
	})
}
