package store

import (
	"context"
	"hash/maphash"
	"time"
)

// listedOwners are the distinct owners of the listed tokens, each kept once and
// numbered. One stays when its last token goes: there are as many as there are
// people. A copy is good without a lock: what is there does not change.
type listedOwners struct {
	begin []uint32 // by number: where it begins in texts
	texts []byte   // names and keys, each behind its length
	names hashTable    // lead from a name to numbers
}

// name returns the name of the owner with a number.
func (o *listedOwners) name(number uint32) []byte {
	name, _ := splitText(o.texts[o.begin[number]:])
	return name
}

func (o *listedOwners) owner(number uint32) Owner {
	name, behind := splitText(o.texts[o.begin[number]:])
	key, _ := splitText(behind)
	return Owner{Name: string(name), Key: string(key)}
}

// numberOf returns the number of an owner.
func (o *listedOwners) numberOf(owner Owner) uint32 {
	hash := maphash.String(seed, owner.Name)
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
	o.names.add(hash, n, func(n uint32) uint64 { return maphash.Bytes(seed, o.name(n)) })
	return n
}

// Owned is what an owner has.
type Owned struct {
	Owner    Owner
	Tokens   int       // live ones: not revoked, expired or not
	LastUsed time.Time // the latest flushed use of these; zero: never
}

// Owners returns every distinct owner that has live tokens, in no particular
// order. Spellings and keys that differ are owners that differ. The only error is
// the context's.
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
			if f != 0 && f.state() != Revoked {
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

// ownersSnapshot returns the owners there are now.
func (l *Listing) ownersSnapshot() listedOwners {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return listedOwners{begin: l.owners.begin, texts: l.owners.texts}
}
