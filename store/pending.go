package store

import (
	"net/netip"
	"sync"
	"time"
)

// pendingUsage is the use of one token since the last flush. One lock guards it
// whole, so that the time and the address are always those of one request.
type pendingUsage struct {
	mu      sync.Mutex
	count   uint64
	writes  uint64
	last    int64    // Unix seconds; 0: none, or moved
	address [16]byte // at last; all zero, which no client has: none
}

// replaced says that another cell has taken this one's place.
const replaced = -1

// add adds a use. It reports whether it is the first since the last flush, and
// ok is false, and nothing added, if this is not the token's cell any more.
func (p *pendingUsage) add(u Usage) (first, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == replaced {
		return false, false
	}
	first = p.count == 0
	p.count += u.Count
	p.writes += u.Writes
	// What overtook an older request on its way stays. The zero time is long
	// before the year 1970.
	if at := u.LastUsed.Unix(); at >= p.last {
		p.last, p.address = at, u.LastAddress.As16()
	}
	return first, true
}

// take returns the use since the last call, and forgets it.
func (p *pendingUsage) take() Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.usage()
	p.count, p.writes, p.last, p.address = 0, 0, min(p.last, 0), [16]byte{}
	return u
}

// close is the last take: nothing is added any more.
func (p *pendingUsage) close() Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.usage()
	p.count, p.writes, p.last, p.address = 0, 0, replaced, [16]byte{}
	return u
}

// peek returns what take would.
func (p *pendingUsage) peek() Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usage()
}

func (p *pendingUsage) usage() Usage {
	u := Usage{Count: p.count, Writes: p.writes}
	if p.last > 0 {
		u.LastUsed = time.Unix(p.last, 0).UTC()
	}
	if p.address != [16]byte{} {
		u.LastAddress = netip.AddrFrom16(p.address).Unmap()
	}
	return u
}

// dirty are the ids of the tokens of a shard that have a use to be flushed.
type dirtyIDs struct {
	mu  sync.Mutex
	ids [][IDLength]byte
}

func (u *dirtyIDs) add(id [IDLength]byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ids = append(u.ids, id)
}

func (u *dirtyIDs) take() [][IDLength]byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	ids := u.ids
	u.ids = nil
	return ids
}

// AddUsage counts the use of a token that is in the index, revoked or not.
func (x *Index) AddUsage(id string, u Usage) {
	s, hash := x.shard(id)
	for {
		c, _ := s.find(hash, id)
		if c == nil {
			return
		}
		first, ok := c.add(u)
		if first {
			s.dirty.add(c.id)
		}
		if ok {
			return
		}
		// The cell was replaced: the next look finds the other one.
	}
}

// PendingUsage returns the use of a token that takeUse would.
func (x *Index) PendingUsage(id string) Usage {
	s, hash := x.shard(id)
	s.mu.Lock() // no cell hands its use to another meanwhile
	defer s.mu.Unlock()
	c, _ := s.find(hash, id)
	if c == nil {
		return Usage{}
	}
	return c.peek()
}

// TakeUsage adds to all the use of tokens since it was last taken: of every token,
// or of those of some shards where that makes limit tokens or more. It begins
// with the given shard and returns the one to begin with next.
func (x *Index) TakeUsage(all map[string]Usage, first, limit int) (next int) {
	for n := range x.shards {
		if len(all) >= limit {
			return (first + n) % len(x.shards)
		}
		s := &x.shards[(first+n)%len(x.shards)]
		for _, raw := range s.dirty.take() {
			id := string(raw[:])
			_, hash := x.shard(id)
			c, _ := s.find(hash, id)
			if c == nil {
				continue
			}
			if u := c.take(); u != (Usage{}) {
				all[id] = all[id].Add(u)
			}
		}
	}
	return first
}
