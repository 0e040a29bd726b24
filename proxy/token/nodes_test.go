package token_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// onSharedDisk runs a test in a bubble with a database that several nodes use.
func onSharedDisk(t *testing.T, test func(t *testing.T, d *disk, server *tokenServer)) {
	d := newDisk(t, databasetest.StartPostgreSQL(t).Database(t))
	synctest.Test(t, func(t *testing.T) {
		server, _ := newTokenServer(t)
		test(t, d, server)
	})
}

func shared(e *token.Engine) { e.Store.Shared = true }

func TestNodesShareATokenForEachLifetime(t *testing.T) {
	onSharedDisk(t, func(t *testing.T, d *disk, server *tokenServer) {
		server.set(server.slow(200 * time.Millisecond))
		var nodes []*node
		for range 3 {
			nodes = append(nodes, d.start(t, server, shared))
		}
		for _, n := range nodes { // the second and the third find the first one's
			mustToken(t, n.Source(credential()))
			n.stored(t)
		}
		if got := server.count(); got != 1 {
			t.Errorf("got %d requests of three nodes that began one after the other, want 1", got)
		}
		const hours = 10
		for range hours * 60 {
			time.Sleep(time.Minute)
			for _, n := range nodes {
				began := time.Now()
				if mustToken(t, n.Source(credential())); time.Since(began) != 0 {
					t.Error("a caller waited")
				}
			}
		}
		// One every 27 to 30 minutes, of all three together.
		if got := server.count(); got < 2*hours || got > 2*hours+5 {
			t.Errorf("got %d requests of three nodes in %d hours, want about 21", got, hours)
		}
		taken := uint64(0)
		for _, n := range nodes {
			taken += n.Store.State().TakenOver
		}
		t.Logf("three nodes, %d hours, tokens for an hour: %d requests, %d tokens taken over", hours, server.count(), taken)

		// A token that the tenant refuses is fetched once; the others take the new one over.
		requests := server.count()
		for _, n := range nodes {
			s := n.Source(credential())
			tok, _ := s.Held()
			if !s.Reject(tok) {
				t.Error("got no retry")
			}
			if mustToken(t, s).Header() == tok.Header() {
				t.Error("got the token back that was refused")
			}
			n.stored(t)
		}
		if got := server.count() - requests; got != 1 {
			t.Errorf("got %d requests after all three were refused one token, want 1", got)
		}
		for _, n := range nodes {
			n.stop(t)
		}
	})
}

func TestNodesThatStartTogetherWarmUpEachCredentialOnce(t *testing.T) {
	const many = 400
	onSharedDisk(t, func(t *testing.T, d *disk, server *tokenServer) {
		server.set(server.slow(50 * time.Millisecond))
		first := d.start(t, server, shared, func(e *token.Engine) { e.Rate = 1e6 })
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() { mustToken(t, first.Source(numbered(i))) })
		}
		wg.Wait()
		first.stop(t)
		time.Sleep(61 * time.Minute)
		requests := server.count()
		nodes := []*node{d.start(t, server, shared), d.start(t, server, shared)}
		began := time.Now()
		for _, n := range nodes {
			wg.Go(func() {
				n.WarmUp(t.Context(), func(id, scope, _ string) *token.Source {
					c := credential()
					c.ID, c.Scope = id, scope
					return n.Source(c)
				})
			})
		}
		wg.Wait()
		if got := server.count() - requests; got < many || got > many+many/4 {
			t.Errorf("got %d requests of two nodes for %d credentials, want few twice", got, many)
		}
		t.Logf("two nodes warm %d credentials with %d requests in %v", many, server.count()-requests, time.Since(began))
		for _, n := range nodes {
			for i := range many {
				if _, ok := n.Source(numbered(i)).Held(); !ok {
					t.Fatalf("credential %d is not warm", i)
				}
			}
			n.stop(t)
		}
	})
}

func TestARefusalIsKnownToAllNodes(t *testing.T) {
	onSharedDisk(t, func(t *testing.T, d *disk, server *tokenServer) {
		server.set(status(401, `{"error":"invalid_client"}`))
		first, second := d.start(t, server, shared), d.start(t, server, shared)
		mustFail(t, first.Source(credential()))
		time.Sleep(2 * time.Second)
		mustFail(t, first.Source(credential()))
		first.stored(t)
		for range 5 {
			mustFail(t, second.Source(credential()))
			time.Sleep(3 * time.Second)
		}
		if got := server.count(); got != 2 {
			t.Errorf("got %d log-ons of two nodes, want 2", got)
		}
		first.stop(t)
		second.stop(t)
	})
}

func TestADatabaseThatWorksAgainIsNoticed(t *testing.T) {
	d := newDisk(t, databasetest.SQLite(t))
	synctest.Test(t, func(t *testing.T) {
		server, _ := newTokenServer(t)
		n := d.start(t, server, shared)
		defer n.stop(t)
		mustToken(t, n.Source(credential()))
		n.stored(t)
		execute := func(statement string) {
			t.Helper()
			if _, err := n.db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		execute(`ALTER TABLE tokens RENAME TO lost`)
		server.set(status(500, "")) // nothing comes that could be stored
		time.Sleep(31 * time.Minute)
		if st := n.Store.State(); !st.Failing || st.Pending != 0 {
			t.Errorf("got state %+v, want a look to have failed", st)
		}
		execute(`ALTER TABLE lost RENAME TO tokens`)
		time.Sleep(2 * time.Minute)
		if st := n.Store.State(); st.Failing {
			t.Errorf("got state %+v, want it to work", st)
		}
	})
}
