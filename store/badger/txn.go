package badger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// view runs fn on a snapshot of the database.
func (s *Store) view(ctx context.Context, fn func(*badger.Txn) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	return s.db.View(fn)
}

// tx is a write transaction. Records that need a running number wait in it for the commit.
type tx struct {
	*badger.Txn
	urgent  bool         // it ends a token, and may use the reserved disk space
	written *store.Token // the token that is created or updated
	isNew   bool         // it is created
	removed []string     // ids of tokens
	audits  []store.Audit
	sizes   sizes // the change in size of each kind of record
}

// write runs fn in a transaction and commits it, and retries after conflicts until ctx ends. One
// of several conflicting transactions always succeeds, so every round makes progress.
func (s *Store) write(ctx context.Context, fn func(*tx) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	for {
		err := s.attempt(ctx, fn)
		if !errors.Is(err, errConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("write conflicted with other writes: %w", err)
		}
	}
}

// errConflict is a conflict at commit, as distinct from an error of the caller's callback.
var errConflict = fmt.Errorf("commit: %w", badger.ErrConflict)

func (s *Store) attempt(ctx context.Context, fn func(*tx) error) error {
	t := &tx{Txn: s.db.NewTransaction(true)}
	defer t.Discard()
	// The probe runs while the transaction reads, to wait only once.
	probed := s.runAsync(func() error { return s.ledger.probe(ctx) })
	failed := fn(t)
	if err := await(ctx, probed); failed != nil || err != nil {
		return cmp.Or(failed, err)
	}
	if err := await(ctx, s.runAsync(func() error { return s.checkSpace(t.urgent) })); err != nil {
		return err
	}
	return s.commitNumbered(ctx, t)
}

// runAsync runs fn, which may hang with the disk, in a goroutine that Close waits for.
func (s *Store) runAsync(fn func() error) <-chan error {
	done := make(chan error, 1)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		done <- fn()
	}()
	return done
}

// await waits for the result of runAsync until ctx ends.
func await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer from the disk: %w", ctx.Err())
	}
}

// commitNumbered assigns the running numbers and commits. Numbers are reused only if it is
// certain that nothing was written.
func (s *Store) commitNumbered(ctx context.Context, t *tx) error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	number, sequence := s.number, s.sequence
	if t.isNew {
		number++
		t.written.Number = number
		if err := t.addToken(*t.written); err != nil {
			return err
		}
	}
	for _, a := range t.audits {
		sequence++
		a.Sequence = sequence
		if err := t.set(auditKey(sequence), store.EncodeAudit(store.BoundAudit(a), 0)); err != nil {
			return fmt.Errorf("write audit record: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Commit(); errors.Is(err, badger.ErrConflict) {
		return errConflict
	} else if err != nil {
		s.skipNumbers(number, sequence)
		return fmt.Errorf("commit: %w", err)
	}
	first := s.sequence == 0
	s.number, s.sequence = number, sequence
	s.sizes.add(t.sizes)
	s.deliver(t)
	if len(t.audits) == 0 {
		return nil // may be lost
	}
	if err := s.ledger.acknowledge(s.sequence, s.completeFrom); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if first {
		s.writeMarker()
	}
	s.settleTimer.Reset(settleAfter)
	return nil
}

// skipNumbers marks the numbers of a failed commit as used: its records may or may not be in the
// log.
func (s *Store) skipNumbers(number, sequence uint64) {
	if sequence > s.sequence {
		s.completeFrom = sequence + 1
	}
	s.number, s.sequence = number, sequence
}

// settleAfter is the delay after the last of several writes until the ledger is synced. A write
// that follows sooner syncs it anyway.
const settleAfter = 50 * time.Millisecond

// checkSpace refuses a write if the disk is too full.
func (s *Store) checkSpace(urgent bool) error {
	fs, err := s.statfs(s.dir)
	if err != nil {
		return err
	}
	least := uint64(reserve)
	if urgent {
		least = reserveToOpen
	}
	if err := checkFree(s.dir, s.reserved.available(fs), least); err != nil {
		return err
	}
	return s.reserved.resize(fs, reserveToOpen)
}

// checkRoom refuses a file of more bytes if the disk would then be too full for other writes.
func (s *Store) checkRoom(more int64) error {
	fs, err := s.statfs(s.dir)
	if err != nil {
		return err
	}
	return checkFree(s.dir, s.reserved.available(fs), reserve+uint64(more))
}

// addToken writes all keys of a new token.
func (t *tx) addToken(n store.Token) error {
	if err := t.putToken(n); err != nil {
		return err
	}
	return errors.Join(
		t.Set(numberKey(n.Number), []byte(n.ID)),
		t.Set(ownedKey(n.Owner.Name, n.Number), []byte(n.ID)),
		t.Set(lastNumberKey, appendNumber(nil, n.Number)),
	)
}

// removeToken deletes all keys of a token. dropUsage must follow the commit.
func (t *tx) removeToken(old store.Token) error {
	t.removed = append(t.removed, old.ID)
	return errors.Join(
		t.deleteKey(tokenKey(old.ID)),
		t.Delete(numberKey(old.Number)),
		t.Delete(ownedKey(old.Owner.Name, old.Number)),
	)
}

func (t *tx) putToken(n store.Token) error {
	data, err := store.EncodeToken(n)
	if err != nil {
		return err
	}
	return t.set(tokenKey(n.ID), data)
}

// get returns a copy of a key's value, or nil.
func get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", key, err)
	}
	value, err := item.ValueCopy([]byte{})
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", key, err)
	}
	return value, nil
}

