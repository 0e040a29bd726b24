package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// mapped is a bridge whose callers are counted.
type mapped struct {
	*bridge
	recorder *usage.Recorder
	db       *database.DB
}

func newMapped(t *testing.T) *mapped {
	t.Helper()
	db := usageDatabase(t)
	r := openRecorder(t, db)
	return &mapped{newBridge(t, func(c *proxy.Config) { c.Usage = r }), r, db}
}

func usageDatabase(tb testing.TB) *database.DB {
	tb.Helper()
	db, err := database.Open(tb.Context(), databasetest.SQLite(tb))
	must(tb, err)
	tb.Cleanup(func() { db.Close() })
	must(tb, database.Migrate(tb.Context(), db, "usage", usage.Migrations()))
	return db
}

func openRecorder(tb testing.TB, db *database.DB) *usage.Recorder {
	tb.Helper()
	r, err := usage.Open(tb.Context(), usage.Options{DB: db.DB, Sealer: new(pkitest.Sealer)})
	must(tb, err)
	return r
}

func newUsage(tb testing.TB) *usage.Recorder { return openRecorder(tb, usageDatabase(tb)) }

func (m *mapped) callers() []usage.Caller {
	m.tb.Helper()
	must(m.tb, m.recorder.Flush(m.tb.Context()))
	list, err := usage.Callers(m.tb.Context(), m.db.DB, usage.Filter{})
	must(m.tb, err)
	return list
}

// settled waits for a number of requests: one is counted behind its answer.
func (m *mapped) settled(want int64) []usage.Caller {
	m.tb.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		list, n := m.callers(), int64(0)
		for i := range list {
			requests, _ := list[i].Requests()
			n += requests
		}
		if n >= want || time.Now().After(end) {
			if n != want {
				m.tb.Fatalf("got %d requests, want %d: %+v", n, want, list)
			}
			return list
		}
	}
}

