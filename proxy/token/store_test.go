package token_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
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
func (n *node) kill() {
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

// onDisk runs a test in a bubble, with a database of each kind.
func onDisk(t *testing.T, test func(t *testing.T, d *disk, server *tokenServer)) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		d := newDisk(t, create(t))
		synctest.Test(t, func(t *testing.T) {
			server, _ := newTokenServer(t)
			test(t, d, server)
		})
	})
}

func TestATokenOutlivesTheProcess(t *testing.T) {
	for _, how := range []string{"stopped", "killed"} {
		t.Run(how, func(t *testing.T) {
			onDisk(t, func(t *testing.T, d *disk, server *tokenServer) {
				first := d.start(t, server)
				before := mustToken(t, first.Source(credential()))
				first.stored(t)
				if how == "killed" {
					first.kill()
				} else {
					first.stop(t)
				}
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
			})
		})
	}
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

func TestAStoredTokenIsOfNoUseTo(t *testing.T) {
	change := func(f func(*token.Credential)) func(*testing.T, *node) token.Credential {
		return func(*testing.T, *node) token.Credential {
			c := credential()
			f(&c)
			return c
		}
	}
	execute := func(statement string) func(*testing.T, *node) token.Credential {
		return func(t *testing.T, n *node) token.Credential {
			if _, err := n.db.Exec(statement); err != nil {
				t.Fatal(err)
			}
			return credential()
		}
	}
	for _, c := range []struct {
		name    string
		between func(t *testing.T, n *node) token.Credential // in the first life; what is asked for in the second
	}{
		{"another secret", change(func(c *token.Credential) { c.Secret = token.NewSecret("other") })},
		{"another client", change(func(c *token.Credential) { c.ClientID = "other" })},
		{"another token server", change(func(c *token.Credential) { c.TokenURL = "http://127.0.0.1/oauth/token" })},
		{"another style", change(func(c *token.Credential) { c.Style = token.Basic })},
		{"another way there", change(func(c *token.Credential) { c.Via = "proxy" })},
		{"another scope", change(func(c *token.Credential) { c.Scope = "b" })},
		{"another id", change(func(c *token.Credential) { c.ID = "c2" })},
		{"a row that was moved to another credential", func(t *testing.T, n *node) token.Credential {
			execute(`UPDATE tokens SET credential = 'c2'`)(t, n)
			c := credential()
			c.ID = "c2"
			return c
		}},
		{"a row that was moved to another scope", func(t *testing.T, n *node) token.Credential {
			execute(`UPDATE tokens SET scope = 'b'`)(t, n)
			c := credential()
			c.Scope = "b"
			return c
		}},
		{"a row that was spoiled", execute(`UPDATE tokens SET sealed = CAST('nonsense' AS BLOB)`)},
		{"the tenant's refusal", func(t *testing.T, n *node) token.Credential {
			s := n.Source(credential())
			tok, _ := s.Held()
			if !s.Reject(tok) {
				t.Fatal("got no retry")
			}
			n.stored(t)
			return credential()
		}},
		{"a dropped credential", func(t *testing.T, n *node) token.Credential {
			n.Drop("c1")
			n.stored(t)
			return credential()
		}},
		{"a credential that is not retained", func(t *testing.T, n *node) token.Credential {
			n.Retain(func(string) bool { return false })
			n.stored(t)
			return credential()
		}},
		{"a credential that changed and changed back", func(t *testing.T, n *node) token.Credential {
			other := credential()
			other.Secret = token.NewSecret("other")
			n.Source(other)
			n.stored(t)
			return credential()
		}},
		{"an end that has come", func(*testing.T, *node) token.Credential {
			time.Sleep(time.Hour)
			return credential()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, databasetest.SQLite(t))
			synctest.Test(t, func(t *testing.T) {
				server, _ := newTokenServer(t)
				first := d.start(t, server, func(e *token.Engine) { e.KeepWarm = time.Nanosecond }) // no refresh meanwhile
				before := mustToken(t, first.Source(credential()))
				first.stored(t)
				cred := c.between(t, first)
				first.kill()
				second := d.start(t, server)
				defer second.stop(t)
				if after := mustToken(t, second.Source(cred)); after.Header() == before.Header() {
					t.Error("the stored token was put to use")
				}
			})
		})
	}
}

// A change of another kind would bring an old token back, or fail to: each field of Credential is either told apart above or has a reason not to be.
func TestEveryFieldOfACredentialIsJudgedWhenATokenIsRestored(t *testing.T) {
	known := map[string]string{
		"ID": "bound", "Scope": "bound", "TokenURL": "told apart", "Style": "told apart", "ClientID": "told apart", "Secret": "told apart",
		"Certificate": "told apart", "Via": "told apart",
		"RootCAs": "says nothing about a token that is there", "Dial": "told apart by Via",
	}
	for i := range reflect.TypeFor[token.Credential]().NumField() {
		if name := reflect.TypeFor[token.Credential]().Field(i).Name; known[name] == "" {
			t.Errorf("does another %s fetch another token? If so, Credential.fingerprint and TestAStoredTokenIsOfNoUseTo must know it", name)
		}
	}
}

