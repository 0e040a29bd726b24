package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// openUsage opens the history of who uses what, unless none is kept.
func (n *node) openUsage(ctx context.Context, cfg *Config) (err error) {
	if cfg.Usage.Retention == 0 {
		return nil
	}
	n.usage, err = usage.Open(ctx, usage.Options{
		DB: n.db.DB, Sealer: n.sealer, Logger: n.log, Retention: time.Duration(cfg.Usage.Retention), PerSubject: cfg.Usage.Callers, Flushed: n.followMoves,
	})
	if err != nil {
		return err
	}
	for _, m := range []struct {
		name, help string
		value      func(usage.State) int64
	}{
		{"usage_active", "Pairs of caller and route that usage counts in memory.", func(s usage.State) int64 { return s.Active }},
		{"usage_lumped_total", "Times that a new caller was counted as \"other\", because its login, identity or address has too many.", func(s usage.State) int64 { return s.Lumped }},
		{"usage_dropped_total", "Requests that are in no usage history for want of room in memory.", func(s usage.State) int64 { return s.Dropped }},
	} {
		value := func() float64 { return float64(m.value(n.usage.State())) }
		if m.name == "usage_active" {
			n.gatherer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "tenantgate", Name: m.name, Help: m.help}, value))
			continue
		}
		n.gatherer.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "tenantgate", Name: m.name, Help: m.help}, value))
	}
	return nil
}

// countUses writes the history until ctx is done.
func (n *node) countUses(ctx context.Context) {
	if n.usage != nil {
		n.usage.Run(ctx)
	}
}

// flushUsage writes what was counted here since the last batch.
func (n *node) flushUsage(ctx context.Context) error {
	if n.usage == nil {
		return nil
	}
	return n.usage.Flush(ctx)
}

// moveActor is who a change record names for what follows from a request of a caller and from nobody's command.
const moveActor = "tenantgate"

// followMoves looks, after each batch, whether a caller that was moved has been served with its certificate: from then on, and after its grace, the login is refused
// to it. One whose calls with the certificate fail, because its identity lacks a credential, say, keeps its way back.
func (n *node) followMoves(ctx context.Context) {
	var form func(string) string
	for _, m := range n.registry.Snapshot().AllMoves() {
		for _, l := range m.Looks {
			if !l.Seen.IsZero() {
				continue
			}
			if form == nil {
				var err error
				if form, err = usage.Matcher(ctx, n.db.DB, n.sealer); err != nil {
					n.log.Error("looking for callers that have moved", "error", err)
					return
				}
			}
			at, ok, err := usage.ServedSince(ctx, n.db.DB, usage.Identity, m.Identity, form(l.Source), m.Moved)
			if err == nil && ok {
				err = n.noteMoved(ctx, m, l.Source, at)
			}
			if err != nil && ctx.Err() == nil {
				n.log.Error("looking for callers that have moved", "login", m.Login, "caller", m.Caller, "error", err)
			}
		}
	}
}

// noteMoved notes that a caller has called with its certificate from an address, and records it.
func (n *node) noteMoved(ctx context.Context, m *identity.Move, source string, at time.Time) error {
	return n.registry.Change(ctx, func(tx *identity.Tx) error {
		seen, first, err := tx.SeeMove(ctx, m.Login, m.Caller, source, at)
		if err != nil || !first {
			return err
		}
		detail, err := json.Marshal(map[string]any{"login": m.Login, "identity": m.Identity, "seen": at, "login_refused_from": at.Add(time.Duration(seen.Grace))})
		if err != nil {
			return err
		}
		_, err = record.AppendChange(ctx, tx.SQL(), record.Change{
			Actor: moveActor, Action: identity.ObjectMove + ".seen", Object: identity.ObjectMove, Name: m.Caller, Detail: detail,
		})
		return err
	})
}
