package main

import (
	"context"
	"errors"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/backup"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/notify"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// owners are the packages that own tables. What is in this list is migrated, backed up and restored.
func owners() []database.Owner {
	return []database.Owner{
		{Name: "identity", Migrations: identity.Migrations()},
		{Name: "pki", Migrations: pki.Migrations()},
		{Name: "record", Migrations: record.Migrations()},
		{Name: "token", Migrations: token.Migrations()},
		{Name: "notify", Migrations: notify.Migrations()},
		{Name: "usage", Migrations: usage.Migrations()},
	}
}

// openDatabase opens the database by one of package database's ways and brings the tables of every package up to date.
func openDatabase(ctx context.Context, open func(context.Context, string) (*database.DB, error), url string) (*database.DB, error) {
	db, err := open(ctx, url)
	if err != nil {
		return nil, err
	}
	if err := backup.Interrupted(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for _, owner := range owners() {
		if err := database.Migrate(ctx, db, owner.Name, owner.Migrations); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}
