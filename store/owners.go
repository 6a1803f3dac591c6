package store

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// owners are the names of the tokens' owners, each kept once. They lie one
// behind another, so that those of many people fit into a processor's cache. A
// name stays when its last token goes: there are as many as there are people.
type owners struct {
	chunks atomic.Pointer[[]*nameChunk]

	mu      sync.Mutex
	numbers map[string]uint32
	end     int // of what is used of the last chunk
}

// nameChunk holds names, each behind a byte with its length. What is written
// once does not change.
type nameChunk [1 << nameBits]byte

// An owner's number is that of the chunk and, in its lower bits, where the name
// begins.
const nameBits = 16

// name returns the name with a number that number has given out.
func (o *owners) name(number uint32) string {
	at := (*o.chunks.Load())[number>>nameBits][number&(1<<nameBits-1):]
	name := at[1 : 1+int(at[0])]
	return unsafe.String(unsafe.SliceData(name), len(name))
}

// number returns the number of a name of at most maxOwnerName bytes. Spellings
// that differ in case have numbers of their own.
func (o *owners) number(name string) uint32 {
	if len(name) > maxOwnerName {
		panic("the name of a token's owner was not validated") // cut off, it would be another's
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n, known := o.numbers[name]; known {
		return n
	}
	var chunks []*nameChunk
	if o.numbers == nil {
		o.numbers = make(map[string]uint32)
	} else {
		chunks = *o.chunks.Load()
	}
	if len(chunks) == 0 || o.end+1+len(name) > 1<<nameBits {
		// Who reads the list that was there before does not look beyond its end.
		chunks = append(chunks, new(nameChunk))
		o.chunks.Store(&chunks)
		o.end = 0
	}
	n := uint32(len(chunks)-1)<<nameBits | uint32(o.end)
	chunks[len(chunks)-1][o.end] = byte(len(name))
	copy(chunks[len(chunks)-1][o.end+1:], name)
	o.end += 1 + len(name)
	o.numbers[o.name(n)] = n
	return n
}
