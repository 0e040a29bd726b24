package proxy

import (
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

func TestABreakerOpensProbesAndCloses(t *testing.T) {
	var g gate
	var acme identity.Tenant
	now := time.Unix(1_000_000, 0)
	try := func() bool {
		cause, retry := g.enter(now, 10, &acme)
		if cause == "" {
			g.leave()
		} else if retry <= 0 {
			t.Errorf("refused without saying when to try again: %s", cause)
		}
		return cause == ""
	}
	for i := range identity.DefaultBreakerFailures {
		if !try() {
			t.Fatalf("open after %d failures", i)
		}
		g.failed(now, &acme)
	}
	if try() {
		t.Fatal("closed after so many failures")
	}
	now = now.Add(identity.DefaultBreakerCooldown + 1)
	if !try() {
		t.Fatal("no probe after the pause")
	}
	if try() {
		t.Fatal("two probes at once")
	}
	g.failed(now, &acme) // the probe: the pause doubles
	if now = now.Add(identity.DefaultBreakerCooldown + 1); try() {
		t.Fatal("the pause did not grow")
	}
	if now = now.Add(identity.DefaultBreakerCooldown); !try() {
		t.Fatal("no second probe")
	}
	g.connected()
	for range 3 {
		if !try() {
			t.Fatal("open after a connection was made")
		}
	}
	for range 100 {
		g.failed(now, &acme)
	}
	if now = now.Add(breakerMost*identity.DefaultBreakerCooldown + 1); !try() {
		t.Fatal("the pause grew without end")
	}
}

func TestATenantHoldsItsShareOnly(t *testing.T) {
	var g gate
	var acme identity.Tenant
	now := time.Now()
	for range 3 {
		if cause, _ := g.enter(now, 3, &acme); cause != "" {
			t.Fatal(cause)
		}
	}
	if cause, _ := g.enter(now, 3, &acme); cause == "" {
		t.Error("a fourth request was let through")
	}
	g.leave()
	if cause, _ := g.enter(now, 3, &acme); cause != "" {
		t.Error(cause)
	}
}

func TestABreakerIsWhatTheTenantSays(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	none := identity.Tenant{BreakerFailures: identity.NoBreaker}
	var g gate
	for range 100 {
		g.failed(now, &none)
	}
	if cause, _ := g.enter(now, 10, &none); cause != "" {
		t.Error("a breaker that is off: " + cause)
	}
	g = gate{}
	quick := identity.Tenant{BreakerFailures: 2, BreakerCooldown: identity.Duration(time.Minute)}
	for range 2 {
		if cause, _ := g.enter(now, 10, &quick); cause != "" {
			t.Fatal(cause)
		}
		g.failed(now, &quick)
	}
	if cause, retry := g.enter(now.Add(time.Second), 10, &quick); cause == "" || retry != 59*time.Second {
		t.Errorf("got %q, %v", cause, retry)
	}
	few := identity.Tenant{Concurrency: 1}
	g = gate{}
	for i, want := range []bool{true, false} {
		if cause, _ := g.enter(now, 10, &few); (cause == "") != want {
			t.Errorf("request %d: %q", i, cause)
		}
	}
}

func BenchmarkGate(b *testing.B) {
	var g gate
	var acme identity.Tenant
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		g.enter(now, 10, &acme)
		g.connected()
		g.leave()
	}
}
