package proxy

import (
	"testing"
	"time"
)

func TestABreakerOpensProbesAndCloses(t *testing.T) {
	var g gate
	now := time.Unix(1_000_000, 0)
	try := func() bool {
		cause, retry := g.enter(now, 10)
		if cause == "" {
			g.leave()
		} else if retry <= 0 {
			t.Errorf("refused without saying when to try again: %s", cause)
		}
		return cause == ""
	}
	for i := range breakerFailures {
		if !try() {
			t.Fatalf("open after %d failures", i)
		}
		g.failed(now)
	}
	if try() {
		t.Fatal("closed after so many failures")
	}
	now = now.Add(breakerPause + 1)
	if !try() {
		t.Fatal("no probe after the pause")
	}
	if try() {
		t.Fatal("two probes at once")
	}
	g.failed(now) // the probe: the pause doubles
	if now = now.Add(breakerPause + 1); try() {
		t.Fatal("the pause did not grow")
	}
	if now = now.Add(breakerPause); !try() {
		t.Fatal("no second probe")
	}
	g.connected()
	for range 3 {
		if !try() {
			t.Fatal("open after a connection was made")
		}
	}
	for range 100 {
		g.failed(now)
	}
	if now = now.Add(breakerMaxPause + 1); !try() {
		t.Fatal("the pause grew without end")
	}
}

func TestATenantHoldsItsShareOnly(t *testing.T) {
	var g gate
	now := time.Now()
	for range 3 {
		if cause, _ := g.enter(now, 3); cause != "" {
			t.Fatal(cause)
		}
	}
	if cause, _ := g.enter(now, 3); cause == "" {
		t.Error("a fourth request was let through")
	}
	g.leave()
	if cause, _ := g.enter(now, 3); cause != "" {
		t.Error(cause)
	}
}

func BenchmarkGate(b *testing.B) {
	var g gate
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		g.enter(now, 10)
		g.connected()
		g.leave()
	}
}
