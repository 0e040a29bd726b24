// Package record keeps what happened: one access record for each request, one change record for each administrative act, and the
// metrics that are derived from the same access record, so that a log and a graph can not disagree.
//
// It also owns the one table from outcomes to what a caller is told ([Outcome]), because what is told and what is recorded must
// name the same thing.
//
// It does not know who may do what, how a request was decided, what a certificate or a token is, or how the database is opened.
// It is given plain values. It never sees a secret: an [Access] has no field for one, and the detail of a [Change] is the caller's duty.
package record

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations is the schema of the change records, in goose's format: the tables change_records and change_head.
// The same statements run on SQLite and on PostgreSQL.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above: a broken build, not a state
	}
	return sub
}
