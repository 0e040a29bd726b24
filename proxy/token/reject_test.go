package token_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

func TestRejectEvictsOnceAndCausesNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		source := e.Source(credential())
		first := mustToken(t, source)
		for i := range 100 { // a hundred requests were under way with it
			if !source.Reject(first) {
				t.Fatalf("rejection %d: got no retry, want one", i)
			}
		}
		second := mustToken(t, source)
		if second.ID == first.ID || server.count() != 2 {
			t.Fatalf("got token %d after %d requests, want a new one after 2", second.ID, server.count())
		}
		if !source.Reject(first) || mustToken(t, source).ID != second.ID {
			t.Error("a stale rejection must ask for a retry and leave the new token alone")
		}
		for range 1000 { // the flow says 401 of its own
			if source.Reject(mustToken(t, source)) {
				t.Fatal("a fresh token was evicted within the cool-down")
			}
		}
		if got := server.count(); got != 2 {
			t.Errorf("got %d requests, want 2", got)
		}
		time.Sleep(31 * time.Second)
		if !source.Reject(second) {
			t.Error("after the cool-down: got no retry, want one")
		}
		if mustToken(t, source); server.count() != 3 {
			t.Errorf("got %d requests, want 3", server.count())
		}
	})
}

func TestAFlowsOwn401DuringAnOutageStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		source := e.Source(credential())
		first := mustToken(t, source)
		server.set(status(500, ""))
		if !source.Reject(first) {
			t.Fatal("got no retry, want one")
		}
		if got := mustToken(t, source); got.ID != first.ID {
			t.Fatalf("got token %d, want the rejected one back", got.ID)
		}
		for range 100 {
			if source.Reject(mustToken(t, source)) {
				t.Fatal("got a retry with the same token")
			}
		}
		if got := server.count(); got != 2 {
			t.Errorf("got %d requests, want 2", got)
		}
		server.set(nil)
		time.Sleep(2 * time.Second)
		mustToken(t, source)
		synctest.Wait()
		if mustToken(t, source).ID == first.ID {
			t.Error("the rejected token was not replaced after the outage")
		}
	})
}

func TestRejectOfNothingIsNoRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, e := newTokenServer(t)
		if e.Source(credential()).Reject(token.Token{}) {
			t.Error("got a retry for the zero token")
		}
	})
}
