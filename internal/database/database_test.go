package database_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// schema returns a package's migrations up to a version, each making a table.
func schema(versions int) fstest.MapFS {
	files := fstest.MapFS{}
	for v := 1; v <= versions; v++ {
		text := fmt.Sprintf("-- +goose Up\nCREATE TABLE thing%d (name TEXT PRIMARY KEY);\n-- +goose Down\nDROP TABLE thing%d;\n", v, v)
		files[fmt.Sprintf("%05d_step.sql", v)] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func open(t *testing.T, url string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatalf("Open(%s): %v", url, err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// wantError checks that an error is of a kind and names the database and a remedy.
func wantError(t *testing.T, err, kind error, texts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want one of kind %q", err, kind)
	}
	t.Logf("the message: %v", err)
	var e *database.Error
	if !errors.As(err, &e) || e.Hint == "" || e.Name == "" {
		t.Errorf("error without name or hint: %#v", err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got message %q, want it to contain %q", err, text)
		}
	}
}

func TestOpenMigrateCheckAndOpenAgain(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		url := create(t)
		db := open(t, url)
		for range 2 { // the second time there is nothing to do
			if err := database.Migrate(t.Context(), db, "thing", schema(1)); err != nil {
				t.Fatalf("Migrate: %v", err)
			}
		}
		if err := database.Migrate(t.Context(), db, "thing", schema(2)); err != nil {
			t.Fatalf("Migrate to the next version: %v", err)
		}
		if _, err := db.Exec(`INSERT INTO thing2 (name) VALUES ($1)`, "kept"); err != nil {
			t.Fatal(err)
		}
		if err := db.Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		var got string
		if err := open(t, url).QueryRow(`SELECT name FROM thing2`).Scan(&got); err != nil || got != "kept" {
			t.Errorf("after opening again: got %q, %v", got, err)
		}
	})
}

func TestMigrateRefusesNewerDatabase(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		db := open(t, create(t))
		if err := database.Migrate(t.Context(), db, "thing", schema(3)); err != nil {
			t.Fatalf("Migrate: %v", err)
		}
		err := database.Migrate(t.Context(), db, "thing", schema(2))
		wantError(t, err, database.ErrNewer, db.Name, "version 3", "up to 2")
	})
}

func TestMigrateKeepsPackagesApart(t *testing.T) {
	db := open(t, databasetest.SQLite(t))
	other := fstest.MapFS{"00001_init.sql": {Data: []byte("-- +goose Up\nCREATE TABLE other (name TEXT);\n")}}
	for name, files := range map[string]fstest.MapFS{"thing": schema(2), "other": other} {
		if err := database.Migrate(t.Context(), db, name, files); err != nil {
			t.Fatalf("Migrate %s: %v", name, err)
		}
	}
	if _, err := db.Exec(`INSERT INTO other (name) VALUES ('x')`); err != nil {
		t.Error(err)
	}
}

func TestMigrateLeavesNothingOfAFailedStep(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		db := open(t, create(t))
		broken := schema(1)
		broken["00002_step.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE half (name TEXT);\nCREATE TABLE thing1 (name TEXT);\n")}
		err := database.Migrate(t.Context(), db, "thing", broken)
		if err == nil || !strings.Contains(err.Error(), db.Name) {
			t.Fatalf("got %v, want an error that names %s", err, db.Name)
		}
		if _, err := db.Exec(`SELECT * FROM half`); err == nil {
			t.Error("a table of the failed step is there")
		}
		if err := database.Migrate(t.Context(), db, "thing", schema(2)); err != nil {
			t.Errorf("Migrate after repair: %v", err)
		}
	})
}

func TestMigrateByNodesThatStartAtOnce(t *testing.T) {
	url := databasetest.StartPostgreSQL(t).Database(t)
	results := make(chan error)
	for range 4 {
		go func() {
			db, err := database.Open(context.Background(), url)
			if err == nil {
				err = database.Migrate(context.Background(), db, "thing", schema(5))
				_ = db.Close()
			}
			results <- err
		}()
	}
	for range 4 {
		if err := <-results; err != nil {
			t.Errorf("Migrate: %v", err)
		}
	}
}

