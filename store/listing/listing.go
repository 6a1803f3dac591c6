// Package listing holds the columns of all tokens that administrators search and sort, in memory.
// Start reading at Listing.Find.
package listing

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Listing holds the fields of every token, revoked ones included, that administrators filter and
// sort by. All methods are safe for concurrent use.
//
// It is designed for a million tokens and is separate from the index: no decision uses it. The
// fields are stored in columns without pointers. A search reads every row, chunk by chunk, and a
// write waits for at most one chunk. A token takes about 70 bytes plus its name, a distinct owner
// about 50.
type Listing struct {
	// searchSlot holds one value while a search runs. Searches run one at a time, to leave the
	// other CPUs to requests. It is a channel, because waiting for it ends with the context.
	searchSlot chan struct{}

	mu     sync.RWMutex
	chunks []*rowChunk
	rows   uint32                   // rows ever used
	free   []uint32                 // rows that are free again
	ids    [1 << partBits]hashTable // from ids to rows
	owners listedOwners
}

// New returns an empty listing.
func New() *Listing { return &Listing{searchSlot: make(chan struct{}, 1)} }

// Put adds or replaces tokens, which are normalized and valid (see Normalize and Validate). Their
// usage is kept.
func (l *Listing) Put(tokens ...store.Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range tokens {
		hash := maphash.String(listingSeed, tokens[i].ID)
		row, there := l.find(hash, tokens[i].ID)
		l.put(&tokens[i], hash, row, there)
	}
}

// Add is Put for tokens that are not in the listing, which is faster.
func (l *Listing) Add(tokens []store.Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range tokens {
		l.put(&tokens[i], maphash.String(listingSeed, tokens[i].ID), 0, false)
	}
}

// put fills a token's row, a new one unless there is one.
func (l *Listing) put(t *store.Token, hash uint64, row uint32, there bool) {
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

// Remove removes a token and its usage.
func (l *Listing) Remove(id string) {
	hash := maphash.String(listingSeed, id)
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

// AddUsage adds usage to tokens. Unknown ids are skipped.
func (l *Listing) AddUsage(usage map[string]store.Usage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, u := range usage {
		row, there := l.find(maphash.String(listingSeed, id), id)
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

// listedOwners are the distinct owners of the listed tokens, each with a number. An owner stays
// after the last of its tokens is removed; the number of users bounds them. A copy may be read
// without a lock, because existing elements never change.
type listedOwners struct {
	begin []uint32  // by number: offset in texts
	texts []byte    // names and keys, each prefixed with its length
	names hashTable // from names to numbers
}

// name returns the name of the owner with a number.
func (o *listedOwners) name(number uint32) []byte {
	name, _ := splitText(o.texts[o.begin[number]:])
	return name
}

func (o *listedOwners) owner(number uint32) store.Owner {
	name, behind := splitText(o.texts[o.begin[number]:])
	key, _ := splitText(behind)
	return store.Owner{Name: string(name), Key: string(key)}
}

// numberOf returns the number of an owner, and adds the owner if it is new.
func (o *listedOwners) numberOf(owner store.Owner) uint32 {
	hash := maphash.String(listingSeed, owner.Name)
	n, known := o.names.find(hash, func(n uint32) bool {
		name, behind := splitText(o.texts[o.begin[n]:])
		if string(name) != owner.Name {
			return false
		}
		key, _ := splitText(behind)
		return string(key) == owner.Key
	})
	if known {
		return n
	}
	n = uint32(len(o.begin))
	o.begin = append(o.begin, uint32(len(o.texts)))
	o.texts = appendText(appendText(o.texts, owner.Name), owner.Key)
	o.names.add(hash, n, func(n uint32) uint64 { return maphash.Bytes(listingSeed, o.name(n)) })
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
		if more := len(l.owners.begin) - len(live); more > 0 {
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
			all = append(all, Owned{owners.owner(uint32(n)), live[n], timeOf(used[n])})
		}
	}
	return all, nil
}

// ownersSnapshot returns the current owners.
func (l *Listing) ownersSnapshot() listedOwners {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return listedOwners{begin: l.owners.begin, texts: l.owners.texts}
}
