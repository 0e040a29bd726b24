package main

import (
	"context"
	"time"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

// renewalInterval is how often the certificates of keyless credentials are looked at: often enough for the shortest that the CA issues
// by default, seldom enough to cost nothing.
const renewalInterval = 10 * time.Minute

// renewCredentials renews the certificates of keyless credentials until ctx is done. Every node does; a transaction decides which one renews.
func (n *node) renewCredentials(ctx context.Context) {
	renewal := &admin.Renewal{Registry: n.registry, CA: n.ca, Logger: n.log}
	ticker := time.NewTicker(renewalInterval)
	defer ticker.Stop()
	for {
		if err := renewal.Renew(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("renewing certificates of credentials: the old ones stay in force until they end", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
