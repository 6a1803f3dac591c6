package index

import (
	"hash/maphash"
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/tokengate/tokengate/store"
)

// tokenData is a token as decisions need it. It is immutable once a lookup can find it.
type tokenData struct {
	id           [store.IDLength]byte
	owner        uint32 // number in Index.owners
	restrictions uint32 // index in the table's restrictions plus 1; 0: none
	state        store.State
	kind         store.Kind
	readOnly     bool
	expires      int64 // Unix seconds; 0: never
	secret       store.Secret
	revision     uint64
}

// hash returns the hash of the id, as Index.shard does.
func (t *tokenData) hash() uint64 { return maphash.Bytes(seed, t.id[:]) }

// restrictions are the properties that few tokens have.
type restrictions struct {
	networks []netip.Prefix
	previous store.Previous
	limiter  *Limiter
}

// entry is a token in the index: 128 bytes, two cache lines.
type entry struct {
	tokenData
	pendingUsage
}

// Entries are allocated in chunks. An entry stays in place until its token changes or the shard
// is compacted.
const chunkLength = 128

func newChunk() []entry { return make([]entry, chunkLength) }

// shard is a part of the index. A table is a consistent view for as long as a reader holds it: an
// entry that is replaced is left unchanged for the garbage collector.
type shard struct {
	table atomic.Pointer[table]

	mu        sync.Mutex // serializes writes and guards the counts below
	allocated int        // entries, including replaced and removed ones
	live      int        // entries that a slot refers to
	filled    int        // slots that are not empty

	dirty *dirtyIDs // of the index
}

// table is a hash table with open addressing. Only its slots change; any other change makes a new
// table.
type table struct {
	// A slot is 0 if it was never used. Its lower bits are the number of an entry, counted from
	// 1, or 0 if the entry was removed; its upper bits are a part of the id's hash, which avoids
	// most comparisons. At least one slot is 0.
	slots        []atomic.Uint32
	chunks       [][]entry // slices, because the nil check of an array pointer would load a cache line
	restrictions []restrictions
}

const (
	numberBits = 20 // a million entries per shard, 256 million in the index
	numberMask = 1<<numberBits - 1
	removed    = 1 << numberBits // a slot whose entry was removed
)

// tagOf returns the part of a hash that is stored in a slot.
func tagOf(hash uint64) uint32 { return uint32(hash>>12) &^ numberMask }

// find returns the entry of a token and the table that holds it, or nil.
func (s *shard) find(hash uint64, id string) (*entry, *table) {
	for {
		t := s.table.Load()
		if t == nil {
			return nil, nil
		}
		if _, e, whole := t.find(hash, id); whole {
			return e, t
		}
		// A writer has published a newer table and an entry that only that one has.
	}
}

// find returns the slot and the entry of a token; the entry is nil if there is none. whole is
// false if the slot refers to an entry of a newer table.
func (t *table) find(hash uint64, id string) (slot int, e *entry, whole bool) {
	mask := len(t.slots) - 1
	tag := tagOf(hash)
	for slot = int(hash) & mask; ; slot = (slot + 1) & mask {
		s := t.slots[slot].Load()
		if s == 0 {
			return -1, nil, true
		}
		n := int(s & numberMask)
		if n == 0 || s&^numberMask != tag {
			continue
		}
		if n > len(t.chunks)*chunkLength {
			return -1, nil, false
		}
		if e = t.entry(n); string(e.id[:]) == id {
			return slot, e, int(e.restrictions) <= len(t.restrictions)
		}
	}
}

// entry returns the entry with this number.
func (t *table) entry(number int) *entry {
	return &t.chunks[(number-1)/chunkLength][(number-1)%chunkLength]
}

// limiter returns an entry's limiter, or nil. e may be nil.
func (t *table) limiter(e *entry) *Limiter {
	if e == nil || e.restrictions == 0 {
		return nil
	}
	return t.restrictions[e.restrictions-1].limiter
}

// insert makes the first free slot refer to an entry.
func (t *table) insert(hash uint64, number int) {
	mask := len(t.slots) - 1
	slot := int(hash) & mask
	for t.slots[slot].Load() != 0 {
		slot = (slot + 1) & mask
	}
	t.slots[slot].Store(tagOf(hash) | uint32(number))
}

