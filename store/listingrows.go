package store

import (
	"encoding/binary"
	"hash/maphash"
	"runtime"
	"time"
)

// A row stays a token's for as long as the token is there: a search that takes
// chunk after chunk meets each token once. A row that is free is given out again.

// chunkRows is how many rows a chunk has.
const chunkRows = 2048

// rowChunk is some of the listing's rows.
type rowChunk struct {
	*columns
	texts   []byte // the names, each behind its length
	garbage int    // bytes of texts that are no row's any more
}

// columns has no pointers: the garbage collector has nothing to follow.
type columns struct {
	number  [chunkRows]uint64
	uses    [chunkRows]uint64
	owner   [chunkRows]uint32 // number among the listed owners
	name    [chunkRows]uint32 // where it begins in texts
	created [chunkRows]instant
	expires [chunkRows]instant
	used    [chunkRows]instant
	id      [chunkRows][IDLength]byte
	flags   [chunkRows]flags
}

// instant is a time in whole seconds since 1970, counted from 1; 0 is none. Five
// bytes reach far beyond the year 9999.
type instant [5]byte

func instantOf(t time.Time) (at instant) {
	if t.IsZero() {
		return instant{}
	}
	v := uint64(min(max(t.Unix(), 0), lastSecond)) + 1
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

// flags are a token's state, in the lower bits, and what else it is or is not.
// The zero flags are those of a free row.
type flags uint8

const (
	stateFlags   flags = 1<<3 - 1
	readOnlyFlag flags = 1 << 3
	managingFlag flags = 1 << 4 // the kind is Management
)

func flagsOf(t *Token) flags {
	f := flags(t.State) & stateFlags
	if t.ReadOnly {
		f |= readOnlyFlag
	}
	if t.Kind == Management {
		f |= managingFlag
	}
	return f
}

func (f flags) state() State { return State(f & stateFlags) }

// eachChunk calls look with every chunk there is now, first or last first, while it
// holds the lock for reading, and between without it. It ends with between's error.
// A write waits for one chunk, and a request for a few.
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

// appendText appends a text behind its length.
func appendText(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

// splitText returns the text that is first, and what is behind it.
func splitText(texts []byte) (text, behind []byte) {
	length, n := binary.Uvarint(texts)
	return texts[n : n+int(length)], texts[n+int(length):]
}

// locate returns where a row lies.
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
		panic("more tokens than a listing can have") // a slot would lead to another one's row
	}
	if int(l.rows) == len(l.chunks)*chunkRows {
		l.chunks = append(l.chunks, &rowChunk{columns: new(columns)})
	}
	l.rows++
	return l.rows - 1
}

// nameOf returns the name of a row that is not free. It is good for as long as
// the lock is held.
func (c *rowChunk) nameOf(i int) []byte {
	name, _ := splitText(c.texts[c.name[i]:])
	return name
}

// setName gives a row its name.
func (c *rowChunk) setName(i int, name string) {
	c.name[i] = uint32(len(c.texts))
	c.texts = appendText(c.texts, name)
}

// discardName makes garbage of a row's name.
func (c *rowChunk) discardName(i int) {
	_, behind := splitText(c.texts[c.name[i]:])
	c.garbage += len(c.texts) - int(c.name[i]) - len(behind)
}

// compactNames gives up the names that are garbage, once they are half of all.
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

// idTable returns the part of the table of ids that a hash belongs to. The table is
// in parts because all of one moves when it grows.
func (l *Listing) idTable(hash uint64) *hashTable { return &l.ids[hash>>(64-partBits)] }

const partBits = 8

// hashOf returns the hash of a row's id.
func (l *Listing) hashOf(row uint32) uint64 {
	c, i := l.locate(row)
	return maphash.Bytes(seed, c.id[i][:])
}
