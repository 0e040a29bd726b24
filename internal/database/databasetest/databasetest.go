// Package databasetest gives tests databases to run on: SQLite always, PostgreSQL where its programs are installed. A test that runs
// on both shows that a package's statements do.
//
// It knows no package's tables and starts nothing outside a test.
package databasetest

import (
	"path/filepath"
	"testing"
)

// Each runs a test as two subtests, sqlite and postgresql. What it gets makes a new empty database and returns its URL for
// database.Open. The second subtest is skipped, with a message, where PostgreSQL is not installed.
func Each(t *testing.T, test func(t *testing.T, create func(t testing.TB) string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite) })
	t.Run("postgresql", func(t *testing.T) {
		server := StartPostgreSQL(t)
		test(t, server.Database)
	})
}

// SQLite returns the path of a database file that does not exist yet, in a directory that ends with the test.
func SQLite(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "tenantgate.db")
}
