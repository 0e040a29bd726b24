package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Registry holds the current snapshot of a database and changes the two together. It is safe for concurrent use.
//
// Any number of registries, in one process or several, may share a database: each sees its own changes at once and those of the
// others after Refresh.
type Registry struct {
	db      *sql.DB
	sealer  Sealer
	current atomic.Pointer[Snapshot]
	calls   *Calls

	// turn holds one token. Whoever took it out may write to the database, replace current and call observers.
	turn chan struct{}

	mu        sync.Mutex // guards observers, never held while one is called
	observers []func(old, new *Snapshot, c Changed)
}

// Open reads the registry from a database to which [Migrations] were applied. The sealer opens the secrets of credentials. An *[Error]
// with code [ErrKey] says that its key is not the one that the database was made with, or names the credential that it cannot open.
// Closing the database is the caller's part; the registry itself needs no closing.
func Open(ctx context.Context, db *sql.DB, s Sealer) (*Registry, error) {
	r := &Registry{db: db, sealer: s, turn: make(chan struct{}, 1), calls: &Calls{db: db, cells: map[Fingerprint]*cell{}}}
	r.turn <- struct{}{}
	if err := r.checkKey(ctx); err != nil {
		return nil, err
	}
	loaded, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	r.current.Store(loaded)
	return r, nil
}

// Snapshot returns the registry as of the last publication. It is one atomic load. A request takes it once and decides all by it.
func (r *Registry) Snapshot() *Snapshot { return r.current.Load() }

// OnChange has fn called after each publication, in order, with the snapshots before and after and what differs. The new snapshot is
// the current one by then. fn runs while changes wait, so it should be quick, and it must not call Change or Refresh.
func (r *Registry) OnChange(fn func(old, new *Snapshot, c Changed)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observers = append(r.observers, fn)
}

// Change runs fn in a transaction, commits it and publishes what fn changed: when Change returns nil, the change is on disk and in
// the snapshot. When fn or the commit fails, nothing has happened, and the error is returned as it is. Changes of all nodes run one
// after the other, each on the state that the one before it left. The context bounds waiting and the statements, not the commit.
//
// When the connection breaks during the commit, the database may have the change all the same; the next Change or Refresh shows it.
func (r *Registry) Change(ctx context.Context, fn func(tx *Tx) error) error {
	if err := r.take(ctx); err != nil {
		return err
	}
	defer r.give()
	// database/sql would break a commit off when the context ends; whoever then asks whether it happened gets no answer.
	dbTx, err := r.db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("beginning a change: %w", err)
	}
	defer func() { _ = dbTx.Rollback() }() // without effect after the commit
	tx, err := r.begin(ctx, dbTx)
	if err != nil {
		return fmt.Errorf("beginning a change: %w", err)
	}
	err = fn(tx)
	tx.ended = true
	if err != nil {
		return err
	}
	if err := tx.finish(ctx); err != nil {
		return fmt.Errorf("recording a change: %w", err)
	}
	next := tx.draft.snapshot(tx.revision)
	if err := dbTx.Commit(); err != nil {
		return fmt.Errorf("committing a change: %w", err)
	}
	r.publish(next, tx.others.with(tx.draft.changed))
	return nil
}

// begin takes the next revision, which locks out the writers of other nodes, and reads what they did before.
func (r *Registry) begin(ctx context.Context, dbTx *sql.Tx) (*Tx, error) {
	tx := &Tx{sql: dbTx, sealer: r.sealer, now: stored(time.Now())}
	var oldest int64
	err := dbTx.QueryRowContext(ctx, `UPDATE registry SET revision = revision + 1 WHERE id = 1 RETURNING revision, oldest`).
		Scan(&tx.revision, &oldest)
	if err != nil {
		return nil, fmt.Errorf("taking a revision: %w", err)
	}
	tx.draft, err = r.catchUp(ctx, dbTx, tx.revision-1, oldest)
	if err != nil {
		return nil, err
	}
	tx.others, tx.draft.changed = tx.draft.changed, Changed{}
	return tx, nil
}

// Refresh reads what other writers on the database changed since the current snapshot and publishes it. Without such changes it is
// one small query. When it fails, the current snapshot stays.
func (r *Registry) Refresh(ctx context.Context) error {
	if err := r.take(ctx); err != nil {
		return err
	}
	defer r.give()
	if revision, _, err := state(ctx, r.db); err != nil || revision == r.current.Load().revision {
		return err
	}
	return r.view(ctx, func(tx *sql.Tx) error {
		revision, oldest, err := state(ctx, tx)
		if err != nil {
			return err
		}
		d, err := r.catchUp(ctx, tx, revision, oldest)
		if err != nil {
			return err
		}
		r.publish(d.snapshot(revision), d.changed)
		return nil
	})
}

// consistentRead makes all queries of a transaction see one state. SQLite's always do; PostgreSQL's need the level.
var consistentRead = sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}

// publish makes next the current snapshot and tells the observers. The caller has the turn.
func (r *Registry) publish(next *Snapshot, c Changed) {
	old := r.current.Swap(next)
	r.mu.Lock()
	observers := r.observers[:len(r.observers):len(r.observers)]
	r.mu.Unlock()
	for _, fn := range observers {
		fn(old, next, c)
	}
}

func (r *Registry) take(ctx context.Context) error {
	select {
	case <-r.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another change: %w", ctx.Err())
	}
}

func (r *Registry) give() { r.turn <- struct{}{} }

// keyCheck is what the database holds sealed so that a wrong key is told at once, even before there is a credential.
const keyCheck = "tenantgate registry"

// checkKey opens the key check, after sealing it on the first start.
func (r *Registry) checkKey(ctx context.Context) error {
	const query = `SELECT key_check FROM registry WHERE id = 1`
	var sealed []byte
	if err := r.db.QueryRowContext(ctx, query).Scan(&sealed); err != nil {
		return fmt.Errorf("reading the registry (were its migrations applied?): %w", err)
	}
	if sealed == nil {
		fresh, err := r.sealer.Seal([]byte(keyCheck), []byte(keyCheck))
		if err != nil {
			return fmt.Errorf("sealing the key check: %w", err)
		}
		// Another node may do the same now: one of the two wins, and both then look at that one.
		if _, err := r.db.ExecContext(ctx, `UPDATE registry SET key_check = $1 WHERE id = 1 AND key_check IS NULL`, fresh); err != nil {
			return fmt.Errorf("storing the key check: %w", err)
		}
		if err := r.db.QueryRowContext(ctx, query).Scan(&sealed); err != nil {
			return fmt.Errorf("reading the key check: %w", err)
		}
	}
	if text, err := r.sealer.Open(sealed, []byte(keyCheck)); err != nil || string(text) != keyCheck {
		return &Error{Code: ErrKey, Object: "registry", Message: "the encryption key is not the one that this database was made with",
			Hint: "give the key file that belongs to the database; without it the stored secrets are lost and must be entered anew"}
	}
	return nil
}

var errEnded = errors.New("using a transaction of the registry after its function returned")
