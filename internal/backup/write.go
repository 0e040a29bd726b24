package backup

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/tenantgate/tenantgate/internal/database"
)

// Source is what [Write] writes.
type Source struct {
	// DB is the database, Owners are those of its tables.
	DB     *database.DB
	Owners []database.Owner
	// Sealer holds the installation's key.
	Sealer Sealer
	// Describe fills in what of the header is in the database, as the transaction sees it.
	Describe func(ctx context.Context, tx *sql.Tx, h *Header) error
	// Version is the program's, Files are the files beside the database, Keys what [Encrypt] has made, or nil.
	Version string
	Files   []File
	Keys    []byte
	// Progress is told how far it is; nil tells nobody.
	Progress Progress
}

// Write writes a backup to w: all tables as one transaction sees them, while others go on changing them. It holds one row at a time in memory. What was
// written when an error is returned is no backup: the line that proves it is missing.
func Write(ctx context.Context, w io.Writer, s Source) error {
	// SQLite's transactions see one state from their first read on; PostgreSQL's need the level.
	tx, err := s.DB.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return fmt.Errorf("reading database %s: %w", s.DB.Name, err)
	}
	defer func() { _ = tx.Rollback() }()
	header, tables, err := s.header(ctx, tx)
	if err != nil {
		return err
	}
	out := &hashing{w: w, sum: sha256.New()}
	packed, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	lines := bufio.NewWriterSize(packed, 64<<10)
	if err := writeLine(lines, header); err != nil {
		return err
	}
	var contents Contents
	for _, t := range tables {
		c, err := s.writeTable(ctx, tx, lines, t)
		if err != nil {
			return err
		}
		contents.Tables = append(contents.Tables, c)
	}
	if err := writeLine(lines, contents); err != nil {
		return err
	}
	if err := lines.Flush(); err != nil {
		return err
	}
	if err := packed.Close(); err != nil {
		return err
	}
	return s.prove(out)
}

// header makes the first line, and lists the tables that the database has.
func (s *Source) header(ctx context.Context, tx *sql.Tx) (*Header, []database.Table, error) {
	versions, err := s.DB.Versions(ctx, tx, s.Owners)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range s.Owners {
		newest, err := database.Newest(o)
		if err != nil {
			return nil, nil, err
		}
		if versions[o.Name] > newest {
			return nil, nil, &database.Error{Kind: database.ErrNewer, Name: s.DB.Name,
				Message: fmt.Sprintf("its %s tables have version %d and this program knows them up to %d", o.Name, versions[o.Name], newest),
				Hint:    "back it up with the newer tenantgate that was used with it"}
		}
	}
	tables, err := database.Tables(ctx, s.Owners, versions)
	if err != nil {
		return nil, nil, err
	}
	h := &Header{Format: Format, Version: s.Version, Time: time.Now().UTC().Truncate(time.Second), Database: "sqlite", Schemas: versions,
		Files: s.Files, Keys: s.Keys}
	if s.DB.PostgreSQL() {
		h.Database = "postgresql"
	}
	if err := s.Describe(ctx, tx, h); err != nil {
		return nil, nil, err
	}
	return h, tables, nil
}

// writeTable writes the head of a table and its rows.
func (s *Source) writeTable(ctx context.Context, tx *sql.Tx, w *bufio.Writer, t database.Table) (TableContents, error) {
	c := TableContents{Table: t.Name}
	if err := writeLine(w, t); err != nil {
		return c, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+columnList(t)+` FROM `+t.Name+` ORDER BY 1`) // the key, or its first part
	if err != nil {
		return c, fmt.Errorf("reading table %s: %w", t.Name, err)
	}
	defer func() { _ = rows.Close() }()
	values, into := make([]any, len(t.Columns)), make([]any, len(t.Columns))
	for i := range values {
		into[i] = &values[i]
	}
	digest := sha256.New()
	var line []byte
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return c, fmt.Errorf("reading table %s: %w", t.Name, err)
		}
		if line, err = appendRow(line[:0], t.Columns, values); err != nil {
			return c, fmt.Errorf("reading table %s: row %d: %w", t.Name, c.Rows+1, err)
		}
		if len(line) >= maxLine {
			return c, fmt.Errorf("reading table %s: row %d has %d octets, which is more than a backup holds", t.Name, c.Rows+1, len(line))
		}
		line = append(line, '\n')
		digest.Write(line)
		if _, err := w.Write(line); err != nil {
			return c, err
		}
		c.Rows++
		s.Progress.tell(t.Name, c.Rows)
	}
	if err := rows.Err(); err != nil {
		return c, fmt.Errorf("reading table %s: %w", t.Name, err)
	}
	c.SHA256 = fmt.Sprintf("%x", digest.Sum(nil))
	return c, nil
}

// prove writes the line behind the stream.
func (s *Source) prove(out *hashing) error {
	digest := out.sum.Sum(nil)
	seal, err := s.Sealer.Seal(digest, []byte(sealContext))
	if err != nil {
		return fmt.Errorf("sealing the backup: %w", err)
	}
	out.sum.Write(seal)
	line, err := encodeTrailer(trailer{SHA256: fmt.Sprintf("%x", out.sum.Sum(nil)), Seal: seal})
	if err != nil {
		return err
	}
	_, err = out.w.Write(line)
	return err
}

func encodeTrailer(t trailer) ([]byte, error) {
	b, err := json.Marshal(t)
	return append(append([]byte{'\n'}, b...), '\n'), err
}

func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

func columnList(t database.Table) string {
	var b []byte
	for i, c := range t.Columns {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, c.Name...)
	}
	return string(b)
}

// hashing counts what is written into a digest.
type hashing struct {
	w   io.Writer
	sum hash.Hash
}

func (h *hashing) Write(b []byte) (int, error) {
	h.sum.Write(b)
	return h.w.Write(b)
}
