package pki

import (
	"database/sql"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/db"
)

// NewStorage lets the tests hold certmagic's storage to certmagic's contract.
func NewStorage(db *sql.DB, s Sealer) interface {
	certmagic.Storage
	certmagic.TryLocker
	certmagic.LockLeaseRenewer
} {
	return newStorage(db, s, 5*time.Second)
}

// AuthDB lets the tests hold the store to smallstep's contract.
func (ca *CA) AuthDB() db.AuthDB { return ca.signing().store }

// Authority lets the tests try to get past Issue.
func (ca *CA) Authority() *authority.Authority { return ca.signing().authority }
