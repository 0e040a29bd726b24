package token

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

// Store keeps tokens, sealed, in a database, so that they survive a restart, and with them when they were last used and which clients were refused. Nothing
// on the path of a request touches the database: what is to be stored waits in memory, the newest only, until a goroutine of its own has written it. A
// database that is slow, full or lost delays that and nothing else; what it lacks after a crash is fetched again.
//
// Set its fields before [Engine.Restore] and not after. A Store must not be copied.
type Store struct {
	// DB is the database, with [Migrations] applied.
	DB *sql.DB
	// Sealer encrypts what is stored.
	Sealer Sealer
	// Shared says that other nodes use the database too. Then a token that another node has fetched meanwhile is taken over instead of fetching one.
	Shared bool
	// Logger gets a line when the database fails and when it works again. nil means none.
	Logger *slog.Logger

	wake    chan struct{} // holds one element while there is something to write
	stop    chan struct{}
	stopped chan struct{} // closed when the writer has ended
	lookups chan struct{} // holds an element for each look under way

	mu      sync.Mutex // guards what follows; held for map operations only
	pending changes
	state   StoreState
}

// StoreState is how a store stands, for metrics and readiness.
type StoreState struct {
	Failing   bool   // the last statement failed
	Pending   int    // changes that are not written yet
	Written   uint64 // changes that were
	Failures  uint64 // statements or transactions that failed
	Restored  uint64 // tokens of before the restart that were put to use
	TakenOver uint64 // tokens of another node that were taken over
}

// changes are what is to be written: at most one for each credential and scope.
type changes struct {
	forgotten map[string]bool // credentials; these come first
	rows      map[sourceKey]rowChange
	refusals  map[string]*savedRefusal // by credential; nil removes
}

// rowChange is what becomes of one row.
type rowChange struct {
	kind    rowKind
	token   *savedToken // of saveRow
	until   time.Time   // a token that was obtained later is another node's, and stays
	lastUse time.Time
}

type rowKind int

const (
	saveRow   rowKind = iota // the token and its last use
	clearRow                 // the token goes, its last use stays
	removeRow                // both go
	touchRow                 // the last use is newer
)

func newChanges() changes {
	return changes{forgotten: map[string]bool{}, rows: map[sourceKey]rowChange{}, refusals: map[string]*savedRefusal{}}
}

func (c *changes) count() int { return len(c.forgotten) + len(c.rows) + len(c.refusals) }

// row notes what becomes of a row. It returns at once.
func (s *Store) row(key sourceKey, c rowChange) {
	s.mu.Lock()
	old, ok := s.pending.rows[key]
	switch {
	case !ok || c.kind != touchRow:
		s.pending.rows[key] = c
	case old.kind == saveRow || old.kind == touchRow || old.kind == clearRow:
		old.lastUse = c.lastUse
		s.pending.rows[key] = old
	}
	s.mu.Unlock()
	s.nudge()
}

// refusal notes what becomes of a client's refusals; nil forgets them. It returns at once.
func (s *Store) refusal(id string, r *savedRefusal) {
	s.mu.Lock()
	s.pending.refusals[id] = r
	s.mu.Unlock()
	s.nudge()
}

// forget removes everything of some credentials. It returns at once.
func (s *Store) forget(ids map[string]bool) {
	s.mu.Lock()
	maps.Copy(s.pending.forgotten, ids)
	maps.DeleteFunc(s.pending.rows, func(k sourceKey, _ rowChange) bool { return ids[k.id] })
	maps.DeleteFunc(s.pending.refusals, func(id string, _ *savedRefusal) bool { return ids[id] })
	s.mu.Unlock()
	s.nudge()
}

func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// State returns how the store stands.
func (s *Store) State() StoreState {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	st.Pending = s.pending.count()
	return st
}

const (
	// gather is how long the writer waits for more to come, so that tokens that are fetched together are written together.
	gather = 100 * time.Millisecond
	// atOnce bounds the rows of a transaction, so that it does not keep others waiting for long.
	atOnce = 200
	// writeTimeout bounds a transaction, the others a look at another node's token in the background, and while a caller waits.
	writeTimeout     = 5 * time.Second
	lookTimeout      = time.Second
	hastyLookTimeout = 200 * time.Millisecond
)

