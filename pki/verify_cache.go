package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"sync"
	"time"
)

// verified remembers chains that were found acceptable, and for how long that finding holds: a path that stood once stands as long as each of its
// certificates is valid, because nothing else about it depends on the time. So a caller that connects again and again costs its signature checks once. It
// belongs to one Trust and dies with it. Refusals are not remembered. Safe for concurrent use.
type verified struct {
	mu       sync.Mutex // guards both maps
	now, old map[[sha256.Size]byte]period
}

// period is when all certificates of a path are valid.
type period struct{ from, until time.Time }

// maxVerified bounds each of the two maps: when the newer is full it becomes the older, and what was in that is forgotten.
const maxVerified = 4096

// chainKey identifies a chain as it was presented. Lengths keep two chains from being joined to the same octets.
func chainKey(chain []*x509.Certificate) (key [sha256.Size]byte, ok bool) {
	h := sha256.New()
	var length [8]byte
	for _, c := range chain {
		if c == nil {
			return key, false
		}
		binary.BigEndian.PutUint64(length[:], uint64(len(c.Raw)))
		h.Write(length[:])
		h.Write(c.Raw)
	}
	h.Sum(key[:0])
	return key, true
}

// holds reports whether the chain is known to be acceptable at the time now.
func (v *verified) holds(key [sha256.Size]byte, now time.Time) bool {
	v.mu.Lock()
	p, ok := v.now[key]
	if !ok {
		p, ok = v.old[key]
	}
	v.mu.Unlock()
	return ok && !now.Before(p.from) && !now.After(p.until)
}

// add remembers that path was found to be good for the chain.
func (v *verified) add(key [sha256.Size]byte, path []*x509.Certificate) {
	p := period{path[0].NotBefore, path[0].NotAfter}
	for _, c := range path[1:] {
		if c.NotBefore.After(p.from) {
			p.from = c.NotBefore
		}
		if c.NotAfter.Before(p.until) {
			p.until = c.NotAfter
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.now == nil || len(v.now) >= maxVerified {
		v.old, v.now = v.now, make(map[[sha256.Size]byte]period)
	}
	v.now[key] = p
}
