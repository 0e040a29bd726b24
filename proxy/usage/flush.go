package usage

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Run writes what has gathered, batch by batch, until ctx is done. Close writes the rest.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(r.o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		batchCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := r.Flush(batchCtx)
		cancel()
		if ctx.Err() == nil {
			r.report(err)
		}
	}
}

// report tells the log when writing begins to fail, and when it works again.
func (r *Recorder) report(err error) {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	if failing := err != nil; failing != r.failing {
		r.failing = failing
		if failing {
			r.o.Logger.Error("writing usage history: it gathers in memory until it can be written", "error", err)
		} else {
			r.o.Logger.Info("usage history is written again")
		}
	}
}

// Close writes what is left.
func (r *Recorder) Close() error {
	if r == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return r.Flush(ctx)
}

// delta is what a cell has gathered since the last batch.
type delta struct {
	cell                       *cell
	requests, failures, octets int64
	first, last, served        int64
}

// idleBatches is how many batches without a request a cell outlives.
const idleBatches = 60

// Flush writes what has gathered and takes over the settings that others have made. What cannot be written stays and is written by the
// next one.
func (r *Recorder) Flush(ctx context.Context) error {
	if err := r.flush(ctx); err != nil {
		return err
	}
	if r.o.Flushed != nil {
		r.o.Flushed(ctx)
	}
	return nil
}

func (r *Recorder) flush(ctx context.Context) error {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	deltas := r.gather()
	f, err := r.writeAll(ctx, deltas)
	if err != nil {
		return fmt.Errorf("writing usage history: %w", err)
	}
	r.graves = r.graves[:0]
	if old := r.form.Swap(f); old.generation != f.generation || (old.key == nil) != (f.key == nil) {
		r.buryAll()
		if err := r.loadKnown(ctx); err != nil {
			return err
		}
	} else {
		r.buryIdle()
	}
	return r.prune(ctx)
}

func (r *Recorder) gather() []delta {
	var deltas []delta
	take := func(c *cell) {
		d := delta{cell: c, requests: c.requests.Swap(0)}
		if d.requests == 0 {
			c.idle++
			return
		}
		d.failures, d.octets, d.first, d.last, d.served = c.failures.Swap(0), c.octets.Swap(0), c.first.Swap(0), c.last.Swap(0), c.served.Swap(0)
		c.idle = 0
		if d.last == 0 { // the batch before has taken it
			d.last = c.before
		}
		c.before = d.last
		if d.first == 0 {
			d.first = d.last
		}
		deltas = append(deltas, d)
	}
	for _, c := range r.graves {
		take(c)
	}
	r.cells.Range(func(_, c any) bool { take(c.(*cell)); return true })
	return deltas
}

func (d *delta) giveBack() {
	c := d.cell
	c.requests.Add(d.requests)
	c.failures.Add(d.failures)
	c.octets.Add(d.octets)
	c.first.Store(d.first)
	latest(&c.last, d.last)
	latest(&c.served, d.served)
}

func (r *Recorder) buryIdle() {
	r.cells.Range(func(k, v any) bool {
		if c := v.(*cell); c.idle >= idleBatches {
			r.bury(k.(cellKey), c)
		}
		return true
	})
}

// buryAll has every caller looked up again, in the form that is in force now.
func (r *Recorder) buryAll() {
	r.cells.Range(func(k, v any) bool { r.bury(k.(cellKey), v.(*cell)); return true })
}

// bury takes a cell out. A request that has found it before is written with the next batch.
func (r *Recorder) bury(k cellKey, c *cell) {
	c.dead.Store(true)
	r.cells.Delete(k)
	r.active.Add(-1)
	r.graves = append(r.graves, c)
}

// turnDeltas is how many deltas one transaction writes. Changes of the registry, a revocation among them, wait for it where the database has one writer.
const turnDeltas = 250

// writeAll writes deltas in short transactions and returns the settings that the last was written under. What could not be written is given back.
func (r *Recorder) writeAll(ctx context.Context, deltas []delta) (*form, error) {
	for {
		now := deltas[:min(len(deltas), turnDeltas)]
		f, err := r.write(ctx, now)
		if err != nil {
			for i := range deltas {
				deltas[i].giveBack()
			}
			return nil, err
		}
		if deltas = deltas[len(now):]; len(deltas) == 0 {
			return f, nil
		}
	}
}

// write writes deltas and returns the settings that they were written under.
func (r *Recorder) write(ctx context.Context, deltas []delta) (*form, error) {
	if len(deltas) == 0 {
		return r.currentForm(ctx, r.o.DB, selectForm)
	}
	tx, err := r.o.DB.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	f, err := r.currentForm(ctx, tx, takeForm)
	if err != nil {
		return nil, err
	}
	callers, days := collect(deltas, f)
	ids, err := writeCallers(ctx, tx, callers)
	if err != nil {
		return nil, err
	}
	if err := writeDays(ctx, tx, ids, days); err != nil {
		return nil, err
	}
	return f, tx.Commit()
}

// callerRow and dayRow are what a batch adds to a row of each table.
type callerRow struct {
	network             string
	first, last, served int64
}

type dayKey struct {
	callerKey
	day   int64
	route string
}

type dayRow struct{ requests, failures, octets, first, last int64 }

