package pki_test

import (
	"database/sql"
	"testing"

	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// databases returns each kind of database, migrated.
func databases(t *testing.T) map[string]*sql.DB {
	t.Helper()
	return map[string]*sql.DB{"sqlite": pkitest.Database(t)}
}
