// Package index holds the tokens that decisions look up: one record per token in memory, found by
// id without allocation, with its owner's status and pending usage. Start reading at
// Index.Lookup.
package index

import (
	"hash/maphash"
	"iter"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Entry is a copy of what a decision needs to know about a token, taken at the time of the
// lookup.
type Entry struct {
	Kind        store.Kind
	Owner       string      // the owner's name as Jira spells it; empty if Kind is Management
	OwnerStatus OwnerStatus // from the latest UpdateOwnerStatus
	Upstream    *Upstream   // from SetUpstreams; nil: none
	Expires     time.Time   // zero: never
	ReadOnly    bool
	State       store.State // never Revoked
	Networks    []netip.Prefix
	Secret      store.Secret
	Previous    store.Previous
	Limiter     *Limiter // nil: unlimited
}

// Expired reports whether the token has expired at now.
func (e *Entry) Expired(now time.Time) bool {
	return !e.Expires.IsZero() && !now.Before(e.Expires)
}

// Index answers lookups from memory. The zero Index is empty and ready to use; all methods are
// safe for concurrent use.
//
// It is designed for a million tokens. Lookups take no lock. A write locks one of many shards.
// Tokens are stored without pointers, so that the garbage collector has little to scan. A token
// takes 128 bytes and about 20 more in the hash table; networks or a previous secret take about
// 150 more.
type Index struct {
	shards      [1 << shardBits]shard
	dirty       dirtyIDs
	owners      owners
	ownersUntil atomic.Int64 // when the owners' status becomes stale, in Unix nanoseconds
	tokensUntil atomic.Int64 // when the tokens become stale
}

const shardBits = 8

// seed makes a token's position in the index differ between processes.
var seed = maphash.MakeSeed()

// shard returns the shard of a token and the hash of its id. The highest bits of the hash select
// the shard, the others the slot in it.
func (x *Index) shard(id string) (*shard, uint64) {
	hash := maphash.String(seed, id)
	return &x.shards[hash>>(64-shardBits)], hash
}

// Lookup returns the entry of a token; ok is false if there is none or it is revoked.
func (x *Index) Lookup(id string) (e Entry, ok bool) {
	s, hash := x.shard(id)
	found, t := s.find(hash, id)
	if found == nil || found.state == store.Revoked {
		return Entry{}, false
	}
	e = Entry{
		Kind:     found.kind,
		ReadOnly: found.readOnly,
		State:    found.state,
		Secret:   found.secret,
	}
	e.Owner, e.OwnerStatus, e.Upstream = x.owners.lookup(found.owner)
	if found.expires != 0 {
		e.Expires = time.Unix(found.expires, 0).UTC()
	}
	if found.restrictions != 0 {
		l := &t.restrictions[found.restrictions-1]
		e.Networks, e.Previous, e.Limiter = l.networks, l.previous, l.limiter
	}
	return e, true
}

// Put adds or replaces a token, which is normalized and valid (see Normalize and Validate), and
// reports whether it did: an older version never replaces a newer one. The index keeps t's
// Networks, which must not change any more.
func (x *Index) Put(t store.Token) bool {
	data := tokenData{
		owner:    x.owners.numberOf(t.Owner),
		state:    t.State,
		kind:     t.Kind,
		readOnly: t.ReadOnly,
		secret:   t.Secret,
		revision: t.Revision,
	}
	copy(data.id[:], t.ID)
	if !t.Expires.IsZero() {
		data.expires = t.Expires.Unix()
	}
	s, hash := x.shard(t.ID)
	return s.put(hash, data, restrictions{networks: t.Networks, previous: t.Previous}, t.Rate, &x.dirty)
}

// UpdateOwnerStatus recomputes each owner's status with status, which is also used until the next call, when
// a token is put, for its owner unless permitted. The results are valid before the given instant; from then on, and before
// the first call, OwnersFresh returns false. status must be fast and must not call the Index.
func (x *Index) UpdateOwnerStatus(status StatusFunc, until time.Time) {
	x.owners.updateAll(status)
	x.ownersUntil.Store(unixNano(until))
}

// unixNano is UnixNano for all times, which is undefined outside these bounds.
func unixNano(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(store.Forever):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// SetTokensFresh reports that decisions may use the tokens until an instant, because the index has every
// change from shortly before.
func (x *Index) SetTokensFresh(until time.Time) { x.tokensUntil.Store(unixNano(until)) }

// TokensFresh reports whether the tokens are up to date at now. Before the first call of SetTokensFresh they
// are not.
func (x *Index) TokensFresh(now time.Time) bool { return now.UnixNano() < x.tokensUntil.Load() }

// Revision returns the revision of a token's version in the index, which may be revoked.
func (x *Index) Revision(id string) (revision uint64, ok bool) {
	s, hash := x.shard(id)
	e, _ := s.find(hash, id)
	if e == nil {
		return 0, false
	}
	return e.revision, true
}

// Revisions returns the ids and revisions of all tokens. The loop must not call the Index.
func (x *Index) Revisions() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for i := range x.shards {
			for e := range x.shards[i].all() {
				if !yield(string(e.id[:]), e.revision) {
					return
				}
			}
		}
	}
}

// OwnerStatus returns an owner's status. The owner may have no tokens.
func (x *Index) OwnerStatus(o store.Owner) OwnerStatus { return x.owners.statusOf(o) }

// OwnersFresh reports whether the owners' status is up to date at now.
func (x *Index) OwnersFresh(now time.Time) bool { return now.UnixNano() < x.ownersUntil.Load() }

// Remove removes a token and its pending usage.
func (x *Index) Remove(id string) {
	s, hash := x.shard(id)
	s.remove(hash, id)
}

// EndingWithin is the time before its end in which a token counts as ending.
const EndingWithin = 7 * 24 * time.Hour

// Counts has numbers of tokens.
type Counts struct {
	States  map[store.State]int // each state, revoked tokens included
	Expired int                 // active tokens that have expired
	Ending  int                 // active tokens that expire within EndingWithin
}

// Counts counts the tokens at now.
func (x *Index) Counts(now time.Time) Counts {
	c := Counts{States: map[store.State]int{store.Pending: 0, store.Active: 0, store.Disabled: 0, store.Revoked: 0}}
	expired, ending := now.Unix(), now.Add(EndingWithin).Unix()
	for i := range x.shards {
		for e := range x.shards[i].all() {
			c.States[e.state]++
			switch {
			case e.state != store.Active || e.expires == 0:
			case e.expires <= expired:
				c.Expired++
			case e.expires <= ending:
				c.Ending++
			}
		}
	}
	return c
}
