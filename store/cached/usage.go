package cached

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/tokengate/tokengate/store"
)

// UsageRecorder counts the usage of tokens in memory while requests are answered, and writes the
// counts to the store on demand. Counts that were not flushed are lost when the process ends.
type UsageRecorder struct {
	tokens *Store

	// busy holds one value while a batch is being written, so that readers see it either in the
	// store or in memory. It is a channel, because waiting for it ends with the context.
	busy      chan struct{}
	unwritten map[string]store.Usage // taken from the index; guarded by busy
	nextList  int                    // of the index, to start with; guarded by busy
}

// NewUsageRecorder returns a recorder of the usage of the tokens in x.
func NewUsageRecorder(x *Store) *UsageRecorder {
	return &UsageRecorder{tokens: x, busy: make(chan struct{}, 1), unwritten: make(map[string]store.Usage)}
}

// Record counts one allowed request with the token: whether it may have written, its time, and
// the client's address. It does no I/O and only contends with requests with the same token.
// Tokens that are not in the index are ignored.
func (r *UsageRecorder) Record(id string, write bool, now time.Time, from netip.Addr) {
	use := store.Usage{Count: 1, LastUsed: now, LastAddress: from.Unmap().WithZone("")}
	if write {
		use.Writes = 1
	}
	r.tokens.index.AddUsage(id, use)
}

// Flush writes the counts since the last flush. Counts that the store refuses are kept for the
// next one. If the store writes a batch but returns an error, the usage of that batch, at most
// MaxUsageBatch tokens, is counted twice.
func (r *UsageRecorder) Flush(ctx context.Context) error { return r.flush(ctx, 0, math.MaxInt) }

// MaxFlush is the approximate number of tokens whose usage FlushOver writes in one call. With a million
// tokens in use, writing takes about 5 µs of CPU for each (BenchmarkUsage in store/badger): a call
// every 2.5 s takes 0.6 % of a processor.
const MaxFlush = 6 * store.MaxUsageBatch

// FlushOver is Flush for about MaxFlush tokens, with its batches spread evenly over a span of
// time, so that flushing the usage of very many tokens does not slow down requests. The next call
// starts with the other tokens.
func (r *UsageRecorder) FlushOver(ctx context.Context, span time.Duration) error {
	return r.flush(ctx, span, MaxFlush)
}

func (r *UsageRecorder) flush(ctx context.Context, span time.Duration, most int) (failed error) {
	began := time.Now()
	var batches [][]string
	for n := 0; n == 0 || n < len(batches); n++ {
		due := began.Add(span * time.Duration(n) / time.Duration(max(len(batches), 1)))
		if err := waitUntil(ctx, due); err != nil {
			return fmt.Errorf("flush usage: %w", err)
		}
		if err := r.lock(ctx); err != nil {
			return fmt.Errorf("flush usage: %w", err)
		}
		if n == 0 {
			// Counts that the store refused before do not keep the others from being written.
			most = max(most, min(len(r.unwritten)+MaxFlush, 10*MaxFlush))
			r.nextList = r.tokens.index.TakeUsage(r.unwritten, r.nextList, most)
			batches = slices.Collect(slices.Chunk(store.InUsageOrder(maps.Keys(r.unwritten)), store.MaxUsageBatch))
		}
		if n < len(batches) {
			if err := r.writeBatch(ctx, batches[n]); err != nil {
				failed = fmt.Errorf("flush usage: %w", err)
			}
		}
		r.unlock()
	}
	return failed
}

// waitUntil waits until due or until the context ends.
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

// writeTime bounds the write of a batch, for which the disk may hang.
const writeTime = 10 * time.Second

// writeBatch writes the unwritten counts of these tokens. The caller holds the lock.
func (r *UsageRecorder) writeBatch(ctx context.Context, ids []string) error {
	batch := make(map[string]store.Usage, len(ids))
	for _, id := range ids {
		if u, ok := r.unwritten[id]; ok { // it may have been written by another call
			batch[id] = u
		}
	}
	// A batch that was cancelled half-way would be written again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	if err := r.tokens.AddUsage(ctx, batch); err != nil {
		return err
	}
	for id := range batch {
		delete(r.unwritten, id)
	}
	if len(r.unwritten) == 0 {
		r.unwritten = make(map[string]store.Usage) // an emptied map keeps its memory
	}
	return nil
}

// Usage returns the usage of the given ids, stored and pending; ids that were never used are
// absent.
func (r *UsageRecorder) Usage(ctx context.Context, ids []string) (map[string]store.Usage, error) {
	if err := r.lock(ctx); err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	defer r.unlock()

	stored, err := r.tokens.Usage(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	all := make(map[string]store.Usage, len(ids))
	for _, id := range ids {
		if u := stored[id].Add(r.unwritten[id]).Add(r.tokens.index.PendingUsage(id)); u != (store.Usage{}) {
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
