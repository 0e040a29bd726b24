package database_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tenantgate/tenantgate/internal/database"
)

var one = fstest.MapFS{"00001_init.sql": {Data: []byte("-- +goose Up\nCREATE TABLE a (n BIGINT);\n")}}
var two = fstest.MapFS{"00001_init.sql": one["00001_init.sql"], "00002_more.sql": {Data: []byte("-- +goose Up\nCREATE TABLE b (n BIGINT);\n")}}

func open(t *testing.T, path string) (*database.DB, error) {
	t.Helper()
	db, err := database.Open(t.Context(), path)
	if err == nil {
		t.Cleanup(func() { db.Close() })
	}
	return db, err
}

func TestASecondProcessOnOneFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	first, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second Open gives %v", err)
	}
	first.Close()
	if _, err := open(t, path); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestWhatIsNotADatabaseIsRefusedAndUntouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	garbage := strings.Repeat("this is a letter, not a database. ", 500)
	if err := os.WriteFile(path, []byte(garbage), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, path); err == nil || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != garbage {
		t.Error("the file was changed")
	}
}

func TestAFullDatabaseSaysSo(t *testing.T) {
	db, err := open(t, filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA max_page_count = 1"); err != nil {
		t.Fatal(err)
	}
	if err := db.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("Check gives %v", err)
	}
}

func TestADatabaseNewerThanTheProgramIsRefused(t *testing.T) {
	db, err := open(t, filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := database.Migrate(t.Context(), db, "x", two); err != nil {
			t.Fatal(err)
		}
	}
	if err := database.Migrate(t.Context(), db, "x", one); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("an older program gets %v", err)
	}
	if err := database.Migrate(t.Context(), db, "y", one); err == nil {
		t.Error("another package took over a table that exists")
	}
	if err := db.Check(t.Context()); err != nil {
		t.Errorf("Check gives %v", err)
	}
}

func TestTheFileIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if _, err := open(t, path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
}
