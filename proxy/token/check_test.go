package token_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

func TestATryTellsWhatTheAnswerWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(status(200, `{"access_token":"t-1","token_type":"bearer","expires_in":90,"scope":"app!b1.orders.send"}`, "Date", "Sat, 01 Jan 2000 00:00:00 GMT"))
		got := e.Try(t.Context(), credential())
		if got.Err != nil || got.Held || got.Token.Header() != "Bearer t-1" || got.Lifetime != 90*time.Second || !got.LifetimeTold ||
			got.Scope != "app!b1.orders.send" ||
			!got.ScopeTold || got.Status != 200 || !got.Date.Equal(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) || got.Answered.IsZero() {
			t.Errorf("got %+v", got)
		}
		if tok := mustToken(t, e.Source(credential())); server.count() != 2 || tok.ID == got.Token.ID {
			t.Error("the token of a try was handed to a caller")
		}
	})
}

// Two refusals are all that a client can afford, whoever asks: five lock it (TENANTS.md 2.3).
func TestTriesAndCallersOfARefusedClientCountTogether(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T, e *token.Engine, n int){
		"tries": func(t *testing.T, e *token.Engine, _ int) { e.Try(t.Context(), credential()) },
		"a try, and callers": func(t *testing.T, e *token.Engine, n int) {
			if n == 0 {
				e.Try(t.Context(), credential())
				return
			}
			mustFail(t, e.Source(credential()))
		},
		"a caller, and tries": func(t *testing.T, e *token.Engine, n int) {
			if n == 0 {
				mustFail(t, e.Source(credential()))
				return
			}
			e.Try(t.Context(), credential())
		},
		"tries with other scopes": func(t *testing.T, e *token.Engine, n int) {
			c := credential()
			c.Scope = strings.Repeat("x", n+1)
			e.Try(t.Context(), c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, e := newTokenServer(t)
				server.set(status(401, `{"error":"invalid_client"}`))
				for n := range 8 { // a minute apart, so that no back-off is left
					ask(t, e, n)
					time.Sleep(time.Minute)
				}
				if got := server.count(); got != 2 {
					t.Errorf("%d requests in 8 minutes, want 2", got)
				}
				if got := e.Try(t.Context(), credential()); !got.Held || got.Err.Step != token.StepRefused || got.Err.Until.IsZero() {
					t.Errorf("got %+v, want it held until a time", got)
				}
				time.Sleep(15 * time.Minute)
				server.set(nil)
				if got := e.Try(t.Context(), credential()); got.Held || got.Err != nil {
					t.Errorf("after the hold: got %+v", got)
				}
				mustToken(t, e.Source(credential()))
			})
		})
	}
}

func TestAnAcceptedTryForgivesTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		for range 3 {
			server.set(status(401, `{"error":"invalid_client"}`))
			mustFail(t, e.Source(credential()))
			time.Sleep(time.Minute)
			server.set(nil)
			if got := e.Try(t.Context(), credential()); got.Held || got.Err != nil {
				t.Fatalf("got %+v: one refusal after an accepted request holds nobody", got)
			}
		}
	})
}

func TestATryLeavesAServerAloneThatAsksForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		server.set(status(429, "<html>", "Retry-After", "30"))
		if got := e.Try(t.Context(), credential()); got.Held || got.Err.Status != 429 || got.Status != 429 {
			t.Errorf("got %+v", got)
		}
		time.Sleep(20 * time.Second)
		if got := e.Try(t.Context(), credential()); !got.Held || server.count() != 1 {
			t.Errorf("within Retry-After: got %+v after %d requests", got, server.count())
		}
		if mustFail(t, e.Source(credential())); server.count() != 1 {
			t.Error("a caller asked a server that a try was told to leave alone")
		}
		time.Sleep(11 * time.Second)
		server.set(nil)
		if got := e.Try(t.Context(), credential()); got.Err != nil {
			t.Errorf("afterwards: got %+v", got)
		}
	})
}

func TestATryDisturbsNoCallerWithAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		source := e.Source(credential())
		before := mustToken(t, source)
		server.set(status(500, "{}"))
		e.Try(t.Context(), credential())
		if after := mustToken(t, source); after.ID != before.ID {
			t.Error("a failed try took a token away")
		}
		if st := source.State(); !st.Valid || st.Failures != 1 || st.Fetches != 2 {
			t.Errorf("got %+v, want the try to be counted", st)
		}
	})
}

func TestATryEndsWithItsCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, e := newTokenServer(t)
		release := make(chan struct{})
		server.set(func(http.ResponseWriter, *http.Request) { <-release })
		time.AfterFunc(time.Second, func() { e.Drop("c1") })
		began := time.Now()
		if got := e.Try(t.Context(), credential()); got.Err == nil || time.Since(began) != time.Second {
			t.Errorf("got %+v after %v, want it to end with the credential", got, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := e.Try(ctx, credential()); got.Err == nil {
			t.Error("got a token from a server that hangs")
		}
		close(release)
	})
}
