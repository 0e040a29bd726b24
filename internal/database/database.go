// Package database opens the one SQL database of a node, SQLite in a file or PostgreSQL, and brings the tables of other packages up to date. It knows
// no table of theirs: each package owns its tables and hands in its migrations.
package database

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // driver "sqlite"
)

// DB is an open database. It is safe for concurrent use.
type DB struct {
	*sql.DB
	name       string // for errors: the file, or the host of a server, never a password
	postgreSQL bool
	lock       *os.File // nil for PostgreSQL
}

// Error says which database has a problem, what it is and what to do about it.
type Error struct {
	Name    string // the file, or the server's host and database
	Problem string
	Hint    string
	Err     error // the cause, may be nil
}

// Error implements error.
func (e *Error) Error() string {
	s := "database " + e.Name + ": " + e.Problem
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Open opens the database at a URL: "postgres://..." or the path of an SQLite file (also as "sqlite:///path"), which is made with mode 0600 if it does
// not exist. An SQLite file is locked for this process until Close, so that a second server on it is refused. Errors are *[Error].
func Open(ctx context.Context, address string) (*DB, error) {
	if strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://") {
		return openPostgreSQL(ctx, address)
	}
	path, err := filepath.Abs(strings.TrimPrefix(strings.TrimPrefix(address, "sqlite://"), "file:"))
	if err != nil {
		return nil, &Error{Name: address, Problem: "is not a path", Err: err}
	}
	return openSQLite(ctx, path)
}

func openPostgreSQL(ctx context.Context, address string) (*DB, error) {
	name := "postgres"
	if u, err := url.Parse(address); err == nil {
		name = "postgres://" + u.Host + u.Path
	}
	pool, err := sql.Open("pgx", address)
	if err != nil {
		return nil, &Error{Name: name, Problem: "address cannot be read", Hint: "write it as postgres://user@host:5432/name"}
	}
	if err := pool.PingContext(ctx); err != nil {
		pool.Close()
		return nil, &Error{Name: name, Problem: "cannot be reached", Hint: "check that the server runs and lets this user in", Err: err}
	}
	return &DB{DB: pool, name: name, postgreSQL: true}, nil
}

func openSQLite(ctx context.Context, path string) (*DB, error) {
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite itself would make it readable for others
	if err != nil {
		lock.Close()
		return nil, &Error{Name: path, Problem: "cannot be opened for writing", Hint: "give the server a file that it may write", Err: err}
	}
	f.Close()
	// Immediate transactions: a reader that becomes a writer cannot deadlock. FULL: a commit is on disk when it returns.
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String() +
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"
	pool, err := sql.Open("sqlite", dsn)
	if err != nil {
		lock.Close()
		return nil, &Error{Name: path, Problem: "cannot be opened", Err: err}
	}
	db := &DB{DB: pool, name: path, lock: lock}
	if err := db.checkFile(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// lockFile takes the lock beside the database file. The lock dies with the process, however it dies.
func lockFile(path string) (*os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &Error{Name: path, Problem: "cannot be locked", Hint: "its directory must exist and be writable for the server", Err: err}
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &Error{Name: path, Problem: "is in use by another process", Hint: "stop the other server, or use PostgreSQL for several nodes", Err: err}
		}
		return nil, &Error{Name: path, Problem: "cannot be locked", Err: err}
	}
	return lock, nil
}

// checkFile finds out now, and not at the first change, that the file is damaged or cannot be written.
func (db *DB) checkFile(ctx context.Context) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return db.explain("cannot be read", err)
	}
	if verdict != "ok" {
		return &Error{Name: db.name, Problem: "is damaged (" + verdict + ")", Hint: "restore it from a backup"}
	}
	return db.Check(ctx)
}

// Check reports whether the database can be written now: it writes and takes back. It is for readiness, not for the path of a request.
func (db *DB) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return db.explain("cannot begin a change", err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "CREATE TABLE tenantgate_check (n BIGINT)"); err != nil {
		return db.explain("cannot be written", err)
	}
	return nil
}

// explain adds what to do about an error of SQLite's.
func (db *DB) explain(problem string, err error) error {
	hint := ""
	switch text := err.Error(); {
	case strings.Contains(text, "full"):
		hint = "make room on its disk"
	case strings.Contains(text, "not a database"), strings.Contains(text, "malformed"):
		problem, hint = "is damaged or is not a database", "restore it from a backup, or name another file"
	case strings.Contains(text, "readonly"), strings.Contains(text, "read-only"):
		problem, hint = "is read-only", "let the server write the file and its directory"
	case strings.Contains(text, "locked"):
		hint = "another program holds it: end that"
	}
	return &Error{Name: db.name, Problem: problem, Hint: hint, Err: err}
}

// Close closes the database and releases its lock.
func (db *DB) Close() error {
	err := db.DB.Close()
	if db.lock != nil {
		db.lock.Close()
	}
	return err
}
