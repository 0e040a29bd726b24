package identity_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// sizes are the registries that benchmarks run on: identities with one certificate each.
var sizes = []int{1_000, 1_000_000}

// filled returns the path of an SQLite database with n identities, each with one certificate. The rows are made inside the database:
// a million of them by AddIdentity would take minutes.
func filled(b *testing.B, n int) string {
	b.Helper()
	if n > 10_000 && testing.Short() {
		b.Skip("skipping a million rows with -short")
	}
	path := databasetest.SQLite(b)
	db := openDatabase(b, path)
	fill(b, db, n)
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

// fill makes the rows.
func fill(b testing.TB, db *database.DB, n int) {
	b.Helper()
	const numbers = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) `
	for _, insert := range []string{
		`INSERT INTO identities SELECT 'erp-' || i, 'Team ' || (i %% 100), 'Backend system', 'orders.read orders.send', 0, '2027-01-31', ` +
			`1790000000000000, 1790000000000000 FROM n`,
		`INSERT INTO certificates SELECT lower(hex(randomblob(32))), 'erp-' || i, lower(hex(randomblob(16))), 'CN=erp-' || i, ` +
			`1790000000000000, 1990000000000000, 1790000000000000 + i, 0, '' FROM n`,
	} {
		if _, err := db.Exec(fmt.Sprintf(numbers+insert, n)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRegistry(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("identities=%d", n), func(b *testing.B) {
			path, sealer := filled(b, n), newSealer(b)
			b.Run("Start", func(b *testing.B) { benchmarkStart(b, path, sealer) })
			db := openDatabase(b, path)
			b.Run("Open", func(b *testing.B) { benchmarkOpen(b, db, sealer) })
			r := openRegistry(b, db, sealer)
			addRouting(b, r)
			b.Run("Binding", func(b *testing.B) { benchmarkBinding(b, r.Snapshot()) })
			b.Run("Match", func(b *testing.B) { benchmarkMatch(b, r.Snapshot()) })
			b.Run("Change", func(b *testing.B) { benchmarkChange(b, r) })
			b.Run("Refresh", func(b *testing.B) { benchmarkRefresh(b, db, sealer, r) })
		})
	}
}

// benchmarkStart measures what a server does before it can decide: the file opened and checked, its schema compared, the registry read.
func benchmarkStart(b *testing.B, path string, sealer identity.Sealer) {
	for b.Loop() {
		db := openDatabase(b, path)
		runtime.KeepAlive(openRegistry(b, db, sealer))
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// benchmarkOpen measures the last part of that alone, and the memory that the snapshot takes.
func benchmarkOpen(b *testing.B, db *database.DB, sealer identity.Sealer) {
	for b.Loop() {
		runtime.KeepAlive(openRegistry(b, db, sealer))
	}
	b.StopTimer()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := openRegistry(b, db, sealer)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(r)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
}

// benchmarkBinding looks up certificates in random order, so that with many of them each is cold in the processor's caches.
func benchmarkBinding(b *testing.B, s *identity.Snapshot) {
	var keys []identity.Fingerprint
	for c := range s.AllCertificates() {
		keys = append(keys, c.Fingerprint)
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := s.Binding(keys[i]); !ok {
			b.Fatal("a certificate is missing")
		}
		if i++; i == len(keys) {
			i = 0
		}
	}
}

func benchmarkMatch(b *testing.B, s *identity.Snapshot) {
	path := []byte("/http/flow50/items/4711")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Match("api.example.com", path, path, "POST"); !ok {
			b.Fatal("no route")
		}
	}
}

// benchmarkChange measures a change from the call to its visibility in the snapshot, the disk's sync included.
func benchmarkChange(b *testing.B, r *identity.Registry) {
	i, disabled := 0, false
	for b.Loop() {
		name := fmt.Sprintf("erp-%d", 1+i%1000)
		disabled = !disabled
		err := r.Change(context.Background(), func(tx *identity.Tx) error {
			identityNow, err := tx.Identity(name)
			if err != nil {
				return err
			}
			identityNow.Disabled = disabled
			_, err = tx.SetIdentity(context.Background(), identityNow)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		if got, _ := r.Snapshot().Identity(name); got.Disabled != disabled {
			b.Fatal("the change is not visible")
		}
		i++
	}
}

// benchmarkRefresh measures how long another node takes to see one change, its commit not included.
func benchmarkRefresh(b *testing.B, db *database.DB, sealer identity.Sealer, writer *identity.Registry) {
	follower := openRegistry(b, db, sealer)
	var spent time.Duration
	n := 0
	for b.Loop() {
		n++
		err := writer.Change(context.Background(), func(tx *identity.Tx) error {
			_, err := tx.DisableIdentity(context.Background(), "erp-7")
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		if err := follower.Refresh(context.Background()); err != nil {
			b.Fatal(err)
		}
		spent += time.Since(begin)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(n), "ns/refresh")
}

// addRouting adds a tenant and a hundred routes.
func addRouting(b *testing.B, r *identity.Registry) {
	b.Helper()
	change(b, r, func(ctx context.Context, tx *identity.Tx) error {
		if _, err := tx.AddTenant(ctx, tenant("cpi")); err != nil {
			return err
		}
		for n := range 100 {
			route := identity.Route{Name: fmt.Sprintf("flow%d", n), Host: "api.example.com", Path: fmt.Sprintf("/http/flow%d/*", n),
				Methods: []string{"GET", "POST"}, Tenant: "cpi", Role: "orders.send"}
			if _, err := tx.AddRoute(ctx, route); err != nil {
				return err
			}
		}
		return nil
	})
}
