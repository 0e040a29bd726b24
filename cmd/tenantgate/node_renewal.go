package main

import (
	"context"
	"strings"
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
		if err := renewal.Renew(ctx); ctx.Err() == nil {
			n.renewed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// renewed notes what came of looking.
func (n *node) renewed(err error) {
	if err != nil {
		n.log.Error("renewing certificates of credentials: the old ones stay in force until they end", "error", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.renewErr = err
}

// renewalCheck says whether certificates that are due could not be renewed. The old ones serve until they end.
func (n *node) renewalCheck() admin.Check {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := admin.Check{Name: "credential_renewal", OK: true, Warning: n.renewErr != nil}
	if c.Warning {
		c.Detail = strings.ReplaceAll(n.renewErr.Error(), "\n", "; ")
	}
	return c
}
