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

// view runs fn on the database as it is at one instant.
func (s *Store) view(ctx context.Context, fn func(*badger.Txn) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	return s.db.View(fn)
}

// tx is one write transaction. What needs a running number waits in it for the
// commitMu.
type tx struct {
	*badger.Txn
	urgent  bool // it ends a token: it may use the space that other writes leave
	created *store.Token
	audits  []store.Audit
	sizes   sizes // by how much the records of each kind become more
}

// write runs fn in a transaction and commits it, and does so again for as long
// as the commit meets a conflict and ctx lasts. Of transactions in conflict one
// always gets through, so each round makes progress.
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
			return fmt.Errorf("write met other writes until the end: %w", err)
		}
	}
}

// errConflict is the conflict of a commit, and no error that a caller's closure
// may have returned.
var errConflict = fmt.Errorf("commit: %w", badger.ErrConflict)

func (s *Store) attempt(ctx context.Context, fn func(*tx) error) error {
	t := &tx{Txn: s.db.NewTransaction(true)}
	defer t.Discard()
	// The disk is asked while the transaction reads: one wait instead of two.
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

// runAsync runs fn, which may hang with the disk, beside an operation that has
// begun. Close waits for it.
func (s *Store) runAsync(fn func() error) <-chan error {
	done := make(chan error, 1)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		done <- fn()
	}()
	return done
}

// await waits for what start runs, until ctx ends.
func await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer from the disk: %w", ctx.Err())
	}
}

// commitNumbered gives out the numbers and commits. A number is used up unless it is
// certain that nothing was written.
func (s *Store) commitNumbered(ctx context.Context, t *tx) error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	number, sequence := s.number, s.sequence
	if t.created != nil {
		number++
		t.created.Number = number
		if err := t.addToken(*t.created); err != nil {
			return err
		}
	}
	for _, a := range t.audits {
		sequence++
		a.Sequence = sequence
		if err := t.set(auditKey(sequence), store.EncodeAudit(store.BoundAudit(a))); err != nil {
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
	if len(t.audits) == 0 {
		return nil // nobody relies on it
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

// skipNumbers uses up the numbers of a commit that has failed, whose records may be in the
// log or not.
func (s *Store) skipNumbers(number, sequence uint64) {
	if sequence > s.sequence {
		s.completeFrom = sequence + 1
	}
	s.number, s.sequence = number, sequence
}

// settleAfter is how long after the last of several writes the disk is made to
// take what the ledger says of it. A write that follows sooner does so itself.
const settleAfter = 50 * time.Millisecond

// checkSpace refuses a write for which the disk is too full.
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

// addToken writes everything that belongs to a new token.
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

// removeToken deletes everything that belongs to a token.
func (t *tx) removeToken(old store.Token) error {
	return errors.Join(
		t.deleteKey(tokenKey(old.ID)),
		t.Delete(numberKey(old.Number)),
		t.Delete(ownedKey(old.Owner.Name, old.Number)),
		t.deleteKey(usageKey(old.ID)),
	)
}

func (t *tx) putToken(n store.Token) error {
	data, err := store.EncodeToken(n)
	if err != nil {
		return err
	}
	return t.set(tokenKey(n.ID), data)
}

// get returns a copy of a key's value, or nil if there is none.
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
	data, err := get(txn, tokenKey(id))
	if err != nil {
		return store.Token{}, err
	}
	if data == nil {
		return store.Token{}, fmt.Errorf("%w: %q", store.ErrNotFound, id)
	}
	return store.DecodeToken(id, data)
}

// eachValue calls visit with the key and the value of each key that begins with
// prefix and is not below from, in order, until it says stop.
func eachValue(ctx context.Context, txn *badger.Txn, prefix, from []byte, visit func(key, value []byte) (more bool, err error)) error {
	// Values lie beside their keys, and Badger prefetches with a goroutine for
	// each.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		var more bool
		err := it.Item().Value(func(value []byte) error {
			var err error
			more, err = visit(it.Item().Key(), value)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
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
