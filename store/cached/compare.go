package cached

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tokengate/tokengate/store"
)

// errBehind means that the feed has not delivered what a comparison needs.
var errBehind = errors.New("the store has not reported its changes for too long")

// KeepCompared compares the tokens in memory with those of the store now and then, until ctx ends, and corrects
// each difference. There is none, unless the store, the network or this program has lost a change. report receives
// the ids of tokens that differed, or why a comparison failed. It returns at once for a store that
// only this process changes.
func (x *Store) KeepCompared(ctx context.Context, report func(differing []string, err error)) {
	s, ok := x.durable.(store.Versioned)
	if !ok {
		return
	}
	for {
		// Servers that started together compare at different times.
		every := time.Duration((0.75 + 0.5*rand.Float64()) * float64(s.CompareEvery()))
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
		differing, err := x.compare(ctx, s)
		if ctx.Err() == nil {
			report(differing, err)
		}
	}
}

// difference is a token whose version in the index was another one than in the store's snapshot.
type difference struct {
	id       string
	revision uint64 // in the snapshot; 0: it was not there
}

// compare compares revisions, and corrects the tokens that differ. A token that differs from the snapshot may have changed
// since, or its change may be on the way. So it counts only if the index still has the old version after the feed has
// delivered everything up to the snapshot.
func (x *Store) compare(ctx context.Context, s store.Versioned) (differing []string, err error) {
	seed := maphash.MakeSeed()
	var found []uint64 // hashes of ids, because a million ids take much memory
	var differences []difference
	at, err := s.Revisions(ctx, func(id string, revision uint64) {
		found = append(found, maphash.String(seed, id))
		if of, ok := x.index.Revision(id); !ok || of != revision {
			differences = append(differences, difference{id, revision})
		}
	})
	if err == nil {
		err = x.waitFresh(ctx, time.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("compare the tokens in memory with the store: %w", err)
	}
	slices.Sort(found)
	for id, revision := range x.index.Revisions() {
		if _, ok := slices.BinarySearch(found, maphash.String(seed, id)); !ok && revision <= at {
			differences = append(differences, difference{id, 0})
		}
	}
	for _, d := range differences {
		if x.correct(ctx, d, at) {
			differing = append(differing, d.id)
		}
	}
	return differing, ctx.Err()
}

// correct rereads a token unless the index has the snapshot's version or a later one, and reports whether
// it was wrong. A wrong one that cannot be read is removed from the index, until the next comparison.
func (x *Store) correct(ctx context.Context, d difference, at uint64) bool {
	x.mu.Lock()
	of, ok := x.index.Revision(d.id)
	wrong := ok && of != d.revision && of <= at
	if wrong && of > d.revision {
		x.remove(d.id) // the store's version would not replace it
	}
	x.mu.Unlock()
	if ok && !wrong || !ok && d.revision == 0 {
		return false
	}
	x.reload(ctx, d.id)
	x.mu.Lock()
	defer x.mu.Unlock()
	now, known := x.index.Revision(d.id)
	if wrong && known && now == of {
		x.removals++
		x.index.Remove(d.id)
	}
	return wrong || known // otherwise it was removed since
}

// waitFresh waits until the feed has delivered everything from before an instant.
func (x *Store) waitFresh(ctx context.Context, instant time.Time) error {
	const poll = 100 * time.Millisecond
	for deadline := time.Now().Add(maxAge); ; {
		x.mu.Lock()
		fresh := !x.fresh.Before(instant)
		x.mu.Unlock()
		switch {
		case fresh:
			return nil
		case time.Now().After(deadline):
			return errBehind
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
