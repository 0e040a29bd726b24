package usage

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Caller is somebody who uses a login or an identity, as far as the history can tell callers apart: one address, one TLS implementation, one User-Agent.
// Those that were merged into it are its parts and count for it.
type Caller struct {
	ID          ID     `json:"id"`
	Kind        Kind   `json:"kind"`
	Subject     string `json:"subject"`
	Name        string `json:"name,omitempty"` // given by an operator
	Source      string `json:"source"`         // an address, the /64 of one, a pseudonym, or "other"
	Network     string `json:"network,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Agent       string `json:"agent"`

	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	// Own is when it was last seen itself, its parts apart.
	Own time.Time `json:"-"`

	// Routes are what it used in the days that were asked for, by name; "" is where no route matched.
	Routes []RouteUse `json:"routes"`
	// Days are those on which it was seen, the oldest first.
	Days []DayUse `json:"days,omitempty"`
	// Parts are the callers that were merged into this one.
	Parts []Part `json:"parts,omitempty"`
}

// Part is a caller that is shown as a part of another one.
type Part struct {
	ID          ID        `json:"id"`
	Source      string    `json:"source"`
	Network     string    `json:"network,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	Agent       string    `json:"agent"`
	FirstSeen   time.Time `json:"first_seen"`
	LastSeen    time.Time `json:"last_seen"`
}

