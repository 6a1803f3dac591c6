package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
)

// The limits on one transaction. etcd's default limits are 128 operations and 1.5 MiB.
const (
	maxOps   = 120
	maxBytes = 1 << 20
)

// sequenceSlots is the number of sequences of audit records for one revision.
const sequenceSlots = 1024

// maxSequence is the highest number that JSON's readers keep exactly.
const maxSequence = 1<<53 - 1

// attempts is how often a request is sent within the time for one, if no answer comes. The client sends each to
// the next endpoint. After other errors, such as while etcd elects a leader, it is sent again after a pause.
const attempts = 3

// errRestored means that etcd has lost changes that it had confirmed.
var errRestored = errors.New("etcd has an older state than before: it was restored from a backup or replaced; start tokengate again")

// errConflict means that something that the transaction has read has changed.
var errConflict = errors.New("it conflicted with other writes")

// put returns an operation that writes a record.
func (s *Store) put(key string, value []byte, opts ...clientv3.OpOption) clientv3.Op {
	return clientv3.OpPut(s.prefix+key, string(value), opts...)
}

func (s *Store) del(key string) clientv3.Op { return clientv3.OpDelete(s.prefix + key) }

func (s *Store) delAll(prefix string) clientv3.Op {
	return clientv3.OpDelete(s.prefix+prefix, clientv3.WithPrefix())
}

func (s *Store) get(key string, opts ...clientv3.OpOption) clientv3.Op {
	return clientv3.OpGet(s.prefix+key, opts...)
}

// name returns a key without the configured prefix.
func (s *Store) name(kv *mvccpb.KeyValue) string { return string(kv.Key[len(s.prefix):]) }

// read sends reads as one transaction, and returns the results and the revision of the current state.
func (op *operation) read(ops ...clientv3.Op) (results []*clientv3.GetResponse, revision int64, err error) {
	before := op.seen.Load()
	resp, err := op.send(op.reads, func(ctx context.Context) clientv3.Txn { return op.client.Txn(ctx).Then(ops...) })
	if err != nil {
		if ended := op.err(); ended != nil {
			return nil, 0, ended
		}
		return nil, 0, op.failed(err)
	}
	if resp.Header.Revision < before {
		return nil, 0, errRestored
	}
	op.sawRevision(resp.Header.Revision)
	for _, r := range resp.Responses {
		results = append(results, (*clientv3.GetResponse)(r.GetResponseRange()))
	}
	return results, resp.Header.Revision, nil
}

// send sends a transaction until an answer comes, for op.timeout in all. An earlier one may be carried out, too.
func (op *operation) send(ctx context.Context, txn func(context.Context) clientv3.Txn) (resp *clientv3.TxnResponse, err error) {
	began := time.Now()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		attempt, cancel := context.WithTimeout(ctx, op.timeout/attempts)
		resp, err = txn(attempt).Commit()
		cancel()
		if err == nil || ctx.Err() != nil || !isTemporary(err) || time.Since(began)+pause >= op.timeout {
			return resp, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// value returns the value of one key, nil if there is none.
func (op *operation) value(key string) ([]byte, error) {
	results, _, err := op.read(op.get(key))
	if err != nil || len(results[0].Kvs) == 0 {
		return nil, err
	}
	return notNil(results[0].Kvs[0].Value), nil
}

func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// pageKeys is the number of small records that one request reads.
const pageKeys = 1000

// each calls visit with the keys from from to before to, in order and at one revision, 0 for the
// current one, and returns that. The keys include the configured prefix.
func (op *operation) each(from, to string, revision int64, page int64, visit func(*mvccpb.KeyValue) (more bool, err error), opts ...clientv3.OpOption) (int64, error) {
	opts = append(slices.Clip(opts), clientv3.WithRange(to), clientv3.WithLimit(page))
	for {
		results, current, err := op.read(clientv3.OpGet(from, append(slices.Clip(opts), clientv3.WithRev(revision))...))
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = current
		}
		for _, kv := range results[0].Kvs {
			if err := op.err(); err != nil {
				return 0, err
			}
			if more, err := visit(kv); err != nil || !more {
				return revision, err
			}
		}
		if !results[0].More {
			return revision, nil
		}
		from = string(results[0].Kvs[len(results[0].Kvs)-1].Key) + "\x00"
	}
}

// eachIn is each for the keys that begin with prefix.
func (op *operation) eachIn(prefix string, revision int64, page int64, visit func(*mvccpb.KeyValue) (bool, error), opts ...clientv3.OpOption) (int64, error) {
	from := op.prefix + prefix
	return op.each(from, clientv3.GetPrefixRangeEnd(from), revision, page, visit, opts...)
}

// tx is a write transaction: what it has read, and what it will write.
type tx struct {
	op       *operation
	revision int64 // of the state that it reads; 0: nothing was read yet
	compared []compared
	puts     []clientv3.Op
	audits   []store.Audit
	create   *store.Token // gets a number

	committed int64   // the revision of the commit
	deleted   []int64 // the number of keys that each of puts has deleted
}

// compared is a key that must not change before the commit.
type compared struct {
	key      string
	revision int64 // 0: the key does not exist
}

// peek returns the values of keys, nil where there is none, all at one revision.
func (t *tx) peek(keys ...string) ([]*mvccpb.KeyValue, error) {
	values := make([]*mvccpb.KeyValue, 0, len(keys))
	for part := range slices.Chunk(keys, maxOps) {
		var ops []clientv3.Op
		for _, key := range part {
			ops = append(ops, t.op.get(key, clientv3.WithRev(t.revision)))
		}
		results, revision, err := t.op.read(ops...)
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil, errConflict // it took so long that the state is gone
		}
		if err != nil {
			return nil, err
		}
		if t.revision == 0 {
			t.revision = revision
		}
		for _, r := range results {
			if len(r.Kvs) == 0 {
				values = append(values, nil)
			} else {
				values = append(values, r.Kvs[0])
			}
		}
	}
	return values, nil
}

