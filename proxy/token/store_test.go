package token_test

import (
	"bytes"
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// disk is what outlives an engine: a database and a key.
type disk struct {
	url    string
	sealer token.Sealer // identity's fits
}

func newDisk(t testing.TB, url string) *disk {
	t.Helper()
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	return &disk{url, sealer}
}

// node is one life of a process: an engine, its store, and its connection to the database.
type node struct {
	*token.Engine
	db *database.DB
}

// start begins a life. What the engine needs beyond the server is set by change.
func (d *disk) start(t testing.TB, s *tokenServer, change ...func(*token.Engine)) *node {
	t.Helper()
	db, err := database.Open(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	if err := database.Migrate(t.Context(), db, "token", token.Migrations()); err != nil {
		t.Fatal(err)
	}
	n := &node{&token.Engine{Dial: s.dial, Store: &token.Store{DB: db.DB, Sealer: d.sealer}}, db}
	for _, f := range change {
		f(n.Engine)
	}
	if _, err := n.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// stop ends a life in good order.
func (n *node) stop(t testing.TB) {
	t.Helper()
	n.Close()
	if err := n.db.Close(); err != nil {
		t.Error(err)
	}
}

// kill ends a life with whatever is on disk. The database goes first, so that nothing more is written.
func (n *node) kill(testing.TB) {
	n.db.Close()
	n.Close()
}

// stored waits until all is on disk.
func (n *node) stored(t testing.TB) {
	t.Helper()
	for range 1000 {
		if time.Sleep(200 * time.Millisecond); n.Store.State().Pending == 0 {
			return
		}
	}
	t.Fatal("changes are not written")
}

// onDisk runs tests by name, each in a bubble of its own, with databases of each kind.
func onDisk(t *testing.T, tests map[string]func(t *testing.T, d *disk, server *tokenServer)) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				d := newDisk(t, create(t))
				synctest.Test(t, func(t *testing.T) {
					server, _ := newTokenServer(t)
					test(t, d, server)
				})
			})
		}
	})
}

func TestWhatIsStored(t *testing.T) {
	onDisk(t, map[string]func(*testing.T, *disk, *tokenServer){
		"a token outlives a process that is stopped":     func(t *testing.T, d *disk, s *tokenServer) { outlives(t, d, s, (*node).stop) },
		"a token outlives a process that is killed":      func(t *testing.T, d *disk, s *tokenServer) { outlives(t, d, s, (*node).kill) },
		"a database that fails breaks nothing":           databaseFails,
		"a refused client is held over a crash loop":     crashLoop,
		"a hold that has ended is forgotten when it can": holdEnds,
	})
}

func outlives(t *testing.T, d *disk, server *tokenServer, end func(*node, testing.TB)) {
	first := d.start(t, server)
	before := mustToken(t, first.Source(credential()))
	first.stored(t)
	end(first, t)
	time.Sleep(10 * time.Minute)
	server.set(status(500, "down"))
	second := d.start(t, server)
	defer second.stop(t)
	began := time.Now()
	after := mustToken(t, second.Source(credential()))
	if after.Header() != before.Header() || time.Since(began) != 0 || server.count() != 1 {
		t.Errorf("got another token, after %v and %d requests; want the old one at once", time.Since(began), server.count())
	}
	if st := second.States()[0]; st.Expires.Sub(st.Obtained) != time.Hour || time.Since(st.Obtained).Round(time.Second) != 10*time.Minute {
		t.Errorf("got obtained %v, expires %v; want it ten minutes old and good for an hour", st.Obtained, st.Expires)
	}
	time.Sleep(49 * time.Minute)
	if _, ok := second.Source(credential()).Held(); !ok {
		t.Error("the token is gone before its end")
	}
	time.Sleep(2 * time.Minute)
	mustFail(t, second.Source(credential()))
}

func TestNoTokenAndNoSecretIsOnDiskInTheClear(t *testing.T) {
	url := databasetest.SQLite(t)
	d := newDisk(t, url)
	synctest.Test(t, func(t *testing.T) {
		server, _ := newTokenServer(t)
		n := d.start(t, server)
		tok := mustToken(t, n.Source(credential()))
		refused := credential()
		refused.ID = "refused"
		server.set(status(401, `{"error":"invalid_client"}`))
		mustFail(t, n.Source(refused))
		n.stop(t)
		var all []byte
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(url + suffix)
			if err != nil && suffix == "" {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		if !bytes.Contains(all, []byte("refused")) {
			t.Fatal("the credential's id is not in the file: nothing was stored")
		}
		for _, hidden := range []string{tok.Value.Reveal(), secret, "invalid_client"} {
			if bytes.Contains(all, []byte(hidden)) {
				t.Errorf("%q is in the database file", hidden)
			}
		}
	})
}

func databaseFails(t *testing.T, d *disk, server *tokenServer) {
	n := d.start(t, server)
	mustToken(t, n.Source(numbered(0)))
	n.stored(t)
	if _, err := n.db.Exec(`ALTER TABLE tokens RENAME TO lost`); err != nil {
		t.Fatal(err)
	}
	for range 60 * 60 * 2 {
		time.Sleep(time.Second)
		began := time.Now()
		if mustToken(t, n.Source(numbered(0))); time.Since(began) != 0 {
			t.Fatal("a caller waited")
		}
	}
	mustToken(t, n.Source(numbered(1)))
	time.Sleep(10 * time.Second)
	st := n.Store.State()
	if !st.Failing || st.Pending != 2 || st.Failures < 3 || st.Failures > 300 {
		t.Errorf("got state %+v, want it failing, with the two newest tokens pending", st)
	}
	if _, err := n.db.Exec(`ALTER TABLE lost RENAME TO tokens`); err != nil {
		t.Fatal(err)
	}
	n.stored(t)
	if st := n.Store.State(); st.Failing {
		t.Errorf("got state %+v, want it well", st)
	}
	n.stop(t)
	requests := server.count()
	again := d.start(t, server)
	defer again.stop(t)
	if mustToken(t, again.Source(numbered(0))); server.count() != requests {
		t.Error("the token that was pending is not on disk")
	}
}

func TestADatabaseThatIsLockedDelaysNobody(t *testing.T) {
	d := newDisk(t, databasetest.SQLite(t))
	server, e := newTokenServer(t)
	e.Close()
	n := d.start(t, server)
	defer n.stop(t)
	tx, err := n.db.BeginTx(t.Context(), nil) // keeps every writer out
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for i := range 20 {
		if _, err := n.Source(numbered(i)).Token(ctx); err != nil {
			t.Errorf("a caller waited for the database: %v", err)
		}
	}
	if st := n.Store.State(); st.Written != 0 {
		t.Errorf("got %d changes written behind a lock", st.Written)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
}