// RouteUse is what a caller did on a route.
type RouteUse struct {
	Route     string    `json:"route"`
	Requests  int64     `json:"requests"`
	Failures  int64     `json:"failures"` // those that did not get the tenant's answer
	Octets    int64     `json:"octets"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
}

// DayUse is what a caller did on one day, on all routes.
type DayUse struct {
	Day      string `json:"day"` // 2006-01-02, UTC
	Requests int64  `json:"requests"`
	Failures int64  `json:"failures"`
}

// Requests is how many there were on all routes.
func (c *Caller) Requests() (requests, failures int64) {
	for i := range c.Routes {
		requests, failures = requests+c.Routes[i].Requests, failures+c.Routes[i].Failures
	}
	return requests, failures
}

// Sources are the addresses of a caller and of its parts, each once.
func (c *Caller) Sources() []string {
	list := []string{c.Source}
	for i := range c.Parts {
		list = append(list, c.Parts[i].Source)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Filter narrows a list of callers; zero fields do not.
type Filter struct {
	Kind    Kind
	Subject string
	ID      ID // a caller, its parts included
	// Since is the first day that counts for routes and days; zero is all that there are. DaysSince is the first that is listed, where it is later.
	Since, DaysSince time.Time
}

const callerColumns = `id, kind, subject, source, fingerprint, agent, network, name, merged_into, first_seen, last_seen`

type row struct {
	Caller
	into ID
}

func scanCaller(s interface{ Scan(...any) error }) (row, error) {
	var c row
	var first, last int64
	err := s.Scan((*int64)(&c.ID), (*string)(&c.Kind), &c.Subject, &c.Source, &c.Fingerprint, &c.Agent, &c.Network, &c.Name, (*int64)(&c.into), &first, &last)
	c.FirstSeen, c.LastSeen = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
	return c, err
}

// Callers lists callers, by kind, subject and when they were first seen.
func Callers(ctx context.Context, q querier, f Filter) ([]Caller, error) {
	networks, err := ReadNetworks(ctx, q)
	if err != nil {
		return nil, err
	}
	rows, err := q.QueryContext(ctx, `SELECT `+callerColumns+` FROM usage_callers WHERE ($1 = '' OR kind = $1) AND ($2 = '' OR subject = $2)
		AND (CAST($3 AS BIGINT) = 0 OR id = $3 OR merged_into = $3)`, string(f.Kind), f.Subject, int64(f.ID))
	if err != nil {
		return nil, fmt.Errorf("reading callers: %w", err)
	}
	defer func() { _ = rows.Close() }()
	whole, parts := make(map[ID]*Caller), []row{}
	for rows.Next() {
		c, err := scanCaller(rows)
		if err != nil {
			return nil, fmt.Errorf("reading callers: %w", err)
		}
		if !isPseudonym(c.Source) {
			c.Network = networks.OfSource(c.Source)
		}
		if c.into != 0 {
			parts = append(parts, c)
			continue
		}
		c.Routes, c.Own = []RouteUse{}, c.LastSeen
		whole[c.ID] = &c.Caller
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading callers: %w", err)
	}
	belongs := make(map[ID]*Caller, len(whole)+len(parts))
	for id, c := range whole {
		belongs[id] = c
	}
	for _, p := range parts {
		if c := whole[p.into]; c != nil {
			c.add(p)
			belongs[p.ID] = c
		}
	}
	if err := readDays(ctx, q, f, belongs); err != nil {
		return nil, err
	}
	list := make([]Caller, 0, len(whole))
	for _, c := range whole {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Caller) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject), a.FirstSeen.Compare(b.FirstSeen), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

func (c *Caller) add(p row) {
	c.Parts = append(c.Parts, Part{p.ID, p.Source, p.Network, p.Fingerprint, p.Agent, p.FirstSeen, p.LastSeen})
	slices.SortFunc(c.Parts, func(a, b Part) int { return cmp.Or(a.FirstSeen.Compare(b.FirstSeen), cmp.Compare(a.ID, b.ID)) })
	if p.FirstSeen.Before(c.FirstSeen) {
		c.FirstSeen = p.FirstSeen
	}
	if p.LastSeen.After(c.LastSeen) {
		c.LastSeen = p.LastSeen
	}
}

// ofFilter leaves the callers of a filter; its parameters begin with the second.
const ofFilter = `caller IN (SELECT id FROM usage_callers WHERE ($2 = '' OR kind = $2) AND ($3 = '' OR subject = $3)
	AND (CAST($4 AS BIGINT) = 0 OR id = $4 OR merged_into = $4))`

// readDays adds what each caller did: on routes since the filter's first day, and day by day since the first that is listed.
func readDays(ctx context.Context, q querier, f Filter, belongs map[ID]*Caller) error {
	args := func(since time.Time) []any {
		first := int64(0)
		if !since.IsZero() {
			first = day(since.UnixMicro())
		}
		return []any{first, string(f.Kind), f.Subject, int64(f.ID)}
	}
	var id ID
	var u RouteUse
	var first, last int64
	err := each(ctx, q, func() error {
		u.FirstSeen, u.LastSeen = time.Unix(first, 0).UTC(), time.Unix(last, 0).UTC()
		if c := belongs[id]; c != nil {
			c.use(u)
		}
		return nil
	}, []any{(*int64)(&id), &u.Route, &u.Requests, &u.Failures, &u.Octets, &first, &last},
		`SELECT caller, route, CAST(sum(requests) AS BIGINT), CAST(sum(failures) AS BIGINT), CAST(sum(octets) AS BIGINT),
		min(CAST(day AS BIGINT) * 86400 + first_second), max(CAST(day AS BIGINT) * 86400 + last_second)
		FROM usage_days WHERE day >= $1 AND `+ofFilter+` GROUP BY caller, route`, args(f.Since)...)
	if err != nil {
		return fmt.Errorf("reading usage: %w", err)
	}
	for _, c := range belongs {
		slices.SortFunc(c.Routes, func(a, b RouteUse) int { return cmp.Compare(a.Route, b.Route) })
	}
	since := f.Since
	if f.DaysSince.After(since) {
		since = f.DaysSince
	}
	var date int64
	var d DayUse
	err = each(ctx, q, func() error {
		d.Day = midnight(date).Format(time.DateOnly)
		if c := belongs[id]; c != nil {
			c.useOn(d)
		}
		return nil
	}, []any{(*int64)(&id), &date, &d.Requests, &d.Failures},
		`SELECT caller, day, CAST(sum(requests) AS BIGINT), CAST(sum(failures) AS BIGINT) FROM usage_days WHERE day >= $1 AND `+ofFilter+`
		GROUP BY caller, day ORDER BY day`, args(since)...)
	if err != nil {
		return fmt.Errorf("reading usage: %w", err)
	}
	return nil
}

// each scans each row into the same variables and calls fn.
func each(ctx context.Context, q querier, fn func() error, into []any, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := fn(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// use adds what the caller or one of its parts did on a route.
func (c *Caller) use(u RouteUse) {
	i := slices.IndexFunc(c.Routes, func(r RouteUse) bool { return r.Route == u.Route })
	if i < 0 {
		c.Routes = append(c.Routes, u)
		return
	}
	r := &c.Routes[i]
	r.Requests, r.Failures, r.Octets, r.LastSeen = r.Requests+u.Requests, r.Failures+u.Failures, r.Octets+u.Octets, later(r.LastSeen, u.LastSeen)
	if u.FirstSeen.Before(r.FirstSeen) {
		r.FirstSeen = u.FirstSeen
	}
}

// useOn adds a day. They come in order.
func (c *Caller) useOn(u DayUse) {
	if n := len(c.Days); n == 0 || c.Days[n-1].Day != u.Day {
		c.Days = append(c.Days, DayUse{Day: u.Day})
	}
	d := &c.Days[len(c.Days)-1]
	d.Requests, d.Failures = d.Requests+u.Requests, d.Failures+u.Failures
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Find returns one caller with its whole history. An unknown one, and one that is a part of another, is an *[Error].
func Find(ctx context.Context, q querier, id ID) (Caller, error) {
	c, err := read(ctx, q, id)
	if err != nil {
		return Caller{}, err
	}
	if c.into != 0 {
		return Caller{}, &Error{Code: "conflict", Message: "caller " + id.String() + " is a part of " + c.into.String(),
			Hint: "name that one, or take this one out again with caller split"}
	}
	list, err := Callers(ctx, q, Filter{ID: id})
	if err != nil {
		return Caller{}, err
	}
	if len(list) != 1 {
		return Caller{}, unknown(id)
	}
	return list[0], nil
}

func unknown(id ID) error {
	return &Error{Code: "not_found", Message: "there is no caller " + id.String(), Hint: "caller list shows the callers that there are"}
}

func read(ctx context.Context, q querier, id ID) (row, error) {
	c, err := scanCaller(q.QueryRowContext(ctx, `SELECT `+callerColumns+` FROM usage_callers WHERE id = $1`, int64(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return row{}, unknown(id)
	}
	if err != nil {
		return row{}, fmt.Errorf("reading a caller: %w", err)
	}
	return c, nil
}

// ServedSince reports whether, and when last, somebody who used a login or an identity from a source, written as the history does, got the tenant's answer after an
// instant.
func ServedSince(ctx context.Context, q querier, kind Kind, subject, source string, after time.Time) (time.Time, bool, error) {
	var last sql.NullInt64
	err := q.QueryRowContext(ctx, `SELECT max(last_served) FROM usage_callers WHERE kind = $1 AND subject = $2 AND source = $3 AND last_served > $4`,
		string(kind), subject, source, after.UnixMicro()).Scan(&last)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("reading usage: %w", err)
	}
	return time.UnixMicro(last.Int64).UTC(), last.Valid, nil
}

// maxName bounds what an operator calls a caller, in octets.
const maxName = 128

// Rename gives a caller a name; "" takes it away.
func Rename(ctx context.Context, tx *sql.Tx, id ID, name string) (Caller, error) {
	name = strings.TrimSpace(name)
	if len(name) > maxName || strings.ContainsFunc(name, unicode.IsControl) || !validText(name) {
		return Caller{}, &Error{Code: "invalid", Field: "name", Message: "the name is longer than 128 octets or holds control characters", Hint: `write one line, such as "HR batch, host a17"`}
	}
	if strings.Contains(name, "@") {
		return Caller{}, &Error{Code: "invalid", Field: "name", Message: "the name holds an '@'", Hint: "name a system, and not a person"}
	}
	if _, err := Find(ctx, tx, id); err != nil {
		return Caller{}, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE usage_callers SET name = $1 WHERE id = $2`, name, int64(id)); err != nil {
		return Caller{}, fmt.Errorf("naming a caller: %w", err)
	}
	return Find(ctx, tx, id)
}

