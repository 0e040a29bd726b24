package token_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Over 200 lifetimes at full load nobody waits, and no token is handed out that has ended by the server's own account, which counts from the request's
// arrival.
func TestNobodyWaitsAndNoDeadTokenIsSentOverTwoHundredLifetimes(t *testing.T) {
	for _, c := range []struct {
		expiresIn string
		lifetime  time.Duration
		fetch     time.Duration // how long the server takes
	}{
		{"0.5", 500 * time.Millisecond, 50 * time.Millisecond},
		{"1", time.Second, 200 * time.Millisecond},
		{"2", 2 * time.Second, 500 * time.Millisecond},
		{`"5"`, 5 * time.Second, time.Second},
		{"20", 20 * time.Second, 2 * time.Second},
		{"59", 59 * time.Second, 5 * time.Second},
		{"3600.0", time.Hour, 9 * time.Second},
	} {
		t.Run(c.expiresIn, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const lifetimes, callers, calls = 200, 20, 50 // calls of each caller in a lifetime
				server, e := newTokenServer(t)
				var ends sync.Map // when each token ends
				var issued atomic.Int64
				server.set(func(w http.ResponseWriter, r *http.Request) {
					value := fmt.Sprint("t", issued.Add(1))
					ends.Store("Bearer "+value, time.Now().Add(c.lifetime))
					select {
					case <-time.After(c.fetch):
						w.Header().Set("Content-Type", "application/json")
						fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":%s}`, value, c.expiresIn)
					case <-r.Context().Done():
					}
				})
				source := e.Source(credential())
				mustToken(t, source)
				var waited, dead, total atomic.Int64
				var wg sync.WaitGroup
				for n := range callers {
					wg.Go(func() {
						time.Sleep(c.lifetime * time.Duration(n) / (callers * calls))
						for range lifetimes * calls {
							began := time.Now()
							tok := mustToken(t, source)
							if time.Since(began) != 0 {
								waited.Add(1)
							}
							if end, ok := ends.Load(tok.Header()); !ok || !time.Now().Before(end.(time.Time)) {
								dead.Add(1)
							}
							total.Add(1)
							time.Sleep(c.lifetime / calls)
						}
					})
				}
				wg.Wait()
				if waited.Load() != 0 || dead.Load() != 0 {
					t.Errorf("of %d requests %d waited and %d would have got a 401, want none", total.Load(), waited.Load(), dead.Load())
				}
				if got := server.count(); got > 3*lifetimes {
					t.Errorf("got %d token requests, want about two a lifetime", got)
				}
				t.Logf("%d requests over %d lifetimes of %v: %d waited, %d with a dead token; %d token requests",
					total.Load(), lifetimes, c.lifetime, waited.Load(), dead.Load(), server.count())
			})
		})
	}
}
