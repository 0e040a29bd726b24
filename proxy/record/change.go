package record

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Change is the record of one administrative act. Records form a chain: each holds the hash of the one before it, so that none can be
// edited, taken out or moved without [Verify] naming the place.
type Change struct {
	Seq      int64           `json:"seq"`       // 1, 2, 3 and so on, without a gap
	Time     time.Time       `json:"time"`      // microseconds; zero becomes now
	Actor    string          `json:"actor"`     // who: "spiffe://example.internal/admin/anna", "unix:uid=0(root)"
	Action   string          `json:"action"`    // what: "identity.add"
	Object   string          `json:"object"`    // on which kind of thing: "identity"
	Name     string          `json:"name"`      // its name, id or serial number
	Detail   json.RawMessage `json:"detail"`    // the change itself; "null" when there is nothing to say. Never a secret: that is the caller's duty
	PrevHash string          `json:"prev_hash"` // hash of record Seq-1; "" in the first
	Hash     string          `json:"hash"`      // SHA-256 over all the above, in lower-case hex
}

// AppendChange writes the record in the caller's transaction, so that the act and its record happen together or not at all. It sets Seq, Time
// (when zero), PrevHash and Hash and returns the record as stored. Writers in other transactions wait for this one's end.
// Detail must be JSON; empty is null. Bytes that are not UTF-8, and NUL, become U+FFFD, because not every database stores them.
func AppendChange(ctx context.Context, tx *sql.Tx, c Change) (Change, error) {
	c, err := normalized(c)
	if err != nil {
		return Change{}, fmt.Errorf("recording change: %w", err)
	}
	err = tx.QueryRowContext(ctx, `UPDATE change_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, hash`).Scan(&c.Seq, &c.PrevHash)
	if err != nil {
		return Change{}, fmt.Errorf("recording change: taking the next number: %w", err)
	}
	c.Hash = c.sum()
	_, err = tx.ExecContext(ctx, `INSERT INTO change_records (seq, recorded_at, actor, action, object, name, detail, prev_hash, hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		c.Seq, c.Time.UnixMicro(), c.Actor, c.Action, c.Object, c.Name, string(c.Detail), c.PrevHash, c.Hash)
	if err != nil {
		return Change{}, fmt.Errorf("recording change %d: %w", c.Seq, err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE change_head SET hash = $1 WHERE id = 1`, c.Hash); err != nil {
		return Change{}, fmt.Errorf("recording change %d: %w", c.Seq, err)
	}
	return c, nil
}

// normalized is the record in the form in which it is stored and hashed.
func normalized(c Change) (Change, error) {
	if c.Time.IsZero() {
		c.Time = time.Now()
	}
	c.Time = time.UnixMicro(c.Time.UnixMicro()).UTC()
	for _, s := range []*string{&c.Actor, &c.Action, &c.Object, &c.Name} {
		*s = storable(*s)
	}
	if len(c.Detail) == 0 {
		c.Detail = json.RawMessage("null")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, c.Detail); err != nil {
		return c, fmt.Errorf("reading its detail: %w", err)
	}
	c.Detail = json.RawMessage(storable(b.String()))
	return c, nil
}

func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// sum is the record's hash: SHA-256 over a version line and each field but the hash, each with its length before it (64 bits,
// big-endian), so that no two records have the same encoding.
func (c *Change) sum() string {
	h := sha256.New()
	field := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	number := func(n int64) { field(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	h.Write([]byte("tenantgate change record 1\n"))
	number(c.Seq)
	number(c.Time.UnixMicro())
	for _, s := range []string{c.Actor, c.Action, c.Object, c.Name, string(c.Detail), c.PrevHash} {
		field([]byte(s))
	}
	return hex.EncodeToString(h.Sum(nil))
}

const selectChanges = `SELECT seq, recorded_at, actor, action, object, name, detail, prev_hash, hash FROM change_records WHERE seq > $1 ORDER BY seq`

func scanChange(rows *sql.Rows) (Change, error) {
	var c Change
	var at int64
	var detail string
	err := rows.Scan(&c.Seq, &at, &c.Actor, &c.Action, &c.Object, &c.Name, &detail, &c.PrevHash, &c.Hash)
	c.Time, c.Detail = time.UnixMicro(at).UTC(), json.RawMessage(detail)
	return c, err
}

// LastChange returns the number of the last record, 0 when there is none.
func LastChange(ctx context.Context, db *sql.DB) (int64, error) {
	var seq int64
	if err := db.QueryRowContext(ctx, `SELECT seq FROM change_head WHERE id = 1`).Scan(&seq); err != nil {
		return 0, fmt.Errorf("reading the last change record: %w", err)
	}
	return seq, nil
}

// Changes lists up to limit records with a number above after, oldest first. It does not check the chain.
func Changes(ctx context.Context, db *sql.DB, after int64, limit int) ([]Change, error) {
	rows, err := db.QueryContext(ctx, selectChanges+` LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing changes: %w", err)
	}
	defer rows.Close()
	list := []Change{}
	for rows.Next() {
		c, err := scanChange(rows)
		if err != nil {
			return nil, fmt.Errorf("listing changes: %w", err)
		}
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing changes: %w", err)
	}
	return list, nil
}
