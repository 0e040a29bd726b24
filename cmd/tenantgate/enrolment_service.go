package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/acme"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// enrolmentService serves callers who want a certificate, on the enrolment listener.
type enrolmentService struct {
	node *node
	http *http.Server
}

func newEnrolmentService(n *node) *enrolmentService {
	server := &enrolment.Server{
		Registry: n.registry, CA: n.ca, Trust: n.trust.Load, Proxy: n.proxyURL, ProxyRoots: n.proxyRoots, Record: n.records.AppendEnrolment, Metrics: n.metrics, Logger: n.log,
	}
	if targets := n.cfg.Enrolment.ACME.targets(); len(targets.Allow) > 0 {
		server.ACME = &acme.Server{Registry: n.registry, CA: n.ca, Targets: targets, Named: n.namedForEnrolment, Logger: n.log}
	}
	return &enrolmentService{n, server.HTTP(n.certificate)}
}

// targets are the hosts that may be called. The configuration was validated before.
func (c *ACMEConfig) targets() acme.Targets {
	t := acme.Targets{UnsafeLoopback: c.UnsafeLoopback, HTTPPort: c.UnsafeHTTPPort, TLSPort: c.UnsafeTLSPort}
	for _, s := range c.Allow {
		if network, err := netip.ParsePrefix(s); err == nil {
			t.Allow = append(t.Allow, network)
		}
	}
	return t
}

// serve serves the listener until shutdown.
func (e *enrolmentService) serve(l net.Listener) error {
	err := e.http.ServeTLS(enrolment.Bound(l), "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving enrolment: %w", err)
}

// shutdown lets requests end until ctx is done and closes the listener.
func (e *enrolmentService) shutdown(ctx context.Context) {
	if err := e.http.Shutdown(ctx); err != nil {
		e.http.Close()
	}
}

// enrolmentURL is the address that tokens carry, "" when there is no enrolment listener.
func (n *node) enrolmentURL() string {
	if n.front == nil || n.front.enrolment == nil {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cfg.Enrolment.URL != "" {
		return n.cfg.Enrolment.URL
	}
	return addressed(n.cfg.ServerNames[0], n.front.enrolment.Addr())
}

// namedForEnrolment says whether callers reach the enrolment listener by a host: those are the names in its certificate, and that of its address.
func (n *node) namedForEnrolment(host string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if u, err := url.Parse(n.cfg.Enrolment.URL); err == nil && u.Hostname() != "" && strings.EqualFold(u.Hostname(), host) {
		return true
	}
	return slices.ContainsFunc(n.cfg.ServerNames, func(name string) bool { return pki.NormalServerName(name) == pki.NormalServerName(host) })
}

// acmeDirectory is where ACME clients begin, "" when none is served.
func (n *node) acmeDirectory() string {
	base := n.enrolmentURL()
	n.mu.Lock()
	defer n.mu.Unlock()
	if base == "" || len(n.cfg.Enrolment.ACME.Allow) == 0 {
		return ""
	}
	return base + enrolment.ACMEPath + "directory"
}

// proxyURL is the address at which callers use their certificates.
func (n *node) proxyURL() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cfg.Enrolment.ProxyURL != "" {
		return n.cfg.Enrolment.ProxyURL
	}
	return addressed(n.cfg.callerNames()[0], n.front.callers.Addr())
}

// addressed is a listener as callers reach it by a name.
func addressed(name string, l net.Addr) string {
	_, port, err := net.SplitHostPort(l.String())
	if err != nil || port == "443" {
		return "https://" + name
	}
	return "https://" + net.JoinHostPort(name, port)
}
