// Package cached ties a durable store to an index and a listing: a write is acknowledged after all
// three have it. Start reading at New.
package cached

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
	"github.com/tokengate/tokengate/store/listing"
)

// Store is a Store with an Index and a Listing that are kept in sync: when a write returns, the
// next lookup sees it, and changes by other processes follow as the store delivers them.
type Store struct {
	durable   // most reads and the audit log go directly to the store
	index     index.Index
	listing   *listing.Listing // a pointer, so that it shares no cache line with the index
	usageLoad usageLoad        // of all usage into the listing
	isShared  bool             // other processes change the store, too

	mu       sync.Mutex // held to change index and listing, and to use the fields below
	revision uint64     // the latest that the feed delivered
	fresh    time.Time  // everything from before was delivered
	removals int        // counts what may have removed a token
}

// durable keeps the embedded store unexported.
type durable = store.Store

// rereadTimeout is the timeout of reading a record after a write with an unknown outcome.
const rereadTimeout = 5 * time.Second

// New reads every token of s into a new index and listing, and fails if one cannot be read:
// an incomplete index would refuse valid tokens. While s does not answer, it tries again until ctx ends. Until then it follows
// the changes of s afterwards, and the listing reads the tokens' usage (see Find).
func New(ctx context.Context, s store.Store) (*Store, error) {
	for {
		x, err := load(ctx, s)
		if !errors.Is(err, store.ErrUnavailable) {
			return x, err
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// load is New with one attempt.
func load(ctx context.Context, s store.Store) (*Store, error) {
	x := &Store{durable: s, listing: listing.New()}
	_, x.isShared = s.(store.Versioned)
	loaded, ended := make(chan struct{}), make(chan error, 1)
	first := &firstFeed{feed: feed{store: x}, batch: tokenBatcher{listing: x.listing}, loaded: loaded}
	go func() { ended <- s.Watch(ctx, first) }()
	select {
	case <-loaded:
	case err := <-ended:
		return nil, fmt.Errorf("read all tokens into the index: %w", err)
	}
	go x.follow(ctx, ended)
	x.loadUsage(ctx)
	return x, nil
}

// Index returns the index.
func (x *Store) Index() *index.Index { return &x.index }

// Create adds a token: see Store.
func (x *Store) Create(ctx context.Context, t store.Token, admit store.AdmitFunc) (store.Token, error) {
	refused, before := false, x.removalCount()
	created, err := x.durable.Create(ctx, t, func(owned []store.Token) (store.Audit, error) {
		a, err := admit(owned)
		refused = err != nil
		return a, err
	})
	x.applyResult(ctx, t.ID, created, err, refused, before)
	return created, err
}

// Update changes a token: see Store.
func (x *Store) Update(ctx context.Context, id string, change store.ChangeFunc) (store.Token, error) {
	refused, before := false, x.removalCount()
	updated, err := x.durable.Update(ctx, id, func(t *store.Token, live store.LiveFunc) (store.Audit, error) {
		a, err := change(t, live)
		refused = err != nil
		return a, err
	})
	x.applyResult(ctx, id, updated, err, refused, before)
	return updated, err
}

// applyResult updates the index after a write. refused means that the caller's callback ended it,
// so that nothing was written. before is the number of removals before the write.
func (x *Store) applyResult(ctx context.Context, id string, t store.Token, err error, refused bool, before int) {
	switch {
	case err == nil && x.putUnlessRemoved(t, before):
	case refused || errors.Is(err, store.ErrClosed):
	case errors.Is(err, store.ErrUnavailable) && x.isShared: // a read would take as long, and the feed brings the outcome
	default:
		x.reload(ctx, id)
	}
}

func (x *Store) removalCount() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.removals
}

// putUnlessRemoved is put for a token that was read after before removals. It fails if there were
// more since, because the token may be one of the removed.
func (x *Store) putUnlessRemoved(t store.Token, before int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.removals != before {
		return false
	}
	x.put(t)
	return true
}

// put updates index and listing, unless they have a newer version, with a copy that shares no
// memory with the caller's token. The caller holds the lock.
func (x *Store) put(t store.Token) {
	t.Networks = slices.Clone(t.Networks)
	if x.index.Put(t) {
		x.listing.Put(t)
	}
}

// reload updates the index from the store. If the store fails, the token is removed from the
// index, because it may have been revoked; refusing a valid token is better than accepting a
// revoked one. The listing, which no decision uses, keeps it. If others change the store, the index keeps the
// token, too: the feed delivers what was written, or the whole index becomes stale. The context may be the reason why
// the write failed, so its end does not stop the read.
func (x *Store) reload(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rereadTimeout)
	defer cancel()
	for {
		before := x.removalCount()
		t, err := x.durable.Get(ctx, id)
		if err != nil {
			x.mu.Lock()
			defer x.mu.Unlock()
			if x.isShared && !errors.Is(err, store.ErrNotFound) {
				return
			}
			x.removals++ // so that no older write brings it back
			x.index.Remove(id)
			if errors.Is(err, store.ErrNotFound) {
				x.listing.Remove(id)
			}
			return
		}
		if x.putUnlessRemoved(t, before) {
			return
		}
	}
}

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