func TestWhoIsRecognisedIsCountedAndNobodyElse(t *testing.T) {
	m := newMapped(t)
	m.addLogin()
	stranger, orders := m.stranger(), m.on(m.issue("orders"))
	stranger.get("/http/orders/1", "Authorization", right, "User-Agent", "curl/8.5.0")
	stranger.get("/http/orders/2", "Authorization", right, "User-Agent", "curl/8.9.0")
	stranger.get("/http/stock/1", "Authorization", right, "User-Agent", "curl/8.9.0") // not allowed
	for _, wrong := range []string{basicAuth("P2001234567", "x"), basicAuth("nobody", "x"), "Bearer x", ""} {
		stranger.get("/http/orders/1", "Authorization", wrong, "User-Agent", "guesser")
	}
	orders.get("/http/orders/1", "User-Agent", "Java-http-client/17.0.1")
	list := m.settled(4)
	got := ""
	for _, c := range list {
		if c.Fingerprint == "" || c.Source != "127.0.0.1" {
			t.Errorf("got %+v", c)
		}
		for _, r := range c.Routes {
			got += fmt.Sprintf("%s %s %s %s %d/%d\n", c.Kind, c.Subject, c.Agent, r.Route, r.Requests, r.Failures)
		}
	}
	want := "identity orders Java-http-client orders 1/0\nlogin P2001234567 curl orders 2/0\nlogin P2001234567 curl stock 1/1\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A caller that was moved is told from its neighbours by its hello, also where the certificate that callers see comes by challenges.
func TestACallerIsToldByItsHelloWhereChallengesAreAnswered(t *testing.T) {
	db := usageDatabase(t)
	r := openRecorder(t, db)
	challenges, _ := answersChallenges(t)
	m := &mapped{newBridge(t, challenges, func(c *proxy.Config) { c.Usage = r }), r, db}
	m.addLogin()
	m.stranger().get("/http/orders/1", "Authorization", right)
	m.on(m.issue("orders")).get("/http/orders/1")
	for _, c := range m.settled(2) {
		if c.Fingerprint == "" {
			t.Errorf("got no fingerprint of %+v", c)
		}
	}
}

func TestAForgottenCallerIsFoundWhereItIsRefused(t *testing.T) {
	for _, stage := range []identity.Stage{identity.StageClosed, identity.StageBrownout} {
		t.Run(string(stage), func(t *testing.T) {
			m := newMapped(t)
			m.addLogin(func(l *identity.Login) {
				l.Stage = stage
				if stage == identity.StageBrownout {
					for from := 0; from < 24; from += 4 {
						l.Brownouts = append(l.Brownouts, fmt.Sprintf("daily %02d:00-%02d:00 UTC", from, from+4))
					}
				}
			})
			c := m.stranger()
			if a := c.get("/http/orders/1?x=1", "Authorization", right); a.status == http.StatusOK {
				t.Fatalf("served in stage %s", stage)
			}
			c.get("/http/orders/%2e%2e/x", "Authorization", right) // no path: no route, and no panic
			list := m.settled(2)
			if len(list) != 1 || len(list[0].Routes) != 2 || list[0].Routes[1].Route != "orders" || list[0].Routes[1].Failures != 1 {
				t.Errorf("got %+v", list)
			}
		})
	}
}

func TestAMovedCallerIsLockedOutAndItsNeighbourIsNot(t *testing.T) {
	m := newMapped(t)
	m.addLogin()
	moved, neighbour, other := m.stranger(), m.stranger(), m.stranger()
	other.h2() // another client hello
	call := func(c *client, agent string) int {
		return c.get("/http/orders/1", "Authorization", right, "User-Agent", agent).status
	}
	for c, agent := range map[*client]string{moved: "HR/1.0", neighbour: "CRM/1.0", other: "HR/1.0"} {
		if got := call(c, agent); got != 200 {
			t.Fatalf("before: %d", got)
		}
	}
	var hr usage.Caller
	list := m.settled(3)
	if len(list) != 3 {
		t.Fatalf("got %d callers, want three: %+v", len(list), list)
	}
	// Which of the two is moved's is told by its fingerprint: HTTP/1.1 is all that it offers.
	for _, c := range list {
		if c.Agent == "HR" && c.Fingerprint[8:10] != "h2" {
			hr = c
		}
	}
	change := func(fn func(tx *identity.Tx) error) { t.Helper(); m.change(fn) }
	change(func(tx *identity.Tx) error {
		_, err := tx.AddMove(t.Context(), identity.Move{Login: "P2001234567", Caller: hr.ID.String(), Identity: "orders", Grace: identity.Duration(time.Hour),
			Looks: []identity.Look{{Source: hr.Source, Fingerprint: hr.Fingerprint, Agent: hr.Agent}}})
		return err
	})
	see := func(at time.Time) {
		t.Helper()
		change(func(tx *identity.Tx) error {
			_, _, err := tx.SeeMove(t.Context(), "P2001234567", hr.ID.String(), hr.Source, at)
			return err
		})
	}
	if got := call(moved, "HR/1.0"); got != 200 {
		t.Errorf("before it was seen with its certificate: %d", got)
	}
	see(time.Now().Add(-30 * time.Minute))
	if got := call(moved, "HR/1.0"); got != 200 {
		t.Errorf("in the grace: %d", got)
	}
	change(func(tx *identity.Tx) error {
		_, err := tx.RemoveMove(t.Context(), "P2001234567", hr.ID.String())
		return err
	})
	change(func(tx *identity.Tx) error {
		_, err := tx.AddMove(t.Context(), identity.Move{Login: "P2001234567", Caller: hr.ID.String(), Identity: "orders",
			Looks: []identity.Look{{Source: hr.Source, Fingerprint: hr.Fingerprint, Agent: hr.Agent}}})
		return err
	})
	see(time.Now().Add(-time.Second))
	a := moved.get("/http/orders/1", "Authorization", right, "User-Agent", "HR/2.0")
	if a.status != http.StatusUnauthorized || !strings.Contains(string(a.body), "login_closed") || !strings.Contains(string(a.body), "has a client certificate") {
		t.Errorf("locked out: %+v", a)
	}
	if got := call(neighbour, "CRM/1.0"); got != 200 {
		t.Errorf("another client at the same address: %d", got)
	}
	if got := call(other, "HR/1.0"); got != 200 {
		t.Errorf("another implementation of TLS at the same address: %d", got)
	}
	change(func(tx *identity.Tx) error {
		_, err := tx.RemoveMove(t.Context(), "P2001234567", hr.ID.String())
		return err
	})
	if got := call(moved, "HR/1.0"); got != 200 {
		t.Errorf("after the move was taken back: %d", got)
	}
}
