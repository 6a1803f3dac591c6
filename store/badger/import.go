package badger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

var _ store.Importer = (*Store)(nil)

// The limits on the records that one transaction imports.
const (
	importRecords = 500
	importBytes   = 200 << 10
)

// Import adds records to an empty store: see store.Importer. The lists of the owners' live tokens stay unknown.
func (s *Store) Import(ctx context.Context, records store.Records, check func() error) error {
	err := s.write(ctx, func(tx *tx) error {
		if version, err := get(tx.Txn, schemaKey); err != nil || string(version) == incompleteSchema {
			return cmp.Or(err, store.ErrIncomplete)
		}
		it := tx.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if !bytes.HasPrefix(it.Item().Key(), metaPrefix) {
				return fmt.Errorf("%w: %s", store.ErrNotEmpty, s.dir)
			}
		}
		return tx.Set(schemaKey, []byte(incompleteSchema))
	})
	if err != nil {
		return err
	}
	i := &importer{store: s}
	err = records(ctx, func(r store.Record) error { return i.add(ctx, r) })
	if err == nil {
		err = i.end(ctx)
	}
	if err == nil {
		err = check()
	}
	if err == nil {
		err = s.write(ctx, func(tx *tx) error { return tx.Set(schemaKey, []byte(strconv.Itoa(schema))) })
	}
	if err != nil {
		return fmt.Errorf("import into %s: %w", s.dir, err)
	}
	s.writeMarker()
	return nil
}

// importer adds records in batches of one kind.
type importer struct {
	store *Store

	batch []store.Record
	bytes int

	number   uint64 // the highest of a token
	sequence uint64 // the highest of the audit log
	users    uint64 // with password uses
}

func (i *importer) add(ctx context.Context, r store.Record) error {
	if n := len(i.batch); n > 0 && (n == importRecords || i.bytes+len(r.Value) > importBytes || r.Kind != i.batch[0].Kind) {
		if err := i.flush(ctx); err != nil {
			return err
		}
	}
	if r.Kind == store.PasswordRecord {
		i.users++
	}
	i.batch, i.bytes = append(i.batch, r), i.bytes+len(r.Value)
	return nil
}

func (i *importer) flush(ctx context.Context) error {
	batch := i.batch
	i.batch, i.bytes = nil, 0
	if len(batch) == 0 {
		return nil
	}
	if batch[0].Kind == store.UsageRecord {
		return i.addUsage(ctx, batch)
	}
	return i.store.write(ctx, func(tx *tx) error {
		for _, r := range batch {
			if err := i.put(tx, r); err != nil {
				return err
			}
		}
		return nil
	})
}

func (i *importer) addUsage(ctx context.Context, batch []store.Record) error {
	all := make(map[string]store.Usage, len(batch))
	for _, r := range batch {
		u, err := store.DecodeUsage(r.Key, r.Value)
		if err != nil {
			return err
		}
		all[r.Key] = u
	}
	return i.store.AddUsage(ctx, all)
}

// put writes one record, which is no usage.
func (i *importer) put(tx *tx, r store.Record) error {
	switch r.Kind {
	case store.NumberRecord:
		n, err := r.Number()
		i.number = max(i.number, n)
		return err
	case store.TokenRecord:
		t, err := store.DecodeToken(r.Key, r.Value)
		if err != nil {
			return err
		}
		i.number = max(i.number, t.Number)
		return errors.Join(
			tx.set(tokenKey(t.ID), r.Value),
			tx.Set(numberKey(t.Number), []byte(t.ID)),
			tx.Set(ownedKey(t.Owner.Name, t.Number), []byte(t.ID)),
			tx.Set(ownerKey(t.Owner.Name), liveList{}.encode()),
		)
	case store.AuditRecord:
		sequence, err := r.Sequence()
		if err != nil {
			return err
		}
		i.sequence = max(i.sequence, sequence)
		return tx.set(auditKey(sequence), r.Value)
	case store.TotalsRecord:
		day, err := r.Day()
		if err != nil {
			return err
		}
		return tx.set(dayKey(day), r.Value)
	case store.PasswordRecord:
		return tx.set(passwordKey(r.Key), r.Value)
	case store.UpstreamRecord:
		return tx.set(upstreamKey(r.Key), r.Value)
	}
	return r.Check()
}

// end writes the last batch and the running numbers. The sequences may have gaps, so the ledger requires none of the
// imported audit records but the newest.
func (i *importer) end(ctx context.Context) error {
	if err := i.flush(ctx); err != nil {
		return err
	}
	s := i.store
	err := s.write(ctx, func(tx *tx) error {
		return errors.Join(tx.Set(lastNumberKey, appendNumber(nil, i.number)), tx.Set(passwordUsersKey, appendNumber(nil, i.users)))
	})
	if err != nil {
		return err
	}
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	s.number = max(s.number, i.number)
	if i.sequence <= s.sequence {
		return nil
	}
	s.sequence, s.completeFrom = i.sequence, i.sequence
	return s.ledger.acknowledge(s.sequence, s.completeFrom)
}