// read is peek, and the transaction fails if one of the keys changes before the commit.
func (t *tx) read(keys ...string) ([]*mvccpb.KeyValue, error) {
	values, err := t.peek(keys...)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		var revision int64
		if values[i] != nil {
			revision = values[i].ModRevision
		}
		t.compared = append(t.compared, compared{key, revision})
	}
	return values, nil
}

func (t *tx) put(key string, value []byte) { t.puts = append(t.puts, t.op.put(key, value)) }
func (t *tx) del(key string)               { t.puts = append(t.puts, t.op.del(key)) }

// write runs fn in a transaction and commits it, again after conflicts until ctx ends.
func (s *Store) write(ctx context.Context, fn func(*tx) error) (*tx, error) {
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	return op.write(fn)
}

// The pauses before a transaction begins again, which get longer.
const (
	firstPause = time.Millisecond
	lastPause  = 200 * time.Millisecond
)

func (op *operation) write(fn func(*tx) error) (*tx, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		t := &tx{op: op}
		err := fn(t)
		if err == nil {
			err = op.err()
		}
		if err == nil {
			err = op.commit(t)
		}
		if !errors.Is(err, errConflict) {
			return t, err
		}
		timer := time.NewTimer(rand.N(pause))
		select {
		case <-timer.C:
		case <-op.reads.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w: %w", err, op.err())
		}
	}
}

// commit writes the transaction. If only a sequence was taken meanwhile, it takes another.
func (op *operation) commit(t *tx) (err error) {
	if t.create != nil && t.create.Number == 0 {
		if t.create.Number, err = op.nextNumber(); err != nil {
			return err
		}
	}
	if t.revision == 0 && len(t.audits) > 0 {
		if _, t.revision, err = op.read(op.get(schemaKey, clientv3.WithCountOnly())); err != nil {
			return err
		}
	}
	transaction := rand.Uint64()
	for {
		var compares []clientv3.Cmp
		var checks []clientv3.Op
		puts := slices.Clip(t.puts)
		for _, c := range t.compared {
			compares = append(compares, clientv3.Compare(clientv3.ModRevision(op.prefix+c.key), "=", c.revision))
			checks = append(checks, op.get(c.key, clientv3.WithKeysOnly()))
		}
		if t.create != nil {
			record, err := store.EncodeToken(*t.create)
			if err != nil {
				return err
			}
			puts = append(puts, op.put(tokenKey(t.create.ID), record),
				op.put(numberKey(t.create.Number), []byte(t.create.ID)), op.put(ownedKey(*t.create), []byte(t.create.ID)))
		}
		first := op.sequence + uint64(t.revision)*sequenceSlots + rand.Uint64N(sequenceSlots-uint64(len(t.audits)))
		var record []byte // the last audit record
		for i, a := range t.audits {
			if a.Sequence = first + uint64(i); a.Sequence > maxSequence {
				return fmt.Errorf("write audit record: its sequence would be %d", a.Sequence)
			}
			key := auditKey(a.Sequence)
			record = store.EncodeAudit(store.BoundAudit(a), transaction)
			compares = append(compares, clientv3.Compare(clientv3.CreateRevision(op.prefix+key), "=", 0))
			puts = append(puts, op.put(key, record))
			if i == len(t.audits)-1 {
				checks = append(checks, op.get(key))
			}
		}
		if len(puts) == 0 {
			return nil
		}
		// With an audit record it can be sent again: it is carried out only once, and the record, which contains the
		// number of the transaction, shows whether it was.
		commit := op.commitOnce
		if record != nil {
			commit = op.commitSurely
		}
		resp, err := commit(compares, puts, checks)
		if err != nil {
			return err
		}
		if resp.Succeeded {
			t.committed = resp.Header.Revision
			for _, r := range resp.Responses {
				t.deleted = append(t.deleted, r.GetResponseDeleteRange().GetDeleted())
			}
			return nil
		}
		if record != nil {
			written := resp.Responses[len(checks)-1].GetResponseRange().Kvs
			if len(written) == 1 && bytes.Equal(written[0].Value, record) {
				t.committed = written[0].ModRevision
				return nil
			}
		}
		for i, c := range t.compared {
			if now := resp.Responses[i].GetResponseRange().Kvs; c.revision == 0 && len(now) > 0 || c.revision != 0 && (len(now) == 0 || now[0].ModRevision != c.revision) {
				return errConflict
			}
		}
		t.revision = resp.Header.Revision
	}
}

