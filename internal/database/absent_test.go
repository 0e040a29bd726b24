package database_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tenantgate/tenantgate/internal/database"
)

func TestOpenExistingMakesNothing(t *testing.T) {
	dir := t.TempDir()
	missing, empty := filepath.Join(dir, "missing.db"), filepath.Join(dir, "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{missing: "the file is missing", empty: "the file is empty"} {
		_, err := database.OpenExisting(t.Context(), name)
		wantError(t, err, database.ErrAbsent, text)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v; want empty.db alone", entries, err)
	}
	if info, err := os.Stat(empty); err != nil || info.Size() != 0 {
		t.Errorf("the empty file was changed: %v %v", info, err)
	}
}

// A change that is acknowledged and written to a file that has no name any more is lost with the process.
func TestAFileThatLostItsNameTakesNoChange(t *testing.T) {
	for what, lose := range map[string]func(t *testing.T, name string){
		"removed":  func(t *testing.T, name string) { must(t, os.Remove(name)) },
		"moved":    func(t *testing.T, name string) { must(t, os.Rename(name, name+".old")) },
		"replaced": func(t *testing.T, name string) { must(t, os.Remove(name)); must(t, os.WriteFile(name, nil, 0o600)) },
		"wal":      func(t *testing.T, name string) { must(t, os.Remove(name+"-wal")) },
	} {
		t.Run(what, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "tenantgate.db")
			db := open(t, name)
			if _, err := db.Exec(`CREATE TABLE things (name TEXT)`); err != nil {
				t.Fatal(err)
			}
			must(t, db.Check(t.Context()))
			lose(t, db.Name)
			_, err := db.BeginTx(t.Context(), nil)
			wantError(t, err, database.ErrAbsent, "removed or replaced")
			wantError(t, db.Check(t.Context()), database.ErrAbsent)
			if what != "moved" {
				return
			}
			must(t, os.Rename(db.Name+".old", db.Name))
			must(t, db.Check(t.Context()))
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesAFileOfTwoNames(t *testing.T) {
	dir := t.TempDir()
	name, second := filepath.Join(dir, "tenantgate.db"), filepath.Join(dir, "second.db")
	db := open(t, name)
	if err := os.Link(name, second); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	_, err := database.Open(t.Context(), second)
	wantError(t, err, database.ErrInUse, "hard link")
	must(t, db.Check(t.Context())) // the one that has it open goes on
}
