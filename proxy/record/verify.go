package record

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Head is the last record's number and hash. Whoever notes it outside of the database can later prove that nothing before it was changed.
type Head struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// String is "seq:hash", the form to note.
func (h Head) String() string { return strconv.FormatInt(h.Seq, 10) + ":" + h.Hash }

// ParseHead reads what String has written.
func ParseHead(s string) (Head, error) {
	number, hash, ok := strings.Cut(strings.TrimSpace(s), ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || seq < 1 || len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
		return Head{}, fmt.Errorf("reading head: %q is not a number, a colon and 64 digits of lower-case hex", s)
	}
	return Head{seq, hash}, nil
}

// Report is what [Verify] found.
type Report struct {
	Records int64   `json:"records"`          // how many were read
	Head    Head    `json:"head"`             // the last record that was read: note it
	Broken  *Broken `json:"broken,omitempty"` // nil when the chain is whole
}

// Broken names the first record that is not as it was written.
type Broken struct {
	Seq    int64  `json:"seq"`
	Reason string `json:"reason"`
}

// Verify reads all change records and checks the chain. Its error is the database's; a broken chain is in the report.
//
// An edited, removed or moved record is found without any help. Somebody who can write the database can cut off the chain's end, or
// write it anew from some record on, with its head, and no look at the database alone will show it. Such a change is found
// when a head that was noted before is given: remembered heads must be in the chain.
func Verify(ctx context.Context, db *sql.DB, remembered ...Head) (Report, error) {
	var r Report
	var head Head
	if err := db.QueryRowContext(ctx, `SELECT seq, hash FROM change_head WHERE id = 1`).Scan(&head.Seq, &head.Hash); err != nil {
		return r, fmt.Errorf("verifying changes: reading the head: %w", err)
	}
	rows, err := db.QueryContext(ctx, selectChanges, -1<<63)
	if err != nil {
		return r, fmt.Errorf("verifying changes: %w", err)
	}
	defer rows.Close()
	known := append([]Head{head}, remembered...)
	for rows.Next() {
		c, err := scanChange(rows)
		if err != nil {
			return r, fmt.Errorf("verifying changes: %w", err)
		}
		if r.Broken = broken(&c, r.Head, known); r.Broken != nil {
			return r, nil
		}
		r.Records++
		r.Head = Head{c.Seq, c.Hash}
	}
	if err := rows.Err(); err != nil {
		return r, fmt.Errorf("verifying changes: %w", err)
	}
	rows.Close()
	var now int64
	if err := db.QueryRowContext(ctx, `SELECT seq FROM change_head WHERE id = 1`).Scan(&now); err != nil {
		return r, fmt.Errorf("verifying changes: reading the head: %w", err)
	}
	if r.Head.Seq > now {
		r.Broken = &Broken{now + 1, fmt.Sprintf("the record was put in by another program: the chain ends at record %d", now)}
		return r, nil
	}
	for _, h := range known {
		if h.Seq > r.Head.Seq {
			r.Broken = &Broken{r.Head.Seq + 1, fmt.Sprintf("the record is missing: the chain once reached record %d", h.Seq)}
			return r, nil
		}
	}
	return r, nil
}

// broken checks one record against the one before it and against the heads that are known.
func broken(c *Change, prev Head, known []Head) *Broken {
	switch {
	case c.Seq != prev.Seq+1:
		return &Broken{prev.Seq + 1, fmt.Sprintf("the record is missing: number %d follows number %d", c.Seq, prev.Seq)}
	case c.Hash != c.sum():
		return &Broken{c.Seq, "the record was changed: its hash is not that of its content"}
	case c.PrevHash != prev.Hash && prev.Seq == 0:
		return &Broken{c.Seq, "the first record names a record before it"}
	case c.PrevHash != prev.Hash:
		return &Broken{prev.Seq, fmt.Sprintf("the record was exchanged: record %d was written after one with another hash", c.Seq)}
	}
	for _, h := range known {
		if h.Seq == c.Seq && h.Hash != c.Hash {
			return &Broken{c.Seq, "the record, or one before it, was exchanged: its hash once was " + h.Hash}
		}
	}
	return nil
}

// Chain checks records that are handed to it one by one, for those that are not in a database. The zero value waits for the first record.
type Chain struct{ head Head }

// Head is the last record that fitted.
func (c *Chain) Head() Head { return c.head }

// Add checks that the record follows those before it and is as it was written; nil says that it does.
func (c *Chain) Add(r Change) *Broken {
	if b := broken(&r, c.head, nil); b != nil {
		return b
	}
	c.head = Head{r.Seq, r.Hash}
	return nil
}

// FromRow makes a record out of a row of the table change_records, by the names of its columns.
func FromRow(row map[string]any) (Change, error) {
	var c Change
	seq, ok := row["seq"].(int64)
	at, isTime := row["recorded_at"].(int64)
	detail, isText := row["detail"].(string)
	c.Seq, c.Time, c.Detail = seq, time.UnixMicro(at).UTC(), json.RawMessage(detail)
	ok = ok && isTime && isText
	for name, into := range map[string]*string{
		"actor": &c.Actor, "action": &c.Action, "object": &c.Object, "name": &c.Name, "prev_hash": &c.PrevHash, "hash": &c.Hash,
	} {
		var text bool
		*into, text = row[name].(string)
		ok = ok && text
	}
	if !ok {
		return Change{}, fmt.Errorf("reading a change record: a column is missing or holds something else")
	}
	return c, nil
}

// ReadHead returns the last record's number and hash as a transaction sees them.
func ReadHead(ctx context.Context, tx *sql.Tx) (Head, error) {
	var h Head
	if err := tx.QueryRowContext(ctx, `SELECT seq, hash FROM change_head WHERE id = 1`).Scan(&h.Seq, &h.Hash); err != nil {
		return h, fmt.Errorf("reading the head of the change records: %w", err)
	}
	return h, nil
}