// getToken returns one token, or ErrNotFound.
func getToken(txn *badger.Txn, id string) (store.Token, error) {
	if id == "" {
		return store.Token{}, store.ErrNotFound
	}
	item, err := txn.Get(tokenKey(id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return store.Token{}, fmt.Errorf("%w: %q", store.ErrNotFound, id)
	}
	if err != nil {
		return store.Token{}, fmt.Errorf("read token %q: %w", id, err)
	}
	return decodeToken(item)
}

// decodeToken returns the token of a key. Its revision is Badger's version of the key, which is
// the timestamp of the commit.
func decodeToken(item *badger.Item) (t store.Token, err error) {
	id := string(item.Key()[len(tokenPrefix):])
	err = item.Value(func(value []byte) error {
		t, err = store.DecodeToken(id, value)
		return err
	})
	t.Revision = item.Version()
	return t, err
}

// eachValue is eachItem with the keys and values.
func eachValue(
	ctx context.Context, txn *badger.Txn, prefix, from []byte, visit func(key, value []byte) (more bool, err error),
) error {
	return eachItem(ctx, txn, prefix, from, func(item *badger.Item) (more bool, err error) {
		err = item.Value(func(value []byte) error {
			more, err = visit(item.Key(), value)
			return err
		})
		return more, err
	})
}

// eachItem calls visit with each key that has the prefix and is not below from, in order, until
// visit returns false or an error.
func eachItem(
	ctx context.Context, txn *badger.Txn, prefix, from []byte, visit func(*badger.Item) (more bool, err error),
) error {
	// No prefetching: values are stored with their keys, and Badger starts a goroutine for each.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err := visit(it.Item()); err != nil || !more {
			return err
		}
	}
	return nil
}

// lastNumber returns the highest number at the end of a key with the prefix, or 0.
func lastNumber(txn *badger.Txn, prefix []byte) (uint64, error) {
	it := reverseIterator(txn, prefix)
	defer it.Close()
	if it.Seek(appendNumber(prefix, math.MaxUint64)); !it.Valid() {
		return 0, nil
	}
	return trailingNumber(it.Item().Key())
}

// reverseIterator iterates over the keys with the prefix in descending order.
func reverseIterator(txn *badger.Txn, prefix []byte) *badger.Iterator {
	return txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
}
