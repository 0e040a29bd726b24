package pki

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/certmagic"
)

// storage is certmagic's Storage on database/sql: keys are slash-separated paths, values are sealed with their path as
// associated data, so that a private key cannot be read in the database nor moved to another name. Safe for concurrent
// use and for several nodes on one database.
type storage struct {
	db      *sql.DB
	sealer  Sealer
	timeout time.Duration

	mu   sync.Mutex        // guards held; never held across the database
	held map[string]string // lock name -> the holder id under which this process holds it

	gate  sync.Mutex     // guards ended, and calls against growing after it
	ended bool           // set by end
	calls sync.WaitGroup // calls under way
}

var (
	_ certmagic.Storage          = (*storage)(nil)
	_ certmagic.TryLocker        = (*storage)(nil)
	_ certmagic.LockLeaseRenewer = (*storage)(nil)
)

func newStorage(db *sql.DB, sealer Sealer, timeout time.Duration) *storage {
	return &storage{db: db, sealer: sealer, timeout: timeout, held: make(map[string]string)}
}

var errEnded = errors.New("the server certificates are closed")

// begin bounds a call by the timeout and counts it, so that end can wait for it. After end it refuses.
func (s *storage) begin(ctx context.Context) (context.Context, func(), error) {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.ended {
		return nil, nil, errEnded
	}
	s.calls.Add(1)
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	return ctx, func() { cancel(); s.calls.Done() }, nil
}

// end refuses further calls, waits for those under way and frees the locks that are still held, whose owners can no
// longer do so.
func (s *storage) end() {
	s.gate.Lock()
	s.ended = true
	s.gate.Unlock()
	s.calls.Wait()
	s.mu.Lock()
	held := s.held
	s.held = make(map[string]string)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	for name, holder := range held {
		if err := s.free(ctx, name, holder); err != nil {
			return // the database is away; the leases end by themselves
		}
	}
}

func sealContext(path string) []byte { return []byte("tenantgate pki_storage " + path) }

// Store seals value and puts it at path, replacing what was there.
func (s *storage) Store(ctx context.Context, path string, value []byte) error {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	path = cleanPath(path)
	sealed, err := s.sealer.Seal(value, sealContext(path))
	if err != nil {
		return fmt.Errorf("sealing %s: %w", path, err)
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO pki_storage (path, value, size, modified) VALUES ($1, $2, $3, $4)
		ON CONFLICT (path) DO UPDATE SET value = excluded.value, size = excluded.size, modified = excluded.modified`,
		path, sealed, int64(len(value)), time.Now().UnixMicro())
	if err != nil {
		return fmt.Errorf("storing %s: %w", path, err)
	}
	return nil
}

// Load returns the value at path, or an error that is fs.ErrNotExist.
func (s *storage) Load(ctx context.Context, path string) ([]byte, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	path = cleanPath(path)
	var sealed []byte
	if err := s.db.QueryRowContext(ctx, `SELECT value FROM pki_storage WHERE path = $1`, path).Scan(&sealed); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return nil, fs.ErrNotExist
		}
		return nil, fmt.Errorf("loading %s: %w", path, err)
	}
	value, err := s.sealer.Open(sealed, sealContext(path))
	if err != nil {
		return nil, fmt.Errorf("unsealing %s: %w", path, err)
	}
	return value, nil
}

// Delete removes path and everything below it. What is not there is no error.
func (s *storage) Delete(ctx context.Context, path string) error {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	path = cleanPath(path)
	length, dir := prefix(path)
	if _, err := s.db.ExecContext(ctx, `DELETE FROM pki_storage WHERE `+within+` OR path = $3`, length, dir, path); err != nil {
		return fmt.Errorf("deleting %s: %w", path, err)
	}
	return nil
}

// Exists reports whether there is a value at path or below it.
func (s *storage) Exists(ctx context.Context, path string) bool {
	_, err := s.Stat(ctx, path)
	return err == nil
}

// List returns the paths directly below path, or all of them when recursive; directories are listed too.
func (s *storage) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	path = cleanPath(path)
	length, dir := prefix(path)
	rows, err := s.db.QueryContext(ctx, `SELECT path FROM pki_storage WHERE `+within, length, dir)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", path, err)
	}
	defer rows.Close()
	seen := make(map[string]bool)
	for rows.Next() {
		var p string
		if err := rows.Scan(&p); err != nil {
			return nil, fmt.Errorf("listing %s: %w", path, err)
		}
		rest := strings.Split(strings.TrimPrefix(p, dir), "/")
		depth := 1
		if recursive {
			depth = len(rest)
		}
		for i := 1; i <= depth; i++ {
			seen[dir+strings.Join(rest[:i], "/")] = true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing %s: %w", path, err)
	}
	if len(seen) == 0 {
		return nil, fs.ErrNotExist
	}
	all := make([]string, 0, len(seen))
	for p := range seen {
		all = append(all, p)
	}
	sort.Strings(all)
	return all, nil
}

// Stat describes the value or directory at path.
func (s *storage) Stat(ctx context.Context, path string) (certmagic.KeyInfo, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	defer done()
	path = cleanPath(path)
	var size, modified int64
	err = s.db.QueryRowContext(ctx, `SELECT size, modified FROM pki_storage WHERE path = $1`, path).Scan(&size, &modified)
	if err == nil {
		return certmagic.KeyInfo{Key: path, Modified: micros(modified), Size: size, IsTerminal: true}, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return certmagic.KeyInfo{}, fmt.Errorf("looking for %s: %w", path, err)
	}
	var n int64
	length, dir := prefix(path)
	if err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM pki_storage WHERE `+within, length, dir).Scan(&n); err != nil {
		return certmagic.KeyInfo{}, fmt.Errorf("looking for %s: %w", path, err)
	}
	if n == 0 {
		return certmagic.KeyInfo{}, fs.ErrNotExist
	}
	return certmagic.KeyInfo{Key: path}, nil
}

func cleanPath(path string) string { return strings.Trim(path, "/") }

// within is the condition "below a directory" on path: its first characters, counted, are the directory and a slash. LIKE
// has wildcards and a case rule of its own in each database, and a range depends on PostgreSQL's collation.
const within = `substr(path, 1, $1) = $2`

// prefix returns the two arguments of within.
func prefix(path string) (length int64, dir string) {
	if path == "" {
		return 0, ""
	}
	return int64(utf8.RuneCountInString(path)) + 1, path + "/"
}
