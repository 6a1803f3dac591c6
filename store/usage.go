package store

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// MaxUsageBatch is the number of tokens whose usage a Store adds in one
// transaction: AddUsage with at most so many is applied whole or not at all.
const MaxUsageBatch = 500

// Add returns u with the later use v on top: the counts are added, and the
// time and the address are those of the more recent of the two, v's when both
// fall into the same second.
func (u Usage) Add(v Usage) Usage {
	u.Count += v.Count
	u.Writes += v.Writes
	if at := wholeSeconds(v.LastUsed); !at.Before(u.LastUsed) {
		u.LastUsed, u.LastAddress = at, v.LastAddress
	}
	return u
}

// UsageRecorder counts the use of tokens in memory, on the path of a request,
// and writes the counts to the store when it is told to. What was not flushed
// is lost with the process.
type UsageRecorder struct {
	tokens *Cached

	// busy holds one value while a batch is on its way to the store, so
	// that a reader sees a use either in the store or in memory, never in both.
	// It is a channel because waiting for it ends with the context.
	busy chan struct{}
	unwritten    map[string]Usage // taken from the index, not written; who writes may touch it
	nextShard    int              // the shard to begin with; the same
}

// NewUsageRecorder returns a recorder of the use of these tokens.
func NewUsageRecorder(x *Cached) *UsageRecorder {
	return &UsageRecorder{tokens: x, busy: make(chan struct{}, 1), unwritten: make(map[string]Usage)}
}

// Record counts one allowed request with the token of this id: whether it may
// have written, when it came, and the client's address. It waits for no I/O,
// and for nothing but requests with the same token. A token that is not in the
// index is not counted.
func (r *UsageRecorder) Record(id string, write bool, now time.Time, from netip.Addr) {
	use := Usage{Count: 1, LastUsed: now, LastAddress: from.Unmap().WithZone("")}
	if write {
		use.Writes = 1
	}
	r.tokens.index.AddUsage(id, use)
}

// Flush writes what has been counted since the last flush. What the store
// does not take is kept for the next one. If the store wrote a batch and
// still returned an error, the uses in that batch, at most MaxUsageBatch
// tokens, are counted twice.
func (r *UsageRecorder) Flush(ctx context.Context) error { return r.flush(ctx, 0, math.MaxInt) }

// MaxFlush is of about how many tokens FlushOver writes the use at a time.
const MaxFlush = 4 * MaxUsageBatch

// FlushOver writes what Flush would, of MaxFlush tokens or a few more, with its
// batches spread evenly over a span of time: to write that of very many tokens
// takes processors and disk from requests. The other tokens' comes first the
// nextShard time.
func (r *UsageRecorder) FlushOver(ctx context.Context, span time.Duration) error {
	return r.flush(ctx, span, MaxFlush)
}

func (r *UsageRecorder) flush(ctx context.Context, span time.Duration, most int) error {
	began := time.Now()
	batches := 1
	for n := 0; n < batches; n++ {
		due := began.Add(span * time.Duration(n) / time.Duration(batches))
		if err := waitUntil(ctx, due); err != nil {
			return fmt.Errorf("flush usage: %w", err)
		}
		if err := r.lock(ctx); err != nil {
			return fmt.Errorf("flush usage: %w", err)
		}
		if n == 0 {
			r.nextShard = r.tokens.index.TakeUsage(r.unwritten, r.nextShard, most)
			batches = (len(r.unwritten) + MaxUsageBatch - 1) / MaxUsageBatch
		}
		err := r.writeBatch(ctx)
		r.unlock()
		if err != nil {
			return fmt.Errorf("flush usage: %w", err)
		}
	}
	return nil
}

// waitUntil waits, at most until the context ends.
func waitUntil(ctx context.Context, due time.Time) error {
	length := time.Until(due)
	if length <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeBatch writes some of what is kept. The caller holds the lock.
func (r *UsageRecorder) writeBatch(ctx context.Context) error {
	batch := make(map[string]Usage, min(len(r.unwritten), MaxUsageBatch))
	for id, u := range r.unwritten {
		if len(batch) == MaxUsageBatch {
			break
		}
		batch[id] = u
	}
	if len(batch) == 0 {
		return nil
	}
	if err := r.tokens.AddUsage(ctx, batch); err != nil {
		return err
	}
	for id := range batch {
		delete(r.unwritten, id)
	}
	if len(r.unwritten) == 0 {
		r.unwritten = make(map[string]Usage) // a map keeps the room it once had
	}
	return nil
}

// Usage returns the usage of the given ids, what is stored and what is not
// flushed yet together; ids never used are absent.
func (r *UsageRecorder) Usage(ctx context.Context, ids []string) (map[string]Usage, error) {
	if err := r.lock(ctx); err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	defer r.unlock()

	stored, err := r.tokens.Usage(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	all := make(map[string]Usage, len(ids))
	for _, id := range ids {
		if u := stored[id].Add(r.unwritten[id]).Add(r.tokens.index.PendingUsage(id)); u != (Usage{}) {
			all[id] = u
		}
	}
	return all, nil
}

func (r *UsageRecorder) lock(ctx context.Context) error {
	select {
	case r.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *UsageRecorder) unlock() { <-r.busy }
