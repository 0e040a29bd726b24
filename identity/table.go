package identity

import (
	"encoding/binary"
	"slices"
)

// bindingTable is an immutable hash table from fingerprints to bindings, in shardCount pieces of open addressing. It is not a Go map
// because a lookup among a million costs what memory it touches for the first time: here that is one slot, in a map five or six
// places. Entries are never removed: a certificate stays known when it is revoked.
type bindingTable struct {
	parts [][]bindingSlot // shardCount of them; each empty or a power of two long, and never full
	used  []int32         // slots taken in each part
	count int
}

type bindingSlot struct {
	key     Fingerprint
	binding *Binding // nil when the slot is free
}

func newBindingTable() bindingTable {
	return bindingTable{parts: make([][]bindingSlot, shardCount), used: make([]int32, shardCount)}
}

// place returns where a fingerprint's part is and where the search in it begins. A fingerprint is a hash already.
func place(f *Fingerprint) (part, slot int) {
	return int(binary.LittleEndian.Uint16(f[:]) % shardCount), int(binary.LittleEndian.Uint32(f[4:]))
}

// get returns the binding of a fingerprint. It takes no lock and allocates nothing.
func (t *bindingTable) get(f Fingerprint) (*Binding, bool) {
	n, i := place(&f)
	slots := t.parts[n]
	if len(slots) == 0 {
		return nil, false
	}
	for ; ; i++ {
		s := &slots[i&(len(slots)-1)]
		if s.binding == nil || s.key == f {
			return s.binding, s.binding != nil
		}
	}
}

// all calls yield for each binding, in no order, until it returns false.
func (t *bindingTable) all(yield func(*Binding) bool) {
	for _, slots := range t.parts {
		for i := range slots {
			if b := slots[i].binding; b != nil && !yield(b) {
				return
			}
		}
	}
}

// bindingDraft is a bindingTable that is being changed. What it was made from stays as it is.
type bindingDraft struct {
	bindingTable
	owned []bool // which parts are this draft's own; nil while all are shared
	hint  int    // entries to expect in each part that is made new
}

func (t bindingTable) edit() *bindingDraft { return &bindingDraft{bindingTable: t} }

func (d *bindingDraft) put(f Fingerprint, b *Binding) {
	n, i := place(&f)
	slots := d.own(n)
	for ; ; i++ {
		s := &slots[i&(len(slots)-1)]
		if s.binding == nil {
			d.count++
			d.used[n]++
		} else if s.key != f {
			continue
		}
		*s = bindingSlot{f, b}
		return
	}
}

// own returns a part that may be written, with room for one entry more.
func (d *bindingDraft) own(n int) []bindingSlot {
	if d.owned == nil {
		d.parts, d.used, d.owned = slices.Clone(d.parts), slices.Clone(d.used), make([]bool, shardCount)
	}
	slots := d.parts[n]
	room := len(slots) * 3 / 4
	switch {
	case int(d.used[n]) >= room:
		d.parts[n] = grown(slots, max(int(d.used[n])+1, d.hint))
	case !d.owned[n]:
		d.parts[n] = slices.Clone(slots)
	}
	d.owned[n] = true
	return d.parts[n]
}

// grown returns a copy with room for at least so many entries.
func grown(slots []bindingSlot, entries int) []bindingSlot {
	size := 4
	for size*3/4 < entries {
		size *= 2
	}
	bigger := make([]bindingSlot, size)
	for _, s := range slots {
		if s.binding == nil {
			continue
		}
		_, i := place(&s.key)
		for bigger[i&(size-1)].binding != nil {
			i++
		}
		bigger[i&(size-1)] = s
	}
	return bigger
}

// freeze returns what the draft holds. The draft may go on: it then shares all parts again.
func (d *bindingDraft) freeze() bindingTable {
	d.owned = nil
	return d.bindingTable
}
