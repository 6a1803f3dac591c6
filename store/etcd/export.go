package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
)

// Export calls visit with all records as of one revision: see store.Store. It fails if etcd compacts that revision
// before the end.
func (s *Store) Export(ctx context.Context, visit func(store.Record) error) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	err = op.export(visit)
	if errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("etcd has compacted the state that is read; begin again, and if that fails, let etcd keep its history for longer: %w", err)
	}
	return err
}

func (op *operation) export(visit func(store.Record) error) error {
	all := op.prefix + tokenPrefix
	results, revision, err := op.read(op.get(lastNumberKey), clientv3.OpGet(all, clientv3.WithPrefix(), clientv3.WithCountOnly()))
	if err != nil {
		return err
	}
	number, err := lastNumber(results[0].Kvs)
	if err != nil {
		return err
	}
	if err := visit(store.Record{Kind: store.NumberRecord, Value: strconv.AppendUint(nil, number, 10)}); err != nil {
		return err
	}
	record := func(kind store.RecordKind, prefix string) func(*mvccpb.KeyValue) (bool, error) {
		return func(kv *mvccpb.KeyValue) (bool, error) {
			return true, visit(store.Record{Kind: kind, Key: op.name(kv)[len(prefix):], Value: kv.Value})
		}
	}
	parts := op.partsOf(all, clientv3.GetPrefixRangeEnd(all), results[1].Count)
	for i, from := range parts[:len(parts)-1] {
		if _, err := op.each(from, parts[i+1], revision, pageKeys, record(store.TokenRecord, tokenPrefix)); err != nil {
			return err
		}
	}
	err = op.eachUsage(revision, func(id string, u store.Usage) error {
		return visit(store.Record{Kind: store.UsageRecord, Key: id, Value: store.EncodeUsage(u)})
	})
	if err != nil {
		return err
	}
	err = op.eachAudit(0, revision, auditPage, func(kv *mvccpb.KeyValue) (bool, error) {
		sequence, err := op.sequenceOf(kv)
		if err != nil {
			return false, err
		}
		return true, visit(store.Record{Kind: store.AuditRecord, Key: decimal(sequence), Value: kv.Value})
	})
	if err != nil {
		return err
	}
	days, err := op.totals(0, revision)
	if err != nil {
		return err
	}
	for _, d := range days {
		if err := visit(store.Record{Kind: store.TotalsRecord, Key: decimal(uint64(d.Day)), Value: store.EncodeTotals(d)}); err != nil {
			return err
		}
	}
	if _, err = op.eachIn(passwordPrefix, revision, passwordPage, record(store.PasswordRecord, passwordPrefix)); err != nil {
		return err
	}
	_, err = op.eachIn(upstreamPrefix, revision, upstreamPage, record(store.UpstreamRecord, upstreamPrefix))
	return err
}
