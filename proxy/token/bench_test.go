package token_test

import (
	"testing"
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
