package usage_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// sealer marks what it has sealed.
type sealer struct{}

func (sealer) Seal(plain, context []byte) ([]byte, error) {
	return append(append([]byte("sealed:"), context...), plain...), nil
}

func (sealer) Open(sealed, context []byte) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, append([]byte("sealed:"), context...))
	if !ok {
		return nil, errors.New("not sealed here")
	}
	return plain, nil
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestUsage(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		for _, tc := range []struct {
			name string
			test func(*testing.T, *sql.DB)
		}{
			{"adds up over nodes and restarts", testAddsUp},
			{"what cannot be written stays", testStays},
			{"hostile callers fill a bucket and nothing else", testBounds},
			{"what is too old is forgotten", testRetention},
			{"a caller is named, merged and split", testNames},
			{"addresses become pseudonyms that only the key can tell", testPseudonyms},
			{"usage is forgotten on request", testForget},
			{"networks have names", testNetworks},
			{"who was refused was not served", testServed},
			{"a request that ends late puts nothing back", testLateEnd},
			{"a request is counted once however many nodes write", testConcurrency},
		} {
			t.Run(tc.name, func(t *testing.T) { tc.test(t, open(t, create(t))) })
		}
	})
}

func open(t testing.TB, address string) *sql.DB {
	t.Helper()
	db, err := database.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := database.Migrate(t.Context(), db, "usage", usage.Migrations()); err != nil {
		t.Fatal(err)
	}
	return db.DB
}

