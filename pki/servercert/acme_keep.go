package servercert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"github.com/tenantgate/tenantgate/pki"
)

// Pauses after attempts that failed. A server that cannot be reached is asked again soon; one that has said no, or has issued what is not used, counts
// attempts: Let's Encrypt allows five failed validations of a name in an hour, and five certificates of one name in a week.
var (
	unreachablePauses = []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 30 * time.Minute, time.Hour}
	refusedPauses = []time.Duration{2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour}
)

// keep has certificates ordered when they are missing or due, until life ends. Names come one after the other.
func (a *ACME) keep(life context.Context) {
	hurry := false
	for {
		next := time.Now().Add(acmeLook)
		for _, name := range a.options.Names {
			if life.Err() != nil {
				return
			}
			for _, at := range []time.Time{a.heed(life, name), a.tend(life, name, hurry)} {
				if at.Before(next) {
					next = at
				}
			}
		}
		hurry = false
		timer := time.NewTimer(time.Until(next))
		select {
		case <-life.Done():
			timer.Stop()
			return
		case <-a.kick:
			timer.Stop()
			hurry = true
		case <-timer.C:
		}
	}
}

// tend orders the certificate of a name if it is time, and says when to come again.
func (a *ACME) tend(life context.Context, name string, hurry bool) time.Time {
	a.mu.Lock()
	w := a.names[name]
	held, next := w.bare, w.next
	var due time.Time
	if held != nil {
		due = w.dueAt()
	}
	a.mu.Unlock()
	now := time.Now()
	if held != nil && now.Before(due) {
		return due
	}
	if !hurry && now.Before(next) {
		return next
	}
	ctx, cancel := context.WithTimeout(life, attemptTimeout)
	defer cancel()
	got, err := a.obtain(ctx, name, held)
	if life.Err() != nil {
		return now // closing: what became of it does not matter
	}
	if err != nil {
		return a.failed(name, err)
	}
	return a.obtained(name, got)
}

func dueAt(c *tls.Certificate) time.Time {
	life := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)
	return c.Leaf.NotAfter.Add(-time.Duration(float64(life) * renewalWindow))
}

var (
	errNone     = errors.New("none is stored")
	errUnusable = errors.New("what is stored cannot be used")
)

// load reads a certificate from the storage, whichever node has put it there.
func (a *ACME) load(ctx context.Context, name string) (*tls.Certificate, error) {
	key := a.issuer.IssuerKey()
	chain, err := a.options.Storage.Load(ctx, certmagic.StorageKeys.SiteCert(key, name))
	var private []byte
	if err == nil {
		private, err = a.options.Storage.Load(ctx, certmagic.StorageKeys.SitePrivateKey(key, name))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNone
	case err != nil:
		return nil, err
	}
	c, err := tls.X509KeyPair(chain, private)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnusable, err)
	}
	var certs []*x509.Certificate
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUnusable, err)
		}
		certs = append(certs, cert)
	}
	if _, _, err := (&judgement{names: []string{name}, roots: a.options.Roots, now: time.Now()}).judge(certs, c.Leaf.PublicKey); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnusable, err)
	}
	return &c, nil
}

// obtain returns another certificate than the one that is held: one that another node has stored meanwhile, or a new one. A lock in the storage has one
// node order it.
func (a *ACME) obtain(ctx context.Context, name string, held *tls.Certificate) (*tls.Certificate, error) {
	lock := "certificate " + name
	if err := a.issuer.storage.Lock(ctx, lock); err != nil {
		return nil, fmt.Errorf("waiting for other nodes: %w", err)
	}
	defer a.issuer.storage.Unlock(context.WithoutCancel(ctx), lock) // else its lease ends
	stored, err := a.load(ctx, name)
	switch {
	case err == nil && time.Now().Before(dueAt(stored)) && (held == nil || !stored.Leaf.Equal(held.Leaf)):
		return stored, nil
	case errors.Is(err, errNone):
		err = a.config.ObtainCertSync(ctx, name)
	case err == nil, errors.Is(err, errUnusable): // the latter when a node died between its parts, say
		err = a.config.RenewCertSync(ctx, name, true)
	}
	if err != nil {
		return nil, err
	}
	got, err := a.load(ctx, name)
	if err == nil {
		err = timely(got.Leaf, time.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotUsed, err)
	}
	return got, nil
}

// obtained puts a new certificate in place, and says when to come again.
func (a *ACME) obtained(name string, c *tls.Certificate) time.Time {
	a.mu.Lock()
	w := a.names[name]
	w.bare, w.failures = c, 0
	w.clear()
	// A server that issues what is due at once, with a life of seconds or long past, is not asked without end.
	next := time.Now().Add(max(a.options.Pause, c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)/12))
	w.next = next
	a.mu.Unlock()
	a.publish()
	a.options.Logger.Info("server certificate from the ACME server", "name", name, "directory", a.options.Directory,
		"serial", pki.FormatSerial(c.Leaf.SerialNumber), "not_after", c.Leaf.NotAfter)
	if due := dueAt(c); due.After(next) {
		return due
	}
	return next
}

// failed notes why there is no new certificate, and says when to try again.
func (a *ACME) failed(name string, err error) time.Time {
	pauses := unreachablePauses
	var problem acme.Problem
	if errors.As(err, &problem) || errors.Is(err, errNotUsed) {
		pauses = refusedPauses
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.names[name]
	next := time.Now().Add(pauses[min(w.failures, len(pauses)-1)])
	w.failures++
	said := plain(err.Error())
	attributes := []any{"name", name, "directory", a.options.Directory, "error", said, "next", next}
	if w.bare != nil {
		attributes = append(attributes, "old_not_after", w.bare.Leaf.NotAfter)
	}
	w.set(said, next)
	a.options.Logger.Error("server certificate: the ACME server gave none", attributes...)
	return next
}

// plain is a text of which the ACME server may have chosen parts, fit for logs and terminals.
func plain(s string) string {
	const most = 500
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
