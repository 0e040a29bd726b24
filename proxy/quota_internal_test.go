package proxy

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

func TestARateIsKeptOverTime(t *testing.T) {
	for _, tc := range []struct {
		rate        float64
		burst, want int // requests that are let through in 10 s
	}{{100, 100, 1100}, {100, 1, 1001}, {0.5, 1, 6}, {0.3, 2, 5}, {1000, 5000, 15000}} {
		var q quota
		served := 0
		for now := time.Duration(0); now <= 10*time.Second; now += 100 * time.Microsecond {
			g, ok := q.take(now, tc.rate, tc.burst)
			switch {
			case ok:
				served++
				if g.left < 0 || g.left >= tc.burst || g.reset <= 0 {
					t.Fatalf("%+v: grant %+v", tc, g)
				}
			case g.reset <= 0 || g.left != 0:
				t.Fatalf("%+v: refusal %+v", tc, g)
			default: // who comes again when he was told is let through
				var copied quota
				copied.full.Store(q.full.Load())
				if _, ok := copied.take(now+g.reset, tc.rate, tc.burst); !ok {
					t.Fatalf("%+v: refused again after %v", tc, g.reset)
				}
			}
		}
		if served < tc.want-1 || served > tc.want+1 {
			t.Errorf("%+v: %d requests were let through", tc, served)
		}
	}
}

func TestARateThatWasRaisedIsInForceAtOnce(t *testing.T) {
	var q quota
	if _, ok := q.take(0, 0.001, 1000); !ok {
		t.Fatal("refused")
	}
	for range 999 {
		q.take(0, 0.001, 1000)
	}
	if g, ok := q.take(time.Second, 100, 100); ok || g.reset > 20*time.Millisecond {
		t.Errorf("grant %+v, %v", g, ok)
	}
	if _, ok := q.take(time.Second+20*time.Millisecond, 100, 100); !ok {
		t.Error("refused after the time that it was told")
	}
}

func TestNoRequestTooManyIsLetThroughAtOnce(t *testing.T) {
	var q quota
	var served atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if _, ok := q.take(0, 1, 500); ok {
					served.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := served.Load(); n != 500 {
		t.Errorf("%d of 500 were let through", n)
	}
}

// BenchmarkLimits is what the limits of an identity cost a request.
func BenchmarkLimits(b *testing.B) {
	x := &exchange{server: &Server{made: time.Now()}, conn: &conn{}}
	x.decision.Binding = &identity.Binding{Identity: &identity.Identity{Name: "orders", Rate: 1e6, Burst: 1e6, Concurrency: 10, Bandwidth: 1 << 40}}
	h := &h1{out: make([]byte, 0, 1<<10)}
	x.caller = h
	b.ReportAllocs()
	for b.Loop() {
		x.now = x.server.made
		x.admit()
		h.out = h.out[:0]
		x.rateFields()
		x.leave()
	}
}

// BenchmarkQuotaOfTheDay is what a quota costs a request, beside the other limits.
func BenchmarkQuotaOfTheDay(b *testing.B) {
	x := &exchange{server: &Server{made: time.Now()}, conn: &conn{}}
	x.decision.Binding = &identity.Binding{Identity: &identity.Identity{Name: "orders", DailyRequests: 1 << 50, DailyOctets: 1 << 50}}
	x.now = x.server.made
	x.access.Time = x.server.made
	b.ReportAllocs()
	for b.Loop() {
		if outcome, _ := x.admit(); outcome != record.Served {
			b.Fatal(outcome)
		}
		x.server.daily.pass(x.today, 1)
		x.leave()
	}
}
