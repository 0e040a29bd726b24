package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/expiry"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// node is one running server: what `serve` and `demo` open, serve, reload and close. Its parts are opened
// from the bottom (database) to the top (listeners) and closed the other way round.
type node struct {
	log     *slog.Logger
	level   *slog.LevelVar
	started time.Time

	db       *database.DB
	registry *identity.Registry
	ca       *pki.CA
	trust    atomic.Pointer[pki.Trust]       // what client certificates must chain to; replaced whole by a reload
	certs    atomic.Pointer[pki.ServerCerts] // our own certificates; replaced whole by a reload
	source   atomic.Pointer[callerSource]    // of what callers see; replaced whole by a reload
	sealer   identity.Sealer
	external *external.Verifier // of other CAs' certificates
	lists    *external.Keeper   // of other CAs' revocation lists
	tokens   *token.Engine
	gatherer *prometheus.Registry
	metrics  *record.Metrics
	records  *record.Log
	usage    *usage.Recorder // nil: nothing is counted
	proxy    *proxy.Server
	switches *switchRecorder
	ownCerts chan struct{} // has one place, for whoever replaces certs
	logins   *loginKeeper
	admin    *adminService
	publish  *publisher
	front    *listeners

	enrolment  *enrolmentService
	challenges *challengeService
	ends       *expiry.List
	notify     *notifications

	config string // the configuration's file; "" where there is none (demo)

	certsOf *x509.Certificate // the intermediate that certs are from; of whoever has the place in ownCerts

	memoryLimit int64 // of the collector, as the environment has it; of openDataPlane and reload

	mu        sync.Mutex // guards what follows
	cfg       *Config    // in force
	reloadErr error      // why the last reload changed nothing; nil when it did
	pending   []string   // keys that the last reload found changed and that need a restart
	renewErr  error      // of the last look at the certificates of keyless credentials
}

// openNode opens everything but the listeners. On an error nothing stays open.
func openNode(ctx context.Context, cfg *Config, log *slog.Logger, level *slog.LevelVar) (_ *node, err error) {
	n := &node{log: log, level: level, cfg: cfg, started: time.Now(), ownCerts: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if err := checkKeyFiles(cfg); err != nil {
		return nil, err
	}
	if n.db, err = openDatabase(ctx, database.OpenExisting, cfg.Database); err != nil {
		return nil, hinted(err, "database is %s", cfg.Database)
	}
	if err := n.openState(ctx, cfg); err != nil {
		return nil, err
	}
	if err := n.openDataPlane(ctx, cfg); err != nil {
		return nil, err
	}
	n.ends = n.endings()
	if n.notify, err = newNotifications(n, cfg); err != nil {
		return nil, err
	}
	n.admin, n.enrolment = newAdminService(n), newEnrolmentService(n)
	n.publish, n.challenges = newPublisher(n), newChallengeService(n)
	return n, nil
}

// openState opens what lives in the database: the registry, the CA and the server certificates.
func (n *node) openState(ctx context.Context, cfg *Config) error {
	key, err := readSecretFile(cfg.KeyFile)
	if err != nil {
		return err
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		return fmt.Errorf("key_file %s: %w", cfg.KeyFile, err)
	}
	n.sealer = sealer
	secrets, err := readCASecrets(&cfg.CA)
	if err != nil {
		return err
	}
	if n.registry, err = identity.Open(ctx, n.db.DB, sealer); err != nil {
		return err
	}
	n.ca, err = pki.Open(ctx, pki.Options{
		Dir: cfg.CA.Dir, Passphrase: secrets.passphrase, NextPassphrase: secrets.next, KeyURI: cfg.CA.Key, PIN: secrets.pin, PKCS11Module: cfg.CA.PKCS11Module, TrustDomain: cfg.CA.TrustDomain,
		DB: n.db.DB, Sealer: sealer, Logger: n.log, Node: nodeName(), Changed: n.caChanged,
		KeyTypes:  cfg.CA.KeyTypes,
		PublicURL: cfg.Publish.URL, CRLLifetime: time.Duration(cfg.Publish.CRLLifetime), OCSPLifetime: time.Duration(cfg.Publish.OCSPLifetime),
	})
	if err != nil {
		return hinted(err, "ca.dir is %s, ca.passphrase_file is %s", cfg.CA.Dir, cfg.CA.PassphraseFile)
	}
	n.caChanged(n.ca)
	n.certsOf = n.ca.Intermediate()
	certs, err := n.ca.ServerCertificates(ctx, cfg.ServerNames)
	if err != nil {
		return err
	}
	n.certs.Store(certs)
	source, err := n.openCallerSource(ctx, cfg)
	if err != nil {
		return err
	}
	n.source.Store(source)
	return nil
}

// openDataPlane opens records, metrics, tokens and the proxy.
func (n *node) openDataPlane(ctx context.Context, cfg *Config) error {
	n.gatherer = prometheus.NewRegistry()
	n.gatherer.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.metrics = record.NewMetrics(n.gatherer)
	var err error
	n.records, err = record.Open(record.LogOptions{
		Path: cfg.Record.Access, UnsafeDropWhenFull: cfg.Record.UnsafeDropWhenFull, Metrics: n.metrics, Logger: n.log,
	})
	if err != nil {
		return hinted(err, "record.access is %s: does its directory exist, and may this user write there?", cfg.Record.Access)
	}
	if err := n.openUsage(ctx, cfg); err != nil {
		return err
	}
	n.openTokens(ctx, cfg)
	n.external = external.NewVerifier(n.trust.Load, n.ca.TrustDomain())
	n.lists = &external.Keeper{Registry: n.registry, Logger: n.log}
	n.watch(n.gatherer)
	n.switches = newSwitchRecorder(n)
	n.boundMemory(cfg)
	n.logins = newLoginKeeper(n)
	n.proxy = proxy.New(proxy.Config{
		Registry:       n.registry,
		Trust:          n.trust.Load,
		External:       n.external,
		GetCertificate: n.callerCertificate,
		Challenge:      n.challenge,
		Tokens:         n.tokens,
		Log:            n.records,
		Usage:          n.usage,
		Metrics:        n.metrics,
		Logger:         n.log,
		Limits:         cfg.Limits.forProxy(),
		Switched:       n.switches.take,
		Bridge:         proxy.Bridge{Hashers: cfg.Bridge.Hashers, Rehash: n.logins.rehash},
	})
	n.logins.begin()
	return n.proxy.LoadDaily(ctx)
}

// boundMemory has the garbage collector keep to the configured bound, or to the environment's when there is none.
func (n *node) boundMemory(cfg *Config) {
	if n.memoryLimit == 0 {
		n.memoryLimit = debug.SetMemoryLimit(-1)
	}
	if m := int64(cfg.Limits.Memory); m > 0 {
		debug.SetMemoryLimit(m)
		return
	}
	debug.SetMemoryLimit(n.memoryLimit)
}

// certificate chooses our own certificate for a handshake with administrators and with callers who enrol: they know the CA's root and no other.
func (n *node) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return n.certs.Load().GetCertificate(hello)
}