// put adds or replaces a token, unless there is a newer or the same version. Tokens without a
// revision, which only tests have, replace each other.
func (s *shard) put(hash uint64, data tokenData, l restrictions, r store.Rate, dirty *dirtyIDs) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = dirty
	t := s.ensureRoom()
	id := string(data.id[:])
	slot, old, _ := t.find(hash, id)
	if old != nil && old.revision >= max(data.revision, 1) {
		return false
	}
	l.limiter = NewLimiter(r, t.limiter(old))
	if len(l.networks) > 0 || l.previous != (store.Previous{}) || l.limiter != nil {
		next := *t
		next.restrictions = append(t.restrictions, l)
		data.restrictions = uint32(len(next.restrictions))
		t = &next
		s.table.Store(t)
	}
	s.allocated++
	fresh := t.entry(s.allocated)
	fresh.tokenData = data
	if old != nil {
		t.slots[slot].Store(tagOf(hash) | uint32(s.allocated))
		s.moveUsage(old, fresh)
		return true
	}
	t.insert(hash, s.allocated)
	s.filled++
	s.live++
	return true
}

// remove removes a token.
func (s *shard) remove(hash uint64, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	if t == nil {
		return
	}
	if slot, e, _ := t.find(hash, id); e != nil {
		t.slots[slot].Store(removed)
		s.live--
	}
}

// moveUsage moves the pending usage of a replaced entry to the new one.
func (s *shard) moveUsage(old, fresh *entry) {
	if u := old.close(); u != (store.Usage{}) {
		if first, _ := fresh.add(u); first {
			s.dirty.add(fresh.id)
		}
	}
}

// ensureRoom returns a table with room for one more entry and one more slot. The caller holds the
// lock.
func (s *shard) ensureRoom() *table {
	shown := s.table.Load()
	t := shown
	if t == nil {
		t = &table{}
	}
	full := s.allocated == len(t.chunks)*chunkLength
	switch {
	case full && s.allocated > s.live+s.live/4+chunkLength:
		t = s.compacted(t)
		shown = t
	case full:
		next := *t
		next.chunks = append(t.chunks, newChunk())
		t = &next
	}
	if s.filled+1 > len(t.slots)*3/4 {
		next := *t
		next.slots = make([]atomic.Uint32, slotsFor(s.live+1))
		s.filled = s.live
		for n := range t.live() {
			next.insert(t.entry(n).hash(), n)
		}
		t = &next
	}
	if t != shown { // published only now: a lookup needs slots
		s.table.Store(t)
	}
	return t
}

// compacted returns a table of the live entries, with room for more.
func (s *shard) compacted(t *table) *table {
	next := &table{slots: make([]atomic.Uint32, slotsFor(s.live+1))}
	s.allocated, s.filled = 0, s.live
	for n := range t.live() {
		if s.allocated%chunkLength == 0 {
			next.chunks = append(next.chunks, newChunk())
		}
		s.allocated++
		old, fresh := t.entry(n), next.entry(s.allocated)
		fresh.tokenData = old.tokenData
		if old.restrictions != 0 {
			next.restrictions = append(next.restrictions, t.restrictions[old.restrictions-1])
			fresh.restrictions = uint32(len(next.restrictions))
		}
		next.insert(old.hash(), s.allocated)
	}
	if s.allocated == len(next.chunks)*chunkLength {
		next.chunks = append(next.chunks, newChunk())
	}
	s.table.Store(next)
	n := 0
	for old := range t.live() {
		n++
		s.moveUsage(t.entry(old), next.entry(n))
	}
	return next
}

// slotsFor returns the number of slots for this many entries: a power of two, at least half of
// them empty.
func slotsFor(entries int) int {
	n := 8
	for n < 2*entries {
		n *= 2
	}
	return n
}

// live returns the numbers of the entries that a slot refers to.
func (t *table) live() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range t.slots {
			if n := int(t.slots[i].Load() & numberMask); n != 0 && !yield(n) {
				return
			}
		}
	}
}

// all returns the shard's live entries, with the lock held.
func (s *shard) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		t := s.table.Load()
		if t == nil {
			return
		}
		for n := range t.live() {
			if !yield(t.entry(n)) {
				return
			}
		}
	}
}
