package listing

import (
	"encoding/binary"
	"hash/maphash"
	"runtime"
	"time"

	"github.com/tokengate/tokengate/store"
)

// A token keeps its row until it is removed, so that a search finds each token once.

// chunkRows is the number of rows of a chunk.
const chunkRows = 2048

// rowChunk is a chunk of the listing's rows.
type rowChunk struct {
	*columns
	texts   []byte // the names, each prefixed with its length
	garbage int    // unused bytes of texts
}

// columns has no pointers that the garbage collector would have to follow.
type columns struct {
	number  [chunkRows]uint64
	uses    [chunkRows]uint64
	owner   [chunkRows]uint32 // number in listedOwners
	name    [chunkRows]uint32 // offset in texts
	created [chunkRows]instant
	expires [chunkRows]instant
	used    [chunkRows]instant
	id      [chunkRows][store.IDLength]byte
	flags   [chunkRows]flags
}

// instant is a time as Unix seconds plus 1, little endian; 0 means none.
type instant [5]byte

const maxInstant = 1<<40 - 2 // Unix seconds, far beyond the year 9999

func instantOf(t time.Time) (at instant) {
	if t.IsZero() {
		return instant{}
	}
	v := uint64(min(max(t.Unix(), 0), maxInstant)) + 1
	binary.LittleEndian.PutUint32(at[:], uint32(v))
	at[4] = byte(v >> 32)
	return at
}

func (at *instant) value() uint64 {
	return uint64(binary.LittleEndian.Uint32(at[:])) | uint64(at[4])<<32
}

// timeOf returns the time of an instant's value.
func timeOf(value uint64) time.Time {
	if value == 0 {
		return time.Time{}
	}
	return time.Unix(int64(value)-1, 0).UTC()
}

// flags hold a token's state in the lower bits, and other properties. Free rows have the zero
// flags.
type flags uint8

const (
	stateFlags   flags = 1<<3 - 1
	readOnlyFlag flags = 1 << 3
	managingFlag flags = 1 << 4 // the kind is Management
)

func flagsOf(t *store.Token) flags {
	f := flags(t.State) & stateFlags
	if t.ReadOnly {
		f |= readOnlyFlag
	}
	if t.Kind == store.Management {
		f |= managingFlag
	}
	return f
}

func (f flags) state() store.State { return store.State(f & stateFlags) }

// eachChunk calls look with each chunk, in reverse order if backward, with the read lock held,
// and between after each one without the lock. It stops at an error of between. A write waits for
// at most one chunk.
func (l *Listing) eachChunk(backward bool, look func(*rowChunk), between func() error) error {
	one := func(n int) {
		l.mu.RLock()
		defer l.mu.RUnlock()
		look(l.chunks[n])
	}
	l.mu.RLock()
	chunks := len(l.chunks)
	l.mu.RUnlock()
	for n := range chunks {
		if backward {
			n = chunks - 1 - n
		}
		one(n)
		if err := between(); err != nil {
			return err
		}
		if n%4 == 0 {
			runtime.Gosched()
		}
	}
	return nil
}

