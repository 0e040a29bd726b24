package notify

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Sender delivers what a queue holds, on one node. Fields without a stated zero value are required, and none may be changed while Run runs. Its methods are
// safe for concurrent use.
type Sender struct {
	Queue *Queue
	// Receiver is where to, asked for each attempt; nil is nowhere, and what is pending waits.
	Receiver func() *Receiver
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger is told when deliveries begin to fail, and when they work again; nil discards it.
	Logger *slog.Logger

	mu    sync.Mutex // guards what follows; never held while anybody is waited for
	state State
}

// State is how deliveries stand on one node; what is pending is of all nodes.
type State struct {
	// Pending counts what waits for the receiver, and Oldest is when the oldest of it came up.
	Pending int64     `json:"pending"`
	Oldest  time.Time `json:"oldest,omitzero"`
	// Delivered, Failed and GivenUp count attempts of this node that worked or did not, and what it has given up, since its start.
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`
	GivenUp   uint64 `json:"given_up"`
	// LastDelivered is when the receiver took something last.
	LastDelivered time.Time `json:"last_delivered,omitzero"`
	// FailingSince is when attempts began to fail, zero while they do not, and Problem is why the last one did.
	FailingSince time.Time `json:"failing_since,omitzero"`
	Problem      string    `json:"problem,omitempty"`
}

const (
	lookInterval = 2 * time.Second
	tidyInterval = time.Hour
	// A receiver that fails is tried again after firstPause, and then after twice as long each time.
	firstPause = 5 * time.Second
	mostPause  = 10 * time.Minute
	// databaseTimeout bounds each use of the database.
	databaseTimeout = 10 * time.Second
)

// Run delivers until ctx is done.
func (s *Sender) Run(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	var resume, tidied time.Time
	pause := time.Duration(0)
	for {
		now, r := s.now(), s.Receiver()
		if r != nil && now.Sub(tidied) >= tidyInterval && s.tidy(ctx, now) == nil {
			tidied = now
		}
		if r != nil && !now.Before(resume) {
			var after time.Duration
			if err := s.round(ctx, r); err != nil && ctx.Err() == nil {
				if e, ok := errors.AsType[*SendError](err); ok {
					after = e.After
				}
				pause = min(max(2*pause, firstPause), mostPause)
				resume = s.now().Add(jitter(max(pause, after)))
			} else {
				pause, resume = 0, time.Time{}
			}
		}
		if r != nil {
			s.look(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// jitter is a time up to a fifth longer, so that nodes do not come together.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/5+1) }

// round delivers what is due. It returns an error when the receiver fails, and so ends before the rest has failed as well.
func (s *Sender) round(ctx context.Context, r *Receiver) error {
	for ctx.Err() == nil {
		q, err := s.claim(ctx, r.timeout)
		if err != nil || q == nil {
			return s.noted(err)
		}
		err = r.send(ctx, q.id, []byte(q.body), s.now())
		if ctx.Err() != nil && err != nil { // we end: it stays claimed and comes again
			return nil
		}
		if settleErr := s.settle(ctx, q, err); settleErr != nil {
			return s.noted(settleErr)
		}
		s.count(err)
		if e, ok := errors.AsType[*SendError](err); ok && !e.unwanted() {
			return err
		}
	}
	return nil
}

// claimed is an event that is this node's to send, until its claim ends.
type claimed struct {
	id, body string
	attempts int64
	created  time.Time
}

// claim takes what has been due for longest, nil when nothing is. Until the attempt must be over nobody else takes it.
func (s *Sender) claim(ctx context.Context, timeout time.Duration) (*claimed, error) {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	for {
		now := s.now()
		found, next, err := s.due(ctx, now)
		if err != nil || found == nil {
			return nil, err
		}
		result, err := s.Queue.DB.ExecContext(ctx, `UPDATE notify_events SET next = $1, attempts = attempts + 1 WHERE id = $2 AND state = 'pending' AND next = $3`,
			micros(now.Add(2*timeout+time.Minute)), found.id, next)
		if err != nil {
			return nil, err
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 {
			return found, err
		} // another node was faster
	}
}

func (s *Sender) due(ctx context.Context, now time.Time) (found *claimed, next int64, err error) {
	rows, err := s.Queue.DB.QueryContext(ctx, `SELECT id, body, attempts, created, next FROM notify_events
		WHERE state = 'pending' AND next <= $1 ORDER BY next, created, id LIMIT 1`, micros(now))
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		c := claimed{}
		var created int64
		if err := rows.Scan(&c.id, &c.body, &c.attempts, &created, &next); err != nil {
			return nil, 0, err
		}
		c.created = fromMicros(created)
		found = &c
	}
	return found, next, rows.Err()
}

// settle writes what came of an attempt.
func (s *Sender) settle(ctx context.Context, c *claimed, sendErr error) error {
	// The receiver may have it: that is noted also when the node is stopping.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTimeout)
	defer cancel()
	now := s.now()
	switch {
	case sendErr == nil:
		_, err := s.Queue.DB.ExecContext(ctx, `UPDATE notify_events SET state = 'delivered', finished = $1, problem = '', body = '' WHERE id = $2`, micros(now), c.id)
		return err
	case now.Sub(c.created) > maxAge:
		s.gaveUp(1)
		_, err := s.Queue.DB.ExecContext(ctx, `UPDATE notify_events SET state = 'given_up', finished = $1, problem = $2, body = '' WHERE id = $3`,
			micros(now), sendErr.Error(), c.id)
		return err
	}
	after := min(firstPause<<min(c.attempts, 10), time.Hour)
	if e, ok := errors.AsType[*SendError](sendErr); ok {
		after = max(after, e.After)
	}
	_, err := s.Queue.DB.ExecContext(ctx, `UPDATE notify_events SET next = $1, problem = $2 WHERE id = $3`, micros(now.Add(jitter(after))), sendErr.Error(), c.id)
	return err
}

// tidy forgets what was finished long ago, and gives up what has waited for too long.
func (s *Sender) tidy(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	_, err := s.Queue.DB.ExecContext(ctx, `DELETE FROM notify_events WHERE state <> 'pending' AND finished < $1`, micros(now.Add(-keepFinished)))
	if err != nil {
		return err
	}
	result, err := s.Queue.DB.ExecContext(ctx, `UPDATE notify_events SET state = 'given_up', finished = $1, body = '' WHERE state = 'pending' AND created < $2`,
		micros(now), micros(now.Add(-maxAge)))
	if err == nil {
		if n, err := result.RowsAffected(); err == nil {
			s.gaveUp(uint64(n))
		}
	}
	return err
}

// look reads what is pending, for the state.
func (s *Sender) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	var n, oldest int64
	err := s.Queue.DB.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(MIN(created), 0) FROM notify_events WHERE state = 'pending'`).Scan(&n, &oldest)
	if err != nil { // what was known stays; others tell of the database
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Pending, s.state.Oldest = n, fromMicros(oldest)
}

