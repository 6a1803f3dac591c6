package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tokengate/tokengate/store"
)

// blockBits is the number of bits of store.UsageOrder that make a block: there are 256 blocks.
const blockBits = 8

// blockPage is the number of blocks that one request reads or writes. With a million used tokens, each has
// about 120 kB.
const blockPage = 32

// usageBlock is the usage of the tokens of a block, by id.
type usageBlock map[string]store.Usage

// encode returns the record: for each token its id and its usage, with the lengths before them.
func (b usageBlock) encode() []byte {
	var data []byte
	for _, id := range slices.Sorted(maps.Keys(b)) {
		data = protowire.AppendString(data, id)
		data = protowire.AppendBytes(data, store.EncodeUsage(b[id]))
	}
	return data
}

// addEncoded adds the usage in a record.
func (b usageBlock) addEncoded(data []byte) error {
	for len(data) > 0 {
		id, n := protowire.ConsumeString(data)
		if n < 0 {
			return fmt.Errorf("read usage: a block is malformed: %w", protowire.ParseError(n))
		}
		record, m := protowire.ConsumeBytes(data[n:])
		if m < 0 {
			return fmt.Errorf("read usage: a block is malformed: %w", protowire.ParseError(m))
		}
		u, err := store.DecodeUsage(id, record)
		if err != nil {
			return err
		}
		b[id] = b[id].Add(u)
		data = data[n+m:]
	}
	return nil
}

// AddUsage adds counts: see store.Store. The usage of store.MaxUsageBatch tokens that are together in
// store.UsageOrder is in few blocks, and is added in few transactions.
func (s *Store) AddUsage(ctx context.Context, usage map[string]store.Usage) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	byBlock := make(map[uint32][]string)
	for id := range usage {
		if len(id) == store.IDLength {
			byBlock[blockOf(id)] = append(byBlock[blockOf(id)], id)
		}
	}
	rest := slices.Sorted(maps.Keys(byBlock))
	for most := blockPage; len(rest) > 0; {
		blocks := rest[:min(most, len(rest))]
		err := op.addOwn(func(t *tx, process string) error { return t.addUsage(process, blocks, byBlock, usage) })
		if errors.Is(err, errTooLarge) && len(blocks) > 1 {
			most = len(blocks) / 2
			continue
		}
		if err != nil {
			return fmt.Errorf("add usage: %w", err)
		}
		rest = rest[len(blocks):]
	}
	return nil
}

// errTooLarge means that a transaction would be too large.
var errTooLarge = errors.New("the transaction is too large")

// addUsage adds the usage of the tokens of some blocks to those of this process. A token that is not in the block of this
// process may be unknown. If it is just being removed, prunedKey changes, and the transaction begins again.
func (t *tx) addUsage(process string, blocks []uint32, ids map[uint32][]string, usage map[string]store.Usage) error {
	keys := []string{prunedKey}
	for _, block := range blocks {
		keys = append(keys, blockPrefix(block)+process)
	}
	found, err := t.read(keys...)
	if err != nil {
		return err
	}
	sums := make([]usageBlock, len(blocks))
	var fresh []string
	for i, block := range blocks {
		sums[i] = make(usageBlock)
		if kv := found[i+1]; kv != nil {
			if err := sums[i].addEncoded(kv.Value); err != nil {
				return err
			}
		}
		for _, id := range ids[block] {
			if _, known := sums[i][id]; !known {
				fresh = append(fresh, id)
			}
		}
	}
	unknown, err := t.unknown(fresh)
	if err != nil {
		return err
	}
	bytes := 0
	for i, block := range blocks {
		changed := false
		for _, id := range ids[block] {
			if !unknown[id] {
				sums[i][id], changed = sums[i][id].Add(usage[id]), true
			}
		}
		if changed {
			record := sums[i].encode()
			t.put(keys[i+1], record)
			bytes += len(record)
		}
	}
	if bytes > maxBytes && len(blocks) > 1 {
		return errTooLarge
	}
	return nil
}

