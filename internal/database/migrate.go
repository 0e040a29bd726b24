package database

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	gooselib "github.com/pressly/goose/v3/database"
)

// Migrate brings the tables of the named package up to date. Which migrations were applied is kept in the table "<name>_schema". A database that a
// newer binary has migrated is refused. Errors are *[Error].
func Migrate(ctx context.Context, db *DB, name string, migrations fs.FS) error {
	dialect := gooselib.DialectSQLite3
	if db.postgreSQL {
		dialect = gooselib.DialectPostgres
	}
	store, err := gooselib.NewStore(dialect, name+"_schema")
	if err != nil {
		return fmt.Errorf("migrating %s: %w", name, err)
	}
	provider, err := goose.NewProvider("", db.DB, migrations, goose.WithStore(store), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("migrating %s: %w", name, err)
	}
	version, err := provider.GetDBVersion(ctx)
	if err != nil {
		return db.explain("cannot read the schema of "+name, err)
	}
	newest := int64(0)
	for _, s := range provider.ListSources() {
		newest = max(newest, s.Version)
	}
	if version > newest {
		return &Error{Name: db.name, Problem: fmt.Sprintf("is newer than this program: schema %s has version %d, this program knows %d", name, version, newest),
			Hint: "use the newer tenantgate, or restore a backup from before the upgrade"}
	}
	if _, err := provider.Up(ctx); err != nil {
		return db.explain("cannot be migrated for "+name, err)
	}
	return nil
}
