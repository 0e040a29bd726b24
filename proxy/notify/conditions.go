package notify

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// Condition is something that holds now. That it begins to hold, that it gets worse, and that it does so no longer are events.
type Condition struct {
	// Event is what is told when it begins or gets worse; ID, Version, Time and Installation are filled in.
	Event Event
	// Rank grows as it gets worse.
	Rank int64
	// Local says that other nodes cannot know of it.
	Local bool
}

// detail is what the event that ends a condition names.
type detail struct {
	Subject Subject   `json:"subject"`
	Owner   string    `json:"owner,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// told is a row of notify_conditions.
type told struct {
	rank, ends, seen int64
	node             string
	detail           detail
}

type conditionKey struct{ kind, object string }

// Reconcile compares what holds now with what was told to hold and queues an event for each difference, as one act. over returns the type and the cause of
// the event that ends a condition, "" for none. Of several nodes that do so at the same time, one tells. It returns [ErrFull] when there is no room for
// all.
func (q *Queue) Reconcile(ctx context.Context, now time.Time, holds []Condition, over func(Subject) (kind, cause string)) error {
	// Most of the time nothing differs, and nothing is written.
	known, err := q.known(ctx, q.DB)
	if err != nil {
		return fmt.Errorf("reading what was told: %w", err)
	}
	if !q.differs(known, holds, now) {
		return nil
	}
	full := false
	err = q.turn(ctx, func(tx *sql.Tx) error {
		if known, err = q.known(ctx, tx); err != nil {
			return err
		}
		room, err := q.room(ctx, tx)
		if err != nil {
			return err
		}
		r := &reconciling{queue: q, tx: tx, now: now, known: known, room: room}
		err = r.run(ctx, holds, over)
		full = r.full
		return err
	})
	if err == nil && full {
		return ErrFull
	}
	return err
}

// reconciling is one reconciliation under way. What finds no room stays as it was, for the next one.
type reconciling struct {
	queue *Queue
	tx    *sql.Tx
	now   time.Time
	known map[conditionKey]told
	room  int64
	full  bool
}

// differs reports whether there is anything to write.
func (q *Queue) differs(known map[conditionKey]told, holds []Condition, now time.Time) bool {
	left := len(known)
	for i := range holds {
		row, ok := known[holds[i].key()]
		if !ok || row.worse(&holds[i]) || holds[i].Local && row.old(now, staleNode/2) {
			return true
		}
		left--
	}
	if left == 0 {
		return false
	}
	held := heldKeys(holds)
	for k, row := range known {
		if !held[k] && q.ends(&row, now) {
			return true
		}
	}
	return false
}

func heldKeys(holds []Condition) map[conditionKey]bool {
	held := make(map[conditionKey]bool, len(holds))
	for i := range holds {
		held[holds[i].key()] = true
	}
	return held
}

func (c *Condition) key() conditionKey { return conditionKey{c.Event.Subject.Kind, c.Event.Subject.ID} }

// worse reports whether a condition is more than was told, or about another end.
func (t *told) worse(c *Condition) bool { return c.Rank > t.rank || micros(c.Event.Expires) != t.ends }

func (t *told) old(now time.Time, age time.Duration) bool { return now.Sub(fromMicros(t.seen)) > age }

// ends reports whether this node may say that a condition which it does not see is over.
func (q *Queue) ends(t *told, now time.Time) bool {
	return t.node == "" || t.node == q.Node || t.old(now, staleNode)
}

func (r *reconciling) run(ctx context.Context, holds []Condition, over func(Subject) (kind, cause string)) error {
	held := heldKeys(holds)
	for k, row := range r.known {
		if held[k] || !r.queue.ends(&row, r.now) {
			continue
		}
		if kind, cause := over(row.detail.Subject); kind != "" {
			e := Event{Type: kind, Severity: Info, Subject: row.detail.Subject, Owner: row.detail.Owner, Expires: row.detail.Expires, Cause: cause}
			switch told, err := r.tell(ctx, e); {
			case err != nil:
				return err
			case !told:
				continue
			}
		}
		if _, err := r.tx.ExecContext(ctx, `DELETE FROM notify_conditions WHERE kind = $1 AND object = $2`, k.kind, k.object); err != nil {
			return err
		}
	}
	for i := range holds {
		if err := r.hold(ctx, &holds[i]); err != nil {
			return err
		}
	}
	return nil
}

// hold notes one condition, and tells of it if that is new.
func (r *reconciling) hold(ctx context.Context, c *Condition) error {
	row, ok := r.known[c.key()]
	fresh := !ok || row.worse(c)
	if !fresh && !(c.Local && row.old(r.now, staleNode/2)) {
		return nil
	}
	if fresh {
		if told, err := r.tell(ctx, c.Event); err != nil || !told {
			return err
		}
	}
	node := ""
	if c.Local {
		node = r.queue.Node
	}
	text, err := json.Marshal(detail{c.Event.Subject, c.Event.Owner, c.Event.Expires})
	if err != nil {
		return err
	}
	k := c.key()
	_, err = r.tx.ExecContext(ctx, `INSERT INTO notify_conditions (kind, object, rank, ends, node, seen, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (kind, object) DO UPDATE SET rank = excluded.rank, ends = excluded.ends, node = excluded.node, seen = excluded.seen, detail = excluded.detail`,
		k.kind, k.object, c.Rank, micros(c.Event.Expires), node, micros(r.now), string(text))
	return err
}

// tell queues an event, if there is room.
func (r *reconciling) tell(ctx context.Context, e Event) (told bool, err error) {
	if r.room <= 0 {
		r.full = true
		return false, nil
	}
	r.room--
	return true, r.queue.insert(ctx, r.tx, e, r.now)
}

// known reads what was told to hold.
func (q *Queue) known(ctx context.Context, from querier) (map[conditionKey]told, error) {
	rows, err := from.QueryContext(ctx, `SELECT kind, object, rank, ends, node, seen, detail FROM notify_conditions`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	known := map[conditionKey]told{}
	for rows.Next() {
		var k conditionKey
		var t told
		var text string
		if err := rows.Scan(&k.kind, &k.object, &t.rank, &t.ends, &t.node, &t.seen, &text); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(text), &t.detail); err != nil {
			return nil, err
		}
		known[k] = t
	}
	return known, rows.Err()
}