func recorder(t testing.TB, db *sql.DB, o usage.Options) *usage.Recorder {
	t.Helper()
	o.DB, o.Sealer = db, sealer{}
	if o.Now == nil {
		o.Now = func() time.Time { return noon }
	}
	r, err := usage.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// seen is one request to a route by a login.
func seen(source, agent, route string) *usage.Observation {
	return &usage.Observation{Kind: usage.Login, Subject: "P1", Source: netip.MustParseAddr(source), Fingerprint: "t13", Agent: agent, Route: route, Octets: 10, Time: noon}
}

func flush(t testing.TB, r *usage.Recorder) {
	t.Helper()
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func callers(t testing.TB, db *sql.DB, f usage.Filter) []usage.Caller {
	t.Helper()
	list, err := usage.Callers(t.Context(), db, f)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func inTx(t testing.TB, db *sql.DB, fn func(context.Context, *sql.Tx) error) error {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := fn(t.Context(), tx); err != nil {
		return err
	}
	return tx.Commit()
}

func testAddsUp(t *testing.T, db *sql.DB) {
	one, two := recorder(t, db, usage.Options{}), recorder(t, db, usage.Options{})
	var conn, other usage.Memo
	for range 3 {
		one.Observe(seen("10.1.2.3", "curl/8.5.0", "orders"), &conn)
	}
	o := seen("10.1.2.3", "curl/8.9.1", "orders") // updated meanwhile
	o.Failed, o.Time = true, noon.Add(25*time.Hour)
	two.Observe(o, &other)
	two.Observe(seen("10.1.2.3", "curl/8.9.1", "stock"), &other)
	flush(t, one)
	flush(t, two)
	flush(t, two) // nothing new
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	one = recorder(t, db, usage.Options{})
	one.Observe(seen("10.1.2.3", "curl/8.5.0", "orders"), &conn) // on a connection that knew the old one
	flush(t, two)
	list := callers(t, db, usage.Filter{Kind: usage.Login, Subject: "P1"})
	if len(list) != 1 {
		t.Fatalf("got %d callers, want one: %+v", len(list), list)
	}
	c := list[0]
	if c.Source != "10.1.2.3" || c.Agent != "curl" || c.Fingerprint != "t13" || !c.FirstSeen.Equal(noon) || !c.LastSeen.Equal(noon.Add(25*time.Hour)) {
		t.Errorf("got %+v", c)
	}
	want := []usage.RouteUse{
		{Route: "orders", Requests: 4, Failures: 1, Octets: 40, FirstSeen: noon, LastSeen: noon.Add(25 * time.Hour)},
		{Route: "stock", Requests: 1, Octets: 10, FirstSeen: noon, LastSeen: noon},
	}
	if fmt.Sprint(c.Routes) != fmt.Sprint(want) {
		t.Errorf("got routes %+v, want %+v", c.Routes, want)
	}
	if want := []usage.DayUse{{Day: "2026-11-24", Requests: 4}, {Day: "2026-11-25", Requests: 1, Failures: 1}}; fmt.Sprint(c.Days) != fmt.Sprint(want) {
		t.Errorf("got days %+v, want %+v", c.Days, want)
	}
	if got := callers(t, db, usage.Filter{Since: noon.Add(24 * time.Hour)}); len(got[0].Routes) != 1 || got[0].Routes[0].Requests != 1 {
		t.Errorf("since the second day: %+v", got[0].Routes)
	}
}

func testStays(t *testing.T, db *sql.DB) {
	r := recorder(t, db, usage.Options{})
	var conn usage.Memo
	r.Observe(seen("10.1.2.3", "curl", "orders"), &conn)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Flush(ended); err == nil {
		t.Fatal("writing without a database worked")
	}
	r.Observe(seen("10.1.2.3", "curl", "orders"), &conn)
	flush(t, r)
	if list := callers(t, db, usage.Filter{}); len(list) != 1 || list[0].Routes[0].Requests != 2 {
		t.Errorf("got %+v, want both requests", list)
	}
}

func testBounds(t *testing.T, db *sql.DB) {
	r := recorder(t, db, usage.Options{PerSubject: 20, PerSource: 4, Active: 60})
	for source := range 8 {
		for agent := range 8 {
			r.Observe(seen(fmt.Sprintf("10.0.0.%d", source), fmt.Sprint("bot-", agent), "orders"), new(usage.Memo))
		}
	}
	flush(t, r)
	before := callers(t, db, usage.Filter{})
	// 5 sources with 4 clients and a bucket each, and a bucket for the others.
	if len(before) != 5*4+5+1 {
		t.Errorf("got %d callers, want 26", len(before))
	}
	var requests int64
	for i := range before {
		n, _ := before[i].Requests()
		requests += n
	}
	if requests != 64 {
		t.Errorf("got %d requests, want all 64", requests)
	}
	r = recorder(t, db, usage.Options{PerSubject: 20, PerSource: 4, Active: 60}) // the bounds hold over a restart
	for source := range 200 {
		r.Observe(seen(fmt.Sprintf("10.9.0.%d", source), "curl", "orders"), new(usage.Memo))
	}
	flush(t, r)
	if after := callers(t, db, usage.Filter{}); len(after) != len(before) {
		t.Errorf("got %d callers after the restart, want %d", len(after), len(before))
	}
	r = recorder(t, db, usage.Options{Active: 10})
	for route := range 50 {
		r.Observe(seen("10.0.0.1", "bot-1", fmt.Sprint(route)), new(usage.Memo))
	}
	if s := r.State(); s.Active != 10 || s.Dropped != 40 {
		t.Errorf("got %+v, want 10 in memory and 40 dropped", s)
	}
}

func testRetention(t *testing.T, db *sql.DB) {
	now := noon
	r := recorder(t, db, usage.Options{Retention: 30 * 24 * time.Hour, Now: func() time.Time { return now }})
	r.Observe(seen("10.0.0.1", "gone", "orders"), new(usage.Memo))
	r.Observe(seen("10.0.0.2", "stays", "orders"), new(usage.Memo))
	flush(t, r)
	now = noon.Add(31 * 24 * time.Hour)
	o := seen("10.0.0.2", "stays", "orders")
	o.Time = now
	r.Observe(o, new(usage.Memo))
	flush(t, r)
	list := callers(t, db, usage.Filter{})
	if len(list) != 1 || list[0].Agent != "stays" || len(list[0].Days) != 1 || list[0].Days[0].Day != "2026-12-25" {
		t.Errorf("got %+v, want one caller with one day", list)
	}
}

func testNames(t *testing.T, db *sql.DB) {
	r := recorder(t, db, usage.Options{})
	for i, agent := range []string{"a", "b", "c"} {
		o := seen("10.0.0.1", agent, "orders")
		o.Time = noon.Add(time.Duration(i) * time.Second)
		r.Observe(o, new(usage.Memo))
	}
	o := seen("10.0.0.1", "a", "orders")
	o.Subject = "P2"
	r.Observe(o, new(usage.Memo))
	flush(t, r)
	list := callers(t, db, usage.Filter{Subject: "P1"})
	a, b, c := list[0].ID, list[1].ID, list[2].ID
	foreign := callers(t, db, usage.Filter{Subject: "P2"})[0].ID
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(inTx(t, db, func(ctx context.Context, tx *sql.Tx) error {
		got, err := usage.Rename(ctx, tx, a, ` HR batch, host a17 `)
		if got.Name != "HR batch, host a17" {
			t.Errorf("named %q", got.Name)
		}
		return err
	}))
	must(inTx(t, db, func(ctx context.Context, tx *sql.Tx) error { _, err := usage.Merge(ctx, tx, c, b); return err }))
	must(inTx(t, db, func(ctx context.Context, tx *sql.Tx) error { _, err := usage.Merge(ctx, tx, b, a); return err }))
	list = callers(t, db, usage.Filter{Subject: "P1"})
	if len(list) != 1 || len(list[0].Parts) != 2 || list[0].Routes[0].Requests != 3 || !list[0].LastSeen.Equal(noon.Add(2*time.Second)) {
		t.Errorf("merged: %+v", list)
	}
	for name, id := range map[string][2]usage.ID{"itself": {a, a}, "another login": {a, foreign}, "a part": {a, b}, "nobody": {a, 1}} {
		var refused *usage.Error
		if err := inTx(t, db, func(ctx context.Context, tx *sql.Tx) error { _, err := usage.Merge(ctx, tx, id[0], id[1]); return err }); !errors.As(err, &refused) {
			t.Errorf("merging into %s: %v", name, err)
		}
	}
	for _, name := range []string{"anna@example.com", "a\nb", strings.Repeat("x", 200)} {
		var refused *usage.Error
		if err := inTx(t, db, func(ctx context.Context, tx *sql.Tx) error { _, err := usage.Rename(ctx, tx, a, name); return err }); !errors.As(err, &refused) {
			t.Errorf("naming %q: %v", name, err)
		}
	}
	must(inTx(t, db, func(ctx context.Context, tx *sql.Tx) error { _, err := usage.Split(ctx, tx, c); return err }))
	if list = callers(t, db, usage.Filter{Subject: "P1"}); len(list) != 2 {
		t.Errorf("split: %+v", list)
	}
	if err := inTx(t, db, func(ctx context.Context, tx *sql.Tx) error { _, err := usage.Split(ctx, tx, c); return err }); err == nil {
		t.Error("split what is no part")
	}
}

// everything is all text that the tables hold.
func everything(t testing.TB, db *sql.DB) string {
	t.Helper()
	var b strings.Builder
	rows, err := db.Query(`SELECT source || ' ' || network || ' ' || agent FROM usage_callers`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		b.WriteString(s + "\n")
	}
	return b.String()
}

func testPseudonyms(t *testing.T, db *sql.DB) {
	networks, err := usage.ParseNetworks(strings.NewReader("10.1.0.0/16 plant-a\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := inTx(t, db, func(ctx context.Context, tx *sql.Tx) error { return usage.SetNetworks(ctx, tx, networks) }); err != nil {
		t.Fatal(err)
	}
	r, late := recorder(t, db, usage.Options{}), recorder(t, db, usage.Options{})
	var conn usage.Memo
	r.Observe(seen("10.1.2.3", "curl", "orders"), &conn)
	flush(t, r)
	before := callers(t, db, usage.Filter{})[0]
	late.Observe(seen("10.1.2.3", "curl", "orders"), &conn) // counted under the old settings, written under the new ones
	pseudonymise := func() {
		t.Helper()
		if err := inTx(t, db, func(ctx context.Context, tx *sql.Tx) error {
			_, err := usage.Pseudonymise(ctx, tx, sealer{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	pseudonymise()
	flush(t, late)
	r.Observe(seen("10.1.2.3", "curl", "orders"), &conn)
	flush(t, r)
	r.Observe(seen("10.1.2.3", "curl", "orders"), &conn)
	flush(t, r)
	list := callers(t, db, usage.Filter{})
	if len(list) != 1 || list[0].ID != before.ID || list[0].Routes[0].Requests != 4 || list[0].Network != "plant-a" {
		t.Errorf("got %+v, want the same caller with four requests of plant-a", list)
	}
	if all := everything(t, db); strings.Contains(all, "10.1.2.3") || !strings.Contains(all, "anon-") {
		t.Errorf("an address is left:\n%s", all)
	}
	match, err := usage.Matcher(t.Context(), db, sealer{})
	if err != nil || match("10.1.2.3") != list[0].Source {
		t.Errorf("the address is not recognised: %v", err)
	}
	pseudonymise() // another key: nobody can tell any more
	match, err = usage.Matcher(t.Context(), db, sealer{})
	if err != nil || match("10.1.2.3") == list[0].Source {
		t.Errorf("the address is recognised without the key that was destroyed: %v", err)
	}
	flush(t, r)
	r.Observe(seen("10.1.2.3", "curl", "orders"), &conn)
	flush(t, r)
	if list = callers(t, db, usage.Filter{}); len(list) != 2 {
		t.Errorf("got %d callers, want the old one and the new one", len(list))
	}
	if err := inTx(t, db, usage.KeepAddresses); err != nil {
		t.Fatal(err)
	}
	flush(t, r)
	r.Observe(seen("10.1.2.3", "curl", "orders"), &conn)
	flush(t, r)
	if all := everything(t, db); !strings.Contains(all, "10.1.2.3") {
		t.Errorf("addresses are not kept again:\n%s", all)
	}
}

func testForget(t *testing.T, db *sql.DB) {
	r := recorder(t, db, usage.Options{})
	for i, agent := range []string{"a", "b", "c"} {
		o := seen("10.0.0.1", agent, "orders")
		o.Subject, o.Time = []string{"P1", "P1", "P2"}[i], noon.Add(time.Duration(i)*48*time.Hour)
		r.Observe(o, new(usage.Memo))
	}
	flush(t, r)
	for _, step := range []struct {
		filter usage.Filter
		before time.Time
		gone   int
		left   int
	}{
		{usage.Filter{Subject: "P1"}, noon.Add(24 * time.Hour), 1, 2},
		{usage.Filter{Subject: "P1"}, time.Time{}, 1, 1},
		{usage.Filter{}, time.Time{}, 1, 0},
	} {
		err := inTx(t, db, func(ctx context.Context, tx *sql.Tx) error {
			n, err := usage.Forget(ctx, tx, step.filter, step.before)
			if n != step.gone {
				t.Errorf("%+v: %d gone, want %d", step.filter, n, step.gone)
			}
			return err
		})
		if list := callers(t, db, usage.Filter{}); err != nil || len(list) != step.left {
			t.Errorf("%+v: %d left, want %d; %v", step.filter, len(list), step.left, err)
		}
	}
	if s, err := usage.ReadSettings(t.Context(), db); err != nil || s.Callers != 0 || s.Days != 0 {
		t.Errorf("left over: %+v, %v", s, err)
	}
}

func testNetworks(t *testing.T, db *sql.DB) {
	list, err := usage.ParseNetworks(strings.NewReader("# plants\n10.1.0.0/16  plant-a\n10.1.2.0/24\tplant-a, HR # hall 2\n\n2001:db8::/32 office\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := inTx(t, db, func(ctx context.Context, tx *sql.Tx) error { return usage.SetNetworks(ctx, tx, list) }); err != nil {
		t.Fatal(err)
	}
	r := recorder(t, db, usage.Options{})
	for _, source := range []string{"10.1.2.3", "10.1.9.9", "192.0.2.1", "2001:db8::1", "::ffff:10.1.2.3"} {
		r.Observe(seen(source, source, "orders"), new(usage.Memo))
	}
	flush(t, r)
	got := map[string]string{}
	for _, c := range callers(t, db, usage.Filter{}) {
		got[c.Source] = c.Network
	}
	want := map[string]string{"10.1.2.3": "plant-a, HR", "10.1.9.9": "plant-a", "192.0.2.1": "", "2001:db8::/64": "office"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for text, place := range map[string]string{
		"10.1.0.0/16 a\n10.1.0.1/16 b": "line 2", "10.0.0.0/8": "line 1", "x y": "line 1", "10.0.0.0/8 a\n10.0.0.0/8 b": "twice",
	} {
		if _, err := usage.ParseNetworks(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), place) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func testLateEnd(t *testing.T, db *sql.DB) {
	r := recorder(t, db, usage.Options{})
	var conn usage.Memo
	late := seen("10.0.0.1", "curl", "orders")
	late.Time = noon.AddDate(0, 0, -1) // a connection that was open all night
	r.Observe(seen("10.0.0.1", "curl", "orders"), &conn)
	r.Observe(late, &conn)
	flush(t, r)
	c := callers(t, db, usage.Filter{})[0]
	if !c.LastSeen.Equal(noon) || !c.FirstSeen.Equal(late.Time) && !c.FirstSeen.Equal(noon) {
		t.Errorf("got %+v", c)
	}
	if n := len(c.Days); n != 1 || c.Days[0].Day != "2026-11-24" || c.Days[0].Requests != 2 {
		t.Errorf("got days %+v", c.Days)
	}
	// A clock that was wrong is right again with the next batch.
	ahead := seen("10.0.0.1", "curl", "orders")
	ahead.Time = noon.AddDate(1, 0, 0)
	r.Observe(ahead, &conn)
	flush(t, r)
	r.Observe(seen("10.0.0.1", "curl", "orders"), &conn)
	flush(t, r)
	if c = callers(t, db, usage.Filter{})[0]; len(c.Days) != 2 || c.Days[0].Requests != 3 {
		t.Errorf("got days %+v", c.Days)
	}
}

func testConcurrency(t *testing.T, db *sql.DB) {
	done := make(chan error)
	const nodes, rounds, each = 3, 5, 200
	for range nodes {
		r := recorder(t, db, usage.Options{})
		go func() {
			var conn usage.Memo
			for range rounds {
				finished := make(chan bool)
				for range 2 {
					go func() {
						for n := range each {
							r.Observe(seen("10.0.0.1", "curl", fmt.Sprint(n%3)), &conn)
						}
						finished <- true
					}()
				}
				if err := r.Flush(context.Background()); err != nil {
					done <- err
					return
				}
				<-finished
				<-finished
			}
			done <- r.Close()
		}()
	}
	for range nodes {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	list := callers(t, db, usage.Filter{})
	if len(list) != 1 {
		t.Fatalf("got %d callers", len(list))
	}
	if n, _ := list[0].Requests(); n != nodes*rounds*each*2 {
		t.Errorf("got %d requests, want %d", n, nodes*rounds*each*2)
	}
}

func TestNormalAgent(t *testing.T) {
	for agent, want := range map[string]string{
		"curl/8.5.0":                                               "curl",
		"Java-http-client/17.0.1":                                  "Java-http-client",
		"Go-http-client/2.0":                                       "Go-http-client",
		"python-requests/2.31.0":                                   "python-requests",
		"Apache-HttpClient/4.5.13 (Java/11.0.2)":                   "Apache-HttpClient (Java)",
		"SAP NetWeaver Application Server (1.0;753)":               "SAP NetWeaver Application Server",
		"Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101": "Mozilla (X11 Linux x86_64) Gecko",
		"":                       "-",
		"1.2.3":                  "-",
		"<script>\x00é":          "<script>???",
		strings.Repeat("x", 500): strings.Repeat("x", 64),
	} {
		if got := usage.NormalAgent(agent); got != want {
			t.Errorf("%q: got %q, want %q", agent, got, want)
		}
	}
}

func FuzzNormalAgentIsShortPrintableAndStable(f *testing.F) {
	f.Add("Apache-HttpClient/4.5.13 (Java/11.0.2)")
	f.Add("((((a;;,,)/ /1")
	f.Fuzz(func(t *testing.T, agent string) {
		got := usage.NormalAgent(agent)
		if len(got) == 0 || len(got) > 64 || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q: %q", agent, got)
		}
	})
}

func TestIDsAreReadAsTheyAreWritten(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	r := recorder(t, db, usage.Options{})
	r.Observe(seen("10.0.0.1", "a", "orders"), new(usage.Memo))
	flush(t, r)
	id := callers(t, db, usage.Filter{})[0].ID
	if got, ok := usage.ParseID(id.String()); !ok || got != id || len(id.String()) != 13 {
		t.Errorf("%s: got %v, %v", id, got, ok)
	}
	for _, s := range []string{"", "x", "aaaaaaaaaaaaa", "7777777777777", "' OR 1=1 --", strings.Repeat("a", 14)} {
		if _, ok := usage.ParseID(s); ok {
			t.Errorf("%q was taken for an id", s)
		}
	}
}

func testServed(t *testing.T, db *sql.DB) {
	r := recorder(t, db, usage.Options{})
	failed := seen("10.0.0.1", "curl", "orders")
	failed.Kind, failed.Failed = usage.Identity, true
	r.Observe(failed, new(usage.Memo))
	flush(t, r)
	served := func() bool {
		t.Helper()
		at, ok, err := usage.ServedSince(t.Context(), db, usage.Identity, "P1", "10.0.0.1", noon.Add(-time.Second))
		if err != nil || ok && !at.Equal(noon) {
			t.Fatalf("got %v, %v", at, err)
		}
		return ok
	}
	if served() {
		t.Error("a request that failed was taken for one that was served")
	}
	failed.Failed = false
	r.Observe(failed, new(usage.Memo))
	flush(t, r)
	if !served() {
		t.Error("a request that was served is not known")
	}
	if _, ok, err := usage.ServedSince(t.Context(), db, usage.Identity, "P1", "10.0.0.1", noon); ok || err != nil {
		t.Errorf("served after the last time: %v", err)
	}
}
