package index

import "sync/atomic"

// Upstream is the credential with which requests of an owner's tokens are forwarded. It is
// immutable.
type Upstream struct {
	answer string
}

// NewUpstream returns a working credential, and BrokenUpstream if answer is empty. answer is what the
// server adds to its answer for it, in the server's own encoding, and contains the secret.
func NewUpstream(answer string) *Upstream {
	if answer == "" {
		return BrokenUpstream
	}
	return &Upstream{answer}
}

// BrokenUpstream is the credential of owners whose credential the application refuses, or that cannot
// be opened.
var BrokenUpstream = &Upstream{}

// Answer returns what NewUpstream was given, and "" for BrokenUpstream.
func (u *Upstream) Answer() string { return u.answer }

// String returns a placeholder, because the answer contains a secret.
func (*Upstream) String() string { return "upstream credential" }

// GoString is String.
func (u *Upstream) GoString() string { return u.String() }

// Slots are allocated in chunks, so that a new one moves no other.
const upstreamChunkLength = 1024

type upstreamChunk [upstreamChunkLength]atomic.Pointer[Upstream]

// upstream returns what is in a slot, counted from 1.
func (o *owners) upstream(slot uint32) *Upstream { return o.slot(slot).Load() }

func (o *owners) slot(slot uint32) *atomic.Pointer[Upstream] {
	return &(*o.upstreams.Load())[(slot-1)/upstreamChunkLength][(slot-1)%upstreamChunkLength]
}

// setUpstreams sets the credentials of users by their keys; nil removes one.
func (o *owners) setUpstreams(all map[string]*Upstream) {
	o.mu.Lock()
	defer o.mu.Unlock()
	added := false
	add := func(key string) {
		if all[key] != nil && key != "" && o.slots[key] == 0 {
			o.addSlot(key)
			added = true
		}
	}
	for key := range all {
		if o.slots[key] == 0 {
			for owner := range o.numbers {
				add(owner.Key) // whose memory is there already
			}
			break
		}
	}
	for key, u := range all {
		add(key)
		if slot := o.slots[key]; slot != 0 {
			o.slot(slot).Store(u)
		}
	}
	if !added {
		return
	}
	for owner, n := range o.numbers {
		o.setBits(n, maxSlot<<slotShift, o.slots[owner.Key]<<slotShift)
	}
}

// addSlot adds a slot for a user. It stays when the credential goes; the number of users bounds them.
func (o *owners) addSlot(key string) uint32 {
	if o.slots == nil {
		o.slots = make(map[string]uint32)
	}
	slot := uint32(len(o.slots)) + 1
	if slot > maxSlot {
		panic("index: too many upstream credentials") // a slot would be another user's
	}
	if (slot-1)%upstreamChunkLength == 0 {
		var chunks []*upstreamChunk
		if shown := o.upstreams.Load(); shown != nil {
			chunks = *shown
		}
		chunks = append(chunks, new(upstreamChunk))
		o.upstreams.Store(&chunks)
	}
	o.slots[key] = slot
	return slot
}

// Upstream returns the upstream credential of the user with a key, or nil.
func (x *Index) Upstream(key string) *Upstream {
	x.owners.mu.Lock()
	defer x.owners.mu.Unlock()
	if slot := x.owners.slots[key]; slot != 0 && key != "" {
		return x.owners.upstream(slot)
	}
	return nil
}

// UpstreamUsers returns the keys of the users with an upstream credential, in no order.
func (x *Index) UpstreamUsers() (keys []string) {
	x.owners.mu.Lock()
	defer x.owners.mu.Unlock()
	for key, slot := range x.owners.slots {
		if x.owners.upstream(slot) != nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// SetUpstreams sets the upstream credentials of users by their keys; nil removes one. The owners of
// tokens with that key, under any name, have it at once, and new ones from their first token on.
func (x *Index) SetUpstreams(all map[string]*Upstream) { x.owners.setUpstreams(all) }
