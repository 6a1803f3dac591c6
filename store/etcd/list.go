package etcd

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
)

// List returns one page of tokens: see store.Store.
func (s *Store) List(ctx context.Context, owner string, after uint64, limit int) (page store.Page, err error) {
	if limit < 1 {
		return store.Page{}, fmt.Errorf("list tokens: invalid page size %d", limit)
	}
	op, err := s.begin(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer op.done()
	if after == math.MaxUint64 {
		return store.Page{}, nil
	}
	t := &tx{op: op}
	ids, err := t.idsAfter(owner, after, limit)
	if err != nil {
		return store.Page{}, fmt.Errorf("list tokens: %w", err)
	}
	err = t.eachToken(ids[:min(len(ids), limit)], func(token store.Token) { page.Tokens = append(page.Tokens, token) })
	if err != nil {
		return store.Page{}, fmt.Errorf("list tokens: %w", err)
	}
	if len(ids) > limit {
		page.Next = page.Tokens[len(page.Tokens)-1].Number
	}
	return page, nil
}

// idsAfter returns the ids of an owner's tokens, or of all, with a number above after: one more than limit, if there
// are so many. All tokens are read in windows of numbers: see eachAudit.
func (t *tx) idsAfter(owner string, after uint64, limit int) (ids []string, err error) {
	found, err := t.peek(lastNumberKey)
	if err != nil || found[0] == nil {
		return nil, err
	}
	last, err := lastNumber(found)
	if err != nil {
		return nil, err
	}
	prefix, width := numberPrefix, min(uint64(limit)+1, pageKeys)
	if owner != "" {
		prefix, width = ownedPrefix(owner), last
	}
	for from := after + 1; from <= last && len(ids) <= limit; width *= 16 {
		to := from + min(width-1, last-from)
		_, err := t.op.each(fmt.Sprintf("%s%s%016x", t.op.prefix, prefix, from), fmt.Sprintf("%s%s%016x\x00", t.op.prefix, prefix, to), t.revision,
			min(int64(limit)+1, pageKeys), func(kv *mvccpb.KeyValue) (bool, error) {
				ids = append(ids, string(kv.Value))
				return len(ids) <= limit, nil
			})
		if err != nil {
			return nil, err
		}
		from = to + 1
	}
	return ids, nil
}

// Revisions calls visit with the revision of every token: see store.Versioned. It pauses after each page for as long
// as the page took.
func (s *Store) Revisions(ctx context.Context, visit func(id string, revision uint64)) (at uint64, err error) {
	op, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer op.done()
	read, began := 0, time.Now()
	revision, err := op.eachIn(tokenPrefix, 0, pageKeys, func(kv *mvccpb.KeyValue) (bool, error) {
		visit(op.name(kv)[len(tokenPrefix):], uint64(kv.ModRevision))
		if read++; read%pageKeys == 0 {
			select {
			case <-time.After(time.Since(began)):
			case <-op.reads.Done():
				return false, op.err()
			}
			began = time.Now()
		}
		return true, nil
	}, clientv3.WithKeysOnly())
	if err != nil {
		return 0, fmt.Errorf("read the revisions of all tokens: %w", err)
	}
	return uint64(revision), nil
}

// CompareEvery returns the configured time: see store.Versioned.
func (s *Store) CompareEvery() time.Duration { return s.compareEvery }

// idCharacters partition the tokens for a full read, by the first character of the id. Ids are random, so
// the parts are about equal.
const idCharacters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// All calls visit with every token: see store.Store.
func (s *Store) All(ctx context.Context, visit func(store.Token) error) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	_, err = op.all(visit)
	return err
}

// all is All, and returns the revision of the snapshot. Many tokens are read in several goroutines.
func (op *operation) all(visit func(store.Token) error) (revision int64, err error) {
	var size sizeCounter
	visitKey := func(kv *mvccpb.KeyValue) (bool, error) {
		t, err := decodeToken(op.name(kv)[len(tokenPrefix):], kv)
		if err != nil {
			return false, err
		}
		size.add(len(op.name(kv)) + len(kv.Value))
		return true, visit(t)
	}
	from := op.prefix + tokenPrefix
	end := clientv3.GetPrefixRangeEnd(from)
	results, revision, err := op.read(clientv3.OpGet(from, clientv3.WithRange(end), clientv3.WithLimit(pageKeys)))
	if err != nil {
		return 0, err
	}
	for _, kv := range results[0].Kvs {
		if err := op.err(); err != nil {
			return 0, err
		}
		if _, err := visitKey(kv); err != nil {
			return 0, err
		}
	}
	if results[0].More {
		last := string(results[0].Kvs[len(results[0].Kvs)-1].Key)
		if err := op.allParts(last+"\x00", end, revision, results[0].Count, visitKey); err != nil {
			return 0, err
		}
	}
	op.sizes.set("tokens", size.size())
	return revision, nil
}

// partsOf divides the tokens from a key to an end by the first one or two characters of their ids: the starts of the
// parts and the end. For each request etcd walks over all keys of the range, also over those beyond the limit of keys,
// so the parts are small.
func (op *operation) partsOf(from, end string, count int64) []string {
	starts := []string{from}
	add := func(id string) {
		if start := op.prefix + tokenPrefix + id; start > from {
			starts = append(starts, start)
		}
	}
	for _, c := range idCharacters {
		add(string(c))
		if count > 2*pageKeys*int64(len(idCharacters)) {
			for _, d := range idCharacters {
				add(string(c) + string(d))
			}
		}
	}
	return append(starts, end)
}

// allParts reads the tokens from a key on, in several goroutines.
func (op *operation) allParts(from, end string, revision, count int64, visit func(*mvccpb.KeyValue) (bool, error)) error {
	starts := op.partsOf(from, end, count)
	ctx, cancel := context.WithCancelCause(op.reads)
	defer cancel(nil)
	part := &operation{Store: op.Store, Context: op.Context, reads: ctx}
	var next atomic.Int64
	var readers sync.WaitGroup
	for range max(runtime.GOMAXPROCS(0), 4) {
		readers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(starts)-1); i = next.Add(1) - 1 {
				if _, err := part.each(starts[i], starts[i+1], revision, pageKeys, visit); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	readers.Wait()
	return context.Cause(ctx)
}
