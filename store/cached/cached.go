// Package cached ties a durable store to an index and a listing: a write is acknowledged after all
// three have it. Start reading at New.
package cached

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
	"github.com/tokengate/tokengate/store/listing"
)

// Store is a Store with an Index and a Listing that are kept in sync: when a write returns, the
// next lookup sees it. All writes to the store must go through it.
type Store struct {
	durable   // most reads and the audit log go directly to the store
	index     index.Index
	listing   *listing.Listing // a pointer, so that it shares no cache line with the index
	usageLoad usageLoad        // of all usage into the listing

	// A write holds its token's lock until the index is updated. Otherwise two updates could
	// reach the index in another order than the store, and bring back a revoked token. Tokens
	// share locks, which can only cost a wait.
	locks [256]sync.Mutex
}

// durable keeps the embedded store unexported.
type durable = store.Store

// rereadTimeout is the timeout of reading a record after a write with an unknown outcome.
const rereadTimeout = 5 * time.Second

// New reads every token of s into a new index and listing, and fails if one cannot be read:
// an incomplete index would refuse valid tokens. The listing reads the tokens' usage afterwards,
// until ctx ends (see Find).
func New(ctx context.Context, s store.Store) (*Store, error) {
	x := &Store{durable: s, listing: listing.New()}
	list := tokenBatcher{listing: x.listing}
	err := s.All(ctx, func(t store.Token) error {
		x.index.Put(t)
		list.add(t)
		return nil
	})
	list.flush()
	if err != nil {
		return nil, fmt.Errorf("read all tokens into the index: %w", err)
	}
	x.loadUsage(ctx)
	return x, nil
}

// Index returns the index.
func (x *Store) Index() *index.Index { return &x.index }

var lockSeed = maphash.MakeSeed()

// lockToken locks the token with this id; the caller calls unlock.
func (x *Store) lockToken(id string) (unlock func()) {
	mu := &x.locks[maphash.String(lockSeed, id)%uint64(len(x.locks))]
	mu.Lock()
	return mu.Unlock
}

// Create adds a token: see Store.
func (x *Store) Create(ctx context.Context, t store.Token, admit func(owned []store.Token) (store.Audit, error)) (store.Token, error) {
	defer x.lockToken(t.ID)()
	refused := false
	created, err := x.durable.Create(ctx, t, func(owned []store.Token) (store.Audit, error) {
		a, err := admit(owned)
		refused = err != nil
		return a, err
	})
	return x.applyResult(ctx, t.ID, created, err, refused)
}

// Update changes a token: see Store. It holds the token's lock while change runs, so change must
// not call the store.
func (x *Store) Update(ctx context.Context, id string, change func(*store.Token, store.LiveFunc) (store.Audit, error)) (store.Token, error) {
	defer x.lockToken(id)()
	refused := false
	updated, err := x.durable.Update(ctx, id, func(t *store.Token, live store.LiveFunc) (store.Audit, error) {
		a, err := change(t, live)
		refused = err != nil
		return a, err
	})
	return x.applyResult(ctx, id, updated, err, refused)
}

// applyResult updates the index after a write. refused means that the caller's callback ended it,
// so that nothing was written.
func (x *Store) applyResult(ctx context.Context, id string, t store.Token, err error, refused bool) (store.Token, error) {
	switch {
	case err == nil:
		x.put(t)
	case refused || errors.Is(err, store.ErrClosed):
	default:
		x.reload(ctx, id)
	}
	return t, err
}

// put updates index and listing with a copy that shares no memory with the caller's token.
func (x *Store) put(t store.Token) {
	t.Networks = slices.Clone(t.Networks)
	x.index.Put(t)
	x.listing.Put(t)
}

// reload updates the index from the store. If the store fails, the token is removed from the
// index, because it may have been revoked; refusing a valid token is better than accepting a
// revoked one. The listing, which no decision uses, keeps it. The context may be the reason why
// the write failed, so its end does not stop the read.
func (x *Store) reload(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rereadTimeout)
	defer cancel()
	t, err := x.durable.Get(ctx, id)
	if err != nil {
		x.index.Remove(id)
		if errors.Is(err, store.ErrNotFound) {
			x.listing.Remove(id)
		}
		return
	}
	x.put(t)
}

// Prune removes old tokens: see Store.
func (x *Store) Prune(ctx context.Context, before time.Time, record func(store.Token) store.Audit) ([]string, error) {
	removed, err := x.durable.Prune(ctx, before, record)
	for _, id := range removed {
		x.remove(ctx, id)
	}
	return removed, err
}

// PruneEnded removes ended tokens: see Store.
func (x *Store) PruneEnded(ctx context.Context, at time.Time, most int, record func(store.Token) store.Audit) ([]string, error) {
	removed, err := x.durable.PruneEnded(ctx, at, most, record)
	for _, id := range removed {
		x.remove(ctx, id)
	}
	return removed, err
}

// remove updates the index after a prune of the token. It waits for a running update of it, and
// reads the store in case the id exists again.
func (x *Store) remove(ctx context.Context, id string) {
	defer x.lockToken(id)()
	x.reload(ctx, id)
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

// usageLoad is a background read of all usage.
type usageLoad struct {
	done chan struct{} // closed when the read has ended
	err  error         // valid once done is closed
}

// loadUsage starts to read the usage of all tokens into the listing, and returns once the store
// has fixed the snapshot that it reads. Usage flushed meanwhile is added to it.
func (x *Store) loadUsage(ctx context.Context) {
	x.usageLoad.done = make(chan struct{})
	settled := make(chan struct{})
	go func() {
		var first sync.Once
		batch := make(map[string]store.Usage, store.MaxUsageBatch)
		flush := func() {
			x.listing.AddUsage(batch)
			clear(batch)
		}
		err := x.durable.AllUsage(ctx, func(id string, u store.Usage) error {
			first.Do(func() { close(settled) })
			if batch[id] = u; len(batch) == store.MaxUsageBatch {
				flush()
			}
			return nil
		})
		flush()
		first.Do(func() { close(settled) })
		if err != nil {
			x.usageLoad.err = fmt.Errorf("read the usage of all tokens: %w", err)
		}
		close(x.usageLoad.done)
	}()
	<-settled
}

// AddUsage adds usage: see Store. If the store returns an error after adding some, the listing
// misses that until the next start.
func (x *Store) AddUsage(ctx context.Context, usage map[string]store.Usage) error {
	if err := x.durable.AddUsage(ctx, usage); err != nil {
		return err
	}
	x.listing.AddUsage(usage)
	return nil
}

// Find returns a page of the tokens that a query selects: see Listing. Usage is as of the last
// flush. A query that needs usage waits until all usage is loaded after a start, and fails if
// that failed.
func (x *Store) Find(ctx context.Context, q listing.Query) (listing.Result, error) {
	if q.NeedsUsage() {
		select {
		case <-x.usageLoad.done:
			if x.usageLoad.err != nil {
				return listing.Result{}, fmt.Errorf("find tokens by their usage: %w", x.usageLoad.err)
			}
		case <-ctx.Done():
			return listing.Result{}, fmt.Errorf("find tokens by their usage: %w", ctx.Err())
		}
	}
	return x.listing.Find(ctx, q)
}

// Owners returns the owners of live tokens: see Listing. Usage may be missing shortly after a
// start.
func (x *Store) Owners(ctx context.Context) ([]listing.Owned, error) { return x.listing.Owners(ctx) }

// Counts returns the number of tokens in each state: see Listing.
func (x *Store) Counts(ctx context.Context, now time.Time) (states map[store.State]int, expired int, err error) {
	return x.listing.Counts(ctx, now)
}
