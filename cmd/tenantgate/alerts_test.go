package main

import (
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/proxy/expiry"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// described collects the names of metrics as they are registered, those without a sample too.
type described struct {
	*prometheus.Registry
	names map[string]bool
}

func (d *described) Register(c prometheus.Collector) error {
	d.describe(c)
	return d.Registry.Register(c)
}

func (d *described) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		d.describe(c)
	}
	d.Registry.MustRegister(all...)
}

func (d *described) describe(c prometheus.Collector) {
	out := make(chan *prometheus.Desc)
	go func() {
		c.Describe(out)
		close(out)
	}()
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	for desc := range out {
		d.names[name.FindStringSubmatch(desc.String())[1]] = true
	}
}

func TestAlertRulesNameMetricsThatExist(t *testing.T) {
	b, err := os.ReadFile("../../configs/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}

	registry := &described{prometheus.NewRegistry(), map[string]bool{}}
	n := &node{metrics: record.NewMetrics(registry), gatherer: prometheus.NewRegistry(), log: slog.New(slog.DiscardHandler)}
	records, err := record.Open(record.LogOptions{Path: t.TempDir() + "/access.log", Metrics: n.metrics})
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	n.watch(registry)

	metric := regexp.MustCompile(`tenantgate_[a-z_]+`)
	outcome := regexp.MustCompile(`outcome=~?"([^"]+)"`)
	ending := regexp.MustCompile(`tenantgate_expiry[a-z_]*\{state=~?"([^"]+)"`)
	rules := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			rules++
			for _, name := range metric.FindAllString(r.Expr, -1) {
				if !registry.names[name] {
					t.Errorf("alert %s asks for %s, which does not exist", r.Alert, name)
				}
			}
			for _, m := range ending.FindAllStringSubmatch(r.Expr, -1) {
				for word := range strings.SplitSeq(m[1], "|") {
					if !slices.Contains([]expiry.State{expiry.Replaced, expiry.OK, expiry.Soon, expiry.Urgent, expiry.Expired}, expiry.State(word)) {
						t.Errorf("alert %s asks for the state %s, which does not exist", r.Alert, word)
					}
				}
			}
			for _, m := range outcome.FindAllStringSubmatch(r.Expr, -1) {
				for _, word := range regexp.MustCompile(`\|`).Split(m[1], -1) {
					if new(record.Outcome).UnmarshalText([]byte(word)) != nil {
						t.Errorf("alert %s asks for the outcome %s, which does not exist", r.Alert, word)
					}
				}
			}
		}
	}
	if rules == 0 {
		t.Error("configs/alerts.yaml has no rules")
	}
}
