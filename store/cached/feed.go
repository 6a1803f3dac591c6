package cached

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/listing"
)

// maxAge is how old the state of the tokens may be for decisions.
const maxAge = 30 * time.Second

// retryAfter is the time from the start of one Watch to that of the next, at least.
const retryAfter = time.Second

// follow watches the store again each time a watch fails, until ctx ends or the store is closed.
// Meanwhile the index keeps what it has, and becomes stale if that takes long.
func (x *Store) follow(ctx context.Context, ended <-chan error) {
	began := time.Now()
	err := <-ended
	for {
		select {
		case <-time.After(retryAfter - time.Since(began)):
		case <-ctx.Done():
		}
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return
		}
		began = time.Now()
		err = x.Watch(ctx, &laterFeed{feed: feed{store: x}, found: make(map[string]struct{})})
	}
}

// feed updates the index and the listing with the changes of a store.
type feed struct{ store *Store }

// Changed implements store.Feed. A change that is older than the latest one and is about an unknown
// token is late or repeated, and the token was removed.
func (f feed) Changed(t store.Token) {
	x := f.store
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, known := x.index.Revision(t.ID); !known && t.Revision < x.revision {
		return
	}
	x.revision = max(x.revision, t.Revision)
	x.put(t)
}

// Removed implements store.Feed.
func (f feed) Removed(id string, revision uint64) {
	x := f.store
	x.mu.Lock()
	defer x.mu.Unlock()
	x.revision = max(x.revision, revision)
	x.remove(id)
}

// remove removes a token. The caller holds the lock.
func (x *Store) remove(id string) {
	x.removals++
	x.index.Remove(id)
	x.listing.Remove(id)
}

// Fresh implements store.Feed.
func (f feed) Fresh(at time.Time) {
	x := f.store
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fresh = at
	x.index.SetTokensFresh(at.Add(maxAge))
}

// firstFeed fills an empty index, which nobody uses yet.
type firstFeed struct {
	feed
	batch  tokenBatcher
	loaded chan struct{} // closed when the snapshot is complete
}

// Snapshot implements store.Feed.
func (f *firstFeed) Snapshot(t store.Token) {
	f.store.index.Put(t)
	f.batch.add(t)
}

// Complete implements store.Feed.
func (f *firstFeed) Complete(revision uint64) {
	f.batch.flush()
	f.store.revision = revision
	close(f.loaded)
}

// laterFeed updates an index in use: each token at once, because none can become older by that,
// and at the end it removes those that are no longer in the store.
type laterFeed struct {
	feed
	found map[string]struct{} // ids; guarded by the store's lock
}

// Snapshot implements store.Feed.
func (f *laterFeed) Snapshot(t store.Token) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	f.found[t.ID] = struct{}{}
	f.store.put(t)
}

// Complete implements store.Feed.
func (f *laterFeed) Complete(revision uint64) {
	x := f.store
	x.mu.Lock()
	defer x.mu.Unlock()
	var gone []string
	for id, of := range x.index.Revisions() {
		if _, found := f.found[id]; !found && of <= revision {
			gone = append(gone, id)
		}
	}
	for _, id := range gone {
		x.remove(id)
	}
	x.removals++ // of tokens that the index does not have yet
	x.revision, f.found = max(x.revision, revision), nil
}

// tokenBatcher adds new tokens to a listing in batches, so that concurrent readers of the store
// rarely wait for the listing's lock.
type tokenBatcher struct {
	listing *listing.Listing

	mu      sync.Mutex
	waiting []store.Token
	spare   []store.Token // empty, for reuse
}

const tokenBatchLength = 256

func (in *tokenBatcher) add(t store.Token) {
	in.mu.Lock()
	in.waiting = append(in.waiting, t)
	if len(in.waiting) < tokenBatchLength {
		in.mu.Unlock()
		return
	}
	full := in.waiting
	in.waiting, in.spare = in.spare, nil
	in.mu.Unlock()

	in.listing.Add(full)
	in.mu.Lock()
	in.spare = full[:0]
	in.mu.Unlock()
}

// flush adds the tokens that are still waiting.
func (in *tokenBatcher) flush() { in.listing.Add(in.waiting) }
