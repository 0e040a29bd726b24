package usage

import (
	"context"
	"database/sql"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what a [Recorder] keeps. DB is required; zero fields have the stated defaults.
type Options struct {
	// DB has the tables of [Migrations].
	DB *sql.DB
	// Sealer keeps the key of pseudonyms.
	Sealer Sealer
	// Retention is how long days and callers are kept after they were last seen; 0 is 400 days.
	Retention time.Duration
	// Interval between two batches; 0 is 5 s. It is what a killed process loses at most.
	Interval time.Duration
	// PerSubject bounds the callers that are kept apart for one login or identity, PerSource those of one address among them; 0 is 1000, and 16.
	PerSubject, PerSource int
	// Active bounds the pairs of caller and route that are counted in memory at a time; 0 is 100,000. What comes on top is dropped and counted.
	Active int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger is told when batches cannot be written, and when they can again; nil tells nobody.
	Logger *slog.Logger
	// Flushed is called after each batch that was written, outside of any lock; nil is not.
	Flushed func(context.Context)
}

// Sealer encrypts what is at rest.
type Sealer interface {
	Seal(plain, context []byte) ([]byte, error)
	Open(sealed, context []byte) ([]byte, error)
}

// Recorder counts requests and writes what has gathered. Its methods are safe for concurrent use.
type Recorder struct {
	o       Options
	dropped atomic.Int64
	lumped  atomic.Int64

	cells  sync.Map // cellKey -> *cell
	active atomic.Int64
	form   atomic.Pointer[form]

	mu    sync.Mutex // guards known; held for the first request of a caller on a route, never while the database works
	known map[subject]room

	flushing sync.Mutex // one batch at a time; guards what follows
	graves   []*cell    // taken out of cells one batch ago: a request may have been counted after that
	pruned   time.Time
	failing  bool
}

// subject is a login or an identity.
type subject struct {
	kind Kind
	name string
}

// room are the callers that a subject has. They are known by hashes: a collision would take two for one in this count, and nowhere else.
type room []occupant

type occupant struct{ caller, source uint64 }

var seed = maphash.MakeSeed()

// callerKey is what makes two requests look alike.
type callerKey struct {
	subject
	source, fingerprint, agent string
}

type cellKey struct {
	callerKey
	route string
}

// cell is what has gathered of one caller on one route since the last batch.
type cell struct {
	key                        cellKey
	network                    string // only for pseudonyms, which cannot be looked up later
	requests, failures, octets atomic.Int64
	first, last, served        atomic.Int64 // microseconds; served is the last that did not fail
	dead                       atomic.Bool  // taken out of cells
	idle                       int          // batches without a request; the flusher's
	before                     int64        // last of the batch before; the flusher's
}

// Observation is one request, after its answer.
type Observation struct {
	Kind        Kind
	Subject     string // the login's or the identity's name
	Source      netip.Addr
	Fingerprint string // of the connection: see [Fingerprint]
	Agent       string // User-Agent as it came; it is copied if it is kept
	Route       string // "" when none matched
	Failed      bool   // the caller did not get the tenant's answer
	Octets      int64  // of both bodies
	Time        time.Time
}

// Memo remembers, for one connection, where its last requests were counted. Its zero value remembers nothing. It may be used by several goroutines.
type Memo struct {
	recent atomic.Pointer[[]remembered]
}

type remembered struct {
	subject, route, agent string
	kind                  Kind
	cell                  *cell
}

// memoSize is how many routes of one connection are found at once.
const memoSize = 8

// Open makes a recorder. It must be closed.
func Open(ctx context.Context, o Options) (*Recorder, error) {
	o = o.withDefaults()
	r := &Recorder{o: o, known: make(map[subject]room)}
	f, err := readForm(ctx, o.DB, o.Sealer)
	if err != nil {
		return nil, err
	}
	r.form.Store(f)
	return r, r.loadKnown(ctx)
}

func (o Options) withDefaults() Options {
	if o.Retention == 0 {
		o.Retention = 400 * 24 * time.Hour
	}
	if o.Interval == 0 {
		o.Interval = 5 * time.Second
	}
	if o.PerSubject == 0 {
		o.PerSubject = 1000
	}
	if o.PerSource == 0 {
		o.PerSource = 16
	}
	if o.Active == 0 {
		o.Active = 100_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Observe counts one request. It takes no lock and no memory for what the connection did before, and never waits for the database.
func (r *Recorder) Observe(o *Observation, m *Memo) {
	if r == nil {
		return
	}
	c := m.find(o)
	if c == nil {
		if c = r.cell(o); c == nil {
			r.dropped.Add(1)
			return
		}
		m.keep(o, c)
	}
	c.count(o)
}

// count notes the times first: who gathers reads the number first, and so has the times of all that it has the number of.
func (c *cell) count(o *Observation) {
	at := o.Time.UnixMicro()
	if c.first.Load() == 0 {
		c.first.CompareAndSwap(0, at)
	}
	latest(&c.last, at)
	if o.Failed {
		c.failures.Add(1)
	} else {
		latest(&c.served, at)
	}
	if o.Octets > 0 {
		c.octets.Add(o.Octets)
	}
	c.requests.Add(1)
}

// latest puts an instant forward and, within a batch, never back: a request is counted behind its end, for when it began.
func latest(v *atomic.Int64, at int64) {
	for old := v.Load(); at > old; old = v.Load() {
		if v.CompareAndSwap(old, at) {
			return
		}
	}
}

func (m *Memo) find(o *Observation) *cell {
	recent := m.recent.Load()
	if recent == nil {
		return nil
	}
	for i := range *recent {
		if e := &(*recent)[i]; e.route == o.Route && e.agent == o.Agent && e.subject == o.Subject && e.kind == o.Kind && !e.cell.dead.Load() {
			return e.cell
		}
	}
	return nil
}

// keep puts the cell first. Of two at the same time one may be lost, which is then looked up again.
func (m *Memo) keep(o *Observation, c *cell) {
	if len(o.Agent) > maxAgentRead {
		return // looked up each time: a memo is not where long ones are kept
	}
	next := make([]remembered, 1, memoSize)
	next[0] = remembered{o.Subject, o.Route, strings.Clone(o.Agent), o.Kind, c}
	if recent := m.recent.Load(); recent != nil {
		for _, e := range *recent {
			if len(next) < memoSize && !e.cell.dead.Load() {
				next = append(next, e)
			}
		}
	}
	m.recent.Store(&next)
}

// SourceOf is what an address counts as: itself, or for IPv6 its /64, which belongs to one host or one link.
func SourceOf(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return Other
	}
	if a.Is4() {
		return a.String()
	}
	p, _ := a.Prefix(64)
	return p.String()
}

// cell finds or makes where a request is counted; nil when there are too many.
func (r *Recorder) cell(o *Observation) *cell {
	f := r.form.Load()
	key := cellKey{callerKey{subject{o.Kind, o.Subject}, f.source(SourceOf(o.Source)), o.Fingerprint, NormalAgent(o.Agent)}, o.Route}
	if c, ok := r.cells.Load(key); ok {
		return c.(*cell)
	}
	key.callerKey = r.admit(key.callerKey)
	if c, ok := r.cells.Load(key); ok {
		return c.(*cell)
	}
	if r.active.Load() >= int64(r.o.Active) {
		return nil
	}
	made := &cell{key: key}
	if f.key != nil && key.source != Other {
		made.network = f.networks.Name(o.Source)
	}
	c, loaded := r.cells.LoadOrStore(key, made)
	if !loaded {
		r.active.Add(1)
	}
	return c.(*cell)
}

// admit gives a caller that is new its room, or says where else it is counted.
func (r *Recorder) admit(k callerKey) callerKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.known[k.subject]
	this := k.occupant()
	ofSource := 0
	for _, o := range have {
		if o == this {
			return k
		}
		if o.source == this.source {
			ofSource++
		}
	}
	switch {
	case ofSource >= r.o.PerSource:
		k.fingerprint, k.agent = "", Other
	case len(have) >= r.o.PerSubject:
		k.source, k.fingerprint, k.agent = Other, "", Other
	default:
		r.known[k.subject] = append(have, this)
		return k
	}
	r.lumped.Add(1)
	return k
}

func (k *callerKey) occupant() occupant {
	return occupant{maphash.Comparable(seed, *k), maphash.String(seed, k.source)}
}

// State is a recorder in numbers.
type State struct {
	Active  int64 // pairs of caller and route that are counted in memory
	Lumped  int64 // times that a new caller was counted as "other", for want of room
	Dropped int64 // requests that are in no history, for want of room in memory
}

// State reads the numbers.
func (r *Recorder) State() State { return State{r.active.Load(), r.lumped.Load(), r.dropped.Load()} }