// close closes what is open, listeners first. It does not drain: see [node.shutdown].
func (n *node) close() error {
	var errs []error
	if n.front != nil {
		n.front.close()
	}
	if n.tokens != nil {
		n.tokens.Close()
	}
	if n.logins != nil {
		n.logins.close()
	}
	if n.switches != nil {
		n.switches.close()
	}
	if n.registry != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		if err := n.registry.Calls().Flush(ctx, true); err != nil {
			n.log.Warn("storing the last calls: those of the last minute are lost", "error", err)
		}
		cancel()
	}
	if n.usage != nil && n.db != nil {
		errs = append(errs, n.usage.Close())
	}
	if n.records != nil {
		errs = append(errs, n.records.Close())
	}
	n.source.Load().close()
	if certs := n.certs.Load(); certs != nil {
		certs.Close()
	}
	if n.ca != nil {
		if err := n.ca.Leave(context.Background()); err != nil {
			n.log.Debug("telling the other nodes that this one ends", "error", err)
		}
	}
	if n.db != nil {
		errs = append(errs, n.db.Close())
	}
	return errors.Join(errs...)
}

// shutdown stops accepting, lets requests in flight end until ctx is done, and closes everything. The
// admin listener stays to the last, so that /readyz can say that the node drains.
func (n *node) shutdown(ctx context.Context) error {
	n.admin.draining.Store(true)
	err := n.proxy.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("draining: %w", err)
	}
	n.enrolment.shutdown(ctx)
	adminCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	n.admin.shutdown(adminCtx)
	n.publish.shutdown(adminCtx)
	n.challenges.shutdown(adminCtx)
	return errors.Join(err, n.close())
}

// rootFile and intermediateFile are the CA's certificates, as package pki names them.
func (c *CAConfig) rootFile() string         { return filepath.Join(c.Dir, "root_ca.crt") }
func (c *CAConfig) intermediateFile() string { return filepath.Join(c.Dir, "intermediate_ca.crt") }

// intermediateKeyFile is the key of the CA that signs, as package pki names it.
func (c *CAConfig) intermediateKeyFile() string { return filepath.Join(c.Dir, "intermediate_ca.key") }

// drainTimeout is how long requests in flight may take to end.
func (n *node) drainTimeout() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Duration(n.cfg.Limits.DrainTimeout)
}

// followInterval keeps a change of another node within the second that law 3 promises.
const followInterval = 300 * time.Millisecond

// follow reads the changes of other nodes until ctx is done. A database of this process alone (SQLite) has none.
func (n *node) follow(ctx context.Context) {
	n.mu.Lock()
	shared := n.cfg.sharedDatabase()
	n.mu.Unlock()
	if !shared {
		return
	}
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		refreshCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := n.ca.Refresh(refreshCtx) // first: the registry then names no certificate of an intermediate that is not known here
		if regErr := n.registry.Refresh(refreshCtx); regErr != nil {
			err = regErr
		}
		cancel()
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			if failing {
				n.log.Error("following the registry: the last state stays in force", "error", err)
			} else {
				n.log.Info("following the registry again")
			}
		}
	}
}
