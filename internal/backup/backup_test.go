package backup_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/backup"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

const first = `-- +goose Up
CREATE TABLE parents (name TEXT PRIMARY KEY, weight DOUBLE PRECISION NOT NULL, picture BYTEA, n BIGINT NOT NULL);
INSERT INTO parents (name, weight, n) VALUES ('seed', 0, 0);
CREATE TABLE children (id BIGINT PRIMARY KEY, parent TEXT NOT NULL REFERENCES parents (name), elder BIGINT REFERENCES children (id));
`

const second = `-- +goose Up
ALTER TABLE parents ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey';
`

// owner has the migrations up to a version.
func owner(versions int) []database.Owner {
	files := fstest.MapFS{"00001_first.sql": {Data: []byte(first)}}
	if versions > 1 {
		files["00002_second.sql"] = &fstest.MapFile{Data: []byte(second)}
	}
	return []database.Owner{{Name: "family", Migrations: files}}
}

func sealer(t testing.TB) identity.Sealer {
	t.Helper()
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := identity.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, url string, owners []database.Owner) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, o := range owners {
		if err := database.Migrate(t.Context(), db, o.Name, o.Migrations); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// fill puts in rows that refer to later ones, and values at the edges of their kinds.
func fill(t testing.TB, db *database.DB) {
	t.Helper()
	err := db.Deferred(t.Context(), func(tx *sql.Tx) error {
		for _, row := range [][]any{
			{"a", 0.1, []byte{0, 1, 255}, int64(-1 << 63)}, {"ü\"\\\n\u2028<>", 1e300, []byte{}, int64(1<<63 - 1)}, {"", 5.0, nil, int64(0)},
		} {
			if _, err := tx.Exec(`INSERT INTO parents (name, weight, picture, n) VALUES ($1, $2, $3, $4)`, row...); err != nil {
				return err
			}
		}
		for id := range 1500 {
			var elder any
			if id < 1499 {
				elder = int64(id + 1) // comes after the row that refers to it
			}
			if _, err := tx.Exec(`INSERT INTO children (id, parent, elder) VALUES ($1, 'a', $2)`, int64(id), elder); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, db *database.DB, owners []database.Owner, s backup.Sealer) string {
	t.Helper()
	var b bytes.Buffer
	if err := backup.Write(t.Context(), &b, source(db, owners, s)); err != nil {
		t.Fatal(err)
	}
	return save(t, b.Bytes())
}

func source(db *database.DB, owners []database.Owner, s backup.Sealer) backup.Source {
	return backup.Source{DB: db, Owners: owners, Sealer: s, Version: "test", Files: []backup.File{backup.NewFile("config", 0o600, []byte("x: 1\n"))},
		Describe: func(_ context.Context, _ *sql.Tx, h *backup.Header) error { h.Head = "1:x"; return nil }}
}

func save(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// rows reads a table in a form that is the same for both databases.
func rows(t testing.TB, db *database.DB, table string) []string {
	t.Helper()
	r, err := db.Query(`SELECT * FROM ` + table + ` ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	columns, _ := r.Columns()
	var list []string
	for r.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := r.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			if b, ok := v.([]byte); ok && b == nil { // SQLite's empty octets
				values[i] = []byte{}
			}
		}
		list = append(list, fmt.Sprintf("%#v", values))
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func nothing(*sql.Tx) error { return nil }

func TestWhatEitherDatabaseHeldIsInTheOther(t *testing.T) {
	server := databasetest.StartPostgreSQL(t)
	kinds := map[string]func(testing.TB) string{"sqlite": databasetest.SQLite, "postgresql": server.Database}
	for from, create := range kinds {
		for to, createTo := range kinds {
			t.Run(from+" to "+to, func(t *testing.T) {
				db, s := open(t, create(t), owner(1)), sealer(t)
				fill(t, db)
				r, err := backup.Open(write(t, db, owner(1), s))
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				if err := r.Proven(s); err != nil {
					t.Error(err)
				}
				if err := r.Proven(sealer(t)); err == nil {
					t.Error("it is proven by another key")
				}
				other := open(t, createTo(t), nil)
				contents, err := r.Load(t.Context(), other, owner(1), nil, nothing)
				if err != nil {
					t.Fatal(err)
				}
				if got := contents.Tables[0]; got.Table != "children" || got.Rows != 1500 {
					t.Errorf("contents %+v", got)
				}
				for _, table := range []string{"parents", "children"} {
					if got, want := rows(t, other, table), rows(t, db, table); !reflect.DeepEqual(got, want) {
						t.Errorf("%s: %d rows %.300v, want %d %.300v", table, len(got), got, len(want), want)
					}
				}
				if _, err := other.Exec(`INSERT INTO children (id, parent) VALUES (9999, 'nobody')`); err == nil {
					t.Error("references are not checked any more")
				}
				if err := backup.Empty(t.Context(), other, owner(1)); err == nil || !strings.Contains(err.Error(), "children") {
					t.Errorf("it is called empty: %v", err)
				}
			})
		}
	}
}

func TestAnOlderBackupIsBroughtUpToDate(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		db, s := open(t, create(t), owner(1)), sealer(t)
		fill(t, db)
		path := write(t, db, owner(2), s) // by a newer program, which has not migrated it
		r, err := backup.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		newer := open(t, create(t), nil)
		if _, err := r.Load(t.Context(), newer, owner(2), nil, nothing); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := newer.QueryRow(`SELECT COUNT(*) FROM parents WHERE colour = 'grey'`).Scan(&n); err != nil || n != 4 {
			t.Errorf("%d rows, %v", n, err)
		}
		r2, err := backup.Open(write(t, newer, owner(2), s))
		if err != nil {
			t.Fatal(err)
		}
		defer r2.Close()
		if _, err := r2.Load(t.Context(), open(t, create(t), nil), owner(1), nil, nothing); !errors.Is(err, database.ErrNewer) {
			t.Errorf("an older program restores it: %v", err)
		}
	})
}

func TestAKilledLoadLeavesADatabaseThatIsRefusedAndCanBeLoadedAgain(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		db := open(t, create(t), owner(1))
		fill(t, db)
		r, err := backup.Open(write(t, db, owner(1), sealer(t)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		other := open(t, create(t), nil)
		broken := errors.New("broken")
		if _, err := r.Load(t.Context(), other, owner(1), nil, func(*sql.Tx) error { return broken }); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		if _, ok := errors.AsType[*backup.ErrInterrupted](backup.Interrupted(t.Context(), other)); !ok {
			t.Error("nothing says that it is half a database")
		}
		if err := backup.Empty(t.Context(), other, owner(1)); err != nil {
			t.Errorf("it cannot be loaded again: %v", err)
		}
		if _, err := r.Load(t.Context(), other, owner(1), nil, nothing); err != nil {
			t.Fatal(err)
		}
		if err := backup.Interrupted(t.Context(), other); err != nil {
			t.Error(err)
		}
		if got := len(rows(t, other, "children")); got != 1500 {
			t.Errorf("%d rows", got)
		}
	})
}

func TestABackupIsOneStateWhileOthersWrite(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		db := open(t, create(t), owner(1))
		fill(t, db)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { // a child and its parent's count change together
			for id := int64(10_000); ctx.Err() == nil; id++ {
				err := db.Deferred(t.Context(), func(tx *sql.Tx) error {
					if _, err := tx.Exec(`INSERT INTO children (id, parent) VALUES ($1, 'seed')`, id); err != nil {
						return err
					}
					_, err := tx.Exec(`UPDATE parents SET n = n + 1 WHERE name = 'seed'`)
					return err
				})
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for range 5 {
			r, err := backup.Open(write(t, db, owner(1), sealer(t)))
			if err != nil {
				t.Fatal(err)
			}
			var counted, said int64
			_, err = r.Each(t.Context(), nil, func(table database.Table) (func([]any) error, error) {
				return func(row []any) error {
					if table.Name == "children" && row[1] == "seed" {
						counted++
					}
					if table.Name == "parents" && row[0] == "seed" {
						said = row[3].(int64)
					}
					return nil
				}, nil
			})
			r.Close()
			if err != nil || counted != said {
				t.Errorf("%d children, their parent says %d (%v)", counted, said, err)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestEveryOctetCounts: whatever octet of a file is another one, the file is refused, and so is each beginning of it.
func TestEveryOctetCounts(t *testing.T) {
	db := open(t, databasetest.SQLite(t), owner(1))
	path := write(t, db, owner(1), sealer(t))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	refused := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := backup.Open(path)
		if err == nil {
			r.Close()
			t.Fatalf("%s is accepted", what)
		}
		if !errors.Is(err, backup.ErrDamaged) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= byte(1 + random.IntN(255))
		refused(fmt.Sprintf("octet %d of %d altered", i, len(whole)), b)
	}
	for i := range whole {
		refused(fmt.Sprintf("the first %d octets", i), whole[:i])
	}
	refused("something behind it", append(bytes.Clone(whole), '\n'))
	refused("two of them", append(bytes.Clone(whole), whole...))
}

// TestAHostileFileIsRefused: files whose digest is right, made by somebody without the key.
func TestAHostileFileIsRefused(t *testing.T) {
	header := `{"tenantgate_backup":1,"schemas":{"family":1},"files":[%s]}` + "\n"
	table := `{"table":"parents","columns":[{"name":"name","kind":"text"},{"name":"weight","kind":"float"},{"name":"picture","kind":"bytes"},{"name":"n","kind":"int"}]}` + "\n"
	for name, text := range map[string]string{
		"another format": `{"tenantgate_backup":2}` + "\n",
		"a path": fmt.Sprintf(header,
			`{"name":"ca/../../etc/passwd","content":"","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`),
		"an absolute path":        fmt.Sprintf(header, `{"name":"/etc/passwd"}`),
		"a dot file":              fmt.Sprintf(header, `{"name":"ca/.ssh"}`),
		"a mode with bits":        fmt.Sprintf(header, `{"name":"config","mode":2147484141}`),
		"a file of other content": fmt.Sprintf(header, `{"name":"config","content":"eA==","sha256":"00"}`),
		"no header":               "",
		"a table with a quote":    fmt.Sprintf(header, "") + `{"table":"parents; DROP TABLE parents","columns":[]}` + "\n" + `{"tables":[]}` + "\n",
		"a column with a quote":   fmt.Sprintf(header, "") + `{"table":"parents","columns":[{"name":"a) --","kind":"text"}]}` + "\n" + `{"tables":[]}` + "\n",
		"an unknown table":        fmt.Sprintf(header, "") + `{"table":"strangers","columns":[]}` + "\n" + `{"tables":[{"table":"strangers"}]}` + "\n",
		"a table that is missing": fmt.Sprintf(header, "") + `{"tables":[]}` + "\n",
		"a short row":             fmt.Sprintf(header, "") + table + `["a"]` + "\n" + `{"tables":[]}` + "\n",
		"a row of another kind":   fmt.Sprintf(header, "") + table + `["a",1,"",{"x":1}]` + "\n" + `{"tables":[]}` + "\n",
		"rows without a table":    fmt.Sprintf(header, "") + `["a"]` + "\n" + `{"tables":[]}` + "\n",
		"no contents":             fmt.Sprintf(header, "") + table,
		"a line without an end":   strings.Repeat("x", 40<<20),
		"newer tables":            `{"tenantgate_backup":1,"schemas":{"family":9}}` + "\n" + `{"tables":[]}` + "\n",
		"tables of a stranger":    `{"tenantgate_backup":1,"schemas":{"strangers":1}}` + "\n" + `{"tables":[]}` + "\n",
		"owner with a quote":      `{"tenantgate_backup":1,"schemas":{"a b":1}}` + "\n" + `{"tables":[]}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			r, err := backup.Open(save(t, backup.Forge(t, []byte(text))))
			if err == nil {
				defer r.Close()
				db := open(t, databasetest.SQLite(t), nil)
				_, err = r.Load(t.Context(), db, owner(1), nil, nothing)
			}
			if err == nil {
				t.Fatal("it is restored")
			}
			t.Log(err)
		})
	}
}

func TestKeysOpenUnderTheirPassphraseOnly(t *testing.T) {
	const passphrase = "sixteen octets or more"
	key := backup.NewFile("key_file", 0o600, []byte("the key"))
	sealed, err := backup.Encrypt([]backup.File{key}, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("the key")) {
		t.Error("the key stands there in the clear")
	}
	h := backup.Header{Keys: sealed}
	files, err := h.Decrypt(passphrase)
	if err != nil || len(files) != 1 || string(files[0].Content) != "the key" {
		t.Errorf("%v, %v", files, err)
	}
	if _, err := h.Decrypt(passphrase + "."); !errors.Is(err, backup.ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	h.Keys = sealed[:len(sealed)-1]
	if _, err := h.Decrypt(passphrase); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("cut off: %v", err)
	}
	h.Keys = bytes.Replace(sealed, []byte(" 17\n"), []byte(" 21\n"), 1)
	if _, err := h.Decrypt(passphrase); err == nil {
		t.Error("a file may ask for any amount of memory")
	}
	if _, err := backup.Encrypt(nil, "fifteen octets!"); err == nil {
		t.Error("a short passphrase is taken")
	}
}

func BenchmarkBackup(b *testing.B) {
	db, s := open(b, databasetest.SQLite(b), owner(1)), sealer(b)
	fill(b, db)
	for b.Loop() {
		write(b, db, owner(1), s)
	}
}
