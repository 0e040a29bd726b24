package proxy

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// However many handshakes of one address wait, another address is next but one.
func TestAddressesTakeTurnsAtTheTurnstile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts turnstile
		ts.resize(1)
		many, few := prefix("192.0.2.1/32"), prefix("192.0.2.2/32")
		order := make(chan netip.Prefix, 1000)
		come := func(from netip.Prefix) {
			go func() {
				if ts.enter(from, time.Minute) {
					order <- from
					time.Sleep(time.Millisecond)
					ts.leave()
				}
			}()
			synctest.Wait()
		}
		for range 500 {
			come(many)
		}
		come(few)
		come(few)
		time.Sleep(time.Second)
		var at []int
		for i := range len(order) {
			if <-order == few {
				at = append(at, i)
			}
		}
		if len(at) != 2 || at[0] > 3 || at[1] > 5 {
			t.Errorf("the other address came in at %v", at)
		}
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if ts.free != 1 || len(ts.waiting) != 0 || len(ts.turns) != 0 {
			t.Errorf("left behind: %+v", &ts)
		}
	})
}

func TestNobodyWaitsAtTheTurnstileForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts turnstile
		ts.resize(1)
		from := prefix("192.0.2.1/32")
		if !ts.enter(from, 0) {
			t.Fatal("no place in an empty one")
		}
		start := time.Now()
		if ts.enter(from, 2*time.Second) || time.Since(start) != 2*time.Second {
			t.Errorf("turned away after %v", time.Since(start))
		}
		in := make(chan bool)
		go func() { in <- ts.enter(from, time.Minute) }()
		synctest.Wait()
		ts.leave() // passes by the one that has gone
		if !<-in {
			t.Error("the one behind got no place")
		}
		ts.resize(3)
		ts.leave()
		for range 3 {
			ts.enter(from, 0)
		}
		ts.resize(1)
		ts.leave()
		ts.leave()
		if ts.enter(from, time.Millisecond) {
			t.Error("a second one got in where one may")
		}
		ts.leave()
		if !ts.enter(from, 0) {
			t.Error("no place in an empty one")
		}
	})
}

func TestAnAddressConnectsSoOften(t *testing.T) {
	s, l := newSources(), &Limits{MaxSourceHandshakes: 1000, SourceRate: 10}
	from := prefix("2001:db8:1:2::/64")
	served := 0
	for now := time.Duration(0); now <= 10*time.Second; now += 10 * time.Millisecond {
		if s.admit(from, l, now) == "" {
			s.shaken(from)
			served++
		}
	}
	if served < 109 || served > 111 {
		t.Errorf("%d connections were let in, want 10 and 10 a second", served)
	}
	if s.admit(prefix("2001:db8:1:3::/64"), l, 10*time.Second) != "" {
		t.Error("another network was kept out")
	}
	s.forget(time.Minute)
	if len(s.full) != 0 || len(s.shaking) != 1 {
		t.Errorf("left behind: %d rates, %d handshakes", len(s.full), len(s.shaking))
	}
}

func TestWhatIsKnownOfAddressesIsBounded(t *testing.T) {
	s, l := newSources(), &Limits{MaxSourceHandshakes: 10, SourceRate: 1}
	for i := range 2 * maxSources {
		from := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		if cause := s.admit(from, l, 0); cause != "" {
			t.Fatal(cause)
		}
		s.shaken(from)
	}
	if len(s.full) != maxSources || len(s.shaking) != 0 {
		t.Errorf("%d rates, %d handshakes", len(s.full), len(s.shaking))
	}
}

func BenchmarkTurnstile(b *testing.B) {
	var ts turnstile
	ts.resize(2)
	from := prefix("192.0.2.1/32")
	b.ReportAllocs()
	for b.Loop() {
		ts.enter(from, time.Second)
		ts.leave()
	}
}
