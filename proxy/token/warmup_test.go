package token_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/token"
)

func TestFiveThousandCredentialsWarmUpUnderTheServersLimit(t *testing.T) {
	const many, limit = 5000, 60
	d := newDisk(t, databasetest.SQLite(t))
	synctest.Test(t, func(t *testing.T) {
		server, _ := newTokenServer(t)
		first := d.start(t, server, func(e *token.Engine) { e.Rate = 1e6 })
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() { mustToken(t, first.Source(numbered(i))) })
		}
		wg.Wait()
		first.stored(t)
		first.kill(t)
		time.Sleep(61 * time.Minute) // all have ended
		server.mu.Lock()
		server.requests = nil
		server.mu.Unlock()
		var over int
		server.set(limited(server, limit, &over))

		second := d.start(t, server)
		defer second.stop(t)
		began := time.Now()
		done := make(chan token.WarmUpState)
		go func() {
			done <- second.WarmUp(t.Context(), func(id, scope, _ string) *token.Source {
				c := credential()
				c.ID, c.Scope = id, scope
				return second.Source(c)
			})
		}()
		time.Sleep(20 * time.Second)
		if st := second.WarmUpState(); st.Total != many || st.Pending < 3900 || st.Pending > 4100 {
			t.Errorf("got progress %+v after 20s, want a fifth done", st)
		}
		// A caller whose credential is not warm yet, and one that is new.
		var longest time.Duration
		for i := range 20 {
			for _, c := range []token.Credential{numbered(many - 1 - i), numbered(2*many + i)} {
				asked := time.Now()
				mustToken(t, second.Source(c))
				longest = max(longest, time.Since(asked))
			}
		}
		if longest > 200*time.Millisecond {
			t.Errorf("a caller waited for %v behind the warm-up", longest)
		}
		st := <-done
		took := time.Since(began)
		if st.Failed != 0 || st.Pending != 0 || over != 0 || server.peak() > limit || took > 110*time.Second {
			t.Errorf("got %+v, %d answers of 429, a peak of %d requests a second, after %v; want none failed, a peak below %d, some 100s",
				st, over, server.peak(), took, limit)
		}
		t.Logf("%d credentials warm after %v; the server saw %d requests, at most %d a second; callers meanwhile waited for %v at most",
			many, took, server.count(), server.peak(), longest)
	})
}

func TestWarmUpFetchesNothingThatIsFreshOrWasNotUsedLately(t *testing.T) {
	d := newDisk(t, databasetest.SQLite(t))
	synctest.Test(t, func(t *testing.T) {
		server, _ := newTokenServer(t)
		first := d.start(t, server, func(e *token.Engine) { e.KeepWarm = time.Minute })
		mustToken(t, first.Source(numbered(1))) // not used again
		time.Sleep(3 * time.Hour)
		mustToken(t, first.Source(numbered(2))) // past its half-life at the restart
		time.Sleep(35 * time.Minute)
		mustToken(t, first.Source(numbered(3))) // fresh
		mustToken(t, first.Source(numbered(4))) // its identity is gone
		refused := first.Source(numbered(5))
		refused.Reject(mustToken(t, refused)) // in use, and without a token
		first.stop(t)
		second := d.start(t, server)
		defer second.stop(t)
		second.Retain(func(id string) bool { return id != "c4" })
		before := server.count()
		var asked []string
		var mu sync.Mutex
		st := second.WarmUp(t.Context(), func(id, scope, _ string) *token.Source {
			mu.Lock()
			asked = append(asked, id)
			mu.Unlock()
			c := credential()
			c.ID, c.Scope = id, scope
			return second.Source(c)
		})
		slices.Sort(asked)
		if fmt.Sprint(asked) != "[c2 c3 c5]" || server.count()-before != 2 || st != (token.WarmUpState{Total: 3}) {
			t.Errorf("got sources %v, %d requests, %+v; want c2, c3 and c5, requests for c2 and c5", asked, server.count()-before, st)
		}
	})
}
