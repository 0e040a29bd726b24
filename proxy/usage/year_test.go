package usage_test

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// TestAYearOfAThousandCallers measures what docs/performance.md says: a history of 1,000 callers with two routes each, all of them seen on each of 365 days. It takes
// a minute and is asked for by TENANTGATE_YEAR=1.
func TestAYearOfAThousandCallers(t *testing.T) {
	if os.Getenv("TENANTGATE_YEAR") == "" {
		t.Skip("SKIPPED: set TENANTGATE_YEAR=1 to measure")
	}
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		address := create(t)
		db := open(t, address)
		now := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		r := recorder(t, db, usage.Options{Now: func() time.Time { return now }})
		var slowest time.Duration
		var memory int64
		began := time.Now()
		for range 365 {
			for c := range 1000 {
				for _, route := range []string{"orders", "stock"} {
					r.Observe(&usage.Observation{Kind: usage.Login, Subject: fmt.Sprint("P", c%50), Source: netip.AddrFrom4([4]byte{10, 1, byte(c >> 8), byte(c)}),
						Fingerprint: "t13d1516h2_8daaf6152771_e5627efa2ab1", Agent: "Java-http-client/17.0.1", Route: route, Octets: 1000, Time: now}, new(usage.Memo))
				}
			}
			if memory == 0 {
				memory = heap() - before
			}
			start := time.Now()
			flush(t, r)
			slowest = max(slowest, time.Since(start))
			now = now.AddDate(0, 0, 1)
		}
		taken := time.Since(began)
		var rows, size int64
		if err := db.QueryRow(`SELECT count(*) FROM usage_days`).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		query := `SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`
		if db.QueryRow(query).Scan(&size) != nil {
			query = `SELECT pg_total_relation_size('usage_days') + pg_total_relation_size('usage_callers')`
			if err := db.QueryRow(query).Scan(&size); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		list := callers(t, db, usage.Filter{Kind: usage.Login, Subject: "P7"})
		one := time.Since(start)
		start = time.Now()
		callers(t, db, usage.Filter{})
		t.Logf("%d rows, %.0f MB on disk, %.1f MB in memory, a batch of 2000 counts at most %v, %v in all; status of a login with %d callers %v, of all %v",
			rows, float64(size)/1e6, float64(memory)/1e6, slowest.Round(time.Millisecond), taken.Round(time.Second), len(list), one.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
		if rows != 365*2000 {
			t.Errorf("got %d rows", rows)
		}
	})
}
