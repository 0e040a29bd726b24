package main

import (
	"iter"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// watch has the metrics look at the registry, the certificates and the tokens at each scrape.
func (n *node) watch(registry prometheus.Registerer) {
	n.metrics.WatchIdentities(func() (enabled, disabled int) {
		for _, i := range n.registry.Snapshot().Identities() {
			if i.Disabled {
				disabled++
			} else {
				enabled++
			}
		}
		return enabled, disabled
	})
	n.metrics.WatchCertificates(n.expiries)
	n.metrics.WatchServerCertificates(n.serverCertificates)
	n.metrics.WatchCredentials(n.credentialEnds, func() map[string]int { return n.proxy.Fallbacks() })
	n.metrics.WatchEndings(n.endStates)
	n.metrics.WatchNotifications(n.notifyState)
	registry.MustRegister(newAuthorityMetrics(n))
	n.metrics.WatchTokens(n.tokenStates)
	n.metrics.WatchTokenServers(n.tokenServerStates)
	n.metrics.WatchTokenStore(n.tokenStoreState)
	n.metrics.WatchTenants(func() []record.TenantState { return n.proxy.TenantStates() })
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "tenantgate",
		Name:      "config_last_reload_successful",
		Help:      "1 unless the last reload of the configuration was refused.",
	}, func() float64 {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.reloadErr != nil {
			return 0
		}
		return 1
	}))
	for _, g := range []struct {
		name, help string
		value      func(*pki.CRL) float64
	}{
		{"this_update_timestamp_seconds", "When the published revocation list was made; 0 where none is published.",
			func(c *pki.CRL) float64 { return float64(c.ThisUpdate.Unix()) }},
		{"next_update_timestamp_seconds", "When the published revocation list is stale; 0 where none is published.",
			func(c *pki.CRL) float64 { return float64(c.NextUpdate.Unix()) }},
		{"entries", "Certificates on the published revocation list.",
			func(c *pki.CRL) float64 { return float64(c.Entries) }},
	} {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "tenantgate", Subsystem: "revocation_list", Name: g.name, Help: g.help,
		}, func() float64 {
			if crl, published := n.publish.published(); published && crl != nil {
				return g.value(crl)
			}
			return 0
		}))
	}
}

// expiries yields when each certificate that is in use ends.
func (n *node) expiries() iter.Seq[record.Expiry] {
	return func(yield func(record.Expiry) bool) {
		for c := range n.registry.Snapshot().AllCertificates() {
			if !c.Revoked() && !yield(record.Expiry{Kind: "client", NotAfter: c.NotAfter}) {
				return
			}
		}
		if !yield(record.Expiry{Kind: "server", NotAfter: n.certs.Load().NotAfter()}) {
			return
		}
		for _, c := range n.ca.InUse() {
			if !yield(record.Expiry{Kind: "ca", NotAfter: c.NotAfter}) {
				return
			}
		}
	}
}

// tokenStates names each token by its tenant; those of credentials that are gone are left out.
func (n *node) tokenStates() []record.TokenState {
	snapshot := n.registry.Snapshot()
	var all []record.TokenState
	for _, s := range n.tokens.States() {
		c, ok := snapshot.Credential(s.CredentialID)
		if !ok {
			continue
		}
		all = append(all, record.TokenState{Tenant: c.Tenant, Fetched: s.Obtained, Expires: s.Expires, Failing: s.LastError != nil})
	}
	return all
}

// observeFetch counts one request to a token endpoint.
func (n *node) observeFetch(f token.Fetch) {
	tenant := ""
	if c, ok := n.registry.Snapshot().Credential(f.CredentialID); ok {
		tenant = c.Tenant
	}
	result := "ok"
	if f.Err != nil {
		result = string(f.Err.Step)
	}
	n.metrics.TokenFetch(tenant, result, f.Duration)
}
