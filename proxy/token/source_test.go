package token_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

func TestTenThousandCallersOnAColdCredentialMakeOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(300 * time.Millisecond)
			server.lifetime("3600")(w, r)
		})
		source := e.Source(credential())
		var wg sync.WaitGroup
		var failed, late, longest atomic.Int64
		began := time.Now()
		for range 10_000 {
			wg.Go(func() {
				if _, err := source.Token(t.Context()); err != nil {
					failed.Add(1)
				}
				beyond := time.Since(began) - 300*time.Millisecond
				if beyond > 0 {
					late.Add(1)
				}
				for most := longest.Load(); int64(beyond) > most && !longest.CompareAndSwap(most, int64(beyond)); {
					most = longest.Load()
				}
			})
		}
		wg.Wait()
		t.Logf("10000 callers on a cold credential: %d requests, longest wait beyond the fetch %v", server.count(), time.Duration(longest.Load()))
		if got := server.count(); got != 1 || failed.Load() != 0 || late.Load() != 0 {
			t.Errorf("got %d requests, %d failed callers, %d that waited beyond the fetch; want 1, 0, 0", got, failed.Load(), late.Load())
		}
	})
}

func TestEachWaiterHasItsOwnDeadlineAndTheFetchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			server.lifetime("3600")(w, r)
		})
		source := e.Source(credential())
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			_, err := source.Token(ctx)
			var e *token.Error
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Step != token.StepWait || time.Since(began) != time.Second {
				t.Errorf("first caller: got %v after %v, want its own deadline after 1s", err, time.Since(began))
			}
		})
		wg.Go(func() {
			time.Sleep(2 * time.Second) // after the first has left
			mustToken(t, source)
		})
		wg.Wait()
		if got := server.count(); got != 1 {
			t.Errorf("got %d requests, want 1", got)
		}
	})
}

func TestNoCallerWaitsOverTwoHundredLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(200 * time.Millisecond)
			server.lifetime("60.0")(w, r)
		})
		source := e.Source(credential())
		mustToken(t, source)
		waited := 0
		for range 200 * 60 * 4 {
			time.Sleep(250 * time.Millisecond)
			began := time.Now()
			mustToken(t, source)
			if time.Since(began) != 0 {
				waited++
			}
		}
		if waited != 0 {
			t.Errorf("got %d calls that waited, want 0", waited)
		}
		// One request every 27 to 30 s, and the fetch's own time.
		if got := server.count(); got < 390 || got > 450 {
			t.Errorf("got %d requests over 200 lifetimes, want about 420", got)
		}
	})
}

func TestATokenInUseIsRefreshedAtHalfLifeOrMaxAge(t *testing.T) {
	for _, c := range []struct {
		name, expiresIn string
		earliest        time.Duration
		latest          time.Duration
	}{
		{"half-life", "3600", 27 * time.Minute, 30 * time.Minute},
		{"max age", "43199", 108 * time.Minute, 120 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, e := newTokenServer(t)
				server.set(server.lifetime(c.expiresIn))
				source := e.Source(credential())
				first := mustToken(t, source)
				time.Sleep(c.earliest - time.Second)
				if synctest.Wait(); server.count() != 1 {
					t.Fatalf("refreshed before %v", c.earliest)
				}
				time.Sleep(c.latest - c.earliest + 2*time.Second)
				if synctest.Wait(); server.count() != 2 {
					t.Fatalf("got %d requests after %v, want 2", server.count(), c.latest)
				}
				if mustToken(t, source).ID == first.ID {
					t.Error("the old token is served after the refresh")
				}
			})
		})
	}
}

func TestAnIdleTokenIsNotRefreshedUntilItIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		e.KeepWarm = 10 * time.Minute
		source := e.Source(credential())
		first := mustToken(t, source)
		time.Sleep(45 * time.Minute)
		if synctest.Wait(); server.count() != 1 {
			t.Fatalf("got %d requests for an idle credential, want 1", server.count())
		}
		if got := mustToken(t, source); got.ID != first.ID {
			t.Error("a caller did not get the token that is still valid")
		}
		if synctest.Wait(); server.count() != 2 {
			t.Errorf("got %d requests, want a refresh in the background", server.count())
		}
		time.Sleep(24 * time.Hour)
		if synctest.Wait(); server.count() > 3 {
			t.Errorf("got %d requests, want the credential to rest", server.count())
		}
		if st := e.States(); st[0].Valid {
			t.Error("a dead token is still held")
		}
	})
}