// Merge has a caller, with its parts, shown as a part of another one: the same system under another address or after a change of its client. Both must be callers
// of the same login or identity. What was merged keeps its own history, so that [Split] can undo it; what newly looks like a part counts for the part.
func Merge(ctx context.Context, tx *sql.Tx, id, into ID) (Caller, error) {
	a, err := Find(ctx, tx, id)
	if err != nil {
		return Caller{}, err
	}
	b, err := Find(ctx, tx, into)
	if err != nil {
		return Caller{}, err
	}
	switch {
	case id == into:
		return Caller{}, &Error{Code: "invalid", Field: "into", Message: "a caller cannot be merged into itself", Hint: "name two callers"}
	case a.Kind != b.Kind || a.Subject != b.Subject:
		return Caller{}, &Error{Code: "invalid", Field: "into", Message: fmt.Sprintf("%s uses %s %q, %s uses %s %q", id, a.Kind, a.Subject, into, b.Kind, b.Subject),
			Hint: "merge callers of the same login"}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE usage_callers SET merged_into = $1 WHERE id = $2 OR merged_into = $2`, int64(into), int64(id)); err != nil {
		return Caller{}, fmt.Errorf("merging callers: %w", err)
	}
	return Find(ctx, tx, into)
}

// Split undoes [Merge] for one part.
func Split(ctx context.Context, tx *sql.Tx, id ID) (Caller, error) {
	c, err := read(ctx, tx, id)
	if err != nil {
		return Caller{}, err
	}
	if c.into == 0 {
		return Caller{}, &Error{Code: "conflict", Message: "caller " + id.String() + " is not a part of another one",
			Hint: "name the part: caller show lists the parts of a caller"}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE usage_callers SET merged_into = 0 WHERE id = $1`, int64(id)); err != nil {
		return Caller{}, fmt.Errorf("splitting a caller: %w", err)
	}
	return Find(ctx, tx, id)
}

