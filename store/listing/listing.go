// Package listing holds the columns of all tokens that administrators search and sort, in memory.
// Start reading at Listing.Find.
package listing

import (
	"context"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Listing holds the fields of every token, revoked ones included, that administrators filter and
// sort by. All methods are safe for concurrent use.
//
// It is designed for a million tokens and is separate from the index: no decision uses it. The
// fields are stored in columns without pointers. A search reads every row, chunk by chunk, and a
// write waits for at most one chunk. A token takes about 90 bytes plus its name, a distinct owner
// about 100.
type Listing struct {
	// searchSlot holds one value while a search runs. Searches run one at a time, to leave the
	// other CPUs to requests. It is a channel, because waiting for it ends with the context.
	searchSlot chan struct{}

	mu     sync.RWMutex
	chunks []*rowChunk
	rows   uint32           // rows ever used
	free   []uint32         // rows that are free again
	ids    map[rowID]uint32 // the rows

	// An owner stays after the last of its tokens is removed; the number of users bounds them.
	// Elements never change, so that a copy can be read without a lock.
	owners       []store.Owner // by number; distinct
	ownerNumbers map[store.Owner]uint32
}

// New returns an empty listing.
func New() *Listing {
	return &Listing{
		searchSlot:   make(chan struct{}, 1),
		ids:          make(map[rowID]uint32),
		ownerNumbers: make(map[store.Owner]uint32),
	}
}

// Put adds or replaces tokens, which are normalized and valid (see Normalize and Validate). Their
// usage is kept.
func (l *Listing) Put(tokens ...store.Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range tokens {
		row, there := l.ids[idOf(tokens[i].ID)]
		l.put(&tokens[i], row, there)
	}
}

// Add is Put for tokens that are not in the listing, which is faster.
func (l *Listing) Add(tokens []store.Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range tokens {
		l.put(&tokens[i], 0, false)
	}
}

// put fills a token's row, a new one unless there is one.
func (l *Listing) put(t *store.Token, row uint32, there bool) {
	if !there {
		row = l.newRow()
	}
	c, i := l.locate(row)
	switch {
	case !there:
		c.id[i] = idOf(t.ID)
		l.ids[c.id[i]] = row
		c.setName(i, t.Name)
	case string(c.nameOf(i)) != t.Name:
		c.discardName(i)
		c.setName(i, t.Name)
	}
	c.flags[i] = flagsOf(t)
	c.number[i] = t.Number
	c.owner[i] = l.ownerNumber(t.Owner)
	c.created[i] = instantOf(t.Created)
	c.expires[i] = instantOf(t.Expires)
	c.compactNames()
}

// Remove removes a token and its usage.
func (l *Listing) Remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	row, there := l.ids[idOf(id)]
	if !there {
		return
	}
	delete(l.ids, idOf(id))
	c, i := l.locate(row)
	c.discardName(i)
	c.flags[i], c.uses[i], c.used[i] = 0, 0, instant{}
	c.compactNames()
	l.free = append(l.free, row)
}

// AddUsage adds usage to tokens. Unknown ids are skipped.
func (l *Listing) AddUsage(usage map[string]store.Usage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, u := range usage {
		row, there := l.ids[idOf(id)]
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

// ownerNumber returns the number of an owner, and adds the owner if it is new.
func (l *Listing) ownerNumber(owner store.Owner) uint32 {
	n, known := l.ownerNumbers[owner]
	if !known {
		n = uint32(len(l.owners))
		l.owners = append(l.owners, owner)
		l.ownerNumbers[owner] = n
	}
	return n
}

// Owned summarizes an owner's live tokens.
type Owned struct {
	Owner    store.Owner
	Tokens   int       // tokens that are not revoked; may be expired
	LastUsed time.Time // the latest flushed use of any of them; zero: never
}

// Owners returns every distinct owner that has live tokens, in no particular order. Owners with
// different spellings or keys are distinct. Its only error is the context's.
func (l *Listing) Owners(ctx context.Context) ([]Owned, error) {
	if err := l.beginSearch(ctx); err != nil {
		return nil, err
	}
	defer l.endSearch()
	var live []int
	var used []uint64
	err := l.eachChunk(false, func(c *rowChunk) {
		if more := len(l.owners) - len(live); more > 0 {
			live, used = append(live, make([]int, more)...), append(used, make([]uint64, more)...)
		}
		for i, f := range &c.flags {
			if f != 0 && f.state() != store.Revoked {
				owner := c.owner[i]
				live[owner]++
				used[owner] = max(used[owner], c.used[i].value())
			}
		}
	}, ctx.Err)
	if err != nil {
		return nil, err
	}
	owners := l.ownersSnapshot()
	var all []Owned
	for n := range live {
		if live[n] > 0 {
			all = append(all, Owned{owners[n], live[n], timeOf(used[n])})
		}
	}
	return all, nil
}

// ownersSnapshot returns the current owners by number.
func (l *Listing) ownersSnapshot() []store.Owner {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.owners
}
