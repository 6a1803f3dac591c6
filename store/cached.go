package store

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// Cached is a Store with an Index and a Listing that say the same: when a write
// of its own returns, the next lookup sees it. All writes to the store must go
// through it.
type Cached struct {
	durable // reads and the audit log go straight to the store
	index   Index
	listing *Listing // shares no line of a processor's cache with the index
	usageLoad     usageLoad  // of the tokens' use into the listing

	// A write holds its token's lock from before the store is asked until the
	// index has been told. Otherwise the slower of two updates could tell the
	// index last though the store took it first, and bring back a token that
	// is revoked. Tokens share locks; that costs a wait, never more.
	locks [256]sync.Mutex
}

// durable keeps the embedded store out of Indexed's exported fields.
type durable = Store

// rereadTimeout bounds the look at the record after a write of unknown
// outcome.
const rereadTimeout = 5 * time.Second

// NewCached reads every token of s into a fresh index and a fresh listing. It
// fails if one of them cannot be read: an index with holes would refuse good
// tokens. The listing reads their use after that, for as long as ctx lasts (see
// Find).
func NewCached(ctx context.Context, s Store) (*Cached, error) {
	x := &Cached{durable: s, listing: NewListing()}
	list := tokenBatcher{listing: x.listing}
	err := s.All(ctx, func(t Token) error {
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

// Index returns the index, for lookups.
func (x *Cached) Index() *Index { return &x.index }

// lockToken takes the lock of the token with this id; the caller calls the result.
func (x *Cached) lockToken(id string) (unlock func()) {
	mu := &x.locks[maphash.String(seed, id)%uint64(len(x.locks))]
	mu.Lock()
	return mu.Unlock
}

// Create adds a token: see Store.
func (x *Cached) Create(ctx context.Context, t Token, admit func(owned []Token) (Audit, error)) (Token, error) {
	defer x.lockToken(t.ID)()
	refused := false
	created, err := x.durable.Create(ctx, t, func(owned []Token) (Audit, error) {
		a, err := admit(owned)
		refused = err != nil
		return a, err
	})
	return x.applyResult(ctx, t.ID, created, err, refused)
}

// Update changes a token: see Store. change must not call the store, this
// token's lock is held while it runs.
func (x *Cached) Update(ctx context.Context, id string, change func(t *Token) (Audit, error)) (Token, error) {
	defer x.lockToken(id)()
	refused := false
	updated, err := x.durable.Update(ctx, id, func(t *Token) (Audit, error) {
		a, err := change(t)
		refused = err != nil
		return a, err
	})
	return x.applyResult(ctx, id, updated, err, refused)
}

// applyResult tells the index what came of a write. refused says that the caller's
// own closure ended it, so that nothing can have been written.
func (x *Cached) applyResult(ctx context.Context, id string, t Token, err error, refused bool) (Token, error) {
	switch {
	case err == nil:
		x.put(t)
	case refused || errors.Is(err, ErrClosed):
	default:
		x.reload(ctx, id)
	}
	return t, err
}

// add gives the index a token that shares no memory with the caller's.
func (x *Cached) put(t Token) {
	t.Networks = slices.Clone(t.Networks)
	x.index.Put(t)
	x.listing.Put(t)
}

// reload makes the index say what the store says. A store that cannot tell
// may hold a revocation, so the token is then taken out of the index: better
// to refuse a good token than to let in a revoked one. The listing, which lets
// nobody in, goes on showing it. The caller's context may be the reason why the
// write failed, so it does not end this look.
func (x *Cached) reload(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rereadTimeout)
	defer cancel()
	t, err := x.durable.Get(ctx, id)
	if err != nil {
		x.index.Remove(id)
		if errors.Is(err, ErrNotFound) {
			x.listing.Remove(id)
		}
		return
	}
	x.put(t)
}

// Prune removes old tokens: see Store.
func (x *Cached) Prune(ctx context.Context, before time.Time, record func(Token) Audit) ([]string, error) {
	removed, err := x.durable.Prune(ctx, before, record)
	for _, id := range removed {
		x.remove(ctx, id)
	}
	return removed, err
}

// PruneEnded removes ended tokens: see Store.
func (x *Cached) PruneEnded(ctx context.Context, at time.Time, most int, record func(Token) Audit) ([]string, error) {
	removed, err := x.durable.PruneEnded(ctx, at, most, record)
	for _, id := range removed {
		x.remove(ctx, id)
	}
	return removed, err
}

// remove takes a removed token out of the index once a running update of it
// has told the index, and asks the store in case the id is there again.
func (x *Cached) remove(ctx context.Context, id string) {
	defer x.lockToken(id)()
	x.reload(ctx, id)
}