func TestOpenRefusesSecondServer(t *testing.T) {
	path := databasetest.SQLite(t)
	db := open(t, path)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, "sqlite://" + path, link} {
		_, err := database.Open(t.Context(), name)
		wantError(t, err, database.ErrInUse, path, fmt.Sprintf("process %d", os.Getpid()), "stop that one")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestOpenMakesFilesForTheOwnerOnly(t *testing.T) {
	path := databasetest.SQLite(t)
	db := open(t, path)
	if err := database.Migrate(t.Context(), db, "thing", schema(1)); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s: got mode %o, want 600", suffix, got)
		}
	}
}

func TestOpenSetsWhatDurabilityNeeds(t *testing.T) {
	db := open(t, databasetest.SQLite(t))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		var got string
		if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", pragma, got, err, want)
		}
	}
}

func TestOpenTakesOddPaths(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%20c?d#e&f=ü.db")
	open(t, path)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file is not where it was asked for: %v", err)
	}
}

func TestOpenRefusesWhatIsNotOurs(t *testing.T) {
	foreign := func(t *testing.T, path string) {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(`CREATE TABLE bookmarks (url TEXT)`); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	text := func(t *testing.T, path string) {
		if err := os.WriteFile(path, []byte(strings.Repeat("this is a letter, not a database\n", 200)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		make func(*testing.T, string)
		want string
	}{
		"text":            {text, "not an SQLite database"},
		"another program": {foreign, "another program"},
	} {
		t.Run(name, func(t *testing.T) {
			path := databasetest.SQLite(t)
			tc.make(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = database.Open(t.Context(), path)
			wantError(t, err, database.ErrCorrupt, path, tc.want)
			after, err := os.ReadFile(path)
			if err != nil || string(after) != string(before) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}

func TestOpenRefusesDamagedFile(t *testing.T) {
	path := databasetest.SQLite(t)
	db := open(t, path)
	if err := database.Migrate(t.Context(), db, "thing", schema(1)); err != nil {
		t.Fatal(err)
	}
	for n := range 2000 {
		if _, err := db.Exec(`INSERT INTO thing1 (name) VALUES ($1)`, fmt.Sprintf("%040d", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"pages overwritten": func(b []byte) []byte {
			for i := 5 * 4096; i < 12*4096; i++ {
				b[i] = 0xA5
			}
			return b
		},
		"cut short": func(b []byte) []byte { return b[:len(b)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, damage(append([]byte(nil), content...)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := database.Open(t.Context(), path)
			wantError(t, err, database.ErrCorrupt, path, "damaged", "backup")
		})
	}
}

func TestOpenNamesMissingDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "x.db")
	_, err := database.Open(t.Context(), path)
	wantError(t, err, database.ErrAbsent, path, "directory")
}

func TestOpenHidesPassword(t *testing.T) {
	_, err := database.Open(t.Context(), "postgres://gate:hunter2@127.0.0.1:1/x?password=hunter2")
	wantError(t, err, database.ErrAbsent, "postgres://gate@127.0.0.1:1/x")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password is in the message: %v", err)
	}
}

func TestOpenRefusesStandby(t *testing.T) {
	url := databasetest.StartPostgreSQL(t).Database(t)
	_, err := database.Open(t.Context(), url+"&default_transaction_read_only=on")
	wantError(t, err, database.ErrReadOnly, "primary")
}

func TestFullDiskIsToldAndLosesNothing(t *testing.T) {
	db := open(t, databasetest.SQLite(t))
	if err := database.Migrate(t.Context(), db, "thing", schema(1)); err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1) // the pragma below is one connection's
	if _, err := db.Exec(`INSERT INTO thing1 (name) VALUES ('kept')`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`PRAGMA max_page_count = 1`); err != nil { // SQLite takes the present size instead
		t.Fatal(err)
	}
	_, err := db.Exec(`INSERT INTO thing1 (name) VALUES ($1)`, strings.Repeat("x", 1<<20))
	wantError(t, err, database.ErrFull, db.Name, "free space")
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM thing1`).Scan(&n); err != nil || n != 1 {
		t.Errorf("after the failure: got %d rows, %v, want 1", n, err)
	}
}
