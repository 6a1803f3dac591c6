package store

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync/atomic"
	"time"
)

// Entry is what a decision needs to know of a token, as it is at the instant of
// the lookup. A later change of the token does not change it.
type Entry struct {
	Kind        Kind
	Owner       string      // the owner's name as Jira spells it; empty if Kind is Management
	OwnerStatus OwnerStatus // the owner's, as Judge said last
	Expires     time.Time   // zero: never
	ReadOnly    bool
	State       State // never Revoked
	Networks    []netip.Prefix
	Secret      Secret
	Previous    Previous
	Limiter     *Limiter // nil: none
}

// Expired reports whether the token has reached its end at now.
func (e *Entry) Expired(now time.Time) bool {
	return !e.Expires.IsZero() && !now.Before(e.Expires)
}

// Index answers lookups from memory. The zero Index is empty and ready; all
// methods are safe for concurrent use.
//
// It is made for a million tokens beside a busy server. Lookups take no lock
// and wait for nobody. A write locks and changes one of many shards. Tokens lie
// in memory without pointers, so that the garbage collector has little to
// follow. A token takes 128 bytes and about 20 more for finding it; one with
// networks or an old secret takes some 150 more.
type Index struct {
	shards     [1 << shardBits]shard
	owners     owners
	freshUntil atomic.Int64 // until when the standings hold, in Unix nanoseconds
}

const shardBits = 8

// seed makes a token's place in the index differ from process to process.
var seed = maphash.MakeSeed()

// shard returns the shard of the token with this id, and the id's hash. The
// shard is chosen by the hash's highest bits, the place in it by others.
func (x *Index) shard(id string) (*shard, uint64) {
	hash := maphash.String(seed, id)
	return &x.shards[hash>>(64-shardBits)], hash
}

// Lookup returns the entry of the token with this id. ok is false for a token
// that is not there or is revoked. The entry is a copy, because the index holds
// none: its tokens have no pointers.
func (x *Index) Lookup(id string) (e Entry, ok bool) {
	s, hash := x.shard(id)
	c, t := s.find(hash, id)
	if c == nil || c.state == Revoked {
		return Entry{}, false
	}
	e = Entry{
		Kind:     c.kind,
		ReadOnly: c.readOnly,
		State:    c.state,
		Secret:   c.secret,
	}
	e.Owner, e.OwnerStatus = x.owners.lookup(c.owner)
	if c.expires != 0 {
		e.Expires = time.Unix(c.expires, 0).UTC()
	}
	if c.restrictions != 0 {
		l := &t.restrictions[c.restrictions-1]
		e.Networks, e.Previous, e.Limiter = l.networks, l.previous, l.limiter
	}
	return e, true
}

// Put makes the index say what t says, which is normalized and valid (see
// Normalize and Validate). The index keeps t's Networks; they must not change any
// more.
func (x *Index) Put(t Token) {
	f := tokenData{
		owner:    x.owners.numberOf(t.Owner),
		state:    t.State,
		kind:     t.Kind,
		readOnly: t.ReadOnly,
		secret:   t.Secret,
	}
	copy(f.id[:], t.ID)
	if !t.Expires.IsZero() {
		f.expires = t.Expires.Unix()
	}
	s, hash := x.shard(t.ID)
	s.put(hash, f, restrictions{networks: t.Networks, previous: t.Previous}, t.Rate)
}

// StatusFunc asks how the owners of tokens stand, now and whenever a new one comes,
// until the next call: judge must be fast and not call the Index. What it says
// holds before the given instant. Until the first call, and from that instant
// on, nothing is known of any owner.
func (x *Index) UpdateOwnerStatus(judge StatusFunc, until time.Time) {
	x.owners.updateAll(judge)
	// Beyond these bounds UnixNano means nothing.
	switch {
	case until.Before(time.Unix(0, 0)):
		x.freshUntil.Store(0)
	case until.After(Forever):
		x.freshUntil.Store(math.MaxInt64)
	default:
		x.freshUntil.Store(until.UnixNano())
	}
}

// OwnerStatus returns how an owner stands, as the judge said last.
func (x *Index) OwnerStatus(o Owner) OwnerStatus { return x.owners.statusOf(o) }

// IsFresh reports whether the standings of owners hold at now.
func (x *Index) IsFresh(now time.Time) bool { return now.UnixNano() < x.freshUntil.Load() }

// Remove forgets a token, and the use of it that has not been flushed.
func (x *Index) Remove(id string) {
	s, hash := x.shard(id)
	s.remove(hash, id)
}

// Counts returns how many tokens there are in each state, revoked ones that
// are kept for the record included, and how many of the active ones have
// expired at now.
func (x *Index) Counts(now time.Time) (states map[State]int, expired int) {
	states = map[State]int{Pending: 0, Active: 0, Disabled: 0, Revoked: 0}
	for i := range x.shards {
		for c := range x.shards[i].all() {
			states[c.state]++
			if c.state == Active && c.expires != 0 && c.expires <= now.Unix() {
				expired++
			}
		}
	}
	return states, expired
}
