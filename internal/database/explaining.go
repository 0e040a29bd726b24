package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"io/fs"
)

// explainingConnector wraps the SQLite driver so that a full disk or a damaged page met in any statement of any package comes back as
// an *Error that names the file, and so that no transaction begins on a file that lost its name (see inPlace). It changes nothing else.
type explainingConnector struct {
	driver.Connector
	name   string
	opened fs.FileInfo // the file as it was opened; nil: not watched
}

func (c explainingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, explain(c.name, err)
	}
	full, ok := conn.(sqliteConn)
	if !ok {
		_ = conn.Close()
		return nil, errors.New("opening a connection: the SQLite driver lacks an interface that it documents")
	}
	return &explainingConn{full, c.name, c.opened}, nil
}

// sqliteConn is what the driver's connections implement, and a wrapper must: see sqlite.NewConnector.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type explainingConn struct {
	sqliteConn
	name   string
	opened fs.FileInfo
}

// Unwrap lets the driver's own functions see through the wrapper.
func (c *explainingConn) Unwrap() driver.Conn { return c.sqliteConn }

func (c *explainingConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.sqliteConn.BeginTx(ctx, opts)
	if err != nil {
		return nil, explain(c.name, err)
	}
	if c.opened != nil {
		if err := inPlace(c.name, c.opened); err != nil {
			_ = tx.Rollback()
			return nil, err
		}
	}
	return explainingTx{tx, c.name}, nil
}

func (c *explainingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.sqliteConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, explain(c.name, err)
	}
	full, ok := s.(sqliteStmt)
	if !ok {
		_ = s.Close()
		return nil, errors.New("preparing a statement: the SQLite driver lacks an interface that it documents")
	}
	return &explainingStmt{full, c.name}, nil
}

func (c *explainingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.sqliteConn.ExecContext(ctx, query, args)
	return result, explain(c.name, err)
}

func (c *explainingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.sqliteConn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, explain(c.name, err)
	}
	return &explainingRows{rows, c.name}, nil
}

type explainingTx struct {
	driver.Tx
	name string
}

func (t explainingTx) Commit() error   { return explain(t.name, t.Tx.Commit()) }
func (t explainingTx) Rollback() error { return explain(t.name, t.Tx.Rollback()) }

type sqliteStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type explainingStmt struct {
	sqliteStmt
	name string
}

func (s *explainingStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	result, err := s.sqliteStmt.ExecContext(ctx, args)
	return result, explain(s.name, err)
}

func (s *explainingStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.sqliteStmt.QueryContext(ctx, args)
	if err != nil {
		return nil, explain(s.name, err)
	}
	return &explainingRows{rows, s.name}, nil
}

type explainingRows struct {
	driver.Rows
	name string
}

func (r *explainingRows) Next(dest []driver.Value) error {
	err := r.Rows.Next(dest)
	if err == nil || err == io.EOF {
		return err
	}
	return explain(r.name, err)
}
