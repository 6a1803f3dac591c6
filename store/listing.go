package store

import (
	"context"
	"hash/maphash"
	"sync"
	"time"
)

// Listing keeps of every token, revoked ones included, what an administrator's
// list is filtered and sorted by. All methods are safe for concurrent use.
//
// It is made for a million tokens, beside the index and apart from it: a
// decision never looks here. A token's facts lie in columns without pointers. A
// search looks at every row, one chunk of them at a time, so that a write waits
// for one chunk at most. A token takes its name's length and some 70 bytes more,
// eachChunk owner some 50.
type Listing struct {
	// searchSlot holds one value while a search runs. One at a time leaves the
	// other processors to requests. It is a channel because waiting for it ends
	// with the context.
	searchSlot chan struct{}

	mu     sync.RWMutex
	chunks []*rowChunk
	rows   uint32               // rows that were ever given out
	free   []uint32             // those of them that are free again
	ids    [1 << partBits]hashTable // lead to rows
	owners listedOwners
}

// NewListing returns an empty listing.
func NewListing() *Listing { return &Listing{searchSlot: make(chan struct{}, 1)} }

// Put makes the listing say what the tokens say, which are normalized and valid
// (see Normalize and Validate). What is known of their use stays.
func (l *Listing) Put(tokens ...Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range tokens {
		hash := maphash.String(seed, tokens[i].ID)
		row, there := l.find(hash, tokens[i].ID)
		l.put(&tokens[i], hash, row, there)
	}
}

// Add is Put of tokens that are not there: it does not look for them.
func (l *Listing) Add(tokens []Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range tokens {
		l.put(&tokens[i], maphash.String(seed, tokens[i].ID), 0, false)
	}
}

// put fills a token's row, which is a new one unless it is there.
func (l *Listing) put(t *Token, hash uint64, row uint32, there bool) {
	if !there {
		row = l.newRow()
	}
	c, i := l.locate(row)
	switch {
	case !there:
		copy(c.id[i][:], t.ID)
		l.idTable(hash).add(hash, row, l.hashOf)
		c.setName(i, t.Name)
	case string(c.nameOf(i)) != t.Name:
		c.discardName(i)
		c.setName(i, t.Name)
	}
	c.flags[i] = flagsOf(t)
	c.number[i] = t.Number
	c.owner[i] = l.owners.numberOf(t.Owner)
	c.created[i] = instantOf(t.Created)
	c.expires[i] = instantOf(t.Expires)
	c.compactNames()
}

// Remove forgets a token and its use.
func (l *Listing) Remove(id string) {
	hash := maphash.String(seed, id)
	l.mu.Lock()
	defer l.mu.Unlock()
	row, there := l.find(hash, id)
	if !there {
		return
	}
	l.idTable(hash).remove(hash, row, l.hashOf)
	c, i := l.locate(row)
	c.discardName(i)
	c.flags[i], c.uses[i], c.used[i] = 0, 0, instant{}
	c.compactNames()
	l.free = append(l.free, row)
}

// AddUsage adds to what is known of the use of tokens. Those that are not there
// are skipped.
func (l *Listing) AddUsage(usage map[string]Usage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, u := range usage {
		row, there := l.find(maphash.String(seed, id), id)
		if !there {
			continue
		}
		c, i := l.locate(row)
		c.uses[i] += u.Count
		if at := instantOf(u.LastUsed); at.value() > c.used[i].value() {
			c.used[i] = at
		}
	}
}

// Counts returns how many tokens there are in each state, and how many of the
// active ones have expired at now. The only error is the context's.
func (l *Listing) Counts(ctx context.Context, now time.Time) (states map[State]int, expired int, err error) {
	if err := l.beginSearch(ctx); err != nil {
		return nil, 0, err
	}
	defer l.endSearch()
	var count [stateFlags + 1]int
	ended := expiredBy(now)
	err = l.eachChunk(false, func(c *rowChunk) {
		for i, f := range &c.flags {
			count[f.state()]++
			if f.state() == Active && ended.contains(c.expires[i].value()) {
				expired++
			}
		}
	}, ctx.Err)
	if err != nil {
		return nil, 0, err
	}
	states = make(map[State]int)
	for s := Pending; s.known(); s++ {
		states[s] = count[s]
	}
	return states, expired, nil
}

// beginSearch waits for other searches to end.
func (l *Listing) beginSearch(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case l.searchSlot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Listing) endSearch() { <-l.searchSlot }
