package notify

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the package's schema as goose migrations, for SQLite and PostgreSQL alike. Whoever opens the database applies them.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the name is constant and embedded above
	}
	return sub
}