// commitOnce sends one transaction once: its outcome is unknown after some errors.
func (op *operation) commitOnce(compares []clientv3.Cmp, puts, checks []clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(op.Context, op.timeout)
	defer cancel()
	resp, err := op.client.Txn(ctx).If(compares...).Then(puts...).Else(checks...).Commit()
	return op.committed(resp, err)
}

// commitSurely is commitOnce, but sends the transaction again while its outcome is unknown. If an earlier one was carried
// out, the compares fail if they include a key that the transaction writes; otherwise it is carried out again.
func (op *operation) commitSurely(compares []clientv3.Cmp, puts, checks []clientv3.Op) (*clientv3.TxnResponse, error) {
	resp, err := op.send(op.Context, func(ctx context.Context) clientv3.Txn {
		return op.client.Txn(ctx).If(compares...).Then(puts...).Else(checks...)
	})
	return op.committed(resp, err)
}

// committed returns the result of a write.
func (op *operation) committed(resp *clientv3.TxnResponse, err error) (*clientv3.TxnResponse, error) {
	if err != nil && op.Context.Err() != nil {
		return nil, op.Context.Err()
	}
	if err != nil {
		return nil, op.failed(err)
	}
	op.sawRevision(resp.Header.Revision)
	return resp, nil
}

// nextNumber takes the next number of a token. The number grows with the version of m/number, which etcd counts, so that no
// server waits for another, however slow it is.
func (op *operation) nextNumber() (uint64, error) {
	resp, err := op.send(op.Context, func(ctx context.Context) clientv3.Txn {
		exists := clientv3.Compare(clientv3.CreateRevision(op.prefix+lastNumberKey), "!=", 0)
		return op.client.Txn(ctx).If(exists).
			Then(op.put(lastNumberKey, nil, clientv3.WithIgnoreValue()), op.get(lastNumberKey)).
			Else(op.put(lastNumberKey, []byte(decimal(1))), op.get(lastNumberKey))
	})
	if resp, err = op.committed(resp, err); err != nil {
		return 0, err
	}
	return lastNumber(resp.Responses[1].GetResponseRange().Kvs)
}

// lastNumber returns the highest number ever taken, given what was read of m/number.
func lastNumber(found []*mvccpb.KeyValue) (uint64, error) {
	if len(found) == 0 || found[0] == nil {
		return 0, nil
	}
	first, err := parseDecimal(lastNumberKey, found[0].Value)
	return first + uint64(found[0].Version) - 1, err
}

// sawRevision keeps the highest revision.
func (s *Store) sawRevision(revision int64) {
	for {
		before := s.seen.Load()
		if revision <= before || s.seen.CompareAndSwap(before, revision) {
			return
		}
	}
}

// failed returns the error of a request to etcd.
func (op *operation) failed(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: etcd's space quota is used up; compact and defragment etcd or raise its quota, and then disarm its alarm (%w)",
			store.ErrNoSpace, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer from etcd at %s within %v: %w", store.ErrUnavailable, strings.Join(op.client.Endpoints(), ", "), op.timeout, err)
	case isTemporary(err):
		return fmt.Errorf("%w: etcd: %w", store.ErrUnavailable, err)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("etcd refuses access to keys that begin with %q: %w", op.prefix, err)
	}
	return fmt.Errorf("etcd: %w", err)
}
