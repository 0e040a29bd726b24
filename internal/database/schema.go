package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"
)

// Owner is a package that owns tables: its name in the tables of versions, and its migrations.
type Owner struct {
	Name       string
	Migrations fs.FS
}

// Kind is what a column holds, the same in SQLite and PostgreSQL.
type Kind string

// The kinds. The columns of a schema that both databases read have one of these.
const (
	Int   Kind = "int"
	Float Kind = "float"
	Text  Kind = "text"
	Bytes Kind = "bytes"
)

// Column is one column of a table.
type Column struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
}

// Table is one table as migrations make it.
type Table struct {
	Name    string   `json:"table"`
	Columns []Column `json:"columns"`
}

// Tables lists, by name, the tables that the migrations of the owners make up to these versions; an owner without a version makes none, and nil versions
// are the newest. It asks no database that is in use: the migrations are applied to an empty one in memory. Tables of others that stand beside ours are
// therefore never among them, and a table that a migration adds always is.
func Tables(ctx context.Context, owners []Owner, versions map[string]int64) ([]Table, error) {
	pool, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	defer func() { _ = pool.Close() }()
	pool.SetMaxOpenConns(1) // each connection would have a database of its own
	db := &DB{DB: pool, Name: ":memory:", dialect: goose.DialectSQLite3}
	own := map[string]bool{}
	for _, o := range owners {
		version, known := versions[o.Name]
		if versions != nil && !known {
			continue
		}
		own[o.Name+"_schema"] = true
		if versions == nil {
			err = Migrate(ctx, db, o.Name, o.Migrations)
		} else {
			err = MigrateTo(ctx, db, o, version)
		}
		if err != nil {
			return nil, fmt.Errorf("listing tables: %w", err)
		}
	}
	names, err := scanStrings(ctx, pool, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	var list []Table
	for _, name := range names {
		if own[name] {
			continue
		}
		t, err := describe(ctx, pool, name)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// describe reads the columns of a table.
func describe(ctx context.Context, db *sql.DB, name string) (Table, error) {
	t := Table{Name: name}
	rows, err := db.QueryContext(ctx, `SELECT name, type FROM pragma_table_info($1) ORDER BY cid`, name)
	if err != nil {
		return t, fmt.Errorf("listing columns of %s: %w", name, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var column, declared string
		if err := rows.Scan(&column, &declared); err != nil {
			return t, fmt.Errorf("listing columns of %s: %w", name, err)
		}
		kind, ok := kindOf(declared)
		if !ok {
			return t, fmt.Errorf("listing columns of %s: column %s has the type %s, which is none of BIGINT, DOUBLE PRECISION, TEXT and BYTEA", name,
				column, declared)
		}
		t.Columns = append(t.Columns, Column{column, kind})
	}
	return t, rows.Err()
}

func kindOf(declared string) (Kind, bool) {
	switch strings.ToUpper(declared) {
	case "BIGINT", "INTEGER", "SMALLINT", "INT":
		return Int, true
	case "DOUBLE PRECISION", "REAL":
		return Float, true
	case "TEXT":
		return Text, true
	case "BYTEA", "BLOB":
		return Bytes, true
	}
	return "", false
}

// Querier is what a database, a connection and a transaction have in common for reading.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Versions reads up to which version the migrations of each owner were applied. An owner whose tables the database does not have is not among them.
func (db *DB) Versions(ctx context.Context, q Querier, owners []Owner) (map[string]int64, error) {
	versions := map[string]int64{}
	for _, o := range owners {
		there, err := db.HasTable(ctx, q, o.Name+"_schema")
		if err != nil {
			return nil, err
		}
		if !there {
			continue
		}
		var version sql.NullInt64
		if err := q.QueryRowContext(ctx, `SELECT MAX(version_id) FROM `+o.Name+`_schema WHERE is_applied`).Scan(&version); err != nil {
			return nil, fmt.Errorf("reading the version of the %s tables in database %s: %w", o.Name, db.Name, err)
		}
		versions[o.Name] = version.Int64
	}
	return versions, nil
}

// HasTable reports whether the database has a table of this name, where ours are.
func (db *DB) HasTable(ctx context.Context, q Querier, name string) (bool, error) {
	query := `SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = $1`
	if db.dialect == goose.DialectPostgres {
		query = `SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1`
	}
	var n int64
	if err := q.QueryRowContext(ctx, query, name).Scan(&n); err != nil {
		return false, fmt.Errorf("looking for table %s in database %s: %w", name, db.Name, err)
	}
	return n > 0, nil
}

// PostgreSQL reports whether the database is one that other nodes may share.
func (db *DB) PostgreSQL() bool { return db.dialect == goose.DialectPostgres }

// MigrateTo is [Migrate] up to one version. A version that the owner's migrations do not have is refused with [ErrNewer].
func MigrateTo(ctx context.Context, db *DB, o Owner, version int64) error {
	newest, err := Newest(o)
	if err != nil {
		return err
	}
	if version > newest {
		return &Error{Kind: ErrNewer, Name: db.Name,
			Message: fmt.Sprintf("its %s tables have version %d and this program knows them up to %d", o.Name, version, newest),
			Hint:    "use the newer tenantgate that made it"}
	}
	provider, err := goose.NewProvider(db.dialect, db.DB, o.Migrations, goose.WithTableName(o.Name+"_schema"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return migrating(db.Name, o.Name, err)
	}
	if _, err := provider.UpTo(ctx, version); err != nil {
		return migrating(db.Name, o.Name, err)
	}
	return nil
}

// Newest is the version of an owner's last migration.
func Newest(o Owner) (int64, error) {
	files, err := fs.Glob(o.Migrations, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("reading the migrations of %s: %w", o.Name, err)
	}
	var newest int64
	for _, f := range files {
		v, err := goose.NumericComponent(f)
		if err != nil {
			return 0, fmt.Errorf("reading the migrations of %s: %w", o.Name, err)
		}
		newest = max(newest, v)
	}
	return newest, nil
}

// Deferred runs fn in a transaction in which rows may be written before those that they refer to. References are checked at its end, and a
// commit with a reference to nothing fails.
func (db *DB) Deferred(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction in database %s: %w", db.Name, err)
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	restore := func() error { return nil }
	if db.PostgreSQL() {
		restore, err = dropReferences(ctx, tx)
	} else {
		_, err = tx.ExecContext(ctx, `PRAGMA defer_foreign_keys = ON`)
	}
	if err != nil {
		return fmt.Errorf("deferring references in database %s: %w", db.Name, err)
	}
	if err := fn(tx); err != nil {
		return err
	}
	if err := restore(); err != nil {
		return fmt.Errorf("checking references in database %s: %w", db.Name, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing to database %s: %w", db.Name, err)
	}
	return nil
}

// dropReferences takes the foreign keys of all tables away, and returns what puts them back. PostgreSQL defers only those that were made so.
func dropReferences(ctx context.Context, tx *sql.Tx) (restore func() error, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
		WHERE contype = 'f' AND connamespace = current_schema()::regnamespace ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	type reference struct{ table, name, definition string }
	var all []reference
	for rows.Next() {
		var r reference
		if err := rows.Scan(&r.table, &r.name, &r.definition); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		all = append(all, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for _, r := range all {
		if _, err := tx.ExecContext(ctx, `ALTER TABLE `+r.table+` DROP CONSTRAINT `+r.name); err != nil {
			return nil, err
		}
	}
	return func() error {
		for _, r := range all {
			if _, err := tx.ExecContext(ctx, `ALTER TABLE `+r.table+` ADD CONSTRAINT `+r.name+` `+r.definition); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// Drop removes tables and whatever refers to them. Tables that are not there are left out.
func (db *DB) Drop(ctx context.Context, names ...string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction in database %s: %w", db.Name, err)
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	cascade := " CASCADE"
	if !db.PostgreSQL() { // it has no CASCADE, and looks at references when the transaction ends
		cascade = ""
		if _, err := tx.ExecContext(ctx, `PRAGMA defer_foreign_keys = ON`); err != nil {
			return fmt.Errorf("deferring references in database %s: %w", db.Name, err)
		}
	}
	for _, name := range names {
		if _, err := tx.ExecContext(ctx, `DROP TABLE IF EXISTS `+name+cascade); err != nil {
			return fmt.Errorf("dropping table %s of database %s: %w", name, db.Name, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("dropping tables of database %s: %w", db.Name, err)
	}
	return nil
}

func scanStrings(ctx context.Context, q Querier, query string, args ...any) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}
