package etcd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// pruneBatch is the number of tokens that one transaction removes, each with four operations.
const pruneBatch = (maxOps - 1) / 4

// Prune removes old tokens: see store.Store. It also adds up what processes that have ended left, and
// measures the records.
func (s *Store) Prune(ctx context.Context, before time.Time, record store.RecordFunc) ([]string, error) {
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	var mu sync.Mutex
	var old []string
	is := func(t store.Token) bool { return endedBefore(t, before) }
	_, err = op.all(func(t store.Token) error {
		if is(t) {
			mu.Lock()
			defer mu.Unlock()
			old = append(old, t.ID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	removed, err := op.pruneAll(old, is, record)
	if err == nil {
		err = op.mergeEnded()
	}
	if err == nil {
		err = op.measure()
	}
	if err != nil {
		return removed, fmt.Errorf("prune: %w", err)
	}
	return removed, nil
}

// PruneEnded limits the number of ended tokens of each owner: see store.Store.
func (s *Store) PruneEnded(ctx context.Context, at time.Time, most int, record store.RecordFunc) ([]string, error) {
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	ended := store.NewEndedTokens(at)
	if _, err := op.all(func(t store.Token) error { ended.Add(t); return nil }); err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	removed, err := op.pruneAll(ended.Beyond(most), ended.Match, record)
	if err != nil {
		return removed, fmt.Errorf("prune: %w", err)
	}
	return removed, nil
}

// endedBefore reports whether the token was revoked or expired before the instant.
func endedBefore(t store.Token, before time.Time) bool {
	return t.State == store.Revoked && t.Revoked.Before(before) ||
		!t.Expires.IsZero() && t.Expires.Before(before)
}

// pruneAll removes the tokens with these ids that still match, with their usage.
func (op *operation) pruneAll(old []string, is func(store.Token) bool, record store.RecordFunc) (removed []string, err error) {
	for batch := range slices.Chunk(old, pruneBatch) {
		var gone []string
		if gone, err = op.prune(batch, is, record); err != nil {
			break
		}
		removed = append(removed, gone...)
	}
	if len(removed) > 0 {
		if failed := op.dropUsage(removed); err == nil {
			err = failed
		}
	}
	return removed, err
}

// prune is pruneAll in one transaction, without usage. It reads each record again, so that a concurrent update
// is a conflict.
func (op *operation) prune(ids []string, is func(store.Token) bool, record store.RecordFunc) (removed []string, err error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = tokenKey(id)
	}
	_, err = op.write(func(tx *tx) error {
		removed = nil
		found, err := tx.read(keys...)
		if err != nil {
			return err
		}
		for i, kv := range found {
			if kv == nil {
				continue // another process has removed it
			}
			t, err := decodeToken(ids[i], kv)
			if err != nil {
				return err
			}
			if !is(t) {
				continue
			}
			tx.del(keys[i])
			tx.del(numberKey(t.Number))
			tx.del(ownedKey(t))
			tx.audits = append(tx.audits, record(t))
			removed = append(removed, t.ID)
		}
		if len(removed) > 0 {
			tx.put(prunedKey, nil)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return removed, nil
}
