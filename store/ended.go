package store

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// EndedTokens collects a store's revoked and expired tokens by owner, for PruneEnded. Its methods are safe for
// concurrent use.
type EndedTokens struct {
	at time.Time

	mu      sync.Mutex
	byOwner map[Owner][]ended
}

type ended struct {
	id string
	at int64 // seconds since 1970
}

// NewEndedTokens returns an empty collection of tokens that were revoked or expired at an instant.
func NewEndedTokens(at time.Time) *EndedTokens {
	return &EndedTokens{at: at, byOwner: make(map[Owner][]ended)}
}

// Match reports whether a token is revoked or expired.
func (e *EndedTokens) Match(t Token) bool { return t.State == Revoked || t.Expired(e.at) }

// Add adds a token if it matches.
func (e *EndedTokens) Add(t Token) {
	if !e.Match(t) {
		return
	}
	end := t.Revoked
	if end.IsZero() || !t.Expires.IsZero() && t.Expires.Before(end) {
		end = t.Expires
	}
	owner := Owner{Key: t.Owner.Key} // survives renames
	if owner.Key == "" {
		owner.Name = FoldOwner(t.Owner.Name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byOwner[owner] = append(e.byOwner[owner], ended{t.ID, end.Unix()})
}

// Beyond returns the ids of those that ended first, until at most most of each owner are left.
func (e *EndedTokens) Beyond(most int) (ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, all := range e.byOwner {
		slices.SortFunc(all, func(a, b ended) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
		for _, o := range all[:max(len(all)-most, 0)] {
			ids = append(ids, o.id)
		}
	}
	return ids
}
