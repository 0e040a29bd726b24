package main

import (
	"bytes"
	"context"
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/backup"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

var (
	createdTable = regexp.MustCompile(`(?i)CREATE TABLE (?:IF NOT EXISTS )?(\w+)`)
	droppedTable = regexp.MustCompile(`(?i)DROP TABLE (?:IF EXISTS )?(\w+)`)
)

// TestEveryTableOfEveryPackageIsInABackup looks for migrations in the whole tree: a package whose tables are not backed up fails here.
func TestEveryTableOfEveryPackageIsInABackup(t *testing.T) {
	want := map[string]string{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".sql" || filepath.Base(filepath.Dir(path)) != "migrations" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		up, _, _ := strings.Cut(string(b), "-- +goose Down")
		for _, m := range createdTable.FindAllStringSubmatch(up, -1) {
			want[m[1]] = path
		}
		for _, m := range droppedTable.FindAllStringSubmatch(up, -1) {
			delete(want, m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 15 {
		t.Fatalf("found %d tables: is this the tree?", len(want))
	}
	path := makeBackupOf(t, newInstallation(t))
	r, err := backup.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	contents, err := verifyTables(t.Context(), r, (&program{stderr: new(bytes.Buffer)}).progress(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range contents.Tables {
		delete(want, table.Table)
	}
	for table, file := range want {
		t.Errorf("table %s of %s is in no backup: add its package to owners", table, file)
	}
}

// newInstallation makes what init makes and returns its directory.
func newInstallation(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "node")
	mustRun(t, "init", dir)
	return dir
}

func mustRun(t testing.TB, args ...string) string {
	t.Helper()
	status, out := runCommand(t, args...)
	if status != exitOK {
		t.Fatalf("tenantgate %s: exit %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

func runCommand(t testing.TB, args ...string) (int, string) {
	t.Helper()
	t.Setenv("TENANTGATE_CONFIG", "")
	t.Setenv("TENANTGATE_SOCKET", "")
	var out bytes.Buffer
	status := run(t.Context(), args, strings.NewReader(""), &out, &out)
	return status, out.String()
}

func makeBackupOf(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "all.backup")
	mustRun(t, "-c", filepath.Join(dir, configFile), "backup", path)
	return path
}

// keysOfNode are the flags that give a restore the keys of a node.
func keysOfNode(dir string) []string {
	return []string{"--master-key", filepath.Join(dir, "keys/master.key"), "--ca-passphrase", filepath.Join(dir, "keys/ca-passphrase")}
}

// TestABackupMovesBetweenDatabases: from SQLite into PostgreSQL and back, with everything that is in it, and no password of a database on the way.
func TestABackupMovesBetweenDatabases(t *testing.T) {
	server := databasetest.StartPostgreSQL(t)
	node := newInstallation(t)
	url := server.Database(t)
	url += "&password=not-in-a-backup"
	moved := filepath.Join(t.TempDir(), "moved")
	mustRun(t, append([]string{"restore", makeBackupOf(t, node), moved, "--database", url}, keysOfNode(node)...)...)
	db, err := database.OpenExisting(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	report, err := record.Verify(t.Context(), db.DB)
	if err != nil || report.Broken != nil || report.Records != 3 { // init, backup, restore
		t.Errorf("%+v, %v", report, err)
	}
	if status, out := runCommand(t, append([]string{"restore", makeBackupOf(t, node), filepath.Join(t.TempDir(), "again"), "--database", url},
		keysOfNode(node)...)...); status != exitFailed ||
		!strings.Contains(out, "is not empty") {
		t.Errorf("restored over a database with a state: exit %d, %s", status, out)
	}
	second := makeBackupOf(t, moved)
	r, err := backup.Open(second)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, f := range r.Header.Files {
		if bytes.Contains(f.Content, []byte("not-in-a-backup")) {
			t.Errorf("%s holds the password of the database", f.Name)
		}
	}
	back := filepath.Join(t.TempDir(), "back")
	mustRun(t, append([]string{"restore", second, back, "--database", filepath.Join(back, "state.db")}, keysOfNode(node)...)...)
	third := makeBackupOf(t, back)
	mustRun(t, "backup", "verify", third, "--master-key", filepath.Join(node, "keys/master.key"))
}

// TestAnInterruptedRestoreIntoPostgreSQLIsRefused: there the tables lie where a server finds them, which must not take them for an empty state.
func TestAnInterruptedRestoreIntoPostgreSQLIsRefused(t *testing.T) {
	server := databasetest.StartPostgreSQL(t)
	node, url := newInstallation(t), server.Database(t)
	path := makeBackupOf(t, node)
	r, err := backup.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = r.Load(t.Context(), db, owners(), nil, func(*sql.Tx) error { return context.Canceled }); err == nil {
		t.Fatal("it was not interrupted")
	}
	db.Close()
	if _, err := openDatabase(t.Context(), database.OpenExisting, url); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Fatalf("half a restore is opened: %v", err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	mustRun(t, append([]string{"restore", path, moved, "--database", url}, keysOfNode(node)...)...)
	whole, err := openDatabase(t.Context(), database.OpenExisting, url)
	if err != nil {
		t.Fatal(err)
	}
	whole.Close()
}

// TestABackupOfANewerVersionIsRefused, and leaves nothing behind.
func TestABackupOfANewerVersionIsRefused(t *testing.T) {
	node := newInstallation(t)
	db, err := database.OpenExisting(t.Context(), filepath.Join(node, "tenantgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	newer := append(owners(), database.Owner{Name: "later", Migrations: fstest.MapFS{"00001_later.sql": {Data: []byte("-- +goose Up\nCREATE TABLE later (id BIGINT);")}}})
	if err := database.Migrate(t.Context(), db, "later", newer[len(newer)-1].Migrations); err != nil {
		t.Fatal(err)
	}
	key, err := readSecretFile(filepath.Join(node, "keys/master.key"))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := (&backupSource{db: db, sealer: sealer, cfg: loadedConfig(t, node), config: filepath.Join(node, configFile)}).prepare("test", false)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "newer.backup")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = prepared.writeAs(t.Context(), f, "", newer, nil)
	f.Close()
	db.Close()
	if err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(t.TempDir(), "place")
	status, out := runCommand(t, append([]string{"restore", path, place}, keysOfNode(node)...)...)
	if status != exitFailed || !strings.Contains(out, `tables of "later", which this program does not know`) {
		t.Errorf("exit %d, %s", status, out)
	}
	if _, err := os.Stat(place); !os.IsNotExist(err) {
		t.Errorf("something was left behind: %v", err)
	}
}

func loadedConfig(t *testing.T, node string) *Config {
	t.Helper()
	cfg, err := loadConfig(filepath.Join(node, configFile))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestManyIdentities says what a large state takes. It runs with TENANTGATE_MANY=1000000.
func TestManyIdentities(t *testing.T) {
	count := os.Getenv("TENANTGATE_MANY")
	if count == "" {
		t.Skip("set TENANTGATE_MANY to a number of identities")
	}
	node := newInstallation(t)
	db, err := database.OpenExisting(t.Context(), filepath.Join(node, "tenantgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ` + count + `)
		INSERT INTO identities (name, owner, description, roles, disabled, review_date, created, updated)
		SELECT 'identity-' || i, 'team-' || (i % 100), 'made for a measurement', 'orders.send', 0, '', 1, 1 FROM n`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO certificates (fingerprint, identity, serial, subject, not_before, not_after, created, revoked_at, revocation_reason)
		SELECT lower(hex(randomblob(32))), name, lower(hex(randomblob(16))), 'CN=' || name, 1, 2, 1, 0, '' FROM identities`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	path := filepath.Join(t.TempDir(), "many.backup")
	measure(t, "backup", func() { mustRun(t, "-c", filepath.Join(node, configFile), "backup", path) })
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the file has %d MiB", info.Size()>>20)
	measure(t, "verify", func() { mustRun(t, "backup", "verify", path) })
	measure(t, "restore", func() {
		mustRun(t, append([]string{"restore", path, filepath.Join(t.TempDir(), "r")}, keysOfNode(node)...)...)
	})
	url := databasetest.StartPostgreSQL(t).Database(t)
	measure(t, "restore into PostgreSQL", func() {
		mustRun(t, append([]string{"restore", path, filepath.Join(t.TempDir(), "p"), "--database", url}, keysOfNode(node)...)...)
	})
}

// measure says how long fn takes and how much of Go's heap was in use meanwhile, at most.
func measure(t *testing.T, what string, fn func()) {
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		var peak uint64
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse)
			case <-stop:
				most <- peak
				return
			}
		}
	}()
	began := time.Now()
	fn()
	close(stop)
	t.Logf("%s: %v, heap up to %d MiB", what, time.Since(began).Round(10*time.Millisecond), <-most>>20)
}

// TestTheKeyCheckOfABackupIsTheDatabases: with it a wrong key is told before anything is written.
func TestTheKeyCheckOfABackupIsTheDatabases(t *testing.T) {
	node := newInstallation(t)
	r, err := backup.Open(makeBackupOf(t, node))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	key, err := readSecretFile(filepath.Join(node, "keys/master.key"))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := identity.OpenKeyCheck(sealer, r.Header.KeyCheck); err != nil {
		t.Error(err)
	}
	var names []string
	for _, f := range r.Header.Files {
		names = append(names, f.Name)
	}
	if want := []string{"config", "ca/intermediate_ca.crt", "ca/intermediate_ca.key", "ca/root_ca.crt", "ca/root_ca.key"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
}

// TestAllOfTheCAsDirectoryIsBackedUp: files that are links, as containers mount them, and those in directories; never a key in the clear.
func TestAllOfTheCAsDirectoryIsBackedUp(t *testing.T) {
	node := newInstallation(t)
	ca := filepath.Join(node, "ca")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(ca, "..data"), 0o700))
	must(os.Rename(filepath.Join(ca, "intermediate_ca.crt"), filepath.Join(ca, "..data", "intermediate_ca.crt")))
	must(os.Symlink("..data/intermediate_ca.crt", filepath.Join(ca, "intermediate_ca.crt")))
	must(os.Mkdir(filepath.Join(ca, "old"), 0o700))
	must(os.WriteFile(filepath.Join(ca, "old", "note.txt"), []byte("of the last root"), 0o600))
	path := makeBackupOf(t, node)
	moved := filepath.Join(t.TempDir(), "moved")
	mustRun(t, append([]string{"restore", path, moved}, keysOfNode(node)...)...)
	for _, name := range []string{"intermediate_ca.crt", "old/note.txt", "root_ca.key"} {
		want, err := os.ReadFile(filepath.Join(ca, name))
		must(err)
		got, err := os.ReadFile(filepath.Join(moved, "ca", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	key, err := pki.GenerateKey(pki.P256)
	must(err)
	plain, err := pki.EncodePrivateKey(key)
	must(err)
	must(os.WriteFile(filepath.Join(ca, "forgotten.key"), plain, 0o600))
	status, out := runCommand(t, "-c", filepath.Join(node, configFile), "backup", filepath.Join(t.TempDir(), "b"))
	if status != exitFailed || !strings.Contains(out, "forgotten.key is a private key that is not encrypted") {
		t.Errorf("a key in the clear: exit %d, %s", status, out)
	}
}
