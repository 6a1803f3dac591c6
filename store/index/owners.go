package index

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/tokengate/tokengate/store"
)

// OwnerStatus says whether a token's owner may use tokens, according to the directory and the
// policies.
type OwnerStatus uint8

// The status of an owner.
const (
	OwnerUnknown      OwnerStatus = iota
	OwnerInactive                 // the user does not exist, is inactive, or the name now belongs to another user
	OwnerNotPermitted             // may not use tokens
	OwnerPermitted
)

// owners holds the name and the status of each distinct owner. Names are stored contiguously, so
// that many fit into the CPU cache. An owner stays after the last of its tokens is removed; the
// number of users bounds them.
type owners struct {
	chunks atomic.Pointer[[]*ownerChunk]

	// upstreams are the owners' upstream credentials, by slot minus 1.
	upstreams atomic.Pointer[[]*upstreamChunk]

	mu         sync.Mutex
	numbers    map[store.Owner]uint32
	end        int // of the used part of the last chunk
	statusFunc StatusFunc
	slots      map[string]uint32 // in upstreams, by the owner's key
}

// StatusFunc returns an owner's status, given the previous one, or OwnerUnknown for a new owner.
type StatusFunc func(o store.Owner, before OwnerStatus) OwnerStatus

// ownerChunk holds owners as words: a header, with the length of the name in the lower lengthBits,
// the status in the statusBits above them and the slot in upstreams above these, and then the name.
// A header is updated atomically; a name never changes.
type ownerChunk [1 << wordBits]uint32

const (
	wordBits   = 14
	lengthBits = 8
	statusBits = 2
	slotShift  = lengthBits + statusBits
	maxSlot    = 1<<(32-slotShift) - 1 // four million owners with an upstream credential
	wordLength = 4                     // bytes

	// An owner's number is the index of the chunk and, in its lower bits, that of the header.
	wordMask = 1<<wordBits - 1
)

// lookup returns the name, the status and the upstream credential of the owner with a number from
// numberOf.
func (o *owners) lookup(number uint32) (name string, s OwnerStatus, u *Upstream) {
	words := (*o.chunks.Load())[number>>wordBits][number&wordMask:]
	head := atomic.LoadUint32(&words[0])
	length := head & (1<<lengthBits - 1)
	s = OwnerStatus(head >> lengthBits & (1<<statusBits - 1))
	if slot := head >> slotShift; slot != 0 {
		u = o.upstream(slot)
	}
	if length == 0 {
		return "", s, u
	}
	return unsafe.String((*byte)(unsafe.Pointer(&words[1])), length), s, u
}

// numberOf returns the number of an owner of a token that changes, and adds the owner if it is new.
// Spellings that differ in case are different owners.
func (o *owners) numberOf(owner store.Owner) uint32 {
	if len(owner.Name) >= 1<<lengthBits {
		panic("store: owner name is too long") // a truncated name could be another user's
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n, known := o.numbers[owner]; known {
		o.updateDenied(owner, n)
		return n
	}
	var chunks []*ownerChunk
	if o.numbers == nil {
		o.numbers = make(map[store.Owner]uint32)
	} else {
		chunks = *o.chunks.Load()
	}
	words := 1 + (len(owner.Name)+wordLength-1)/wordLength
	if len(chunks) == 0 || o.end+words > 1<<wordBits {
		// Readers of the previous slice never look beyond its end.
		chunks = append(chunks, new(ownerChunk))
		o.chunks.Store(&chunks)
		o.end = 0
	}
	chunk := chunks[len(chunks)-1]
	n := uint32(len(chunks)-1)<<wordBits | uint32(o.end)
	if owner.Name != "" {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&chunk[o.end+1])), len(owner.Name)), owner.Name)
	}
	atomic.StoreUint32(o.head(n), uint32(len(owner.Name))|uint32(o.computeStatus(owner))<<lengthBits|o.slots[owner.Key]<<slotShift)
	o.end += words
	name, _, _ := o.lookup(n)
	o.numbers[store.Owner{Name: name, Key: owner.Key}] = n
	return n
}

// computeStatus returns the status of a new owner. The caller holds the lock.
func (o *owners) computeStatus(owner store.Owner) OwnerStatus {
	if o.statusFunc == nil {
		return OwnerUnknown
	}
	return o.statusFunc(owner, OwnerUnknown)
}

// updateDenied recomputes the status of an owner who may not use tokens: they may be better known
// by now, since somebody gives them one. The caller holds the lock.
func (o *owners) updateDenied(owner store.Owner, n uint32) {
	if _, before, _ := o.lookup(n); before != OwnerPermitted && o.statusFunc != nil {
		o.setStatus(n, o.statusFunc(owner, before))
	}
}

// head returns the header of the owner with a number.
func (o *owners) head(number uint32) *uint32 {
	return &(*o.chunks.Load())[number>>wordBits][number&wordMask]
}

// setBits replaces the bits of a header that a mask selects. The caller holds the lock.
func (o *owners) setBits(number, mask, bits uint32) {
	head := o.head(number)
	atomic.StoreUint32(head, *head&^mask|bits)
}

// setStatus sets an owner's status. The caller holds the lock.
func (o *owners) setStatus(number uint32, s OwnerStatus) {
	o.setBits(number, (1<<statusBits-1)<<lengthBits, uint32(s)<<lengthBits)
}

// statusOf returns an owner's status, even without tokens.
func (o *owners) statusOf(owner store.Owner) OwnerStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n, known := o.numbers[owner]; known {
		_, s, _ := o.lookup(n)
		return s
	}
	return o.computeStatus(owner)
}

// updateAll recomputes the status of every owner.
func (o *owners) updateAll(status StatusFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.statusFunc = status
	for owner, n := range o.numbers {
		_, before, _ := o.lookup(n)
		o.setStatus(n, status(owner, before))
	}
}
