package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// Size returns the total length of the files in bytes, without the reserved space, or 0 if the
// directory cannot be read. The log has its full length of 8 MiB from the start, of which the
// disk holds the written part.
//
// Badger's own figure needs its metrics and is up to a minute old.
func (s *Store) Size() int64 {
	var size int64
	err := filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == reserveName {
			return err
		}
		// A compaction may have removed the file meanwhile.
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return size
}

// recordKinds are the kinds of record that are counted, by key prefix.
var recordKinds = [...]struct {
	name   string
	prefix []byte
}{
	{"tokens", tokenPrefix},
	{"usage", usagePrefix},
	{"audit", auditPrefix},
	{"totals", dayPrefix},
	{"passwords", passwordPrefix},
}

// auditKind is the index of the audit log in recordKinds.
const auditKind = 2

// kindOf returns the index of a key's kind in recordKinds, or -1.
func kindOf(key []byte) int {
	for i, k := range recordKinds {
		if bytes.HasPrefix(key, k.prefix) {
			return i
		}
	}
	return -1
}

// size is a number of records, and the bytes of their keys and values.
type size struct{ records, bytes int64 }

func (s *size) add(sign int64, key []byte, value int64) {
	s.records += sign
	s.bytes += sign * (int64(len(key)) + value)
}

// sizes are the sizes of all kinds of record.
type sizes [len(recordKinds)]size

// counters are sizes for concurrent use.
type counters [len(recordKinds)]struct{ records, bytes atomic.Int64 }

func (c *counters) add(more sizes) {
	for i, m := range more {
		c[i].records.Add(m.records)
		c[i].bytes.Add(m.bytes)
	}
}

// countRecords counts the records in txn, which were present when the store was opened. Later
// writes are counted with their transactions. It starts once All has read the tokens, which a
// start waits for, or when PruneAudit needs the sizes.
func (s *Store) countRecords(ctx context.Context, txn *badger.Txn) {
	defer s.running.Done()
	defer txn.Discard()
	select {
	case <-s.countingAllowed:
	case <-ctx.Done():
		return
	}
	var found sizes
	for i, k := range recordKinds {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: k.prefix})
		for it.Rewind(); it.Valid(); it.Next() {
			if ctx.Err() != nil {
				it.Close()
				return
			}
			found[i].add(1, it.Item().Key(), it.Item().ValueSize())
			runtime.Gosched() // requests come first
		}
		it.Close()
	}
	s.sizes.add(found)
	s.release()
	close(s.counted)
}

// allowCounting lets countRecords start.
func (s *Store) allowCounting() { s.allowOnce.Do(func() { close(s.countingAllowed) }) }

// Sizes returns the number and the bytes of the records of each kind, without the database's
// overhead. ok is false until the records present at the start are counted.
func (s *Store) Sizes() (all map[string]store.Size, ok bool) {
	select {
	case <-s.counted:
	default:
		return nil, false
	}
	all = make(map[string]store.Size, len(recordKinds))
	for i, k := range recordKinds {
		all[k.name] = store.Size{Records: s.sizes[i].records.Load(), Bytes: s.sizes[i].bytes.Load()}
	}
	return all, true
}

// set writes a value of at most maxValue bytes, and counts it. The caller has read the key in
// this transaction, or knows that it is new.
func (t *tx) set(key, value []byte) error {
	if len(value) > maxValue {
		return fmt.Errorf("record has %d bytes, more than the maximum of %d", len(value), maxValue)
	}
	if err := t.uncount(key); err != nil {
		return err
	}
	if k := kindOf(key); k >= 0 {
		t.sizes[k].add(1, key, int64(len(value)))
	}
	return t.Set(key, value)
}

// deleteKey deletes a key, whose value it reads, and counts it.
func (t *tx) deleteKey(key []byte) error {
	if err := t.uncount(key); err != nil {
		return err
	}
	return t.Delete(key)
}

// uncount subtracts a key's current record from the sizes.
func (t *tx) uncount(key []byte) error {
	k := kindOf(key)
	if k < 0 {
		return nil
	}
	item, err := t.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", key, err)
	}
	t.sizes[k].add(-1, key, item.ValueSize())
	return nil
}
