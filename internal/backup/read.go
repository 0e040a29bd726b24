package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/tenantgate/tenantgate/internal/database"
)

// Reader is a file on disk that is read as a backup. It is not safe for concurrent use.
type Reader struct {
	// Header is what the backup says about itself.
	Header Header

	file   *os.File
	length int64  // of the gzip stream, octets
	digest []byte // of the gzip stream
	seal   []byte
}

// Open reads a file to its end, checks that each octet is as it was written, and reads the header. What is not as it was written is
// [ErrDamaged]. Whether it was written by who has the key is for [Reader.Proven] to say. The caller closes the reader.
func Open(path string) (_ *Reader, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	r := &Reader{file: f}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading the backup: %s is not a file", path)
	}
	if err := r.locate(info.Size()); err != nil {
		return nil, fmt.Errorf("reading the backup %s: %w", path, err)
	}
	if err := r.readHeader(); err != nil {
		return nil, fmt.Errorf("reading the backup %s: %w", path, err)
	}
	return r, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }

// locate finds the line behind the stream and compares its digest with that of the file.
func (r *Reader) locate(size int64) error {
	tail := make([]byte, min(size, maxTail))
	if _, err := r.file.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return err
	}
	at := bytes.LastIndex(tail, []byte("\n{\"sha256\":"))
	if at < 0 {
		return damaged("its last line is missing: it was cut off, or is no backup")
	}
	var t trailer
	if err := json.Unmarshal(tail[at:], &t); err != nil {
		return damaged("its last line cannot be read")
	}
	if again, err := encodeTrailer(t); err != nil || !bytes.Equal(again, tail[at:]) {
		return damaged("its last line is not as it was written")
	}
	r.length, r.seal = size-int64(len(tail)-at), t.Seal
	digest := sha256.New()
	if _, err := io.Copy(digest, io.NewSectionReader(r.file, 0, r.length)); err != nil {
		return err
	}
	r.digest = digest.Sum(nil)
	digest.Write(t.Seal)
	want, err := hex.DecodeString(t.SHA256)
	if err != nil || subtle.ConstantTimeCompare(want, digest.Sum(nil)) != 1 {
		return damaged("its SHA-256 is not the one in its last line: it was altered or damaged on its way")
	}
	return nil
}

// Proven reports, by an error, whether the file was written by an installation with the sealer's key.
func (r *Reader) Proven(s Sealer) error {
	digest, err := s.Open(r.seal, []byte(sealContext))
	if err != nil || subtle.ConstantTimeCompare(digest, r.digest) != 1 {
		return errors.New("the backup is not sealed with this key")
	}
	return nil
}

// stream reads the lines of the gzip stream once.
type stream struct {
	packed *gzip.Reader
	lines  *bufio.Reader
	digest hash.Hash
	source io.Reader
	long   []byte
}

func (r *Reader) stream() (*stream, error) {
	s := &stream{digest: sha256.New()}
	s.source = bufio.NewReaderSize(io.TeeReader(io.NewSectionReader(r.file, 0, r.length), s.digest), 64<<10)
	var err error
	if s.packed, err = gzip.NewReader(s.source); err != nil {
		return nil, damaged("it is not a gzip stream")
	}
	s.packed.Multistream(false)
	s.lines = bufio.NewReaderSize(s.packed, 64<<10)
	return s, nil
}