// collect adds up deltas by the rows that they go to. A delta counts for the day of its last request.
func collect(deltas []delta, f *form) (map[callerKey]callerRow, map[dayKey]dayRow) {
	callers, days := make(map[callerKey]callerRow), make(map[dayKey]dayRow)
	for _, d := range deltas {
		key, network := d.cell.key.callerKey, d.cell.network
		if f.key != nil && !isPseudonym(key.source) && key.source != Other { // settings have changed since it was made
			network = f.networks.OfSource(key.source)
			key.source = f.source(key.source)
		}
		c, ok := callers[key]
		if !ok {
			c = callerRow{network, d.first, d.last, d.served}
		}
		callers[key] = callerRow{c.network, min(c.first, d.first), max(c.last, d.last), max(c.served, d.served)}
		k := dayKey{key, day(d.last), d.cell.key.route}
		first := int64(0)
		if day(d.first) == k.day {
			first = second(d.first)
		}
		row, ok := days[k]
		if !ok {
			row.first = first
		}
		days[k] = dayRow{row.requests + d.requests, row.failures + d.failures, row.octets + d.octets, min(row.first, first), max(row.last, second(d.last))}
	}
	return callers, days
}

// batchRows is how many rows one statement writes.
const batchRows = 100

func writeCallers(ctx context.Context, tx *sql.Tx, callers map[callerKey]callerRow) (map[callerKey]ID, error) {
	ids := make(map[callerKey]ID, len(callers))
	for keys := range slices.Chunk(slices.Collect(maps.Keys(callers)), batchRows) {
		args := make([]any, 0, 10*len(keys))
		for _, k := range keys {
			c := callers[k]
			args = append(args, int64(newID()), string(k.kind), k.name, k.source, k.fingerprint, k.agent, c.network, c.first, c.last, c.served)
		}
		rows, err := tx.QueryContext(ctx, `INSERT INTO usage_callers (id, kind, subject, source, fingerprint, agent, network, first_seen, last_seen, last_served) VALUES `+
			placeholders(len(keys), 10)+` ON CONFLICT (kind, subject, source, fingerprint, agent) DO UPDATE SET
			first_seen = CASE WHEN excluded.first_seen < usage_callers.first_seen THEN excluded.first_seen ELSE usage_callers.first_seen END,
			last_seen = CASE WHEN excluded.last_seen > usage_callers.last_seen THEN excluded.last_seen ELSE usage_callers.last_seen END,
			last_served = CASE WHEN excluded.last_served > usage_callers.last_served THEN excluded.last_served ELSE usage_callers.last_served END
			RETURNING id, kind, subject, source, fingerprint, agent`, args...)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			var id ID
			var k callerKey
			if err := rows.Scan((*int64)(&id), (*string)(&k.kind), &k.name, &k.source, &k.fingerprint, &k.agent); err != nil {
				_ = rows.Close()
				return nil, err
			}
			ids[k] = id
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func writeDays(ctx context.Context, tx *sql.Tx, ids map[callerKey]ID, days map[dayKey]dayRow) error {
	for keys := range slices.Chunk(slices.Collect(maps.Keys(days)), batchRows) {
		args := make([]any, 0, 8*len(keys))
		for _, k := range keys {
			d := days[k]
			args = append(args, int64(ids[k.callerKey]), k.day, k.route, d.requests, d.failures, d.octets, d.first, d.last)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO usage_days (caller, day, route, requests, failures, octets, first_second, last_second) VALUES `+
			placeholders(len(keys), 8)+` ON CONFLICT (caller, day, route) DO UPDATE SET
			requests = usage_days.requests + excluded.requests, failures = usage_days.failures + excluded.failures, octets = usage_days.octets + excluded.octets,
			first_second = CASE WHEN excluded.first_second < usage_days.first_second THEN excluded.first_second ELSE usage_days.first_second END,
			last_second = CASE WHEN excluded.last_second > usage_days.last_second THEN excluded.last_second ELSE usage_days.last_second END`, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// placeholders is ($1, $2), ($3, $4) and so on.
func placeholders(rows, columns int) string {
	var b strings.Builder
	for n := range rows * columns {
		switch {
		case n%columns != 0:
			b.WriteString(", ")
		case n > 0:
			b.WriteString("), (")
		default:
			b.WriteString("(")
		}
		b.WriteString("$" + strconv.Itoa(n+1))
	}
	return b.String() + ")"
}

// pruneInterval is how often what is too old is taken out.
const pruneInterval = time.Hour

// prune forgets the days, and then the callers, that are older than the retention.
func (r *Recorder) prune(ctx context.Context) error {
	now := r.o.Now()
	if now.Sub(r.pruned) < pruneInterval {
		return nil
	}
	tx, err := r.o.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	n, err := forget(ctx, tx, `last_seen < $1`, []any{now.Add(-r.o.Retention).UnixMicro()})
	if err != nil {
		return fmt.Errorf("forgetting old usage: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM usage_days WHERE day < $1`, day(now.Add(-r.o.Retention).UnixMicro())); err != nil {
		return fmt.Errorf("forgetting old usage: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("forgetting old usage: %w", err)
	}
	r.pruned = now
	if n > 0 {
		return r.loadKnown(ctx)
	}
	return nil
}

// loadKnown counts the callers that the history has, so that the bounds hold over a restart.
func (r *Recorder) loadKnown(ctx context.Context) error {
	rows, err := r.o.DB.QueryContext(ctx, `SELECT kind, subject, source, fingerprint, agent FROM usage_callers WHERE agent <> $1 OR fingerprint <> ''`, Other)
	if err != nil {
		return fmt.Errorf("reading callers: %w", err)
	}
	defer func() { _ = rows.Close() }()
	known := make(map[subject]room)
	for rows.Next() {
		var k callerKey
		if err := rows.Scan((*string)(&k.kind), &k.name, &k.source, &k.fingerprint, &k.agent); err != nil {
			return fmt.Errorf("reading callers: %w", err)
		}
		known[k.subject] = append(known[k.subject], k.occupant())
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading callers: %w", err)
	}
	r.mu.Lock()
	r.known = known
	r.mu.Unlock()
	return nil
}
