package proxy

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
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
				if ts.enter(from, false, time.Minute) {
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

// Callers who come together are served one after the other from the beginning, and not all at the end.
func TestWhatHasBegunGoesBeforeWhatHasNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts turnstile
		ts.resize(1)
		ts.enter(prefix("192.0.2.9/32"), false, 0)
		order := make(chan string, 10)
		come := func(name, from string, begun bool) {
			go func() {
				if ts.enter(prefix(from), begun, time.Minute) {
					order <- name
					ts.leave()
				}
			}()
			synctest.Wait()
		}
		come("new", "192.0.2.1/32", false)
		come("another new", "192.0.2.2/32", false)
		come("begun", "192.0.2.1/32", true)
		come("also begun", "192.0.2.3/32", true)
		ts.leave()
		synctest.Wait()
		close(order)
		var got []string
		for name := range order {
			got = append(got, name)
		}
		if want := []string{"begun", "also begun", "new", "another new"}; !slices.Equal(got, want) {
			t.Errorf("in came %q, want %q", got, want)
		}
	})
}

// Who sends hellos in many pieces passes the turnstile many times, but only the first few turns of each come before others.
func TestHandshakesInManyPiecesGainNothingByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts turnstile
		ts.resize(1)
		var turns atomic.Int64
		var shaken sync.WaitGroup
		pieces := func(from string) {
			caller, server := net.Pipe()
			go func() {
				for range 50 {
					caller.Write([]byte{0})
				}
			}()
			s := &socket{Conn: server}
			h := shaking{turnstile: &ts, from: prefix(from), patience: time.Minute}
			h.begin(s)
			shaken.Go(func() {
				for range 50 {
					h.read(s, make([]byte, 1))
					turns.Add(1)
					time.Sleep(time.Millisecond) // it computes
				}
				h.end(s)
			})
		}
		pieces("192.0.2.1/32")
		pieces("192.0.2.2/32")
		pieces("192.0.2.3/32")
		synctest.Wait()
		ts.enter(prefix("192.0.2.4/32"), false, time.Minute)
		if n := turns.Load(); n > 9 { // three each
			t.Errorf("%d turns of three others came before it", n)
		}
		ts.leave()
		shaken.Wait()
	})
}

func TestNobodyWaitsAtTheTurnstileForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts turnstile
		ts.resize(1)
		from := prefix("192.0.2.1/32")
		if !ts.enter(from, false, 0) {
			t.Fatal("no place in an empty one")
		}
		start := time.Now()
		if ts.enter(from, false, 2*time.Second) || time.Since(start) != 2*time.Second {
			t.Errorf("turned away after %v", time.Since(start))
		}
		in := make(chan bool)
		go func() { in <- ts.enter(from, false, time.Minute) }()
		synctest.Wait()
		ts.leave() // passes by the one that has gone
		if !<-in {
			t.Error("the one behind got no place")
		}
		ts.resize(3)
		ts.leave()
		for range 3 {
			ts.enter(from, false, 0)
		}
		ts.resize(1)
		ts.leave()
		ts.leave()
		if ts.enter(from, false, time.Millisecond) {
			t.Error("a second one got in where one may")
		}
		ts.leave()
		if !ts.enter(from, false, 0) {
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
		ts.enter(from, false, time.Second)
		ts.leave()
	}
}
