package notify

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The states of a queued event.
const (
	Pending   = "pending"
	Delivered = "delivered"
	GivenUp   = "given_up"
)

const (
	// MaxPending bounds what waits for the receiver. While so many wait, nothing is added: what holds is told when there is room, and change records are read on
	// from where that stopped.
	MaxPending = 10000
	// maxAge is the age at which a notification that nobody takes is given up.
	maxAge = 30 * 24 * time.Hour
	// keepFinished is for how long it is remembered what became of one.
	keepFinished = 30 * 24 * time.Hour
	// staleNode is the age at which what a node alone knew is forgotten, because the node is gone.
	staleNode = 24 * time.Hour
)

// ErrFull is the answer while [MaxPending] notifications wait.
var ErrFull = errors.New("too many notifications wait for the receiver")

// Queue is what is to be told, in a database to which [Migrations] were applied. Any number of nodes share it. Safe for concurrent use.
type Queue struct {
	DB *sql.DB
	// Installation is the sender's name in events.
	Installation string
	// Node is this node's name; what it alone knows, another one does not take back.
	Node string
}

// Queued is an event as the queue has it.
type Queued struct {
	// ID, Type and Subject are the event's.
	ID      string  `json:"id"`
	Type    string  `json:"type"`
	Subject Subject `json:"subject"`
	// State is "pending", "delivered" or "given_up".
	State string `json:"state"`
	// Created is when it came up, Next when it is tried again, Finished when it was delivered or given up.
	Created  time.Time `json:"created"`
	Next     time.Time `json:"next,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// Attempts counts how often it was tried, and Problem says why the last one failed.
	Attempts int64  `json:"attempts"`
	Problem  string `json:"problem,omitempty"`
}

// Cursor returns the number of the last change record that was looked at, or, the first time, notes that all up to head are of before.
func (q *Queue) Cursor(ctx context.Context, head int64) (int64, error) {
	if _, err := q.DB.ExecContext(ctx, `UPDATE notify_state SET changes = $1 WHERE id = 1 AND changes < 0`, head); err != nil {
		return 0, fmt.Errorf("noting where change records begin: %w", err)
	}
	var at int64
	if err := q.DB.QueryRowContext(ctx, `SELECT changes FROM notify_state WHERE id = 1`).Scan(&at); err != nil {
		return 0, fmt.Errorf("reading up to where change records were looked at: %w", err)
	}
	return at, nil
}

// Advance moves the cursor and queues the events that the change records in between are, as one act. Where another node has moved it already nothing is
// done. It returns [ErrFull], and does nothing, when there is no room.
func (q *Queue) Advance(ctx context.Context, now time.Time, from, to int64, events []Event) error {
	return q.turn(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE notify_state SET changes = $1 WHERE id = 1 AND changes = $2`, to, from)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 || len(events) == 0 {
			return err
		}
		return q.insertAll(ctx, tx, events, now)
	})
}

// Add queues one event. It returns [ErrFull] when there is no room.
func (q *Queue) Add(ctx context.Context, now time.Time, e Event) error {
	return q.turn(ctx, func(tx *sql.Tx) error { return q.insertAll(ctx, tx, []Event{e}, now) })
}

func (q *Queue) insertAll(ctx context.Context, tx *sql.Tx, events []Event, now time.Time) error {
	room, err := q.room(ctx, tx)
	if err != nil {
		return err
	}
	if int64(len(events)) > room {
		return ErrFull
	}
	for _, e := range events {
		if err := q.insert(ctx, tx, e, now); err != nil {
			return err
		}
	}
	return nil
}

// insert fills an event in and queues it.
func (q *Queue) insert(ctx context.Context, tx *sql.Tx, e Event, now time.Time) error {
	e = q.filled(e, now)
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	subject, err := json.Marshal(e.Subject)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO notify_events (id, type, state, created, next, attempts, finished, problem, subject, body)
		VALUES ($1, $2, 'pending', $3, $3, 0, 0, '', $4, $5)`, e.ID, e.Type, micros(e.Time), string(subject), string(body))
	return err
}

func (q *Queue) filled(e Event, now time.Time) Event {
	e.Version, e.ID, e.Installation, e.Time = Version, newID(), q.Installation, now.UTC().Truncate(time.Microsecond)
	return e
}

// room returns how many more events may wait.
func (q *Queue) room(ctx context.Context, tx *sql.Tx) (int64, error) {
	var n int64
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM notify_events WHERE state = 'pending'`).Scan(&n)
	return MaxPending - n, err
}

// turn runs fn in a transaction that begins with a lock: one node at a time.
func (q *Queue) turn(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := q.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("queueing notifications: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	if _, err := tx.ExecContext(ctx, `UPDATE notify_state SET turn = turn + 1 WHERE id = 1`); err != nil {
		return fmt.Errorf("queueing notifications: %w", err)
	}
	if err := fn(tx); errors.Is(err, ErrFull) {
		return err
	} else if err != nil {
		return fmt.Errorf("queueing notifications: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("queueing notifications: %w", err)
	}
	return nil
}

// querier is what *sql.DB and *sql.Tx have in common for reading.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
