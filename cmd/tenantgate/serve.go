package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func newServeCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `serve runs the proxy, its CA and its registry in this process, until SIGTERM or SIGINT.

  SIGHUP           reads the configuration, the CA's certificates and those in files again and opens the access record again.
                   A broken one changes nothing: the log says why, and so do status and /readyz.
  SIGTERM, SIGINT  stop accepting, let requests in flight end (limits.drain_timeout), and exit. A second
                   one ends it at once.

Under systemd it reports its state (Type=notify) and takes its listening sockets from socket units, so that
callers can connect while it is restarted (configs/tenantgate.socket).`,
		Example: `  tenantgate serve -c /var/lib/tenantgate/tenantgate.yaml
  tenantgate serve -c tenantgate.yaml --check
  systemctl reload tenantgate`,
		Args: exactArgs(),
	}
	check := cmd.Flags().Bool("check", false, "check the configuration and exit")
	addrFile := cmd.Flags().String("addr-file", "", "write the addresses that were opened to this `file`, as name=value lines, once they are served (for port 0)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *check {
			return checkConfig(p)
		}
		return p.serve(cmd.Context(), *addrFile)
	}
	return cmd
}

// serve runs a node until a signal or the end of ctx.
func (p *program) serve(ctx context.Context, addrFile string) error {
	path := p.configPath()
	cfg, err := loadConfig(path)
	if err != nil {
		return err
	}
	in, err := inheritListeners()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	level := new(slog.LevelVar)
	level.Set(cfg.Log.level())
	log := newLogger(p.stderr, cfg.Log.Format, level)
	n, err := openNode(ctx, cfg, log, level)
	if err != nil {
		return err
	}
	n.config = path
	if err := n.listen(in); err != nil {
		return errors.Join(err, n.close())
	}
	done := make(chan error, 1)
	go func() { done <- n.serve() }()
	if addrFile != "" {
		if err := replaceFile(addrFile, n.front.addresses().shell(), 0o644); err != nil {
			return errors.Join(err, n.close())
		}
	}
	s := &supervisor{node: n, path: path, notify: newNotifier(p.getenv), log: log, signals: signals, done: done}
	return s.run(ctx)
}

// newLogger makes the logger that the configuration asks for.
func newLogger(w io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// supervisor turns signals into reloads and the end of a node, and tells systemd.
type supervisor struct {
	node    *node
	path    string
	notify  notifier
	log     *slog.Logger
	signals <-chan os.Signal
	done    <-chan error // the node's serve
}

func (s *supervisor) run(ctx context.Context) error {
	a := s.node.front.addresses()
	s.tell(s.notify.ready("serving callers on " + a.callers))
	s.log.Info("ready", "callers", a.callers, "startup", time.Since(s.node.started).Round(time.Millisecond))
	followCtx, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	go s.node.follow(followCtx)
	go s.node.followCA(followCtx)
	go s.node.renewCredentials(followCtx)
	go s.node.lists.Run(followCtx)
	go s.node.remind(followCtx)
	go s.node.proxy.WarmUp(followCtx)
	go s.node.publish.keep(followCtx)
	go s.node.noteCalls(followCtx)
	go s.node.notify.run(followCtx)
	go s.node.countUses(followCtx)
	for {
		select {
		case sig := <-s.signals:
			if sig != syscall.SIGHUP {
				s.log.Info("stopping", "signal", sig.String())
				stopFollowing()
				return s.stop()
			}
			s.reload(ctx)
		case <-ctx.Done():
			return s.stop()
		case err := <-s.done: // a listener broke
			s.log.Error("serving ended", "error", err)
			return errors.Join(fmt.Errorf("serving: %w", err), s.node.close())
		}
	}
}

// reload tells systemd its beginning and its end; the node logs and keeps what came of it.
func (s *supervisor) reload(ctx context.Context) {
	s.tell(s.notify.reloading())
	status := "serving callers on " + s.node.front.addresses().callers
	if err := s.node.reload(ctx, s.path); err != nil {
		status = "the old configuration is in force: " + err.Error()
	}
	s.tell(s.notify.ready(status))
}

// stop drains the node; a second signal ends that.
func (s *supervisor) stop() error {
	s.tell(s.notify.stopping())
	ctx, cancel := context.WithTimeout(context.Background(), s.node.drainTimeout())
	defer cancel()
	go func() {
		for {
			select {
			case sig := <-s.signals:
				if sig != syscall.SIGHUP {
					s.log.Warn("stopping at once: requests in flight are cut", "signal", sig.String())
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	err := s.node.shutdown(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		s.log.Warn("stopped; requests in flight were cut", "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("stopping: %w", err)
	}
	s.log.Info("stopped")
	return nil
}

func (s *supervisor) tell(err error) {
	if err != nil {
		s.log.Warn("notifying systemd", "error", err)
	}
}
