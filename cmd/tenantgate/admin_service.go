package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

// adminService serves the admin API on two listeners: the socket, where the kernel says who calls, and the
// admin listener, where a certificate of the admin profile does.
type adminService struct {
	node     *node
	socket   *http.Server
	tls      *http.Server
	draining atomic.Bool // the node is stopping: /readyz says so
}

func newAdminService(n *node) *adminService {
	a := &adminService{node: n}
	metrics := promhttp.HandlerFor(n.gatherer, promhttp.HandlerOpts{})
	server := func(actor func(*http.Request) (string, error)) *http.Server {
		return &http.Server{
			Handler: &admin.Server{
				Registry: n.registry, CA: n.ca, DB: n.db.DB, Actor: actor, Enrolment: n.enrolmentURL, ACME: n.acmeDirectory,
				Ready: a.checks, Metrics: metrics, Logger: n.log, Tokens: n.tokens, TokenEndpoint: n.tokens.Endpoint, Way: n.way, CredentialUses: n.credentialUses,
				Expiry: n.ends, Notifications: n.notify.queue, Notifier: n.notify.sender,
				Backup: n.backup, External: n.external, Lists: n.lists, Explain: n.explain, Sealer: n.sealer, FlushUsage: n.flushUsage,
			},
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       30 * time.Second,
			WriteTimeout:      time.Minute,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		}
	}
	a.socket = server(admin.SocketActor)
	a.socket.ConnContext = admin.SocketConnContext
	a.tls = server((&admin.CertificateActor{Trust: n.trust.Load, CA: n.ca}).Actor)
	a.tls.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: n.certificate,
		// Health and metrics are for everybody. A certificate that is shown is judged for each request to /v1, by
		// admin.CertificateActor; no ticket may stand in for it.
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
	}
	return a
}

// serveSocket serves the admin socket until shutdown.
func (a *adminService) serveSocket(l net.Listener) error { return served(a.socket.Serve(l)) }

// serveTLS serves the admin listener until shutdown.
func (a *adminService) serveTLS(l net.Listener) error { return served(a.tls.ServeTLS(l, "", "")) }

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving administration: %w", err)
}

// shutdown lets requests end until ctx is done and closes both listeners.
func (a *adminService) shutdown(ctx context.Context) {
	for _, s := range []*http.Server{a.socket, a.tls} {
		if err := s.Shutdown(ctx); err != nil {
			s.Close()
		}
	}
}

// checks is what /readyz and `status` ask: can this node serve a caller and administer itself now?
func (a *adminService) checks(ctx context.Context) []admin.Check {
	n := a.node
	list := []admin.Check{
		check("serving", a.drainingError(), ""),
		check("database", n.db.Check(ctx), ""),
		check("record", n.records.Ready(), ""),
		check("ca", notExpired(n.caNotAfter()), "until "+moment(n.caNotAfter())),
		check("server_certificate", notExpired(n.certs.Load().NotAfter()), "until "+moment(n.certs.Load().NotAfter())),
	}
	return append(list, n.callerCertificateCheck(), n.signingCheck(), n.publish.check(), n.authoritiesCheck(), n.loadCheck(), n.tenantsCheck(), n.tokenServersCheck(),
		n.tokenStoreCheck(), n.credentialsCheck(), n.renewalCheck(), n.notify.check(),
		n.configCheck())
}

func (a *adminService) drainingError() error {
	if a.draining.Load() {
		return errors.New("draining")
	}
	return nil
}

func check(name string, err error, detail string) admin.Check {
	if err != nil {
		return admin.Check{Name: name, Detail: err.Error()}
	}
	return admin.Check{Name: name, OK: true, Detail: detail}
}

func notExpired(t time.Time) error {
	if time.Now().After(t) {
		return fmt.Errorf("expired on %s", moment(t))
	}
	return nil
}

// loadCheck says whether callers are turned away for want of room. Taking the node out of service would only move them to another one.
func (n *node) loadCheck() admin.Check {
	cause := n.proxy.Overloaded()
	return admin.Check{Name: "load", OK: true, Warning: cause != "", Detail: cause}
}

// tenantsCheck names the tenants that are left alone. That is a matter of theirs: the node serves.
func (n *node) tenantsCheck() admin.Check {
	var alone []string
	for _, s := range n.proxy.TenantStates() {
		if s.BreakerOpen {
			alone = append(alone, s.Tenant)
		}
	}
	c := admin.Check{Name: "tenants", OK: true, Warning: len(alone) > 0}
	if c.Warning {
		c.Detail = "left alone, because connections to them fail: " + list(alone)
	}
	return c
}

// configCheck says what came of the last reload. A refused one does not make the node unready: it serves, on
// the old configuration; load balancers must not take it out for that. Its detail says so.
func (n *node) configCheck() admin.Check {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := admin.Check{Name: "configuration", OK: true}
	switch {
	case n.reloadErr != nil:
		c.Warning = true
		c.Detail = "the last reload was refused, the old configuration is in force: " + n.reloadErr.Error()
	case len(n.pending) > 0:
		c.Warning = true
		c.Detail = "changed keys that need a restart: " + list(n.pending)
	}
	return c
}
