package identity

import (
	"encoding/binary"
	"maps"
)

// shardCount is a compromise: a change copies shardCount pointers and one shard's entries, so with a million entries about a
// thousand of each.
const shardCount = 1024

// shards is an immutable map in pieces. A draft of it copies only the pieces that it changes and shares the rest.
type shards[K comparable, V any] struct {
	hash  func(K) uint32
	parts []map[K]V // shardCount of them; nil is empty
	count int
}

// newShards returns an empty map.
func newShards[K comparable, V any](hash func(K) uint32) shards[K, V] {
	return shards[K, V]{hash: hash, parts: make([]map[K]V, shardCount)}
}

// get returns the value of key. It takes no lock and allocates nothing.
func (s *shards[K, V]) get(key K) (V, bool) {
	v, ok := s.parts[s.hash(key)%shardCount][key]
	return v, ok
}

// all calls yield for each entry, in no order, until it returns false.
func (s *shards[K, V]) all(yield func(K, V) bool) {
	for _, part := range s.parts {
		for k, v := range part {
			if !yield(k, v) {
				return
			}
		}
	}
}

// shardsDraft is a map that is being changed. What it was made from stays as it is.
type shardsDraft[K comparable, V any] struct {
	shards[K, V]
	owned []bool // which parts are this draft's own; nil while all are shared
	hint  int    // entries to expect in each part that is made new
}

// edit returns a draft that begins as a copy of s.
func (s shards[K, V]) edit() *shardsDraft[K, V] { return &shardsDraft[K, V]{shards: s} }

// own returns the part of key, copied first when it is shared.
func (d *shardsDraft[K, V]) own(key K) map[K]V {
	if d.owned == nil {
		d.parts = append([]map[K]V(nil), d.parts...)
		d.owned = make([]bool, shardCount)
	}
	i := d.hash(key) % shardCount
	if !d.owned[i] {
		d.owned[i] = true
		if d.parts[i] == nil {
			d.parts[i] = make(map[K]V, d.hint)
		} else {
			d.parts[i] = maps.Clone(d.parts[i])
		}
	}
	return d.parts[i]
}

func (d *shardsDraft[K, V]) put(key K, v V) {
	part := d.own(key)
	before := len(part)
	part[key] = v
	d.count += len(part) - before
}

func (d *shardsDraft[K, V]) drop(key K) {
	if _, ok := d.get(key); ok {
		delete(d.own(key), key)
		d.count--
	}
}

// freeze returns what the draft holds. The draft may go on: it then shares all parts again.
func (d *shardsDraft[K, V]) freeze() shards[K, V] {
	d.owned = nil
	return d.shards
}

// hashFingerprint takes four bytes of what is a hash already.
func hashFingerprint(f Fingerprint) uint32 { return binary.LittleEndian.Uint32(f[:]) }

// hashName is FNV-1a. Names come from administrators, so nobody gains by making them collide.
func hashName(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