func TestAnOutageIsInvisibleWhileTheTokenLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		source := e.Source(credential())
		mustToken(t, source)
		time.Sleep(20 * time.Minute)
		server.set(status(500, "oops"))
		for range 38 * 60 {
			time.Sleep(time.Second)
			began := time.Now()
			mustToken(t, source)
			if time.Since(began) != 0 {
				t.Fatal("a caller waited while the old token was valid")
			}
		}
		tries := server.count() - 1
		if tries < 5 || tries > 60 {
			t.Errorf("got %d tries in half an hour of outage, want a back-off of up to a minute", tries)
		}
		if st := e.States()[0]; st.LastError == nil || st.LastError.Status != 500 || !st.Valid || st.Failures != uint64(tries) {
			t.Errorf("got state %+v, want it to show the outage", st)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		before := server.count()
		for range 1000 {
			if got := mustFail(t, source); got.Status != 500 || got.Until.IsZero() {
				t.Fatalf("got %v, want the remembered 500", got)
			}
		}
		if got := server.count() - before; got > 1 {
			t.Errorf("got %d requests for 1000 calls within the back-off, want at most 1", got)
		}
		server.set(nil)
		time.Sleep(time.Minute)
		mustToken(t, source)
		if st := e.States()[0]; st.LastError != nil {
			t.Errorf("got last error %v after recovery, want none", st.LastError)
		}
	})
}

func TestBackoffDoublesAndIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(status(503, ""))
		source := e.Source(credential())
		for range 60 * 100 {
			mustFail(t, source)
			time.Sleep(100 * time.Millisecond)
		}
		// 10 minutes: 1, 2, 4, ... 60 s, half of it random: some 14 to 20.
		if got := server.count(); got < 10 || got > 25 {
			t.Errorf("got %d requests in ten minutes, want exponential back-off", got)
		}
	})
}

func TestRetryAfterIsObeyedWithinBounds(t *testing.T) {
	for _, c := range []struct {
		name  string
		value func() string
		want  time.Duration
	}{
		{"seconds", func() string { return "120" }, 2 * time.Minute},
		{"date", func() string { return time.Now().Add(5 * time.Minute).UTC().Format(http.TimeFormat) }, 5 * time.Minute},
		{"absurd", func() string { return "99999999999" }, 15 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, e := newTokenServer(t)
				server.set(status(429, "<html>429</html>", "Retry-After", c.value(), "Content-Type", "text/html"))
				source := e.Source(credential())
				if got := mustFail(t, source); got.Step != token.StepStatus || got.Status != 429 {
					t.Fatalf("got %v, want status 429", got)
				}
				time.Sleep(c.want - time.Second)
				if mustFail(t, source); server.count() != 1 {
					t.Errorf("asked again before %v", c.want)
				}
				time.Sleep(2 * time.Second)
				if mustFail(t, source); server.count() != 2 {
					t.Errorf("got %d requests after %v, want 2", server.count(), c.want)
				}
			})
		})
	}
}

func TestARefusedClientIsTriedTwiceThenHeldForAllItsScopes(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
	}{
		{401, `{"error":"invalid_client"}`}, {400, `{"error":"unauthorized_client"}`}, {401, `{"error":"unauthorized","error_description":"Bad credentials"}`},
		{400, `{"error":"invalid_client"}`}, {401, "<html>"},
	} {
		t.Run(c.body, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, e := newTokenServer(t)
				server.set(status(c.status, c.body))
				var sources []*token.Source
				for _, scope := range []string{"", "a", "b", "c", "d", "e"} {
					cred := credential()
					cred.Scope = scope
					sources = append(sources, e.Source(cred))
				}
				for range 14 * 60 {
					var wg sync.WaitGroup
					for _, s := range sources {
						wg.Go(func() {
							if got := mustFail(t, s); got.Step != token.StepRefused {
								t.Errorf("got %v, want it refused", got)
							}
						})
					}
					wg.Wait()
					time.Sleep(time.Second)
				}
				if got := server.count(); got != 2 {
					t.Errorf("got %d log-ons in 14 minutes, want 2", got)
				}
				server.set(nil)
				cred := credential()
				cred.ID, cred.Secret = "c2", token.NewSecret("the new one")
				mustToken(t, e.Source(cred)) // the credential changed
				time.Sleep(2 * time.Minute)
				mustToken(t, sources[0]) // the hold passed
			})
		})
	}
}