func TestACertificateTellsStoredTokensApart(t *testing.T) {
	d := newDisk(t, databasetest.SQLite(t))
	synctest.Test(t, func(t *testing.T) {
		server, _ := newTokenServer(t)
		cred := credential()
		cred.Style, cred.Secret, cred.Certificate, cred.RootCAs = token.MTLS, token.Secret{}, selfSigned(t, "a"), x509.NewCertPool()
		first := d.start(t, server)
		before := mustToken(t, first.Source(cred))
		first.stop(t)
		second := d.start(t, server)
		same := mustToken(t, second.Source(cred))
		second.stop(t)
		cred.Certificate = selfSigned(t, "b")
		third := d.start(t, server)
		other := mustToken(t, third.Source(cred))
		third.stop(t)
		if same.Header() != before.Header() || other.Header() == before.Header() {
			t.Errorf("same certificate: old token %v; other certificate: old token %v", same.Header() == before.Header(), other.Header() == before.Header())
		}
	})
}

func TestAClockThatWasSetMakesNoDeadTokenLive(t *testing.T) {
	for _, c := range []struct {
		name           string
		saved, started time.Duration // since the bubbles' clocks began, at the same time
		want           bool
	}{
		{"not at all", time.Hour, time.Hour + 10*time.Minute, true},
		{"back, but within a minute", time.Hour, time.Hour - 30*time.Second, true},
		{"back by an hour", 10 * time.Hour, 9 * time.Hour, false},
		{"forward by ten years", time.Hour, 10 * 365 * 24 * time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, databasetest.SQLite(t))
			synctest.Test(t, func(t *testing.T) {
				server, _ := newTokenServer(t)
				time.Sleep(c.saved)
				n := d.start(t, server)
				mustToken(t, n.Source(credential()))
				n.stop(t)
			})
			synctest.Test(t, func(t *testing.T) {
				server, _ := newTokenServer(t)
				time.Sleep(c.started)
				n := d.start(t, server)
				defer n.stop(t)
				if mustToken(t, n.Source(credential())); (server.count() == 0) != c.want {
					t.Errorf("got the stored token: %v, want %v", server.count() == 0, c.want)
				}
				n.stored(t)
				// What came of it is stored, whatever time the old row names.
				var obtained int64
				if err := n.db.QueryRow(`SELECT obtained FROM tokens`).Scan(&obtained); err != nil || time.UnixMicro(obtained).After(time.Now().Add(time.Minute)) {
					t.Errorf("the row says %v at %v (%v)", time.UnixMicro(obtained), time.Now(), err)
				}
			})
		})
	}
}

func TestADatabaseThatFailsBreaksNothing(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, server *tokenServer) {
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
	})
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

func TestARefusedClientIsHeldOverACrashLoop(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, server *tokenServer) {
		server.set(status(401, `{"error":"invalid_client","error_description":"Bad credentials"}`))
		began := time.Now()
		var last *token.Error
		for time.Since(began) < 14*time.Minute {
			n := d.start(t, server)
			for range 3 {
				last = mustFail(t, n.Source(credential()))
				time.Sleep(10 * time.Second)
			}
			n.kill()
		}
		if got := server.count(); got != 2 {
			t.Errorf("got %d log-ons over %v of crashes, want 2: IAS locks a client after five", got, time.Since(began))
		}
		if last.Step != token.StepRefused || last.Status != 401 || last.Code != "invalid_client" || last.Description != "Bad credentials" || last.Until.IsZero() {
			t.Errorf("got %+v, want the refusal of before the crash", last)
		}
		server.set(nil)
		changed := credential()
		changed.Secret = token.NewSecret("right")
		n := d.start(t, server)
		mustToken(t, n.Source(changed)) // at once: the credential changed
		n.stop(t)
		n = d.start(t, server)
		mustToken(t, n.Source(changed))
		n.stop(t)
		if got := server.count(); got != 3 {
			t.Errorf("got %d requests, want the changed credential's token to be stored", got)
		}
	})
}

func TestAHoldEndsOverARestart(t *testing.T) {
	d := newDisk(t, databasetest.SQLite(t))
	synctest.Test(t, func(t *testing.T) {
		server, _ := newTokenServer(t)
		server.set(status(401, `{"error":"invalid_client"}`))
		n := d.start(t, server)
		mustFail(t, n.Source(credential()))
		time.Sleep(2 * time.Second)
		mustFail(t, n.Source(credential()))
		n.stop(t)
		server.set(nil)
		time.Sleep(16 * time.Minute)
		n = d.start(t, server)
		mustToken(t, n.Source(credential()))
		n.stored(t)
		var rows int
		if err := n.db.QueryRow(`SELECT count(*) FROM token_refusals`).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("got %d rows of refusals (%v) after the client was accepted", rows, err)
		}
		n.stop(t)
	})
}

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
				n.WarmUp(t.Context(), func(id, scope string) *token.Source {
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
		first.kill()
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
			done <- second.WarmUp(t.Context(), func(id, scope string) *token.Source {
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
			t.Errorf("got %+v, %d answers of 429, a peak of %d requests a second, after %v; want none failed, a peak below %d, some 100s", st, over, server.peak(), took, limit)
		}
		t.Logf("%d credentials warm after %v; the server saw %d requests, at most %d a second; callers meanwhile waited for %v at most", many, took, server.count(), server.peak(), longest)
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
		st := second.WarmUp(t.Context(), func(id, scope string) *token.Source {
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
