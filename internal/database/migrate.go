package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// Migrate applies those of a package's migrations that the database lacks, each in a transaction. The migrations are SQL files in
// goose's format in the root of the file system; which were applied is kept in the table <name>_schema. A database with a migration
// that the file system lacks is newer than the program and is refused with [ErrNewer], untouched. On PostgreSQL, nodes that start at
// once wait for each other.
func Migrate(ctx context.Context, db *DB, name string, migrations fs.FS) error {
	options := []goose.ProviderOption{
		goose.WithTableName(name + "_schema"),
		goose.WithDisableGlobalRegistry(true),
	}
	if db.locker != nil {
		locker, err := db.locker()
		if err != nil {
			return fmt.Errorf("migrating %s in database %s: %w", name, db.Name, err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(db.dialect, db.DB, migrations, options...) // its Close would close db
	if err != nil {
		return fmt.Errorf("migrating %s in database %s: %w", name, db.Name, err)
	}
	// Up does nothing to a newer database, so it may run before the versions are compared; it creates the table of versions under the
	// lock, which GetVersions would do without.
	_, upErr := provider.Up(ctx)
	current, target, err := provider.GetVersions(ctx)
	switch {
	case err == nil && current > target:
		return &Error{Kind: ErrNewer, Name: db.Name,
			Message: fmt.Sprintf("its %s tables have version %d and this program knows them up to %d", name, current, target),
			Hint:    "run the newer tenantgate that was used with it, or restore the backup from before the upgrade"}
	case upErr != nil:
		return migrating(db.Name, name, upErr)
	case err != nil:
		return migrating(db.Name, name, err)
	}
	return nil
}

// migrating names the database in an error that does not.
func migrating(database, name string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return fmt.Errorf("migrating %s: %w", name, err)
	}
	return fmt.Errorf("migrating %s in database %s: %w", name, database, err)
}
