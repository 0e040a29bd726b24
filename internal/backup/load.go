package backup

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/tenantgate/tenantgate/internal/database"
)

// restoring is the table that a database has from before the first table of a restore until everything is in it.
const restoring = "tenantgate_restoring"

// ErrInterrupted is that a database holds a part of a backup, because a restore was killed.
type ErrInterrupted struct{ Name string }

// Error says what to do.
func (e *ErrInterrupted) Error() string {
	return "database " + e.Name + ": a restore into it was interrupted: run the same tenantgate restore again, which begins anew"
}

// Interrupted returns an *[ErrInterrupted] for a database in which a restore was killed, and must not be used.
func Interrupted(ctx context.Context, db *database.DB) error {
	there, err := db.HasTable(ctx, db, restoring)
	if err != nil {
		return err
	}
	if there {
		return &ErrInterrupted{db.Name}
	}
	return nil
}

// Empty reports, by an error that names a table, whether a database has none of the owners' tables. The remains of an interrupted restore do not count:
// [Reader.Load] removes them.
func Empty(ctx context.Context, db *database.DB, owners []database.Owner) error {
	if there, err := db.HasTable(ctx, db, restoring); err != nil || there {
		return err
	}
	names, err := tableNames(ctx, owners)
	if err != nil {
		return err
	}
	for _, name := range names {
		there, err := db.HasTable(ctx, db, name)
		if err != nil {
			return err
		}
		if there {
			return fmt.Errorf("database %s is not empty: it has a table %s", db.Name, name)
		}
	}
	return nil
}

// tableNames lists all tables that the owners' migrations make, and those in which goose keeps the versions.
func tableNames(ctx context.Context, owners []database.Owner) ([]string, error) {
	tables, err := database.Tables(ctx, owners, nil)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
	}
	for _, o := range owners {
		names = append(names, o.Name+"_schema")
	}
	return names, nil
}

// Load puts a backup into an empty database (see [Empty]): the tables as they were when it was written, and then the migrations since. finish runs last,
// in the transaction that ends the restore; until it is committed the database is [Interrupted], and a killed Load leaves it so.
func (r *Reader) Load(ctx context.Context, db *database.DB, owners []database.Owner, p Progress, finish func(tx *sql.Tx) error) (Contents, error) {
	if err := r.prepare(ctx, db, owners); err != nil {
		return Contents{}, err
	}
	made, err := database.Tables(ctx, owners, r.Header.Schemas)
	if err != nil {
		return Contents{}, err
	}
	var contents Contents
	if err := db.Deferred(ctx, func(tx *sql.Tx) error {
		contents, err = r.fill(ctx, db, tx, made, p)
		return err
	}); err != nil {
		return contents, err
	}
	for _, o := range owners {
		if err := database.Migrate(ctx, db, o.Name, o.Migrations); err != nil {
			return contents, err
		}
	}
	return contents, db.Deferred(ctx, func(tx *sql.Tx) error {
		if err := finish(tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DROP TABLE `+restoring)
		return err
	})
}

// prepare marks the database, removes what an interrupted restore has left, and makes the tables of the backup's time.
func (r *Reader) prepare(ctx context.Context, db *database.DB, owners []database.Owner) error {
	known := map[string]bool{}
	for _, o := range owners {
		known[o.Name] = true
	}
	for name := range r.Header.Schemas {
		if !known[name] {
			return fmt.Errorf("the backup has tables of %q, which this program does not know: use the newer tenantgate that wrote it (%q)", name,
				r.Header.Version)
		}
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS `+restoring+` (id BIGINT)`); err != nil {
		return fmt.Errorf("marking database %s: %w", db.Name, err)
	}
	names, err := tableNames(ctx, owners)
	if err != nil {
		return err
	}
	if err := db.Drop(ctx, names...); err != nil {
		return err
	}
	for _, o := range owners {
		version, there := r.Header.Schemas[o.Name]
		if !there {
			continue
		}
		if err := database.MigrateTo(ctx, db, o, version); err != nil {
			return err
		}
	}
	return nil
}

// fill replaces the rows of all tables, those with which the migrations begin too.
func (r *Reader) fill(ctx context.Context, db *database.DB, tx *sql.Tx, made []database.Table, p Progress) (Contents, error) {
	known := map[string]database.Table{}
	for _, t := range made {
		known[t.Name] = t
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+t.Name); err != nil {
			return Contents{}, fmt.Errorf("emptying table %s: %w", t.Name, err)
		}
	}
	var last *inserter
	contents, err := r.Each(ctx, p, func(t database.Table) (func([]any) error, error) {
		if err := last.flush(ctx); err != nil {
			return nil, err
		}
		want, ok := known[t.Name]
		if !ok {
			return nil, fmt.Errorf("the backup holds a table %s, which this program does not know or holds twice", t.Name)
		}
		delete(known, t.Name)
		if err := sameTable(t, want); err != nil {
			return nil, err
		}
		last = newInserter(db, tx, t)
		return func(row []any) error { return last.add(ctx, row) }, nil
	})
	if err != nil {
		return contents, err
	}
	if err := last.flush(ctx); err != nil {
		return contents, err
	}
	for name := range known {
		return contents, fmt.Errorf("the backup has no table %s, and should", name)
	}
	return contents, nil
}

// inserter puts many rows into a table with one statement.
type inserter struct {
	tx     *sql.Tx
	table  database.Table
	batch  int // rows of a statement
	values []any
	full   *sql.Stmt // for a whole batch
}

func newInserter(db *database.DB, tx *sql.Tx, t database.Table) *inserter {
	values := valuesSQLite
	if db.PostgreSQL() {
		values = valuesPostgreSQL
	}
	return &inserter{tx: tx, table: t, batch: max(1, values/max(1, len(t.Columns)))}
}

// How many parameters a statement gets. PostgreSQL takes 65,535, and each statement is a way there and back. SQLite has no such way, and its driver
// looks for each parameter among all of them.
const (
	valuesPostgreSQL = 4000
	valuesSQLite     = 60
)

func (i *inserter) add(ctx context.Context, row []any) (err error) {
	i.values = append(i.values, row...)
	if len(i.values) < i.batch*len(row) {
		return nil
	}
	if i.full == nil {
		if i.full, err = i.tx.PrepareContext(ctx, i.statement(i.batch)); err != nil {
			return fmt.Errorf("writing table %s: %w", i.table.Name, err)
		}
	}
	_, err = i.full.ExecContext(ctx, i.values...)
	i.values = i.values[:0]
	if err != nil {
		return fmt.Errorf("writing table %s: %w", i.table.Name, err)
	}
	return nil
}

// flush writes what is left. A nil inserter has nothing.
func (i *inserter) flush(ctx context.Context) error {
	if i == nil {
		return nil
	}
	if i.full != nil {
		defer func() { _ = i.full.Close() }()
	}
	if len(i.values) == 0 {
		return nil
	}
	if _, err := i.tx.ExecContext(ctx, i.statement(len(i.values)/len(i.table.Columns)), i.values...); err != nil {
		return fmt.Errorf("writing table %s: %w", i.table.Name, err)
	}
	i.values = nil
	return nil
}

func (i *inserter) statement(rows int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO ` + i.table.Name + ` (` + columnList(i.table) + `) VALUES `)
	n := 0
	for r := range rows {
		if r > 0 {
			b.WriteString(", ")
		}
		for c := range i.table.Columns {
			if n++; c == 0 {
				b.WriteString("($")
			} else {
				b.WriteString(", $")
			}
			b.WriteString(strconv.Itoa(n))
		}
		b.WriteString(")")
	}
	return b.String()
}
