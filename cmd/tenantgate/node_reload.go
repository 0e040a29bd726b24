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

	trust, err := n.ca.ReadTrust()
	if err != nil {
		return err
	}
	receiver, err := next.Notify.receiver()
	if err != nil {
		return err
	}
	n.ownCerts <- struct{}{}
	defer func() { <-n.ownCerts }()
	certs, signer := n.certs.Load(), n.ca.Intermediate() // one that signs from now on is followed later
	newCerts := !slices.Equal(old.ServerNames, next.ServerNames)
	if newCerts {
		if certs, err = n.ca.ServerCertificates(ctx, next.ServerNames); err != nil {
			return err
		}
	}
	source := n.source.Load()
	newSource := !source.same(next)
	if newSource {
		source, err = n.openCallerSource(ctx, next)
	} else if source.certificateSource != nil {
		err = source.Look()
	}
	discard := func() {
		if newCerts {
			certs.Close()
		}
		if newSource {
			source.close()
		}
	}
	if err != nil {
		discard()
		return err
	}
	if err := n.records.Reopen(); err != nil { // keeps the old file when it cannot
		discard()
		return fmt.Errorf("opening the access record again: %w", err)
	}
	if _, err = n.ca.UseTrust(ctx, trust); err != nil { // the same content gives the old bundle, whose TLS tickets stay good
		discard()
		return err
	}
	n.level.Set(next.Log.level())
	n.takeTrust(n.ca)
	if newCerts {
		n.certs.Swap(certs).Close()
		n.certsOf = signer
	}
	if newSource {
		source.before = n.source.Load().certificateSource
		n.source.Swap(source).close()
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
	merged.ServerCertificate = next.ServerCertificate
	merged.ServerCertificate.ACME.HTTPListen = c.ServerCertificate.ACME.HTTPListen
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
