package token_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestA429SlowsTheWholeServerAndNoTokenAtHand(t *testing.T) {
	for _, c := range []struct {
		name   string
		header func() []string
		least  time.Duration
		most   time.Duration
	}{
		{"seconds", func() []string { return []string{"Retry-After", "3"} }, 3 * time.Second, 3100 * time.Millisecond},
		{"date", func() []string {
			return []string{"Retry-After", time.Now().Add(5 * time.Second).UTC().Format(http.TimeFormat)}
		}, 4 * time.Second, 5100 * time.Millisecond},
		{"none", func() []string { return nil }, 500 * time.Millisecond, 1100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, e := newTokenServer(t)
				warm := e.Source(numbered(0))
				mustToken(t, warm)
				time.Sleep(time.Second)
				server.set(status(429, "<html>429</html>", append(c.header(), "Content-Type", "text/html")...))
				if got := mustFail(t, e.Source(numbered(1))); got.Status != 429 {
					t.Fatalf("got %v, want 429", got)
				}
				if st := e.Servers()[0]; st.PausedUntil.IsZero() || !st.Failing {
					t.Errorf("got state %+v, want it paused", st)
				}
				server.set(server.slow(20 * time.Millisecond))
				began := time.Now()
				var wg sync.WaitGroup
				waits := make([]time.Duration, 10)
				for n := range waits {
					wg.Go(func() {
						mustToken(t, e.Source(numbered(10+n)))
						waits[n] = time.Since(began)
					})
				}
				for range 10 {
					if _, ok := warm.Held(); !ok {
						t.Error("a token at hand was not served")
					}
				}
				wg.Wait()
				if first := slices.Min(waits); first < c.least || first > c.most {
					t.Errorf("other credentials were asked for after %v, want %v", first, c.least)
				}
				if last := slices.Max(waits); last > c.most+500*time.Millisecond {
					t.Errorf("the last other credential waited for %v", last)
				}
				if st := e.Servers()[0]; !st.PausedUntil.IsZero() || st.Failing {
					t.Errorf("got state %+v after the pause, want it well", st)
				}
			})
		})
	}
}

func TestNobodyWaitsForALongPauseAndAfterAMinuteTheServerIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			status(429, "", "Retry-After", "86400")(w, r)
		})
		// One is asked, others come into line while it is: only some are on their way.
		e.InFlight = 1
		var wg sync.WaitGroup
		began := time.Now()
		for n := range 20 {
			wg.Go(func() {
				if got := mustFail(t, e.Source(numbered(n))); got.Status != 429 || time.Since(began) != time.Second {
					t.Errorf("got %v after %v, want 429 after the first one's answer", got, time.Since(began))
				}
			})
		}
		wg.Wait()
		for n := range 20 {
			now := time.Now()
			if got := mustFail(t, e.Source(numbered(100+n))); got.Status != 429 || got.Until.IsZero() || time.Since(now) != 0 {
				t.Errorf("got %v after %v, want to be told at once", got, time.Since(now))
			}
		}
		if got := server.count(); got != 1 {
			t.Errorf("got %d requests within the pause, want 1", got)
		}
		server.set(nil)
		time.Sleep(61 * time.Second)
		mustToken(t, e.Source(numbered(200)))
	})
}

func TestATokenThatIsRejectedDuringAPauseServesOn(t *testing.T) {
	for _, order := range []string{"rejected first", "paused first"} {
		t.Run(order, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, e := newTokenServer(t)
				source := e.Source(numbered(1))
				tok := mustToken(t, source)
				server.set(status(429, "", "Retry-After", "60"))
				if order == "rejected first" && !source.Reject(tok) {
					t.Fatal("got no retry")
				}
				mustFail(t, e.Source(numbered(2)))
				if order == "paused first" && source.Reject(tok) {
					t.Error("got a retry though no other token can be had")
				}
				began := time.Now()
				if got := mustToken(t, source); got.ID != tok.ID || time.Since(began) != 0 {
					t.Errorf("got token %d after %v, want the old one at once", got.ID, time.Since(began))
				}
				server.set(nil)
				time.Sleep(61 * time.Second)
				if order == "rejected first" {
					mustToken(t, source)
					synctest.Wait()
					if mustToken(t, source).ID == tok.ID {
						t.Error("the rejected token was not replaced after the pause")
					}
				}
			})
		})
	}
}

func TestBehindA429OneRequestTriesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(status(429, "", "Retry-After", "2"))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for n := range 200 {
			wg.Go(func() { _, _ = e.Source(numbered(n)).Token(ctx) })
		}
		wg.Wait()
		// Those that were on their way before the first answer, then one every two seconds.
		if got := server.count(); got > 20 {
			t.Errorf("got %d requests within 20s, want one for each pause", got)
		}
	})
}

func TestBehindA429AHangingRequestOfBeforeHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		go func() { _, _ = e.Source(numbered(1)).Token(t.Context()) }()
		synctest.Wait()
		server.set(status(429, "", "Retry-After", "1"))
		mustFail(t, e.Source(numbered(2)))
		server.set(nil)
		began := time.Now()
		if mustToken(t, e.Source(numbered(3))); time.Since(began) != time.Second {
			t.Errorf("a caller waited for %v, want the pause of 1s", time.Since(began))
		}
	})
}

func TestACallerInLineIsToldWhereItWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(status(429, "", "Retry-After", "4"))
		mustFail(t, e.Source(numbered(1)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := e.Source(numbered(2)).Token(ctx)
		if err == nil || !strings.Contains(err.Error(), "before the token server could be asked") {
			t.Errorf("got %v, want it to name the line", err)
		}
		e.Drop("c2")
		synctest.Wait()
		if st := e.Servers()[0]; st.Waiting != 0 {
			t.Errorf("got %d in line after the credential was dropped", st.Waiting)
		}
	})
}
