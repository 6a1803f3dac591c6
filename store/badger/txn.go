package badger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// tx is one write transaction. What needs a running number waits in it for the
// commit.
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
	probed := s.start(func() error { return s.ledger.probe(ctx) })
	failed := fn(t)
	if err := answer(ctx, probed); failed != nil || err != nil {
		return cmp.Or(failed, err)
	}
	if err := answer(ctx, s.start(func() error { return s.checkSpace(t.urgent) })); err != nil {
		return err
	}
	return s.finish(ctx, t)
}

// start runs fn, which may hang with the disk, beside an operation that has
// begun. Close waits for it.
func (s *Store) start(fn func() error) <-chan error {
	done := make(chan error, 1)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		done <- fn()
	}()
	return done
}

// answer waits for what start runs, until ctx ends.
func answer(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer from the disk: %w", ctx.Err())
	}
}

// finish gives out the numbers and commits. A number is used up unless it is
// certain that nothing was written.
func (s *Store) finish(ctx context.Context, t *tx) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	number, sequence := s.number, s.sequence
	if t.created != nil {
		number++
		t.created.Number = number
		if err := t.add(*t.created); err != nil {
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
		s.use(number, sequence)
		return fmt.Errorf("commit: %w", err)
	}
	first := s.sequence == 0
	s.number, s.sequence = number, sequence
	s.sizes.add(t.sizes)
	if len(t.audits) == 0 {
		return nil // nobody relies on it
	}
	if err := s.ledger.acknowledge(s.sequence, s.from); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if first {
		s.writeMarker()
	}
	s.soon.Reset(settleAfter)
	return nil
}

// use uses up the numbers of a commit that has failed, whose records may be in the
// log or not.
func (s *Store) use(number, sequence uint64) {
	if sequence > s.sequence {
		s.from = sequence + 1
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
	if err := enough(s.dir, s.room.available(fs), least); err != nil {
		return err
	}
	return s.room.fit(fs, reserveToOpen)
}

// add writes everything that belongs to a new token.
func (t *tx) add(n store.Token) error {
	if err := t.putToken(n); err != nil {
		return err
	}
	return errors.Join(
		t.Set(numberKey(n.Number), []byte(n.ID)),
		t.Set(ownedKey(n.Owner.Name, n.Number), []byte(n.ID)),
		t.Set(lastNumberKey, numbered(nil, n.Number)),
	)
}

// remove deletes everything that belongs to a token.
func (t *tx) remove(old store.Token) error {
	return errors.Join(
		t.drop(tokenKey(old.ID)),
		t.Delete(numberKey(old.Number)),
		t.Delete(ownedKey(old.Owner.Name, old.Number)),
		t.drop(usageKey(old.ID)),
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

// token returns one token, or ErrNotFound.
func token(txn *badger.Txn, id string) (store.Token, error) {
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

// values calls visit with the key and the value of each key that begins with
// prefix and is not below from, in order, until it says stop.
func values(ctx context.Context, txn *badger.Txn, prefix, from []byte, visit func(key, value []byte) (more bool, err error)) error {
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
