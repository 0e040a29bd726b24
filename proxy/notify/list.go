package notify

import (
	"context"
	"encoding/json"
	"fmt"
)

// List returns up to limit events of a state, "" for all, whose id comes after one, by id: what is pending, and what was finished in the last 30 days.
func (q *Queue) List(ctx context.Context, state, after string, limit int) ([]Queued, error) {
	rows, err := q.DB.QueryContext(ctx, `SELECT id, type, subject, state, created, next, finished, attempts, problem FROM notify_events
		WHERE id > $1 AND ($2 = '' OR state = $2) ORDER BY id LIMIT $3`, after, state, limit)
	if err != nil {
		return nil, fmt.Errorf("listing notifications: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := []Queued{}
	for rows.Next() {
		var e Queued
		var subject string
		var created, next, finished int64
		if err := rows.Scan(&e.ID, &e.Type, &subject, &e.State, &created, &next, &finished, &e.Attempts, &e.Problem); err != nil {
			return nil, fmt.Errorf("listing notifications: %w", err)
		}
		if err := json.Unmarshal([]byte(subject), &e.Subject); err != nil {
			return nil, fmt.Errorf("listing notifications: %w", err)
		}
		e.Created, e.Finished = fromMicros(created), fromMicros(finished)
		if e.State == Pending {
			e.Next = fromMicros(next)
		}
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing notifications: %w", err)
	}
	return list, nil
}
