package store

import (
	"net/netip"
	"sync"
	"time"
)

// Entry is what a decision needs to know of a token. It is never changed once
// it is in an Index: a change puts a new one in its place.
type Entry struct {
	ID       string
	Owner    string // the owner's name as Jira spells it
	Expires  time.Time
	ReadOnly bool
	State    State
	Networks []netip.Prefix
	Secret   Secret
	Previous Previous
}

// Index answers lookups from memory. Revoked tokens are not in it. The zero
// Index is empty and ready; all methods are safe for concurrent use.
type Index struct {
	mu      sync.RWMutex
	entries map[string]*Entry
	revoked map[string]struct{} // ids still kept for the record, for Counts
}

// Lookup returns the entry of the token with this id, or nil.
func (x *Index) Lookup(id string) *Entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.entries[id]
}

// Put makes the index say what t says.
func (x *Index) Put(t Token) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.put(t)
}

func (x *Index) put(t Token) {
	if x.entries == nil {
		x.entries = make(map[string]*Entry)
		x.revoked = make(map[string]struct{})
	}
	if t.State == Revoked {
		delete(x.entries, t.ID)
		x.revoked[t.ID] = struct{}{}
		return
	}
	x.entries[t.ID] = &Entry{
		ID:       t.ID,
		Owner:    t.Owner.Name,
		Expires:  t.Expires,
		ReadOnly: t.ReadOnly,
		State:    t.State,
		Networks: t.Networks,
		Secret:   t.Secret,
		Previous: t.Previous,
	}
}

// Remove forgets a token.
func (x *Index) Remove(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.entries, id)
	delete(x.revoked, id)
}

// Counts returns how many tokens there are in each state, and how many of the
// active ones have expired at now.
func (x *Index) Counts(now time.Time) (states map[State]int, expired int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	states = map[State]int{Pending: 0, Active: 0, Disabled: 0, Revoked: len(x.revoked)}
	for _, e := range x.entries {
		states[e.State]++
		if e.State == Active && e.Expired(now) {
			expired++
		}
	}
	return states, expired
}

// Expired reports whether the token has reached its end at now.
func (e *Entry) Expired(now time.Time) bool {
	return !e.Expires.IsZero() && !now.Before(e.Expires)
}
