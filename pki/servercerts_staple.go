package pki

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"time"
)

// stapleCheck is how often it is asked whether there is another answer about a certificate of ours.
const stapleCheck = time.Minute

// staples are the certificates of the names that are served, with an answer of the CA's responder attached for clients that ask for one (RFC 6066 section 8).
type staples struct {
	byName atomic.Pointer[map[string]stapled]
	failed bool // the last round failed, and that was logged
}

type stapled struct {
	certificate *tls.Certificate
	until       time.Time
}

// on returns c with its answer, or as it is when there is none.
func (s *staples) on(name string, c *tls.Certificate) *tls.Certificate {
	all := s.byName.Load()
	if all == nil {
		return c
	}
	with, ok := (*all)[name]
	if !ok || !with.certificate.Leaf.Equal(c.Leaf) || time.Now().After(with.until) {
		return c
	}
	return with.certificate
}

// staple asks for the answers about all certificates, now and every minute until life ends.
func (s *ServerCerts) staple(life context.Context, ca *CA) {
	s.stapleOnce(life, ca)
	go func() {
		ticker := time.NewTicker(stapleCheck)
		defer ticker.Stop()
		for {
			select {
			case <-life.Done():
				return
			case <-ticker.C:
				s.stapleOnce(life, ca)
			}
		}
	}()
}

func (s *ServerCerts) stapleOnce(life context.Context, ca *CA) {
	ctx, done, err := s.storage.begin(life) // Close waits for us
	if err != nil {
		return
	}
	defer done()
	next := make(map[string]stapled)
	for _, name := range s.names {
		c, err := s.current(name)
		var answer OCSPAnswer
		if err == nil {
			answer, err = ca.staple(ctx, c.Leaf)
		}
		if (err != nil) != s.staples.failed && ctx.Err() == nil {
			s.staples.failed = err != nil
			ca.options.Logger.Log(ctx, logLevel(err), "stapling answers about server certificates", "name", name, "error", err)
		}
		if answer.NextUpdate.IsZero() {
			continue
		}
		with := *c
		with.OCSPStaple = answer.DER
		next[name] = stapled{&with, answer.NextUpdate}
	}
	s.staples.byName.Store(&next)
}

func logLevel(err error) slog.Level {
	if err != nil {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
