package identity

import "maps"

// shardCount is a compromise: a change copies shardCount pointers and one shard's entries, so with a million entries about a
// thousand of each.
const shardCount = 1024

// shards is an immutable map by name in pieces. A draft of it copies only the pieces that it changes and shares the rest.
type shards[V any] struct {
	parts []map[string]V // shardCount of them; nil is empty
	count int
}

// newShards returns an empty map.
func newShards[V any]() shards[V] { return shards[V]{parts: make([]map[string]V, shardCount)} }

// get returns the value of key. It takes no lock and allocates nothing.
func (s *shards[V]) get(key string) (V, bool) {
	v, ok := s.parts[hashName(key)%shardCount][key]
	return v, ok
}

// all calls yield for each entry, in no order, until it returns false.
func (s *shards[V]) all(yield func(string, V) bool) {
	for _, part := range s.parts {
		for k, v := range part {
			if !yield(k, v) {
				return
			}
		}
	}
}

// shardsDraft is a map that is being changed. What it was made from stays as it is.
type shardsDraft[V any] struct {
	shards[V]
	owned []bool // which parts are this draft's own; nil while all are shared
	hint  int    // entries to expect in each part that is made new
}

// edit returns a draft that begins as a copy of s.
func (s shards[V]) edit() *shardsDraft[V] { return &shardsDraft[V]{shards: s} }

// own returns the part of key, copied first when it is shared.
func (d *shardsDraft[V]) own(key string) map[string]V {
	if d.owned == nil {
		d.parts = append([]map[string]V(nil), d.parts...)
		d.owned = make([]bool, shardCount)
	}
	i := hashName(key) % shardCount
	if !d.owned[i] {
		d.owned[i] = true
		if d.parts[i] == nil {
			d.parts[i] = make(map[string]V, d.hint)
		} else {
			d.parts[i] = maps.Clone(d.parts[i])
		}
	}
	return d.parts[i]
}

func (d *shardsDraft[V]) put(key string, v V) {
	part := d.own(key)
	before := len(part)
	part[key] = v
	d.count += len(part) - before
}

func (d *shardsDraft[V]) drop(key string) {
	if _, ok := d.get(key); ok {
		delete(d.own(key), key)
		d.count--
	}
}

// freeze returns what the draft holds. The draft may go on: it then shares all parts again.
func (d *shardsDraft[V]) freeze() shards[V] {
	d.owned = nil
	return d.shards
}

// hashName is FNV-1a. Names come from administrators, so nobody gains by making them collide.
func hashName(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
