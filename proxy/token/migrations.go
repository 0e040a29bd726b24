package token

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the package's schema as goose migrations, the files at the root of the returned file system. The same statements run on SQLite and
// PostgreSQL. Whoever opens the database applies them before [Engine.Restore].
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the name is constant and embedded above
	}
	return sub
}
