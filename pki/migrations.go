package pki

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrations returns this package's schema as goose migrations, the files at the root of the returned file system.
// All tables begin with "pki_". The same statements run on SQLite and PostgreSQL.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the directory is embedded: fs.Sub fails only on an invalid literal name
	}
	return sub
}