// appendText appends a text, prefixed with its length.
func appendText(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

// splitText returns the first text and the rest.
func splitText(texts []byte) (text, behind []byte) {
	length, n := binary.Uvarint(texts)
	return texts[n : n+int(length)], texts[n+int(length):]
}

// locate returns the chunk of a row and the index in it.
func (l *Listing) locate(row uint32) (c *rowChunk, i int) {
	return l.chunks[row/chunkRows], int(row % chunkRows)
}

// newRow returns a free row.
func (l *Listing) newRow() uint32 {
	if last := len(l.free) - 1; last >= 0 {
		row := l.free[last]
		l.free = l.free[:last]
		return row
	}
	if l.rows == maxSlot {
		panic("store: too many tokens for the listing") // a slot would refer to the wrong row
	}
	if int(l.rows) == len(l.chunks)*chunkRows {
		l.chunks = append(l.chunks, &rowChunk{columns: new(columns)})
	}
	l.rows++
	return l.rows - 1
}

// nameOf returns the name of a row that is not free. It is valid while the lock is held.
func (c *rowChunk) nameOf(i int) []byte {
	name, _ := splitText(c.texts[c.name[i]:])
	return name
}

// setName sets the name of a row.
func (c *rowChunk) setName(i int, name string) {
	c.name[i] = uint32(len(c.texts))
	c.texts = appendText(c.texts, name)
}

// discardName marks a row's name as unused.
func (c *rowChunk) discardName(i int) {
	_, behind := splitText(c.texts[c.name[i]:])
	c.garbage += len(c.texts) - int(c.name[i]) - len(behind)
}

// compactNames drops unused names once they are more than half.
func (c *rowChunk) compactNames() {
	if c.garbage <= len(c.texts)/2 {
		return
	}
	old := *c
	c.texts, c.garbage = make([]byte, 0, len(c.texts)-c.garbage), 0
	for i, f := range &c.flags {
		if f != 0 {
			c.setName(i, string(old.nameOf(i)))
		}
	}
}

// find returns the row of the token with this id.
func (l *Listing) find(hash uint64, id string) (row uint32, there bool) {
	return l.idTable(hash).find(hash, func(row uint32) bool {
		c, i := l.locate(row)
		return string(c.id[i][:]) == id
	})
}

// idTable returns the hash table for a hash. There are many, because a table is copied when it
// grows.
func (l *Listing) idTable(hash uint64) *hashTable { return &l.ids[hash>>(64-partBits)] }

const partBits = 8

var listingSeed = maphash.MakeSeed()

// hashOf returns the hash of a row's id.
func (l *Listing) hashOf(row uint32) uint64 {
	c, i := l.locate(row)
	return maphash.Bytes(listingSeed, c.id[i][:])
}

// hashTable is a hash table with open addressing from hashes to numbers of elements that are
// stored elsewhere. A slot is 0 if it is empty. Its lower bits are the number plus 1, and its
// upper bits a part of the hash, which avoids most comparisons.
type hashTable struct {
	slots  []uint32
	filled int
}

const (
	slotMask = 1<<28 - 1
	maxSlot  = slotMask // the maximum number of elements, 256 million
)

// slotOf returns the slot for a number.
func slotOf(hash uint64, number uint32) uint32 { return uint32(hash>>20)&^slotMask | (number + 1) }

// find returns the first number with this hash for which is returns true.
func (s *hashTable) find(hash uint64, is func(number uint32) bool) (number uint32, there bool) {
	if s.filled == 0 {
		return 0, false
	}
	mask, tag := len(s.slots)-1, slotOf(hash, 0)&^slotMask
	for at := int(hash) & mask; s.slots[at] != 0; at = (at + 1) & mask {
		if slot := s.slots[at]; slot&^slotMask == tag && is(slot&slotMask-1) {
			return slot&slotMask - 1, true
		}
	}
	return 0, false
}

// add adds a number that is not in the table. hashOf returns the hash of numbers that are.
func (s *hashTable) add(hash uint64, number uint32, hashOf func(number uint32) uint64) {
	s.filled++
	if s.filled > len(s.slots)*3/4 {
		old := s.slots
		s.slots = make([]uint32, max(8, 2*len(s.slots)))
		for _, slot := range old {
			if slot != 0 {
				s.fill(hashOf(slot&slotMask-1), slot)
			}
		}
	}
	s.fill(hash, slotOf(hash, number))
}

// fill puts a value into the first empty slot.
func (s *hashTable) fill(hash uint64, slot uint32) {
	mask := len(s.slots) - 1
	at := int(hash) & mask
	for s.slots[at] != 0 {
		at = (at + 1) & mask
	}
	s.slots[at] = slot
}

// remove removes a number, and moves up entries behind it that would not be found any more.
func (s *hashTable) remove(hash uint64, number uint32, hashOf func(number uint32) uint64) {
	s.filled--
	mask := len(s.slots) - 1
	hole := int(hash) & mask
	for s.slots[hole] != slotOf(hash, number) {
		hole = (hole + 1) & mask
	}
	for at := (hole + 1) & mask; s.slots[at] != 0; at = (at + 1) & mask {
		first := int(hashOf(s.slots[at]&slotMask-1)) & mask
		if (at-first)&mask >= (at-hole)&mask {
			s.slots[hole] = s.slots[at]
			hole = at
		}
	}
	s.slots[hole] = 0
}