// count notes one attempt.
func (s *Sender) count(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if err == nil {
		if !s.state.FailingSince.IsZero() {
			s.logger().Info("notifications are delivered again")
		}
		s.state.Delivered++
		s.state.LastDelivered, s.state.FailingSince, s.state.Problem = now.UTC(), time.Time{}, ""
		return
	}
	s.state.Failed++
	s.state.Problem = err.Error()
	if s.state.FailingSince.IsZero() {
		s.state.FailingSince = now.UTC()
		s.logger().Error("delivering a notification: it is tried again", "error", err)
	}
}

func (s *Sender) gaveUp(n uint64) {
	if n == 0 {
		return
	}
	s.logger().Error("notifications are given up, because the receiver has not taken them for 30 days", "count", n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.GivenUp += n
}

// noted is an error of the database, which is not the receiver's.
func (s *Sender) noted(err error) error {
	if err != nil {
		s.logger().Debug("delivering notifications", "error", err)
	}
	return err
}

// State returns how deliveries stand.
func (s *Sender) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Delivery is what came of one attempt.
type Delivery struct {
	// ID is the event's.
	ID string `json:"id"`
	// Receiver is where it went, scheme and host.
	Receiver string `json:"receiver"`
	// Delivered says that the receiver took it; otherwise Problem says why not.
	Delivered bool   `json:"delivered"`
	Problem   string `json:"problem,omitempty"`
	// Milliseconds is how long it took.
	Milliseconds int64 `json:"milliseconds"`
}

// ErrNoReceiver is the answer where none is configured.
var ErrNoReceiver = errors.New("no receiver of notifications is configured")

// SendTest sends an event of the type test at once, once, beside the queue.
func (s *Sender) SendTest(ctx context.Context) (Delivery, error) {
	r := s.Receiver()
	if r == nil {
		return Delivery{}, ErrNoReceiver
	}
	e := s.Queue.filled(Event{
		Type: Test, Severity: Info, Subject: Subject{Kind: "test", Name: s.Queue.Node}, Hint: "nothing is to be done: somebody has tried whether this arrives",
	}, s.now())
	body, err := json.Marshal(e)
	if err != nil {
		return Delivery{}, err
	}
	began := time.Now()
	d := Delivery{ID: e.ID, Receiver: r.String()}
	if err := r.send(ctx, e.ID, body, s.now()); err != nil {
		d.Problem = err.Error()
	}
	d.Delivered, d.Milliseconds = d.Problem == "", time.Since(began).Milliseconds()
	return d, nil
}

func (s *Sender) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *Sender) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}
