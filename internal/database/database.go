// Package database opens the one SQL database that holds tenantgate's state, SQLite in a file or PostgreSQL, and applies the
// migrations of the packages that own tables in it. What goes wrong with a database is told in one sentence that names it and says
// what to do next.
//
// The package knows no table of anybody and no statement of the request path. It does not know who may read a secret that is stored
// in the database: whoever seals it does.
package database

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// DB is an open database. It is safe for concurrent use, as *sql.DB is.
type DB struct {
	*sql.DB
	// Name is the file's absolute path, or the URL without its password.
	Name string

	dialect goose.Dialect
	locker  func() (lock.SessionLocker, error) // keeps migrations of several nodes apart; nil when there is one
	check   func(context.Context) error
	release func() error // gives up what kept others away; nil when nothing did
}

// Open opens the database that the URL names: sqlite:///absolute/path.db, the plain path of an SQLite file, or
// postgres://user@host/name with the parameters of pgx.
//
// An SQLite file is created when missing, readable by its owner only, checked for damage, and locked against a second server until
// Close: the lock is on the file of the same name with .lock added, which stays. It is kept in WAL mode, and a commit returns when it
// is on disk. A PostgreSQL database must exist and is shared by any number of nodes.
//
// An SQLite file that is removed or replaced while it is open, or whose WAL is, takes no further changes: they would be lost with it.
//
// Errors are mostly of type *[Error].
func Open(ctx context.Context, url string) (*DB, error) { return open(ctx, url, true) }

// OpenExisting is Open for a database that was made before: an SQLite file that is missing or empty is refused with [ErrAbsent] and not
// made anew, because whoever expects its content would take the new one for it.
func OpenExisting(ctx context.Context, url string) (*DB, error) { return open(ctx, url, false) }

func open(ctx context.Context, url string, create bool) (*DB, error) {
	switch scheme, rest, ok := strings.Cut(url, "://"); {
	case url == "":
		return nil, fmt.Errorf("opening the database: no name given: set it to a file's path or to postgres://user@host/name")
	case !ok:
		return openSQLite(ctx, url, create)
	case scheme == "sqlite":
		return openSQLite(ctx, rest, create)
	case scheme == "postgres", scheme == "postgresql":
		return openPostgreSQL(ctx, url)
	default:
		return nil, fmt.Errorf("opening the database: unknown kind %q: use a file's path, sqlite:///path or postgres://user@host/name", scheme)
	}
}

// Close closes all connections and then lets others have an SQLite file.
func (db *DB) Close() error {
	err := db.DB.Close()
	if db.release != nil {
		if e := db.release(); err == nil {
			err = e
		}
	}
	return err
}

// Check reports whether the database can be written now. On SQLite it commits a page without changing anything, which costs one
// write to disk, because only that shows a full or failing one; on PostgreSQL it asks the server.
func (db *DB) Check(ctx context.Context) error { return db.check(ctx) }
