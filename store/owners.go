package store

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// OwnerStatus is what the directory and the rules make of a token's owner. The zero
// OwnerStatus is that of an owner of whom nobody has said anything.
type OwnerStatus uint8

// The standings.
const (
	OwnerUnknown      OwnerStatus = iota
	OwnerInactive                 // there is no such user, or not any more, or the name is another's by now
	OwnerNotPermitted             // may not use tokens
	OwnerPermitted
)

// Forever is an instant until which standings may hold, and which no decision
// reaches.
var Forever = time.Unix(0, math.MaxInt64)

// owners are the tokens' owners, each kept once: the name, and how the owner
// statusOf. They lie one behind another, so that those of many people fit into a
// processor's cache. An owner stays when the last token goes: there are as many
// as there are people.
type owners struct {
	chunks atomic.Pointer[[]*ownerChunk]

	mu         sync.Mutex
	numbers    map[Owner]uint32
	end        int // of what is used of the last chunk
	statusFunc StatusFunc
}

// StatusFunc says how an owner stands who stood as given before; Unknown if nobody
// has asked yet.
type StatusFunc func(o Owner, before OwnerStatus) OwnerStatus

// ownerChunk holds owners, each in words: a head, which is the length of the
// name and, above lengthBits, the standing; and the name. A head changes by
// atomic writes, a name does not change.
type ownerChunk [1 << wordBits]uint32

const (
	wordBits   = 14
	lengthBits = 8
	wordLength = 4 // bytes

	// An owner's number is that of the chunk and, in its lower bits, that of
	// the head.
	wordMask = 1<<wordBits - 1
)

// lookup returns the name and the standing of the owner with a number that
// numberOf has given out.
func (o *owners) lookup(number uint32) (name string, s OwnerStatus) {
	words := (*o.chunks.Load())[number>>wordBits][number&wordMask:]
	head := atomic.LoadUint32(&words[0])
	length := head & (1<<lengthBits - 1)
	s = OwnerStatus(head >> lengthBits)
	if length == 0 {
		return "", s
	}
	return unsafe.String((*byte)(unsafe.Pointer(&words[1])), length), s
}

// numberOf returns the number of an owner, whose name has at most maxOwnerName
// bytes. Spellings that differ in case have numbers of their own.
func (o *owners) numberOf(owner Owner) uint32 {
	if len(owner.Name) > maxOwnerName {
		panic("the name of a token's owner was not validated") // cut off, it would be another's
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n, known := o.numbers[owner]; known {
		return n
	}
	var chunks []*ownerChunk
	if o.numbers == nil {
		o.numbers = make(map[Owner]uint32)
	} else {
		chunks = *o.chunks.Load()
	}
	words := 1 + (len(owner.Name)+wordLength-1)/wordLength
	if len(chunks) == 0 || o.end+words > 1<<wordBits {
		// Who reads the list that was there before does not look beyond its end.
		chunks = append(chunks, new(ownerChunk))
		o.chunks.Store(&chunks)
		o.end = 0
	}
	chunk := chunks[len(chunks)-1]
	n := uint32(len(chunks)-1)<<wordBits | uint32(o.end)
	if owner.Name != "" {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&chunk[o.end+1])), len(owner.Name)), owner.Name)
	}
	o.setStatus(n, len(owner.Name), o.computeStatus(owner))
	o.end += words
	name, _ := o.lookup(n)
	o.numbers[Owner{Name: name, Key: owner.Key}] = n
	return n
}

// computeStatus asks how an owner stands. The caller holds the lock.
func (o *owners) computeStatus(owner Owner) OwnerStatus {
	if o.statusFunc == nil {
		return OwnerUnknown
	}
	return o.statusFunc(owner, OwnerUnknown)
}

// setStatus says how an owner stands.
func (o *owners) setStatus(number uint32, length int, s OwnerStatus) {
	head := &(*o.chunks.Load())[number>>wordBits][number&wordMask]
	atomic.StoreUint32(head, uint32(s)<<lengthBits|uint32(length))
}

// statusOf returns how an owner stands, also one who has no tokens.
func (o *owners) statusOf(owner Owner) OwnerStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n, known := o.numbers[owner]; known {
		_, s := o.lookup(n)
		return s
	}
	return o.computeStatus(owner)
}

// updateAll asks how every owner stands, and those who come later.
func (o *owners) updateAll(judge StatusFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.statusFunc = judge
	for owner, n := range o.numbers {
		_, before := o.lookup(n)
		o.setStatus(n, len(owner.Name), judge(owner, before))
	}
}
