package pki

import (
	"errors"

	"github.com/caddyserver/certmagic"
)

// Storage is certmagic's storage on the CA's database, sealed and shared by all nodes that use it. Safe for concurrent use.
type Storage interface {
	certmagic.Storage
	certmagic.TryLocker
	certmagic.LockLeaseRenewer
	// Close refuses further calls, waits for those under way and frees the locks that are still held.
	Close()
}

// Storage returns a storage of its own for certificates that do not come from this CA. It must be closed before the database.
func (ca *CA) Storage() (Storage, error) {
	if ca.options.Sealer == nil {
		return nil, errors.New("opening the storage of server certificates: no sealer given, private keys are not stored in the clear")
	}
	return newStorage(ca.options.DB, ca.options.Sealer, ca.options.DatabaseTimeout), nil
}

// Close implements [Storage].
func (s *storage) Close() { s.end() }
