package index

import (
	"net/netip"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// pendingUsage is the usage of one token since the last flush, less than 2^32 requests. One lock
// guards it all, so that time and address always belong to the same request.
type pendingUsage struct {
	mu      sync.Mutex
	count   uint32
	writes  uint32
	last    int64    // Unix seconds; 0: none; or replaced
	address [16]byte // at last; all zero: none
}

// replaced is the value of last after another entry has taken this one's place.
const replaced = -1

// add adds usage. first reports whether it is the first since the last flush. ok is false, and
// nothing is added, if the entry was replaced.
func (p *pendingUsage) add(u store.Usage) (first, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == replaced {
		return false, false
	}
	first = p.count == 0
	p.count += uint32(u.Count)
	p.writes += uint32(u.Writes)
	// Requests may arrive out of order: the latest time wins. The zero time is before 1970.
	if at := u.LastUsed.Unix(); at >= p.last {
		p.last, p.address = at, u.LastAddress.As16()
	}
	return first, true
}

// take returns and clears the usage.
func (p *pendingUsage) take() store.Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.usage()
	p.count, p.writes, p.last, p.address = 0, 0, min(p.last, 0), [16]byte{}
	return u
}

// close is take for an entry that was replaced: later calls of add fail.
func (p *pendingUsage) close() store.Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.usage()
	p.count, p.writes, p.last, p.address = 0, 0, replaced, [16]byte{}
	return u
}

// peek returns the usage without clearing it.
func (p *pendingUsage) peek() store.Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usage()
}

func (p *pendingUsage) usage() store.Usage {
	u := store.Usage{Count: uint64(p.count), Writes: uint64(p.writes)}
	if p.last > 0 {
		u.LastUsed = time.Unix(p.last, 0).UTC()
	}
	if p.address != [16]byte{} {
		u.LastAddress = netip.AddrFrom16(p.address).Unmap()
	}
	return u
}

// dirtyIDs are the ids of tokens with pending usage. Each list has a part of store.UsageOrder.
type dirtyIDs [1 << dirtyBits]struct {
	mu  sync.Mutex
	ids [][store.IDLength]byte
}

const dirtyBits = 12

func (d *dirtyIDs) add(id [store.IDLength]byte) {
	l := &d[store.UsageOrder(string(id[:]))>>(32-dirtyBits)]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
}

func (d *dirtyIDs) take(list int) [][store.IDLength]byte {
	l := &d[list]
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := l.ids
	l.ids = nil
	return ids
}

// AddUsage adds to the pending usage of a token, which may be revoked. Unknown ids are ignored.
func (x *Index) AddUsage(id string, u store.Usage) {
	s, hash := x.shard(id)
	for {
		e, _ := s.find(hash, id)
		if e == nil {
			return
		}
		first, ok := e.add(u)
		if first {
			x.dirty.add(e.id)
		}
		if ok {
			return
		}
		// The entry was replaced: find the new one.
	}
}

// PendingUsage returns the pending usage of a token.
func (x *Index) PendingUsage(id string) store.Usage {
	s, hash := x.shard(id)
	s.mu.Lock() // moveUsage must not run meanwhile
	defer s.mu.Unlock()
	e, _ := s.find(hash, id)
	if e == nil {
		return store.Usage{}
	}
	return e.peek()
}

// TakeUsage moves the pending usage of tokens into all, one list of dirtyIDs after another. It starts
// with list first, stops once all has limit tokens or more, and returns the list to start with next
// time.
func (x *Index) TakeUsage(all map[string]store.Usage, first, limit int) (next int) {
	for n := range x.dirty {
		list := (first + n) % len(x.dirty)
		if len(all) >= limit {
			return list
		}
		for _, raw := range x.dirty.take(list) {
			id := string(raw[:])
			s, hash := x.shard(id)
			e, _ := s.find(hash, id)
			if e == nil {
				continue
			}
			if u := e.take(); u != (store.Usage{}) {
				all[id] = all[id].Add(u)
			}
		}
	}
	return first
}
