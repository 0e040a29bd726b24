package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

// applicationID is "tgat" in the file's header (https://sqlite.org/fileformat2.html#application_id): it tells our files from those of
// other programs.
const applicationID = 0x74676174

// sqliteConns bounds the connections: one writes, the others read.
const sqliteConns = 8

func openSQLite(ctx context.Context, path string, create bool) (_ *DB, err error) {
	name, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", path, err)
	}
	// Two names of one file must meet in one lock.
	if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
		name = filepath.Join(dir, filepath.Base(name))
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	if !create {
		if err := made(name); err != nil {
			return nil, err
		}
	}
	release, err := lockFile(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = release()
		}
	}()
	if err := createFile(name); err != nil {
		return nil, err
	}
	if err := inspectSQLite(ctx, name); err != nil {
		return nil, err
	}
	connector, err := sqlite.NewConnector(sqliteDSN(name))
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", name, err)
	}
	opened, err := os.Stat(name)
	if err != nil {
		return nil, explainFile(name, err)
	}
	pool := sql.OpenDB(explainingConnector{connector, name, opened})
	pool.SetMaxOpenConns(sqliteConns)
	pool.SetMaxIdleConns(sqliteConns)
	db := &DB{DB: pool, Name: name, dialect: goose.DialectSQLite3, release: release}
	db.check = func(ctx context.Context) error { return markSQLite(ctx, pool) }
	if err := prepareSQLite(ctx, db); err != nil {
		_ = pool.Close()
		return nil, err
	}
	return db, nil
}

// sqliteDSN sets what each connection needs. Transactions begin IMMEDIATE: one that reads first and writes later could otherwise lose
// its turn to another and fail without waiting.
func sqliteDSN(name string) string {
	query := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			"busy_timeout(10000)", // milliseconds
			"journal_mode(WAL)",
			"synchronous(FULL)",
			"foreign_keys(1)",
			"journal_size_limit(67108864)", // bytes that the WAL keeps after a large transaction
		},
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(name), RawQuery: query.Encode()}
	return u.String()
}

// made refuses a file that is missing or empty.
func made(name string) error {
	absent := &Error{Kind: ErrAbsent, Name: name, Hint: "restore the last backup; a first database is made by tenantgate init"}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		absent.Message = "the file is missing"
	case err != nil:
		return explainFile(name, err)
	case info.Mode().IsRegular() && info.Size() == 0:
		absent.Message = "the file is empty"
	default:
		return nil
	}
	return absent
}

// inPlace reports, by an error, whether the file that was opened and its WAL still have their names. SQLite would go on writing to
// files that nobody can find again. The caller is in a transaction: before one, a WAL need not be there.
func inPlace(name string, opened fs.FileInfo) error {
	now, err := os.Stat(name)
	if err == nil && !os.SameFile(opened, now) {
		err = errors.New("another file has its name")
	}
	if err == nil {
		_, err = os.Stat(name + "-wal")
	}
	if err == nil {
		return nil
	}
	return &Error{Kind: ErrAbsent, Name: name, Message: "the file or its -wal was removed or replaced while it was open",
		Hint: "nothing was changed; put the file back, or stop tenantgate, restore the last backup and start it again", Err: err}
}

// createFile sees that the file is there, for its owner only, that it may be written, and that it has no second name. SQLite itself would create it by the umask
// and open a read-only one without a word.
func createFile(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return explainFile(name, err)
	}
	info, err := f.Stat()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return explainFile(name, err)
	}
	// WAL and lock go by the name: https://sqlite.org/howtocorrupt.html#_multiple_links_to_the_same_file
	if links(info) > 1 {
		return &Error{Kind: ErrInUse, Name: name, Message: "the file has a second name, a hard link",
			Hint: "remove the other name (a copy may stay): servers that open one file by two names damage it"}
	}
	return nil
}

// inspectSQLite refuses what is not a database of ours. It has a connection of its own, because switching to WAL, which the others
// begin with, would already change a foreign file.
func inspectSQLite(ctx context.Context, name string) error {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(name)}
	connector, err := sqlite.NewConnector(u.String())
	if err != nil {
		return fmt.Errorf("opening database %s: %w", name, err)
	}
	pool := sql.OpenDB(explainingConnector{connector, name, nil})
	defer func() { _ = pool.Close() }()
	var id, tables int64
	err = pool.QueryRowContext(ctx, `SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id`).Scan(&id, &tables)
	if err != nil {
		return opening(name, err)
	}
	if id != applicationID && (id != 0 || tables > 0) {
		return &Error{Kind: ErrCorrupt, Name: name, Message: "the file is a database of another program",
			Hint: "name another file; this one was left as it is"}
	}
	return nil
}

// prepareSQLite checks that the file is whole and can be written.
func prepareSQLite(ctx context.Context, db *DB) error {
	var report string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check`).Scan(&report); err != nil {
		return opening(db.Name, err)
	}
	if report != "ok" {
		return &Error{Kind: ErrCorrupt, Name: db.Name, Message: "the file is damaged",
			Hint: "keep a copy of the file and its -wal, and restore the last backup",
			Err:  errors.New(shortened(strings.Join(strings.Fields(report), " ")))}
	}
	if err := markSQLite(ctx, db.DB); err != nil {
		return opening(db.Name, err)
	}
	return nil
}

// shortened cuts a report of a hundred damaged pages to what a person reads.
func shortened(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// markSQLite writes our application id once more: the smallest real commit, and one that changes nothing.
func markSQLite(ctx context.Context, pool *sql.DB) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return err
	}
	return tx.Commit()
}

// opening adds the name to an error that has none.
func opening(name string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("opening database %s: %w", name, err)
}
