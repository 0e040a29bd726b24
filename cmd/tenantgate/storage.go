package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// openDatabase opens the database by one of package database's ways and brings the tables of every package up to date.
func openDatabase(ctx context.Context, open func(context.Context, string) (*database.DB, error), url string) (*database.DB, error) {
	db, err := open(ctx, url)
	if err != nil {
		return nil, err
	}
	for _, owner := range []struct {
		name       string
		migrations fs.FS
	}{
		{"identity", identity.Migrations()},
		{"pki", pki.Migrations()},
		{"record", record.Migrations()},
		{"token", token.Migrations()},
		{"usage", usage.Migrations()},
	} {
		if err := database.Migrate(ctx, db, owner.name, owner.migrations); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}
