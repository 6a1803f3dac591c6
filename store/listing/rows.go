package listing

import (
	"encoding/binary"
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
	owner   [chunkRows]uint32 // number in Listing.owners
	name    [chunkRows]uint32 // offset in texts
	created [chunkRows]instant
	expires [chunkRows]instant
	used    [chunkRows]instant
	id      [chunkRows]rowID
	flags   [chunkRows]flags
}

// rowID is a token's id.
type rowID [store.IDLength]byte

// idOf returns the id, or the zero rowID, which no token has, for an invalid one.
func idOf(id string) (r rowID) {
	if len(id) == len(r) {
		copy(r[:], id)
	}
	return r
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
