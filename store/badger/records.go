package badger

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// AddUsage adds counts: see store.Store. Each store.MaxUsageBatch of the ids,
// in order, are one transaction.
func (s *Store) AddUsage(ctx context.Context, usage map[string]store.Usage) error {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(usage)), store.MaxUsageBatch) {
		err := s.write(ctx, func(tx *tx) error {
			for _, id := range ids {
				if err := addUsage(tx, id, usage[id]); err != nil {
					return err
				}
				runtime.Gosched() // requests come first
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("add usage: %w", err)
		}
	}
	return nil
}

// addUsage reads the keys that a prune of the token deletes, so that one at the
// same time is a conflict and leaves no usage behind. A token with usage is
// there.
func addUsage(tx *tx, id string, more store.Usage) error {
	u, err := usage(tx.Txn, id)
	if err != nil {
		return err
	}
	if u == (store.Usage{}) {
		if record, err := get(tx.Txn, tokenKey(id)); err != nil || record == nil {
			return err
		}
	}
	return tx.set(usageKey(id), store.EncodeUsage(u.Add(more)))
}

// usage returns what is known of a token's use; the zero Usage for nothing.
func usage(txn *badger.Txn, id string) (store.Usage, error) {
	data, err := get(txn, usageKey(id))
	if err != nil || data == nil {
		return store.Usage{}, err
	}
	return store.DecodeUsage(id, data)
}

// Usage returns the usage of tokens: see store.Store.
func (s *Store) Usage(ctx context.Context, ids []string) (map[string]store.Usage, error) {
	found := make(map[string]store.Usage, len(ids))
	err := s.view(ctx, func(txn *badger.Txn) error {
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			u, err := usage(txn, id)
			if err != nil {
				return err
			}
			if u != (store.Usage{}) {
				found[id] = u
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	return found, nil
}

// AppendAudit adds a record to the audit log: see store.Store.
func (s *Store) AppendAudit(ctx context.Context, a store.Audit) error {
	err := s.write(ctx, func(tx *tx) error {
		tx.audits = []store.Audit{a}
		return nil
	})
	if err != nil {
		return fmt.Errorf("append audit record: %w", err)
	}
	return nil
}

// AuditLog returns audit records, newest first: see store.Store.
func (s *Store) AuditLog(ctx context.Context, before uint64, limit int) ([]store.Audit, error) {
	if limit < 1 {
		return nil, fmt.Errorf("read audit log: %d records were asked for", limit)
	}
	if before == 0 {
		before = math.MaxUint64
	}
	var log []store.Audit
	err := s.view(ctx, func(txn *badger.Txn) error {
		it := reverseIterator(txn, auditPrefix)
		defer it.Close()
		for it.Seek(auditKey(before - 1)); it.Valid() && len(log) < limit; it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			sequence, err := trailingNumber(it.Item().Key())
			if err != nil {
				return err
			}
			err = it.Item().Value(func(value []byte) error {
				a, err := store.DecodeAudit(sequence, value)
				log = append(log, a)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return log, nil
}

// lastNumber returns the highest number that a key with the prefix ends in, or 0.
func lastNumber(txn *badger.Txn, prefix []byte) (uint64, error) {
	it := reverseIterator(txn, prefix)
	defer it.Close()
	if it.Seek(appendNumber(prefix, math.MaxUint64)); !it.Valid() {
		return 0, nil
	}
	return trailingNumber(it.Item().Key())
}

// reverseIterator walks the keys with the prefix backwards from where it is told to seek.
func reverseIterator(txn *badger.Txn, prefix []byte) *badger.Iterator {
	return txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
}

// Health writes, reads and removes a record: see store.Store. A disk that
// hangs holds one round trip, on which later calls wait until their contexts
// end.
func (s *Store) Health(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	select {
	case s.probing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("check store: an earlier check still runs: %w", ctx.Err())
	}
	done := make(chan error, 1)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer func() { <-s.probing }()
		done <- s.roundTrip(context.WithoutCancel(ctx)) // the next check waits until the disk has answered
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("check store: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("check store: no answer from the disk: %w", ctx.Err())
	}
}

func (s *Store) roundTrip(ctx context.Context) error {
	want := []byte(rand.Text())
	err := s.attempt(ctx, func(tx *tx) error { return tx.Set(healthKey, want) })
	if err != nil {
		return err
	}
	var got []byte
	err = s.db.View(func(txn *badger.Txn) (err error) {
		got, err = get(txn, healthKey)
		return err
	})
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("what was read is not what was written")
	}
	return s.attempt(ctx, func(tx *tx) error { return tx.Delete(healthKey) })
}
