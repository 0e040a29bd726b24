package token_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// numbered is one of many credentials of one token server.
func numbered(n int) token.Credential {
	c := credential()
	c.ID = fmt.Sprintf("c%d", n)
	return c
}

// peak is the most requests that the server saw within any second.
func (s *tokenServer) peak() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := 0
	for i, at := range s.requests {
		for at.Sub(s.requests[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// slow answers after a while, with a token that lives for an hour.
func (s *tokenServer) slow(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			s.lifetime("3600")(w, r)
		case <-r.Context().Done():
		}
	}
}

func TestATokenServerIsAskedAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		e.Rate = 20
		server.set(server.slow(100 * time.Millisecond))
		began := time.Now()
		var wg sync.WaitGroup
		for n := range 200 {
			wg.Go(func() { mustToken(t, e.Source(numbered(n))) })
		}
		wg.Wait()
		// A tenth of a second's worth may come ahead, and the last one takes its own time.
		if took := time.Since(began); took < 9700*time.Millisecond || took > 10100*time.Millisecond {
			t.Errorf("200 credentials at 20 a second took %v, want 10s", took)
		}
		if got := server.peak(); got > 23 {
			t.Errorf("the server saw %d requests within a second, want 22 or 23", got)
		}
	})
}

// manyDue are credentials whose refreshes are all due at once, and in line.
func manyDue(t *testing.T, server *tokenServer, e *token.Engine, many int) {
	t.Helper()
	e.KeepWarm = time.Minute
	var wg sync.WaitGroup
	for n := range many {
		wg.Go(func() { mustToken(t, e.Source(numbered(n))) })
	}
	wg.Wait()
	time.Sleep(40 * time.Minute) // nobody asked for them
	server.set(server.slow(50 * time.Millisecond))
	for n := range many {
		if _, ok := e.Source(numbered(n)).Held(); !ok {
			t.Fatalf("credential %d has no token", n)
		}
	}
	synctest.Wait()
	if st := e.Servers(); len(st) != 1 || st[0].Waiting < many/2 {
		t.Fatalf("got states %+v, want refreshes in line", st)
	}
}

func TestACallerGoesBeforeRefreshesInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		e.Rate = 20
		manyDue(t, server, e, 400)
		time.Sleep(time.Second)
		began := time.Now()
		mustToken(t, e.Source(numbered(1000)))
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("a caller waited for %v behind refreshes, want its own fetch only", took)
		}
	})
}

func TestACallerHurriesARefreshThatIsInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		e.Rate = 20
		manyDue(t, server, e, 400)
		last := e.Source(numbered(200))
		tok, _ := last.Held()
		if !last.Reject(tok) { // the tenant refuses one whose refresh waits behind many others
			t.Fatal("got no retry, want one")
		}
		began := time.Now()
		if got := mustToken(t, last); got.ID == tok.ID || time.Since(began) > 100*time.Millisecond {
			t.Errorf("a caller waited for %v, want its refresh to be next", time.Since(began))
		}
	})
}

func TestCredentialsTakeTurnsWhateverTheirScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		e.Rate = 10
		server.set(server.slow(10 * time.Millisecond))
		greedy := numbered(1)
		var wg sync.WaitGroup
		for n := range 100 {
			c := greedy
			c.Scope = fmt.Sprint("s", n)
			wg.Go(func() { mustToken(t, e.Source(c)) })
		}
		synctest.Wait()
		began := time.Now()
		mustToken(t, e.Source(numbered(2)))
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("a caller waited for %v behind a hundred scopes of another credential", took)
		}
		wg.Wait()
	})
}

func TestAHangingServerHoldsABoundedNumberOfRequestsAndNoOtherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		e.InFlight = 8
		server.set(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "localhost" {
				<-r.Context().Done()
				return
			}
			server.lifetime("3600")(w, r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() {
				_, err := e.Source(numbered(n)).Token(ctx)
				var told *token.Error
				if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &told) || told.Step != token.StepWait {
					t.Errorf("got %v, want the caller's own deadline", err)
				}
			})
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if st := e.Servers()[0]; st.InFlight != 8 || st.Waiting != 92 {
			t.Errorf("got %d requests in flight and %d in line, want 8 and 92", st.InFlight, st.Waiting)
		}
		other := numbered(1000)
		other.TokenURL = "http://127.0.0.1/oauth/token"
		began := time.Now()
		if mustToken(t, e.Source(other)); time.Since(began) != 0 {
			t.Errorf("another server's token took %v", time.Since(began))
		}
		wg.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("callers waited until %v later, want their deadline", took)
		}
	})
}

func TestCallersGoBeforeThoseWhoHaveGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		e.InFlight, e.Rate = 4, 20
		server.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for n := range 500 {
			wg.Go(func() { _, _ = e.Source(numbered(n)).Token(ctx) })
		}
		wg.Wait() // all have given up; their requests are in line
		server.set(server.slow(20 * time.Millisecond))
		time.Sleep(10 * time.Second) // those on their way have timed out
		began := time.Now()
		mustToken(t, e.Source(numbered(1000)))
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("a caller waited for %v behind requests that nobody waits for any more", took)
		}
	})
}

func TestAnOutageIsSeenByServerAtOnceAndEndsWithoutAStampede(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		const many = 500
		use := func() (without int) {
			for n := range many {
				if _, ok := e.Source(numbered(n)).Held(); !ok {
					without++
				}
			}
			return without
		}
		for n := range many {
			mustToken(t, e.Source(numbered(n)))
		}
		server.set(status(500, "oops"))
		for range 40 * 60 {
			time.Sleep(time.Second)
			if without := use(); without != 0 {
				t.Fatalf("%d credentials have no token while the old ones live", without)
			}
		}
		st := e.Servers()[0]
		if !st.Failing || st.Err.Status != 500 || st.Credentials != many || st.Affected != many || st.Without != 0 || time.Since(st.Since) < 9*time.Minute {
			t.Errorf("got state %+v, want all %d credentials affected and none without a token, for some ten minutes", st, many)
		}
		server.set(nil)
		server.mu.Lock()
		server.requests = nil
		server.mu.Unlock()
		for range 90 {
			time.Sleep(time.Second)
			use()
		}
		if got := server.peak(); got > 60 {
			t.Errorf("the server saw %d requests within a second after its outage", got)
		}
		if st := e.Servers()[0]; st.Failing || st.Affected != 0 {
			t.Errorf("got state %+v after the outage, want it well", st)
		}
	})
}
