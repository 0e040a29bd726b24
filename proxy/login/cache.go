package login

import (
	"crypto/rand"
	"hash"
	"sync"
	"time"

	"golang.org/x/crypto/blake2b"
)

// Digest stands for the base64 part of an Authorization value in this process: BLAKE2b under a random key. It says nothing to who has not the key, and takes
// the same time whatever it is compared with.
type Digest [16]byte

// digester makes digests. Its methods are safe for concurrent use.
type digester struct{ pool sync.Pool }

type digesting struct {
	hash hash.Hash
	in   [MaxField]byte // the hash is behind an interface: what it is given would be allocated
	out  [blake2b.Size256]byte
}

func newDigester() *digester {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails (crypto/rand)
	return &digester{sync.Pool{New: func() any {
		h, err := blake2b.New256(key)
		if err != nil {
			panic(err) // only for a key of more than 64 octets
		}
		return &digesting{hash: h}
	}}}
}

// of returns the digest of a token. It allocates nothing.
func (d *digester) of(token string) (digest Digest) {
	p := d.pool.Get().(*digesting)
	p.hash.Reset()
	n := copy(p.in[:], token) // Basic has bounded it
	p.hash.Write(p.in[:n])
	p.hash.Sum(p.out[:0])
	copy(digest[:], p.out[:])
	clear(p.in[:n])
	d.pool.Put(p)
	return digest
}

// Known is what was found out about a token.
type Known struct {
	User    string    // in normal form; "" for what was wrong: that may be anything, and long
	Version int64     // of the login that the password was compared with, 0 when there was none
	since   time.Time // when it was hashed
}

// memory keeps what is known of tokens: a bounded number, in two generations. What is not asked for while a generation fills or its time passes is forgotten.
type memory struct {
	limit int           // entries of one generation
	life  time.Duration // of one generation

	mu       sync.RWMutex // guards what follows; held for a few instructions
	now, old map[Digest]Known
	begun    time.Time
}

func newMemory(limit int, life time.Duration) *memory {
	return &memory{limit: limit, life: life, now: make(map[Digest]Known)}
}

// get returns what is known of a token.
func (m *memory) get(d Digest, now time.Time) (Known, bool) {
	m.mu.RLock()
	turn := now.Sub(m.begun) > m.life
	k, ok := m.now[d]
	if !ok && !turn {
		k, ok = m.old[d]
		turn = ok
	}
	m.mu.RUnlock()
	if !turn {
		return k, ok
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	if k, ok = m.now[d]; !ok {
		if k, ok = m.old[d]; ok {
			m.put(d, k, now)
		}
	}
	return k, ok
}

// set notes what was found out.
func (m *memory) set(d Digest, k Known, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	m.put(d, k, now)
}

// drop forgets a token.
func (m *memory) drop(d Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.now, d)
	delete(m.old, d)
}

// put is set with the lock held.
func (m *memory) put(d Digest, k Known, now time.Time) {
	if len(m.now) >= m.limit {
		m.next(now)
	}
	m.now[d] = k
}

// turn begins a new generation when the time of this one has passed. The lock is held.
func (m *memory) turn(now time.Time) {
	switch passed := now.Sub(m.begun); {
	case passed > 2*m.life, passed < -m.life: // nobody asked, or the clock was set back
		m.now, m.old, m.begun = make(map[Digest]Known), nil, now
	case passed > m.life:
		m.next(now)
	}
}

func (m *memory) next(now time.Time) {
	m.now, m.old, m.begun = make(map[Digest]Known), m.now, now
}
