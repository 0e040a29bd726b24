package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/publish"
)

// publisher keeps the CA's revocation list current and serves it, with answers about single certificates, on the listener of publish.listen.
type publisher struct {
	node   *node
	server *http.Server
}

func newPublisher(n *node) *publisher {
	return &publisher{node: n, server: &http.Server{
		Handler:           n.httpChallenge(&publish.Handler{CA: n.ca, Trust: n.trust.Load, Logger: n.log}),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10,

		DisableGeneralOptionsHandler: true, // nothing but the handler answers
		ErrorLog:                     slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}}
}

// serve serves the listener until shutdown. It begins when there is a list, or none can be had: whoever comes before waits in the kernel.
func (p *publisher) serve(l net.Listener) error {
	_ = p.node.ca.KeepCRLs(context.Background()) // takes no longer than the database may; keep reports the error
	if err := p.server.Serve(publish.Bound(l)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}

// shutdown lets requests end until ctx is done.
func (p *publisher) shutdown(ctx context.Context) {
	if err := p.server.Shutdown(ctx); err != nil {
		p.server.Close()
	}
}

// keepInterval puts a revocation on the published list within the second that is promised, whichever node it was made on.
const keepInterval = 300 * time.Millisecond

// keep has the list made again whenever it is due or something was revoked, until ctx is done. Without a listener that serves it there is nothing to keep:
// whoever asks for the list by a command has it made.
func (p *publisher) keep(ctx context.Context) {
	if _, published := p.published(); !published {
		return
	}
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	failing := false
	for {
		err := p.node.ca.KeepCRLs(ctx)
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			if failing {
				p.node.log.Error("keeping the revocation list: the last one stays published until it is stale", "error", err)
			} else {
				p.node.log.Info("keeping the revocation list again")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// published returns the list that is served, nil if there is none yet, and whether there is a listener for it. It may be called on nil.
func (p *publisher) published() (*pki.CRL, bool) {
	if p == nil || p.node.front == nil || p.node.front.publish == nil {
		return nil, false
	}
	crl, _ := p.node.ca.PublishedCRL(pki.PublicID(p.node.ca.Intermediate()))
	return crl, true
}

// check says until when the published list is good. One that is stale hinders no caller of this server, so that the node stays ready; others may be refusing
// our certificate.
func (p *publisher) check() admin.Check {
	c := admin.Check{Name: "revocation_list", OK: true}
	switch crl, published := p.published(); {
	case !published:
		c.Detail = "not published"
	case crl == nil:
		c.Warning, c.Detail = true, "none could be made"
	default:
		c.Warning = time.Now().After(crl.NextUpdate)
		c.Detail = fmt.Sprintf("number %d, %d entries, until %s", crl.Number, crl.Entries, moment(crl.NextUpdate))
	}
	return c
}
