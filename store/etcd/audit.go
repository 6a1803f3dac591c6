package etcd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
)

// auditDigits is the length of a sequence in a key.
const auditDigits = 14

// auditPage is the number of audit records that one request reads, each with at most store.MaxAudit bytes.
const auditPage = 500

// AppendAudit adds a record to the audit log: see store.Store.
func (s *Store) AppendAudit(ctx context.Context, a store.Audit) error {
	_, err := s.write(ctx, func(tx *tx) error {
		tx.audits = []store.Audit{a}
		return nil
	})
	if err != nil {
		return fmt.Errorf("append audit record: %w", err)
	}
	return nil
}

// AuditLog returns audit records, newest first: see store.Store.
func (s *Store) AuditLog(ctx context.Context, before uint64, limit int) (log []store.Audit, err error) {
	if limit < 1 {
		return nil, fmt.Errorf("read audit log: invalid limit %d", limit)
	}
	if before == 0 || before > maxSequence {
		before = maxSequence + 1
	}
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	from := op.prefix + auditKey(before-1)
	_, err = op.each(from, clientv3.GetPrefixRangeEnd(op.prefix+auditPrefix), 0, min(int64(limit), auditPage), func(kv *mvccpb.KeyValue) (bool, error) {
		a, err := op.decodeAudit(kv)
		log = append(log, a)
		return len(log) < limit, err
	})
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return log, nil
}

func (s *Store) decodeAudit(kv *mvccpb.KeyValue) (store.Audit, error) {
	complement, err := trailingNumber(s.name(kv), auditDigits)
	if err != nil {
		return store.Audit{}, err
	}
	return store.DecodeAudit(maxSequence-complement, kv.Value)
}

// PruneAudit removes the oldest audit records: see store.Store.
func (s *Store) PruneAudit(ctx context.Context, before time.Time, maxBytes int64) (pruned store.AuditPruned, err error) {
	op, err := s.begin(ctx)
	if err != nil {
		return pruned, err
	}
	defer op.done()
	// From the newest to the oldest: what follows the last record to keep is removed.
	var size store.Size
	var gone []oldAudit
	_, err = op.eachIn(auditPrefix, 0, auditPage, func(kv *mvccpb.KeyValue) (bool, error) {
		a, err := op.decodeAudit(kv)
		if err != nil {
			return false, err
		}
		bytes := int64(len(op.name(kv)) + len(kv.Value))
		size.Records++
		size.Bytes += bytes
		isOld := a.Time.Before(before)
		if size.Records == 1 || !isOld && (maxBytes <= 0 || size.Bytes <= maxBytes) {
			gone = gone[:0]
		} else {
			gone = append(gone, oldAudit{a.Sequence, isOld, bytes})
		}
		return true, nil
	})
	if err != nil {
		return pruned, fmt.Errorf("prune audit log: %w", err)
	}
	slices.Reverse(gone)
	for part := range slices.Chunk(gone, maxOps) {
		if err = op.err(); err != nil {
			break
		}
		t := &tx{op: op}
		for _, a := range part {
			t.del(auditKey(a.sequence))
		}
		if err = op.commit(t); err != nil {
			break
		}
		for i, a := range part {
			switch {
			case t.deleted[i] == 0: // another process has removed it
			case a.isOld:
				pruned.Old++
			default:
				pruned.Cut++
			}
			size.Records--
			size.Bytes -= a.bytes
		}
	}
	if err != nil {
		return pruned, fmt.Errorf("prune audit log: %w", err)
	}
	op.sizes.set("audit", size)
	return pruned, nil
}

// oldAudit is an audit record to remove.
type oldAudit struct {
	sequence uint64
	isOld    bool // else the log is too large
	bytes    int64
}
