package badger

import (
	"context"
	"runtime"
	"strconv"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// Export calls visit with all records: see store.Store.
func (s *Store) Export(ctx context.Context, visit func(store.Record) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	// The numbers of the tokens that the transaction sees, or higher ones.
	s.commitMu.Lock()
	number := s.number
	s.commitMu.Unlock()
	err := visit(store.Record{Kind: store.NumberRecord, Value: strconv.AppendUint(nil, number, 10)})
	if err == nil {
		err = s.exportAll(ctx, txn, store.TokenRecord, tokenPrefix, textKey, visit)
	}
	if err == nil {
		err = s.eachUsage(ctx, func(id string, u store.Usage) error {
			if err := s.goesOn(); err != nil {
				return err
			}
			return visit(store.Record{Kind: store.UsageRecord, Key: id, Value: store.EncodeUsage(u)})
		})
	}
	for _, of := range []struct {
		kind   store.RecordKind
		prefix []byte
		key    func([]byte) (string, error)
	}{
		{store.AuditRecord, auditPrefix, decimalKey},
		{store.TotalsRecord, dayPrefix, decimalKey},
		{store.PasswordRecord, passwordPrefix, textKey},
		{store.UpstreamRecord, upstreamPrefix, textKey},
	} {
		if err == nil {
			err = s.exportAll(ctx, txn, of.kind, of.prefix, of.key, visit)
		}
	}
	s.release()
	return err
}

// exportAll calls visit with the records of one kind. name returns a record's key from what follows the prefix.
func (s *Store) exportAll(
	ctx context.Context, txn *badger.Txn, kind store.RecordKind, prefix []byte, name func([]byte) (string, error), visit func(store.Record) error,
) error {
	return eachItem(ctx, txn, prefix, prefix, func(item *badger.Item) (bool, error) {
		runtime.Gosched() // requests come first
		if err := s.goesOn(); err != nil {
			return false, err
		}
		key, err := name(item.Key()[len(prefix):])
		if err != nil {
			return false, err
		}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return false, err
		}
		return true, visit(store.Record{Kind: kind, Key: key, Value: value})
	})
}

// goesOn returns store.ErrClosed once Close waits for this operation.
func (s *Store) goesOn() error {
	if s.closing.Err() != nil {
		return store.ErrClosed
	}
	return nil
}

func textKey(rest []byte) (string, error) { return string(rest), nil }

func decimalKey(rest []byte) (string, error) {
	n, err := trailingNumber(rest)
	return strconv.FormatUint(n, 10), err
}
