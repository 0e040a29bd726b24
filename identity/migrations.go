package identity

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the package's schema as goose migrations: files in the root named 00001_*.sql and so on. They run on SQLite
// and on PostgreSQL alike. Whoever opens the database applies them before [Open].
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the name is constant and embedded above
	}
	return sub
}
