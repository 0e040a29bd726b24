package record_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/record"
)

func openDatabase(t *testing.T) *sql.DB { return openURL(t, databasetest.SQLite(t)) }

func openURL(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := database.Migrate(t.Context(), db, "record", record.Migrations()); err != nil {
		t.Fatal(err)
	}
	return db.DB
}

func add(t *testing.T, db *sql.DB, c record.Change) record.Change {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	c, err = record.AppendChange(t.Context(), tx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return c
}

func chain(t *testing.T, n int) (*sql.DB, []record.Change) {
	t.Helper()
	db := openDatabase(t)
	var list []record.Change
	for i := range n {
		list = append(list, add(t, db, record.Change{Actor: "unix:uid=0(root)", Action: "identity.add", Object: "identity",
			Name: fmt.Sprint("erp-", i), Detail: json.RawMessage(`{"owner": "team-erp"}`)}))
	}
	return db, list
}

func TestChangesAreAChain(t *testing.T) {
	db, list := chain(t, 5)
	report, err := record.Verify(t.Context(), db)
	if err != nil || report.Broken != nil {
		t.Fatalf("Verify: %+v %v", report.Broken, err)
	}
	if last := list[4]; report.Records != 5 || report.Head != (record.Head{Seq: 5, Hash: last.Hash}) {
		t.Errorf("report %+v, want 5 records up to %s", report, last.Hash)
	}
	stored, err := record.Changes(t.Context(), db, 2, 2)
	if err != nil || len(stored) != 2 {
		t.Fatalf("Changes: %d, %v; want 2", len(stored), err)
	}
	for i, got := range stored {
		if want := list[2+i]; got.Seq != want.Seq || got.Hash != want.Hash || got.PrevHash != list[1+i].Hash || !got.Time.Equal(want.Time) ||
			string(got.Detail) != `{"owner":"team-erp"}` {
			t.Errorf("stored %+v, want %+v", got, want)
		}
	}
	if back, err := record.ParseHead(report.Head.String()); err != nil || back != report.Head {
		t.Errorf("head reads back as %v, %v", back, err)
	}
}

func TestVerifyNamesTheFirstBrokenRecord(t *testing.T) {
	// reseal writes a record's hash anew, as somebody would who knows how it is made.
	reseal := `UPDATE change_records SET hash = 'deadbeef' WHERE seq = `
	for name, test := range map[string]struct {
		tamper []string
		want   int64
		reason string
	}{
		"actor edited":           {[]string{`UPDATE change_records SET actor = 'nobody' WHERE seq = 3`}, 3, "was changed"},
		"detail edited":          {[]string{`UPDATE change_records SET detail = '{}' WHERE seq = 1`}, 1, "was changed"},
		"time edited":            {[]string{`UPDATE change_records SET recorded_at = recorded_at + 1 WHERE seq = 5`}, 5, "was changed"},
		"bytes moved to a field": {[]string{`UPDATE change_records SET actor = actor || 'i', action = 'dentity.add' WHERE seq = 2`}, 2, "was changed"},
		"hash edited":            {[]string{reseal + `2`}, 2, "was changed"},
		"deleted in the middle":  {[]string{`DELETE FROM change_records WHERE seq = 3`}, 3, "missing"},
		"deleted at the front":   {[]string{`DELETE FROM change_records WHERE seq <= 2`}, 1, "missing"},
		"deleted at the end":     {[]string{`DELETE FROM change_records WHERE seq = 5`}, 5, "missing"},
		"all deleted":            {[]string{`DELETE FROM change_records`}, 1, "missing"},
		"reordered": {[]string{`UPDATE change_records SET seq = 99 WHERE seq = 2`, `UPDATE change_records SET seq = 2 WHERE seq = 4`,
			`UPDATE change_records SET seq = 4 WHERE seq = 99`}, 2, "was changed"},
		"put in at the end": {[]string{`INSERT INTO change_records SELECT 6, recorded_at, actor, action, object, name, detail, prev_hash, hash FROM change_records WHERE seq = 5`},
			6, "was changed"},
		"renumbered after a deletion": {[]string{`DELETE FROM change_records WHERE seq = 2`, `UPDATE change_records SET seq = 2 WHERE seq = 3`}, 2, "was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			db, _ := chain(t, 5)
			for _, s := range test.tamper {
				if _, err := db.Exec(s); err != nil {
					t.Fatal(err)
				}
			}
			report, err := record.Verify(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			if report.Broken == nil || report.Broken.Seq != test.want || !strings.Contains(report.Broken.Reason, test.reason) {
				t.Errorf("broken %+v, want record %d %s", report.Broken, test.want, test.reason)
			}
		})
	}
}

// TestVerifyNamesARecordThatWasWrittenAnew: the forger knows the hash function and repairs the record, but not those after it.
func TestVerifyNamesARecordThatWasWrittenAnew(t *testing.T) {
	db, list := chain(t, 5)
	forged := openDatabase(t)
	add(t, forged, list[0])
	fake := list[1]
	fake.Actor = "somebody else"
	fake = add(t, forged, fake)
	if _, err := db.Exec(`UPDATE change_records SET actor = $1, hash = $2 WHERE seq = 2`, fake.Actor, fake.Hash); err != nil {
		t.Fatal(err)
	}
	report, err := record.Verify(t.Context(), db)
	if err != nil || report.Broken == nil || report.Broken.Seq != 2 || !strings.Contains(report.Broken.Reason, "exchanged") {
		t.Errorf("broken %+v %v, want record 2 exchanged", report.Broken, err)
	}
}

func TestVerifyFindsACutOffEndOnlyByARememberedHead(t *testing.T) {
	db, list := chain(t, 5)
	noted := record.Head{Seq: 5, Hash: list[4].Hash}
	for _, s := range []string{`DELETE FROM change_records WHERE seq > 3`, `UPDATE change_head SET seq = 3, hash = '` + list[2].Hash + `'`} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	if report, err := record.Verify(t.Context(), db); err != nil || report.Broken != nil {
		t.Fatalf("without a noted head: %+v %v; the limit that the documentation states no longer holds", report.Broken, err)
	}
	report, err := record.Verify(t.Context(), db, noted)
	if err != nil || report.Broken == nil || report.Broken.Seq != 4 {
		t.Errorf("with a noted head: %+v %v, want record 4 missing", report.Broken, err)
	}
	add(t, db, record.Change{Actor: "x"})
	add(t, db, record.Change{Actor: "x"})
	report, err = record.Verify(t.Context(), db, noted)
	if err != nil || report.Broken == nil || report.Broken.Seq != 5 {
		t.Errorf("with a noted head and new records: %+v %v, want record 5 exchanged", report.Broken, err)
	}
}

func TestARolledBackChangeLeavesNoGap(t *testing.T) {
	db, _ := chain(t, 2)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := record.AppendChange(t.Context(), tx, record.Change{Actor: "x", Action: "tenant.add"}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if c := add(t, db, record.Change{Actor: "y"}); c.Seq != 3 {
		t.Errorf("next number %d, want 3", c.Seq)
	}
	if report, err := record.Verify(t.Context(), db); err != nil || report.Broken != nil {
		t.Errorf("%+v %v", report.Broken, err)
	}
}

func TestChangesOfManyWritersHaveNoGap(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) { manyWriters(t, openURL(t, create(t))) })
}

func manyWriters(t *testing.T, db *sql.DB) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				add(t, db, record.Change{Actor: "x", Action: "route.add"})
			}
		})
	}
	wg.Wait()
	report, err := record.Verify(t.Context(), db)
	if err != nil || report.Broken != nil || report.Records != 40 {
		t.Errorf("%+v %v, want 40 whole records", report, err)
	}
}

func TestHostileStringsAreStoredAndVerified(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) { hostileStrings(t, openURL(t, create(t))) })
}

func hostileStrings(t *testing.T, db *sql.DB) {
	add(t, db, record.Change{Actor: "a\x00b\xff", Action: "x", Detail: json.RawMessage("{\"a\":\"\xff\"}")})
	if report, err := record.Verify(t.Context(), db); err != nil || report.Broken != nil {
		t.Errorf("%+v %v", report.Broken, err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := record.AppendChange(t.Context(), tx, record.Change{Detail: json.RawMessage(`{`)}); err == nil {
		t.Error("a detail that is no JSON was taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := record.AppendChange(ctx, tx, record.Change{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}
