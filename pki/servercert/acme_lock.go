package servercert

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// An order takes from seconds to minutes. Its lock is kept by renewing it, so that it is short when the node that holds it dies.
const (
	lease      = 30 * time.Second
	leaseRenew = 10 * time.Second
)

// leased is the storage of certificates from an ACME CA: its locks have names of their own, so that an order that takes long holds up no certificate of the
// CA in this process, and are kept for as long as they are held.
type leased struct {
	pki.Storage
	logger *slog.Logger

	mu    sync.Mutex // guards kept
	kept  map[string]context.CancelFunc
	alive sync.WaitGroup
}

func newLeased(storage pki.Storage, logger *slog.Logger) *leased {
	return &leased{Storage: storage, logger: logger, kept: make(map[string]context.CancelFunc)}
}

func own(name string) string { return "acme " + name }

// Lock implements certmagic's Locker.
func (l *leased) Lock(ctx context.Context, name string) error {
	if err := l.Storage.Lock(ctx, own(name)); err != nil {
		return err
	}
	return l.keep(ctx, name)
}

// TryLock implements certmagic's TryLocker.
func (l *leased) TryLock(ctx context.Context, name string) (bool, error) {
	ok, err := l.Storage.TryLock(ctx, own(name))
	if !ok || err != nil {
		return ok, err
	}
	return true, l.keep(ctx, name)
}

// keep shortens the lease, and renews it until Unlock.
func (l *leased) keep(ctx context.Context, name string) error {
	if err := l.Storage.RenewLockLease(ctx, own(name), lease); err != nil {
		return err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.mu.Lock()
	l.kept[name] = stop
	l.mu.Unlock()
	l.alive.Go(func() {
		ticker := time.NewTicker(leaseRenew)
		defer ticker.Stop()
		for {
			select {
			case <-life.Done():
				return
			case <-ticker.C:
			}
			if err := l.Storage.RenewLockLease(life, own(name), lease); err != nil && life.Err() == nil {
				l.logger.Warn("server certificate: another node may order the same certificate", "lock", name, "error", err)
				return
			}
		}
	})
	return nil
}

// Unlock implements certmagic's Locker.
func (l *leased) Unlock(ctx context.Context, name string) error {
	l.mu.Lock()
	if stop := l.kept[name]; stop != nil {
		stop()
		delete(l.kept, name)
	}
	l.mu.Unlock()
	return l.Storage.Unlock(ctx, own(name))
}

// RenewLockLease implements certmagic's LockLeaseRenewer.
func (l *leased) RenewLockLease(ctx context.Context, name string, d time.Duration) error {
	return l.Storage.RenewLockLease(ctx, own(name), d)
}

// release ends what keeps locks. Nobody locks any more.
func (l *leased) release() {
	l.mu.Lock()
	for _, stop := range l.kept {
		stop()
	}
	l.mu.Unlock()
	l.alive.Wait()
}
