package token_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkCachedToken is the hot path: it must not allocate.
func BenchmarkCachedToken(b *testing.B) {
	_, e := newTokenServer(b)
	source := e.Source(credential())
	mustToken(b, source)
	b.ReportAllocs()
	for b.Loop() {
		tok, err := source.Token(b.Context())
		if err != nil || tok.Header() == "" {
			b.Fatal(err)
		}
	}
}

// BenchmarkCachedTokenParallel shows what many callers of one source cost each other.
func BenchmarkCachedTokenParallel(b *testing.B) {
	_, e := newTokenServer(b)
	source := e.Source(credential())
	mustToken(b, source)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := source.Token(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSource is the lookup for callers that do not keep the source.
func BenchmarkSource(b *testing.B) {
	_, e := newTokenServer(b)
	c := credential()
	e.Source(c)
	b.ReportAllocs()
	for b.Loop() {
		e.Source(c)
	}
}

func TestACachedTokenAllocatesNothing(t *testing.T) {
	_, e := newTokenServer(t)
	source := e.Source(credential())
	mustToken(t, source)
	ctx := t.Context()
	if got := testing.AllocsPerRun(1000, func() { _, _ = source.Token(ctx) }); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

// BenchmarkColdCredential is 10,000 callers at once on a credential without a token, whose server takes 100 ms: how many requests it sees, and how long after
// its answer the last caller has the token.
func BenchmarkColdCredential(b *testing.B) {
	const callers = 10_000
	var requests int
	var longest time.Duration
	for b.Loop() {
		server, e := newTokenServer(b)
		var answered atomic.Int64
		server.set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(100 * time.Millisecond)
			answered.Store(time.Now().UnixNano())
			server.lifetime("3600")(w, r)
		})
		source := e.Source(credential())
		begin := make(chan struct{})
		var last atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				<-begin
				if _, err := source.Token(b.Context()); err != nil {
					b.Error(err)
				}
				for now, most := time.Now().UnixNano(), last.Load(); now > most && !last.CompareAndSwap(most, now); {
					most = last.Load()
				}
			})
		}
		close(begin)
		wg.Wait()
		requests = max(requests, server.count())
		longest = max(longest, time.Duration(last.Load()-answered.Load()))
		e.Close()
	}
	b.ReportMetric(float64(requests), "requests")
	b.ReportMetric(float64(longest.Microseconds())/1000, "ms-beyond-fetch")
}
