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
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	err = op.eachAudit(before, 0, int64(limit), func(kv *mvccpb.KeyValue) (bool, error) {
		a, err := op.decodeAudit(kv)
		if err != nil {
			return false, err
		}
		log = append(log, a)
		return len(log) < limit, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return log, nil
}

// eachAudit calls visit with the records whose sequence is below before, 0 for all, newest first, as of a revision, 0
// for the current one.
//
// For each request etcd walks over all keys of the range, also over those beyond the limit of keys. Therefore the
// log, which may be long, is read in windows of sequences, which grow where it has few records.
func (op *operation) eachAudit(before uint64, revision, page int64, visit func(*mvccpb.KeyValue) (more bool, err error)) error {
	page = min(page, auditPage)
	results, current, err := op.read(op.get(sequenceKey, clientv3.WithRev(revision)))
	if err != nil {
		return err
	}
	if revision == 0 {
		revision = current
	}
	var added uint64
	if len(results[0].Kvs) > 0 {
		if added, err = parseDecimal(sequenceKey, results[0].Kvs[0].Value); err != nil {
			return err
		}
	}
	end := added + (uint64(revision)+1)*sequenceSlots // above all
	if before == 0 || before > end {
		before = end
	}
	for width := uint64(page) * sequenceSlots; before > 0; width *= 16 {
		first := before - min(width, before) // the lowest of the window
		if width > wholeLog {
			first = 0
		}
		n, more := int64(0), true
		_, err := op.each(op.prefix+auditKey(before-1), op.prefix+auditKey(first)+"\x00", revision, page, func(kv *mvccpb.KeyValue) (bool, error) {
			n++
			more, err = visit(kv)
			return more, err
		})
		if err != nil || !more {
			return err
		}
		if before = first; n >= page {
			width /= 16
		}
	}
	return nil
}

// wholeLog is the width of a window after which the rest of the log is read as one.
const wholeLog = 1 << 40

func (s *Store) decodeAudit(kv *mvccpb.KeyValue) (store.Audit, error) {
	sequence, err := s.sequenceOf(kv)
	if err != nil {
		return store.Audit{}, err
	}
	return store.DecodeAudit(sequence, kv.Value)
}

// sequenceOf returns the sequence of an audit record.
func (s *Store) sequenceOf(kv *mvccpb.KeyValue) (uint64, error) {
	complement, err := trailingNumber(s.name(kv), auditDigits)
	return maxSequence - complement, err
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
	err = op.eachAudit(0, 0, auditPage, func(kv *mvccpb.KeyValue) (bool, error) {
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
