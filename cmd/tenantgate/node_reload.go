package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
)

// reload puts a changed configuration in force. Everything new is made and checked before anything old is
// replaced: on an error the old configuration is in force, whole, and status and readiness say why.
func (n *node) reload(ctx context.Context, path string) error {
	err := n.tryReload(ctx, path)
	n.mu.Lock()
	n.reloadErr = err
	pending := n.pending
	n.mu.Unlock()
	if err != nil {
		n.log.Error("reload refused: the old configuration stays in force", "file", path, "error", err)
		return err
	}
	if len(pending) > 0 {
		n.log.Warn("reloaded, but some changed keys need a restart", "file", path, "keys", pending)
		return nil
	}
	n.log.Info("reloaded", "file", path)
	return nil
}

func (n *node) tryReload(ctx context.Context, path string) error {
	next, err := loadConfig(path)
	if err != nil {
		return err
	}
	n.mu.Lock()
	old := n.cfg
	n.mu.Unlock()

	trust, err := loadTrust(n.ca, n.trust.Load())
	if err != nil {
		return err
	}
	certs := n.certs.Load()
	newCerts := !slices.Equal(old.ServerNames, next.ServerNames)
	if newCerts {
		if certs, err = n.ca.ServerCertificates(ctx, next.ServerNames); err != nil {
			return err
		}
	}
	receiver, err := next.Notify.receiver()
	if err != nil {
		return err
	}
	if err := n.records.Reopen(); err != nil { // keeps the old file when it cannot
		if newCerts {
			certs.Close()
		}
		return fmt.Errorf("opening the access record again: %w", err)
	}

	n.level.Set(next.Log.level())
	n.trust.Store(trust)
	if newCerts {
		n.certs.Swap(certs).Close()
	}
	n.notify.use(receiver)
	n.boundMemory(next)
	if old.Limits.forProxy() != next.Limits.forProxy() {
		n.proxy.Reload(next.Limits.forProxy())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending = old.needRestart(next)
	n.cfg = old.withReloaded(next)
	return nil
}

// withReloaded is c with the keys of next that a reload puts in force.
func (c *Config) withReloaded(next *Config) *Config {
	merged := *c
	merged.ServerNames = next.ServerNames
	merged.Log.Level = next.Log.Level
	merged.Enrolment.URL, merged.Enrolment.ProxyURL = next.Enrolment.URL, next.Enrolment.ProxyURL
	merged.Limits = next.Limits
	merged.Notify = next.Notify
	return &merged
}

// level is the level as slog has it; the configuration was validated before.
func (l *LogConfig) level() slog.Level {
	switch l.Level {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
