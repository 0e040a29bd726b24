package pki

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// lockLease is how long a lock lives without renewal: longer than any issue takes, short enough that a node that died
// with it delays the others little.
const lockLease = 2 * time.Minute

// lockPoll is how often a waiting node looks again.
const lockPoll = 250 * time.Millisecond

// Lock waits until the named lock is free or has expired, and takes it.
func (s *storage) Lock(ctx context.Context, name string) error {
	for {
		ok, err := s.TryLock(ctx, name)
		if ok || err != nil {
			return err
		}
		wait := time.NewTimer(lockPoll)
		select {
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		case <-wait.C:
		}
	}
}

// TryLock takes the named lock if it is free or has expired. One statement decides between all nodes.
func (s *storage) TryLock(ctx context.Context, name string) (bool, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	holder := rand.Text()
	now := time.Now()
	res, err := s.db.ExecContext(ctx, `INSERT INTO pki_locks (name, holder, expires) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires = excluded.expires WHERE pki_locks.expires < $4`,
		name, holder, now.Add(lockLease).UnixMicro(), now.UnixMicro())
	if err != nil {
		return false, fmt.Errorf("locking %s: %w", name, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("locking %s: %w", name, err)
	}
	if n == 0 {
		return false, nil
	}
	s.mu.Lock()
	s.held[name] = holder
	s.mu.Unlock()
	return true, nil
}

// Unlock frees a lock that this storage took. A lock that has expired and was taken by another is left alone.
func (s *storage) Unlock(ctx context.Context, name string) error {
	holder, ok := s.holder(name)
	if !ok {
		return nil // end has freed it
	}
	// Freeing must work when the operation was cancelled, or others wait for the lease to end.
	ctx, done, err := s.begin(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer done()
	if err := s.free(ctx, name, holder); err != nil {
		return err
	}
	s.mu.Lock()
	if s.held[name] == holder {
		delete(s.held, name)
	}
	s.mu.Unlock()
	return nil
}

func (s *storage) free(ctx context.Context, name, holder string) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM pki_locks WHERE name = $1 AND holder = $2`, name, holder); err != nil {
		return fmt.Errorf("unlocking %s: %w", name, err)
	}
	return nil
}

// RenewLockLease prolongs a lock that is still held.
func (s *storage) RenewLockLease(ctx context.Context, name string, lease time.Duration) error {
	holder, ok := s.holder(name)
	if !ok {
		return fmt.Errorf("renewing lock %s: not held", name)
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	res, err := s.db.ExecContext(ctx, `UPDATE pki_locks SET expires = $1 WHERE name = $2 AND holder = $3`, time.Now().Add(lease).UnixMicro(), name, holder)
	if err != nil {
		return fmt.Errorf("renewing lock %s: %w", name, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(fmt.Errorf("renewing lock %s: it was lost to another node", name), err)
	}
	return nil
}

func (s *storage) holder(name string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.held[name]
	return h, ok
}
