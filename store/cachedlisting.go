package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// tokenBatcher puts many tokens into an empty listing, each once, so many at a time that those who bring
// them seldom wait for each other: the listing has one lock only.
type tokenBatcher struct {
	listing *Listing

	mu      sync.Mutex
	waiting []Token
	spare   []Token // empty, to be used again
}

const tokenBatchLength = 256

func (in *tokenBatcher) add(t Token) {
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

// flush puts what is still waiting into the listing.
func (in *tokenBatcher) flush() { in.listing.Add(in.waiting) }

// usageLoad is how far a reading has come.
type usageLoad struct {
	done chan struct{} // closed at its end
	err   error         // what ended it too early; to be looked at when it has ended
}

// loadUsage begins to read the use of all tokens into the listing, and returns when
// the store has settled on what it will read. It takes no part of the start's
// time. What is flushed meanwhile comes on top, before or after.
func (x *Cached) loadUsage(ctx context.Context) {
	x.usageLoad.done = make(chan struct{})
	settled := make(chan struct{})
	go func() {
		var first sync.Once
		batch := make(map[string]Usage, MaxUsageBatch)
		flush := func() {
			x.listing.AddUsage(batch)
			clear(batch)
		}
		err := x.durable.AllUsage(ctx, func(id string, u Usage) error {
			first.Do(func() { close(settled) })
			if batch[id] = u; len(batch) == MaxUsageBatch {
				flush()
			}
			return nil
		})
		flush()
		first.Do(func() { close(settled) })
		if err != nil {
			x.usageLoad.err = fmt.Errorf("read the use of all tokens: %w", err)
		}
		close(x.usageLoad.done)
	}()
	<-settled
}

// AddUsage adds to the use of tokens: see Store. What a store has added though it
// returned an error, the listing does not know before the next start.
func (x *Cached) AddUsage(ctx context.Context, usage map[string]Usage) error {
	if err := x.durable.AddUsage(ctx, usage); err != nil {
		return err
	}
	x.listing.AddUsage(usage)
	return nil
}

// Find returns a page of the tokens that a query selects: see Listing. Of their
// usageLoad it knows what has been flushed. A query about use waits, soon after the
// start, until the listing has read all use there is, and fails where it could
// not read it; none other does.
func (x *Cached) Find(ctx context.Context, q Query) (Result, error) {
	if q.NeedsUsage() {
		select {
		case <-x.usageLoad.done:
			if x.usageLoad.err != nil {
				return Result{}, fmt.Errorf("find tokens by their use: %w", x.usageLoad.err)
			}
		case <-ctx.Done():
			return Result{}, fmt.Errorf("find tokens by their use: %w", ctx.Err())
		}
	}
	return x.listing.Find(ctx, q)
}

// Owners returns the owners of live tokens: see Listing. Soon after the start a
// usageLoad may be missing.
func (x *Cached) Owners(ctx context.Context) ([]Owned, error) { return x.listing.Owners(ctx) }

// Counts returns how many tokens there are in each state: see Listing.
func (x *Cached) Counts(ctx context.Context, now time.Time) (states map[State]int, expired int, err error) {
	return x.listing.Counts(ctx, now)
}
