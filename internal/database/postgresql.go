package database

import (
	"context"
	"database/sql"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// postgreSQLConns bounds one node's connections.
const postgreSQLConns = 8

func openPostgreSQL(ctx context.Context, address string) (*DB, error) {
	name := WithoutPassword(address)
	config, err := pgx.ParseConfig(address)
	if err != nil { // pgx's error may quote the address
		return nil, &Error{Kind: ErrAbsent, Name: name, Message: "the address cannot be read", Hint: "write it like postgres://user@host:5432/name"}
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "tenantgate"
	}
	// A node that stands still in a transaction would hold up the changes of all others.
	if config.RuntimeParams["idle_in_transaction_session_timeout"] == "" {
		config.RuntimeParams["idle_in_transaction_session_timeout"] = "60000" // milliseconds
	}
	pool := sql.OpenDB(stdlib.GetConnector(*config))
	pool.SetMaxOpenConns(postgreSQLConns)
	pool.SetMaxIdleConns(postgreSQLConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	db := &DB{DB: pool, Name: name, dialect: goose.DialectPostgres,
		locker: func() (lock.SessionLocker, error) {
			return lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120)) // seconds between tries, tries
		}}
	db.check = func(ctx context.Context) error { return checkPostgreSQL(ctx, pool, name) }
	if err := db.check(ctx); err != nil {
		_ = pool.Close()
		return nil, err
	}
	return db, nil
}

func checkPostgreSQL(ctx context.Context, pool *sql.DB, name string) error {
	var readOnly string
	if err := pool.QueryRowContext(ctx, `SHOW transaction_read_only`).Scan(&readOnly); err != nil {
		return &Error{Kind: ErrAbsent, Name: name, Message: "the server cannot be used",
			Hint: "see that it runs, that the name and user are right and that this host may connect", Err: err}
	}
	if readOnly != "off" {
		return &Error{Kind: ErrReadOnly, Name: name, Message: "the server takes no changes",
			Hint: "it may be a standby: name the primary, or add target_session_attrs=read-write to the address"}
	}
	return nil
}

// WithoutPassword returns the address of a PostgreSQL database for messages, and for other places where no password belongs.
func WithoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "postgres://..."
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	q := u.Query()
	q.Del("password")
	q.Del("sslpassword")
	u.RawQuery = q.Encode()
	return u.String()
}