// next returns the next line without its end, io.EOF after the last. It is valid until the next call.
func (s *stream) next(most int) ([]byte, error) {
	s.long = s.long[:0]
	for {
		part, err := s.lines.ReadSlice('\n')
		if len(s.long)+len(part) > most {
			return nil, damaged("a line is longer than %d octets", most)
		}
		switch {
		case err == nil && len(s.long) == 0:
			return part[:len(part)-1], nil
		case err == nil:
			s.long = append(s.long, part...)
			return s.long[:len(s.long)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			s.long = append(s.long, part...)
		case err == io.EOF && len(part) == 0 && len(s.long) == 0:
			return nil, io.EOF
		case err == io.EOF:
			return nil, damaged("its last line has no end")
		default:
			return nil, damaged("%v", err)
		}
	}
}

// end checks that nothing follows the stream, and that the file is the one that [Open] has looked at.
func (s *stream) end(r *Reader) error {
	if _, err := s.next(maxLine); err != io.EOF {
		return damaged("something follows its contents")
	}
	if n, err := io.Copy(io.Discard, s.source); err != nil || n > 0 {
		return damaged("something follows its gzip stream")
	}
	if subtle.ConstantTimeCompare(s.digest.Sum(nil), r.digest) != 1 {
		return damaged("it was changed while it was read")
	}
	return nil
}

func (r *Reader) readHeader() error {
	s, err := r.stream()
	if err != nil {
		return err
	}
	line, err := s.next(maxHeader)
	if err != nil {
		return damaged("it has no header")
	}
	if err := json.Unmarshal(line, &r.Header); err != nil {
		return damaged("its header cannot be read: %v", err)
	}
	return r.Header.check()
}

// Visit is called for each table of a backup and returns what is called for each of its rows. The row is the callee's.
type Visit func(database.Table) (row func([]any) error, err error)

// Each reads all tables and returns the contents. Names of tables and columns have a plain form, and the rows are counted and digested as they were
// when they were written.
func (r *Reader) Each(ctx context.Context, p Progress, visit Visit) (Contents, error) {
	s, err := r.stream()
	if err != nil {
		return Contents{}, err
	}
	if _, err := s.next(maxHeader); err != nil {
		return Contents{}, err
	}
	var read []TableContents
	var row func([]any) error
	var table database.Table
	digest := sha256.New()
	finish := func() {
		if n := len(read); n > 0 {
			read[n-1].SHA256 = fmt.Sprintf("%x", digest.Sum(nil))
		}
		digest.Reset()
	}
	for {
		line, err := s.next(maxLine)
		if err != nil {
			return Contents{}, fmt.Errorf("reading the backup: %w", unexpected(err))
		}
		switch {
		case bytes.HasPrefix(line, []byte(`[`)) && row != nil:
			digest.Write(line)
			digest.Write([]byte{'\n'})
			values, err := parseRow(line, table.Columns)
			if err != nil {
				return Contents{}, fmt.Errorf("reading table %s: %w", table.Name, err)
			}
			if err := row(values); err != nil {
				return Contents{}, err
			}
			last := &read[len(read)-1]
			last.Rows++
			p.tell(table.Name, last.Rows)
			if last.Rows%1000 == 0 && ctx.Err() != nil {
				return Contents{}, ctx.Err()
			}
		case bytes.HasPrefix(line, []byte(`{"table":`)):
			finish()
			table = database.Table{}
			if err := json.Unmarshal(line, &table); err != nil {
				return Contents{}, damaged("the head of a table cannot be read")
			}
			if err := plain(table); err != nil {
				return Contents{}, err
			}
			if row, err = visit(table); err != nil {
				return Contents{}, err
			}
			read = append(read, TableContents{Table: table.Name})
		case bytes.HasPrefix(line, []byte(`{"tables":`)):
			finish()
			return compare(line, read, s, r)
		default:
			return Contents{}, damaged("a line is neither a table nor a row")
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return damaged("its contents are missing")
	}
	return err
}

func plain(t database.Table) error {
	if !plainName.MatchString(t.Name) {
		return damaged("it holds a table %q", t.Name)
	}
	for _, c := range t.Columns {
		if !plainName.MatchString(c.Name) {
			return damaged("table %s has a column %q", t.Name, c.Name)
		}
	}
	return nil
}

// compare holds what was read against the last line of the stream.
func compare(line []byte, read []TableContents, s *stream, r *Reader) (Contents, error) {
	var c Contents
	if err := json.Unmarshal(line, &c); err != nil {
		return c, damaged("its contents cannot be read")
	}
	if len(c.Tables) != len(read) {
		return c, damaged("it has %d tables and names %d", len(read), len(c.Tables))
	}
	for i, t := range read {
		if t != c.Tables[i] {
			return c, damaged("table %s is not as it was written", t.Table)
		}
	}
	return c, s.end(r)
}