// run writes until stop is closed, and then once more. tend is called each time that last uses are to be written.
func (s *Store) run(tend func()) {
	defer close(s.stopped)
	tick := time.NewTicker(touchEvery)
	defer tick.Stop()
	for failures := 0; ; {
		select {
		case <-s.stop:
			s.flush()
			return
		case <-tick.C:
			tend()
			continue
		case <-s.wake:
		}
		pause := gather
		if failures > 0 {
			d := min(time.Second<<min(failures-1, 6), time.Minute)
			pause = d/2 + rand.N(d/2+1)
		}
		if !s.rest(pause) {
			continue
		}
		if s.flush() {
			failures = 0
			continue
		}
		failures++
		s.nudge()
	}
}

// rest reports whether the time has passed before the store is closed.
func (s *Store) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

// flush writes what is pending, and reports whether it could.
func (s *Store) flush() bool {
	for {
		batch := s.take()
		n := batch.count()
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		var err error
		switch {
		case n > 0:
			err = s.write(ctx, batch)
		case s.State().Failing:
			_, _, err = s.look(ctx, sourceKey{}) // for nothing, to see whether it works again
		default:
			cancel()
			return true
		}
		cancel()
		s.told(err)
		if err != nil {
			s.giveBack(batch)
			return false
		}
		s.mu.Lock()
		s.state.Written += uint64(n)
		s.mu.Unlock()
	}
}

// take takes a batch out of what is pending.
func (s *Store) take() changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := newChanges()
	batch.forgotten, s.pending.forgotten = s.pending.forgotten, batch.forgotten
	batch.refusals, s.pending.refusals = s.pending.refusals, batch.refusals
	for key, c := range s.pending.rows {
		if len(batch.rows) >= atOnce {
			break
		}
		batch.rows[key] = c
		delete(s.pending.rows, key)
	}
	return batch
}

// giveBack makes a batch pending again that could not be written, but for what is newer.
func (s *Store) giveBack(batch changes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range batch.rows {
		if _, newer := s.pending.rows[key]; !newer && !s.pending.forgotten[key.id] {
			s.pending.rows[key] = c
		}
	}
	for id, r := range batch.refusals {
		if _, newer := s.pending.refusals[id]; !newer && !s.pending.forgotten[id] {
			s.pending.refusals[id] = r
		}
	}
	maps.Copy(s.pending.forgotten, batch.forgotten)
}

// told takes in how a statement or transaction ended, and logs when that changes.
func (s *Store) told(err error) {
	s.mu.Lock()
	changed := s.state.Failing != (err != nil)
	s.state.Failing = err != nil
	if err != nil {
		s.state.Failures++
	}
	s.mu.Unlock()
	switch {
	case s.Logger == nil || !changed:
	case err != nil:
		s.Logger.Warn("the database of tokens fails: those of now are served, a restart would fetch anew", slog.String("error", err.Error()))
	default:
		s.Logger.Info("the database of tokens works again")
	}
}

func (s *Store) count(counter *uint64) {
	s.mu.Lock()
	*counter++
	s.mu.Unlock()
}

// Erase removes everything that is stored. It is for a Store that is not used.
func (s *Store) Erase(ctx context.Context) error {
	for _, statement := range []string{`DELETE FROM tokens`, `DELETE FROM token_refusals`} {
		if _, err := s.DB.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("erasing stored tokens: %w", err)
		}
	}
	return nil
}

// begin starts the writer.
func (s *Store) begin(tend func()) {
	s.wake, s.stop, s.stopped = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	s.lookups = make(chan struct{}, 4)
	s.pending = newChanges()
	go s.run(tend)
}

// close has the writer write what is pending, and waits for it for no longer than one transaction may take.
func (s *Store) close() {
	close(s.stop)
	select {
	case <-s.stopped:
	case <-time.After(writeTimeout):
	}
}
