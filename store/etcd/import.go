package etcd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
)

var _ store.Importer = (*Store)(nil)

// Import adds records to an empty store: see store.Importer. Any key of another process, such as the one of a running
// server, is one too many.
func (s *Store) Import(ctx context.Context, records store.Records, check func() error) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	i := &importer{operation: op, lives: make(map[string]liveList), usage: make(map[uint32]usageBlock)}
	if err := i.mark(); err != nil {
		return err
	}
	err = records(ctx, i.add)
	if err == nil {
		err = i.end()
	}
	if err == nil {
		err = check()
	}
	if err == nil {
		t := &tx{op: op, compared: []compared{{schemaKey, i.marked}}}
		t.put(schemaKey, []byte(schema))
		err = op.commit(t)
	}
	if err != nil {
		return fmt.Errorf("import to keys that begin with %q: %w", s.prefix, err)
	}
	return nil
}

// importer adds records in transactions that require that the store is still marked as incomplete.
type importer struct {
	*operation
	marked int64 // the revision of the mark

	puts  []clientv3.Op
	bytes int // of puts

	number uint64                // the highest of a token
	users  uint64                // with password uses
	lives  map[string]liveList   // by key
	usage  map[uint32]usageBlock // by block
}

// mark marks an empty store as incomplete.
func (i *importer) mark() error {
	t, err := i.write(func(t *tx) error {
		found, err := t.read(schemaKey)
		if err != nil {
			return err
		}
		if found[0] == nil || string(found[0].Value) != schema {
			return store.ErrIncomplete
		}
		_, err = i.eachIn("", t.revision, pageKeys, func(kv *mvccpb.KeyValue) (bool, error) {
			if name := i.name(kv); name != schemaKey && !strings.HasPrefix(name, healthPrefix) {
				return false, fmt.Errorf("%w: there is the key %.60q", store.ErrNotEmpty, kv.Key)
			}
			return true, nil
		}, clientv3.WithKeysOnly())
		t.put(schemaKey, []byte(incompleteSchema))
		return err
	})
	if err == nil {
		i.marked = t.committed
	}
	return err
}

// put adds an operation to the transaction, and sends it if it is full.
func (i *importer) put(key string, value []byte) error {
	size := len(i.prefix) + len(key) + len(value)
	if len(i.puts) == maxOps || len(i.puts) > 0 && i.bytes+size > maxBytes {
		if err := i.flush(); err != nil {
			return err
		}
	}
	i.puts = append(i.puts, i.operation.put(key, value))
	i.bytes += size
	return nil
}

// flush sends the transaction, again while its outcome is unknown: it always writes the same.
func (i *importer) flush() error {
	if err := i.err(); err != nil || len(i.puts) == 0 {
		return err
	}
	resp, err := i.commitSurely([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(i.prefix+schemaKey), "=", i.marked)}, i.puts, nil)
	i.puts, i.bytes = nil, 0
	if err == nil && !resp.Succeeded {
		return errConflict
	}
	return err
}

func (i *importer) add(r store.Record) error {
	switch r.Kind {
	case store.NumberRecord:
		n, err := r.Number()
		i.number = max(i.number, n)
		return err
	case store.TokenRecord:
		return i.addToken(r)
	case store.UsageRecord:
		u, err := store.DecodeUsage(r.Key, r.Value)
		block := i.usage[blockOf(r.Key)]
		if block == nil {
			block = make(usageBlock)
			i.usage[blockOf(r.Key)] = block
		}
		block[r.Key] = u
		return err
	case store.AuditRecord:
		sequence, err := r.Sequence()
		if err == nil && sequence > maxSequence {
			err = fmt.Errorf("the audit record %d has too high a sequence", sequence)
		}
		if err != nil {
			return err
		}
		return i.put(auditKey(sequence), r.Value)
	case store.TotalsRecord:
		day, err := r.Day()
		if err != nil {
			return err
		}
		return i.put(daysFrom(day)+common, r.Value)
	case store.PasswordRecord:
		i.users++
		return i.put(passwordKey(r.Key), r.Value)
	case store.UpstreamRecord:
		return i.put(upstreamKey(r.Key), r.Value)
	}
	return r.Check()
}

func (i *importer) addToken(r store.Record) error {
	t, err := store.DecodeToken(r.Key, r.Value)
	if err != nil {
		return err
	}
	i.number = max(i.number, t.Number)
	if t.State != store.Revoked {
		key := liveKey(t.Owner.Name)
		i.lives[key] = append(i.lives[key], t.ID)
	}
	for _, p := range []struct {
		key   string
		value []byte
	}{{tokenKey(t.ID), r.Value}, {numberKey(t.Number), []byte(t.ID)}, {ownedKey(t), []byte(t.ID)}} {
		if err := i.put(p.key, p.value); err != nil {
			return err
		}
	}
	return nil
}

// end writes what needs all records, and raises m/sequence.
func (i *importer) end() error {
	for _, key := range slices.Sorted(maps.Keys(i.lives)) {
		if err := i.put(key, i.lives[key].encode()); err != nil {
			return err
		}
	}
	for _, block := range slices.Sorted(maps.Keys(i.usage)) {
		if err := i.put(blockPrefix(block)+common, i.usage[block].encode()); err != nil {
			return err
		}
	}
	for key, n := range map[string]uint64{lastNumberKey: i.number, passwordUsersKey: i.users} {
		if err := i.put(key, []byte(decimal(n))); err != nil {
			return err
		}
	}
	if err := i.flush(); err != nil {
		return err
	}
	return i.loadSequence()
}