func TestAChangedCredentialUnderTheSameIDReplacesTheOldSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(status(401, `{"error":"invalid_client"}`))
		old := e.Source(credential())
		mustFail(t, old)
		time.Sleep(2 * time.Second)
		mustFail(t, old) // held now
		server.set(nil)
		changed := credential()
		changed.Secret = token.NewSecret("right")
		mustToken(t, e.Source(changed))
		if got := mustFail(t, old); !errors.Is(got, token.ErrDropped) {
			t.Errorf("old source: got %v, want ErrDropped", got)
		}
		if first, second := e.Source(changed), e.Source(changed); first != second {
			t.Error("the same credential has two sources")
		}
	})
}

func TestScopesAndIDsNeverShareAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, e := newTokenServer(t)
		seen := map[uint64]bool{}
		for _, pair := range [][2]string{{"a", "b c"}, {"a b", "c"}, {"a|b", ""}, {"a", "b|c"}, {"a|b", "c"}} {
			c := credential()
			c.ID, c.Scope = pair[0], pair[1]
			tok := mustToken(t, e.Source(c))
			if seen[tok.ID] {
				t.Errorf("%q got the token of another key", pair)
			}
			seen[tok.ID] = true
		}
	})
}

func TestDropCancelsAndRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		source := e.Source(credential())
		began := time.Now()
		result := make(chan error)
		go func() {
			_, err := source.Token(context.Background())
			result <- err
		}()
		time.Sleep(time.Second)
		e.Drop("c1")
		if err := <-result; !errors.Is(err, token.ErrDropped) || time.Since(began) != time.Second {
			t.Errorf("waiter: got %v after %v, want ErrDropped at once", err, time.Since(began))
		}
		synctest.Wait()
		server.set(nil)
		if got := mustFail(t, source); !errors.Is(got, token.ErrDropped) {
			t.Errorf("later call: got %v, want ErrDropped", got)
		}
		if source.Reject(token.Token{ID: 1}) {
			t.Error("a dropped source wants a retry")
		}
		if len(e.States()) != 0 {
			t.Error("a dropped source is listed")
		}
		mustToken(t, e.Source(credential()))
		e.Close()
		if got := mustFail(t, e.Source(credential())); !errors.Is(got, token.ErrDropped) {
			t.Errorf("after Close: got %v, want ErrDropped", got)
		}
	})
}

func TestDropWithATokenAtHandRefusesTheNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, e := newTokenServer(t)
		source := e.Source(credential())
		mustToken(t, source)
		e.Drop("c1")
		if got := mustFail(t, source); !errors.Is(got, token.ErrDropped) {
			t.Errorf("got %v, want ErrDropped", got)
		}
	})
}

func TestATimedOutFetchFailsAndTheNextSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		source := e.Source(credential())
		began := time.Now()
		got := mustFail(t, source)
		if time.Since(began) != 10*time.Second || got.Step != token.StepRequest || !errors.Is(got, context.DeadlineExceeded) {
			t.Errorf("got %v after %v, want no answer after 10s", got, time.Since(began))
		}
		server.set(nil)
		time.Sleep(2 * time.Second)
		mustToken(t, source)
	})
}

func TestObserveSeesEveryFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		var mu sync.Mutex
		var fetches []token.Fetch
		e.Observe = func(f token.Fetch) {
			mu.Lock()
			defer mu.Unlock()
			fetches = append(fetches, f)
		}
		server.set(status(500, ""))
		source := e.Source(credential())
		mustFail(t, source)
		server.set(server.lifetime("0"))
		time.Sleep(2 * time.Second)
		mustToken(t, source)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(fetches) != 3 || fetches[0].Err == nil || fetches[1].Err != nil || fetches[1].Lifetime != 5*time.Minute ||
			fetches[1].LifetimeTold || fetches[1].Background || !fetches[2].Background {
			t.Errorf("got %+v, want a failure, a fetch with the default lifetime and a refresh", fetches)
		}
	})
}
