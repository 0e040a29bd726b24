package main

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/pki/external"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// authoritiesCheck says what of the authorities wants an operator. Whatever it is, callers of our own CA and of other authorities are served.
func (n *node) authoritiesCheck() admin.Check {
	c := admin.Check{Name: "authorities", OK: true}
	var warnings []string
	all := n.registry.Snapshot().Authorities().All()
	for _, e := range all {
		for _, w := range external.Warnings(e, time.Now()) {
			warnings = append(warnings, e.Authority.Name+": "+w)
		}
	}
	c.Warning, c.Detail = len(warnings) > 0, strings.Join(warnings, "; ")
	return c
}

// authorityMetrics looks at the authorities at each scrape. Their names are configured ones.
type authorityMetrics struct {
	node                                         *node
	expiry, this, next, entries, fetches, answer *prometheus.Desc
}

func newAuthorityMetrics(n *node) *authorityMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tenantgate_authority_"+name, help, labels, nil)
	}
	return &authorityMetrics{
		node:    n,
		expiry:  desc("certificate_expiry_timestamp_seconds_min", "When the first certificate of an authority expires.", "authority"),
		this:    desc("revocation_list_this_update_timestamp_seconds", "When the oldest revocation list in force of an authority was made.", "authority"),
		next:    desc("revocation_list_next_update_timestamp_seconds", "When the first revocation list of an authority is stale; 0 while one that it must have is missing.", "authority"),
		entries: desc("revocation_list_entries", "Certificates on the revocation lists of an authority.", "authority"),
		fetches: desc("revocation_list_fetches_total", "Fetches of revocation lists by this node, by result.", "authority", "result"),
		answer:  desc("ocsp_requests_total", "Questions to OCSP responders by this node, by result.", "authority", "result"),
	}
}

// Describe implements prometheus.Collector.
func (m *authorityMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.expiry, m.this, m.next, m.entries, m.fetches, m.answer} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *authorityMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, e := range m.node.registry.Snapshot().Authorities().All() {
		a := e.Authority
		if first := external.Expiry(a); !first.IsZero() {
			gauge(m.expiry, float64(first.Unix()), a.Name)
		}
		if !a.ChecksCRL() {
			continue
		}
		var this, next time.Time
		entries, have := 0, map[string]bool{}
		for _, l := range e.Lists {
			have[l.Source] = true
			entries += l.Entries
			if this.IsZero() || l.ThisUpdate.Before(this) {
				this = l.ThisUpdate
			}
			if next.IsZero() || l.NextUpdate.Before(next) {
				next = l.NextUpdate
			}
		}
		for _, url := range a.CRLURLs {
			if !have[url] {
				next = time.Unix(0, 0)
			}
		}
		if this.IsZero() {
			this, next = time.Unix(0, 0), time.Unix(0, 0)
		}
		gauge(m.this, float64(this.Unix()), a.Name)
		gauge(m.next, float64(next.Unix()), a.Name)
		gauge(m.entries, float64(entries), a.Name)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for name, c := range m.node.lists.Counts() {
		count(m.fetches, c.Done, name, "ok")
		count(m.fetches, c.Failed, name, "failed")
	}
	for name, c := range m.node.external.OCSPCounts() {
		count(m.answer, c.Answered, name, "ok")
		count(m.answer, c.Failed, name, "failed")
	}
}
