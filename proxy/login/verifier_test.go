package login_test

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/proxy/login"
)

// slow is a hash that takes 25 ms, whatever the password, and counts.
type slow struct {
	password string
	calls    *atomic.Int64
	inside   *atomic.Int64
	most     *atomic.Int64
}

func (h slow) Fits(password string) bool {
	h.calls.Add(1)
	if n := h.inside.Add(1); n > h.most.Load() {
		h.most.Store(n)
	}
	time.Sleep(25 * time.Millisecond)
	h.inside.Add(-1)
	return password == h.password && h.password != ""
}

func newSlow(password string) slow {
	return slow{password, new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)}
}

func source(n int) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(n))
	return netip.PrefixFrom(netip.AddrFrom4(b), 32)
}

// attempt sends a user name and password from a source.
func attempt(v *login.Verifier, from int, user, password string, l login.Login) login.Result {
	token := encode(user + ":" + password)
	if k, ok := v.Known(v.Digest(token)); ok && k.User == l.User && k.Version == l.Version {
		return login.Right
	}
	r, _ := v.Verify(v.Digest(token), login.Credentials{User: user, Password: password}, l, source(from), nil)
	return r
}

func TestAPasswordIsHashedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSlow("right")
		v := login.New(1, h)
		l := login.Login{User: "u", Version: 7, Hash: h}
		for range 10 {
			if r := attempt(v, 1, "u", "right", l); r != login.Right {
				t.Fatalf("got %d", r)
			}
		}
		if n := h.calls.Load(); n != 1 {
			t.Errorf("%d hashes", n)
		}
		l.Version++
		if attempt(v, 1, "u", "right", l); h.calls.Load() != 2 {
			t.Error("another version was not hashed")
		}
		time.Sleep(2 * time.Hour)
		if attempt(v, 1, "u", "right", l); h.calls.Load() != 3 {
			t.Error("what was not used for long was not forgotten")
		}
		// Used all the time, it is hashed anew once an hour.
		for range 180 {
			time.Sleep(time.Minute)
			attempt(v, 1, "u", "right", l)
		}
		if n := h.calls.Load(); n < 5 || n > 7 {
			t.Errorf("%d hashes in three hours", n-3)
		}
	})
}

func TestUnknownUserAndWrongPasswordAreAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dummy := newSlow("right"), newSlow("")
		v := login.New(1, dummy)
		known, unknown := login.Login{User: "u", Version: 7, Hash: h}, login.Login{User: "x"}
		took := func(user, password string, l login.Login, from int) time.Duration {
			start := time.Now()
			if r := attempt(v, from, user, password, l); r != login.Wrong {
				t.Fatalf("%s: got %d", user, r)
			}
			return time.Since(start)
		}
		for n := range 3 { // the second and third time both are known to be wrong
			a, b := took("u", "wrong", known, 1), took("x", "wrong", unknown, 2)
			if a != b || (a > 0) != (n == 0) {
				t.Errorf("%v and %v", a, b)
			}
		}
		if h.calls.Load() != 1 || dummy.calls.Load() != 1 {
			t.Errorf("%d and %d hashes", h.calls.Load(), dummy.calls.Load())
		}
	})
}

func TestGuessesOfASourceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSlow("right")
		v := login.New(1, h)
		l := login.Login{User: "u", Version: 1, Hash: h}
		results := map[login.Result]int{}
		for n := range 10_000 {
			results[attempt(v, 1, "u", "guess"+string(rune('a'+n%26))+time.Duration(n).String(), l)]++
		}
		if n := h.calls.Load(); n > 12 {
			t.Errorf("%d passwords were compared", n)
		}
		if results[login.Throttled] < 9_900 {
			t.Errorf("got %v", results)
		}
		// Somebody else, and the same one a while later, get in.
		if r := attempt(v, 2, "u", "right", l); r != login.Right {
			t.Errorf("another source: got %d", r)
		}
		time.Sleep(3 * time.Minute)
		if r := attempt(v, 1, "u", "right", l); r != login.Right {
			t.Errorf("the same source, later: got %d", r)
		}
	})
}

func TestAPasswordThatIsOutOfDateIsNoGuess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSlow("right")
		v := login.New(1, h)
		l := login.Login{User: "u", Version: 1, Hash: h}
		for range 10_000 {
			if r := attempt(v, 1, "u", "old", l); r != login.Wrong {
				t.Fatalf("got %d", r)
			}
		}
		if r := attempt(v, 1, "u", "right", l); r != login.Right || h.calls.Load() != 2 {
			t.Errorf("got %d after %d hashes", r, h.calls.Load())
		}
	})
}

// TestNobodyIsLockedOut has a thousand sources guess at one user name without a pause, each as fast as it is answered. With ten thousand the last figure, which grows
// with them, is two minutes.
func TestNobodyIsLockedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSlow("right")
		v := login.New(2, h)
		l := login.Login{User: "u", Version: 1, Hash: h}
		if attempt(v, -1, "u", "right", l) != login.Right {
			t.Fatal("not even at first")
		}
		done := make(chan struct{})
		var guessers sync.WaitGroup
		for n := range 1_000 {
			guessers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
					}
					if attempt(v, n, "u", "guess"+time.Duration(i*10_000+n).String(), l) != login.Wrong {
						time.Sleep(5 * time.Second)
					}
				}
			})
		}
		time.Sleep(5 * time.Second)
		start := time.Now()
		if attempt(v, -1, "u", "right", l) != login.Right || time.Since(start) != 0 {
			t.Error("a password that is known waits")
		}
		l2 := login.Login{User: "u2", Version: 1, Hash: newSlow("other")}
		if attempt(v, -1, "u2", "other", l2) != login.Right || time.Since(start) > 200*time.Millisecond {
			t.Errorf("a new password from a source that is known took %v", time.Since(start))
		}
		start = time.Now()
		for attempt(v, 20_000, "u", "right", l) != login.Right { // known by now from elsewhere: no hash
		}
		if time.Since(start) != 0 {
			t.Errorf("the known password from a new source took %v", time.Since(start))
		}
		start = time.Now()
		near := login.Login{User: "u3", Version: 1, Hash: newSlow("near"), Near: true}
		if attempt(v, 20_002, "u3", "near", near) != login.Right || time.Since(start) > 200*time.Millisecond {
			t.Errorf("a new password from where it is expected took %v", time.Since(start))
		}
		start = time.Now()
		fresh := login.Login{User: "u", Version: 2, Hash: newSlow("changed")}
		for attempt(v, 20_001, "u", "changed", fresh) != login.Right {
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("a new password from a new source took %v", took)
		} else {
			t.Logf("a new password from a new source took %v", took)
		}
		if n := h.most.Load(); n > 2 {
			t.Errorf("%d hashes at once", n)
		}
		close(done)
		guessers.Wait()
	})
}

func BenchmarkKnown(b *testing.B) {
	h := newSlow("right")
	v := login.New(1, h)
	token := encode("P2001234567:right")
	v.Verify(v.Digest(token), login.Credentials{User: "P2001234567", Password: "right"}, login.Login{User: "P2001234567", Version: 1, Hash: h}, source(1), nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := v.Known(v.Digest(token)); !ok {
				b.Fatal("not known")
			}
		}
	})
}
