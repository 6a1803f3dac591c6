package badger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

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
		return nil, fmt.Errorf("read audit log: invalid limit %d", limit)
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

// auditBatch is the maximum number of audit records that one transaction removes.
const auditBatch = 1000

// PruneAudit removes the oldest audit records: see store.Store.
func (s *Store) PruneAudit(ctx context.Context, before time.Time, maxBytes int64) (pruned store.AuditPruned, err error) {
	s.allowCounting()
	select {
	case <-s.counted:
	case <-s.closing.Done():
		return pruned, store.ErrClosed
	case <-ctx.Done():
		return pruned, fmt.Errorf("prune audit log: %w", ctx.Err())
	}
	for from := auditPrefix; from != nil; {
		var batch store.AuditPruned
		batch, from, err = s.pruneAudit(ctx, from, before, maxBytes)
		pruned.Old += batch.Old
		pruned.Cut += batch.Cut
		if err != nil {
			return pruned, fmt.Errorf("prune audit log: %w", err)
		}
	}
	return pruned, nil
}

// pruneAudit removes a batch of records, from a key on. It returns the key to continue from, or
// nil at the end.
func (s *Store) pruneAudit(
	ctx context.Context, from []byte, before time.Time, maxBytes int64,
) (pruned store.AuditPruned, next []byte, err error) {
	var over int64
	if maxBytes > 0 {
		over = s.sizes[auditKind].bytes.Load() - maxBytes
	}
	s.commitMu.Lock()
	newest := auditKey(s.sequence) // kept, because a start reads the sequence from it
	s.commitMu.Unlock()
	var keys [][]byte
	err = s.view(ctx, func(txn *badger.Txn) error {
		return eachValue(ctx, txn, auditPrefix, from, func(key, value []byte) (bool, error) {
			sequence, err := trailingNumber(key)
			if err != nil {
				return false, err
			}
			a, err := store.DecodeAudit(sequence, value)
			if err != nil {
				return false, err
			}
			old := a.Time.Before(before)
			if slices.Compare(key, newest) >= 0 || !old && over <= 0 {
				next = nil
				return false, nil
			}
			if old {
				pruned.Old++
			} else {
				pruned.Cut++
			}
			over -= int64(len(key) + len(value))
			keys = append(keys, slices.Clone(key))
			next = auditKey(sequence + 1)
			return len(keys) < auditBatch, nil
		})
	})
	if err != nil || len(keys) == 0 {
		return store.AuditPruned{}, nil, err
	}
	if len(keys) < auditBatch {
		next = nil
	}
	err = s.write(ctx, func(tx *tx) error {
		for _, key := range keys {
			if err := tx.deleteKey(key); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, badger.ErrTxnTooBig) {
		err = fmt.Errorf("%d records are too many for one transaction: %w", len(keys), err)
	}
	if err != nil {
		return store.AuditPruned{}, nil, err
	}
	return pruned, next, nil
}