// unknown returns which of the ids are not those of tokens.
func (t *tx) unknown(ids []string) (map[string]bool, error) {
	unknown := make(map[string]bool)
	for part := range slices.Chunk(ids, maxOps) {
		var ops []clientv3.Op
		for _, id := range part {
			ops = append(ops, t.op.get(tokenKey(id), clientv3.WithCountOnly(), clientv3.WithRev(t.revision)))
		}
		results, _, err := t.op.read(ops...)
		if err != nil {
			return nil, err
		}
		for i, r := range results {
			unknown[part[i]] = r.Count == 0
		}
	}
	return unknown, nil
}

// dropUsage removes the usage of tokens that were removed. If the process is killed before, the usage stays
// and nothing reads it, because ids are not used again.
func (op *operation) dropUsage(ids []string) error {
	gone := make(map[uint32][]string)
	for _, id := range ids {
		gone[blockOf(id)] = append(gone[blockOf(id)], id)
	}
	for block, ids := range gone {
		_, err := op.write(func(t *tx) error {
			var keys []string
			if _, err := op.eachIn(blockPrefix(block), 0, pageKeys, func(kv *mvccpb.KeyValue) (bool, error) {
				keys = append(keys, op.name(kv))
				return true, nil
			}, clientv3.WithKeysOnly()); err != nil {
				return err
			}
			found, err := t.read(keys...)
			if err != nil {
				return err
			}
			for _, kv := range found {
				b := make(usageBlock)
				if kv == nil {
					return errConflict
				}
				if err := b.addEncoded(kv.Value); err != nil {
					return err
				}
				before := len(b)
				for _, id := range ids {
					delete(b, id)
				}
				if len(b) < before {
					t.put(op.name(kv), b.encode())
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("remove usage: %w", err)
		}
	}
	return nil
}

// Usage returns the usage of tokens: see store.Store.
func (s *Store) Usage(ctx context.Context, ids []string) (map[string]store.Usage, error) {
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	wanted := make(map[uint32]bool)
	for _, id := range ids {
		wanted[blockOf(id)] = true
	}
	sum := make(usageBlock)
	for blocks := range slices.Chunk(slices.Sorted(maps.Keys(wanted)), blockPage) {
		var ops []clientv3.Op
		for _, block := range blocks {
			ops = append(ops, op.get(blockPrefix(block), clientv3.WithPrefix()))
		}
		results, _, err := op.read(ops...)
		if err != nil {
			return nil, fmt.Errorf("read usage: %w", err)
		}
		for _, r := range results {
			for _, kv := range r.Kvs {
				if err := sum.addEncoded(kv.Value); err != nil {
					return nil, err
				}
			}
		}
	}
	found := make(map[string]store.Usage)
	for _, id := range ids {
		if u, ok := sum[id]; ok {
			found[id] = u
		}
	}
	return found, nil
}

// AllUsage calls visit with the usage of every token, as of one revision: see store.Store. It fails if etcd
// compacts that revision before the end.
func (s *Store) AllUsage(ctx context.Context, visit func(id string, u store.Usage) error) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	return op.eachUsage(0, visit)
}

// eachUsage is AllUsage as of a revision, 0 for the current one.
func (op *operation) eachUsage(revision int64, visit func(id string, u store.Usage) error) error {
	block, sum := "", make(usageBlock)
	visitBlock := func() error {
		for id, u := range sum {
			if err := op.err(); err != nil {
				return err
			}
			if err := visit(id, u); err != nil {
				return err
			}
		}
		clear(sum)
		return nil
	}
	_, err := op.eachIn(usagePrefix, revision, blockPage, func(kv *mvccpb.KeyValue) (bool, error) {
		if group, _ := splitProcess(op.name(kv)); group != block {
			if err := visitBlock(); err != nil {
				return false, err
			}
			block = group
		}
		return true, sum.addEncoded(kv.Value)
	})
	if err == nil {
		err = visitBlock()
	}
	return err
}