// Forget takes out of the history what the filter leaves, whole callers, or, with a day, what is older than that. It returns how many callers are gone.
func Forget(ctx context.Context, tx *sql.Tx, f Filter, before time.Time) (int, error) {
	if _, err := tx.ExecContext(ctx, `UPDATE usage_settings SET batches = batches + 1 WHERE id = 1`); err != nil { // no batch in between
		return 0, fmt.Errorf("forgetting usage: %w", err)
	}
	condition, args := `($1 = '' OR kind = $1) AND ($2 = '' OR subject = $2) AND (CAST($3 AS BIGINT) = 0 OR id = $3 OR merged_into = $3)`, []any{string(f.Kind), f.Subject, int64(f.ID)}
	if before.IsZero() {
		return forget(ctx, tx, condition, args)
	}
	n, err := forget(ctx, tx, condition+` AND last_seen < $4`, append(args, before.UnixMicro()))
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM usage_days WHERE day < $4 AND caller IN (SELECT id FROM usage_callers WHERE `+condition+`)`,
		append(args, day(before.UnixMicro()))...)
	if err != nil {
		return 0, fmt.Errorf("forgetting usage: %w", err)
	}
	return n, nil
}

// forget takes out callers and their days. Parts of what is gone stand alone again.
func forget(ctx context.Context, tx *sql.Tx, condition string, args []any) (int, error) {
	if _, err := tx.ExecContext(ctx, `DELETE FROM usage_days WHERE caller IN (SELECT id FROM usage_callers WHERE `+condition+`)`, args...); err != nil {
		return 0, fmt.Errorf("forgetting usage: %w", err)
	}
	result, err := tx.ExecContext(ctx, `DELETE FROM usage_callers WHERE `+condition, args...)
	if err != nil {
		return 0, fmt.Errorf("forgetting usage: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("forgetting usage: %w", err)
	}
	if n > 0 {
		_, err = tx.ExecContext(ctx, `UPDATE usage_callers SET merged_into = 0 WHERE merged_into <> 0 AND merged_into NOT IN (SELECT id FROM usage_callers)`)
		if err != nil {
			return 0, fmt.Errorf("forgetting usage: %w", err)
		}
	}
	return int(n), nil
}
