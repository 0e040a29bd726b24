package main

import (
	"context"
	"io"
	"path/filepath"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

// backup prepares a backup of the running node, for the admin API.
func (n *node) backup(ctx context.Context, actor string, q admin.BackupRequest) (func(io.Writer) error, error) {
	n.mu.Lock()
	cfg := n.cfg
	n.mu.Unlock()
	source := &backupSource{db: n.db, sealer: n.sealer, cfg: cfg}
	if n.config != "" {
		path, err := filepath.Abs(n.config)
		if err != nil {
			return nil, err
		}
		source.config = path
	}
	prepared, err := source.prepare(actor, q.KeysPassphrase != "")
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error { return prepared.write(ctx, w, q.KeysPassphrase, nil) }, nil
}
