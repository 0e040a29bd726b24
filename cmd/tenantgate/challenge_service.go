package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/tenantgate/tenantgate/proxy/publish"
)

// challengeService answers http-01 challenges on the listener of server_certificate.acme.http_listen. Everything else is not found.
type challengeService struct{ server *http.Server }

func newChallengeService(n *node) *challengeService {
	return &challengeService{&http.Server{
		Handler:           n.httpChallenge(http.NotFoundHandler()),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    8 << 10,

		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}}
}

// serve serves the listener, whose connections are bounded, until shutdown.
func (c *challengeService) serve(l net.Listener) error {
	if err := c.server.Serve(publish.Bound(l)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answering challenges: %w", err)
	}
	return nil
}

// shutdown lets requests end until ctx is done.
func (c *challengeService) shutdown(ctx context.Context) {
	if err := c.server.Shutdown(ctx); err != nil {
		c.server.Close()
	}
}
