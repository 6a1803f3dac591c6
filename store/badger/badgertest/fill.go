// Package badgertest fills stores for tests and benchmarks.
package badgertest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	badgerdb "github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// Fill creates a store in dir that contains tokens, or writes them to an empty, closed one. It
// bypasses package store/badger, which syncs each write and adds an audit record. The tokens have
// distinct ids, numbers from 1 on, and none is revoked. Fill stops at the first error of the
// sequence.
func Fill(ctx context.Context, dir string, tokens iter.Seq2[store.Token, error]) error {
	empty, err := badger.Open(ctx, badger.Options{Dir: dir})
	if err != nil {
		return fmt.Errorf("create the store: %w", err)
	}
	if err := empty.Close(); err != nil {
		return fmt.Errorf("create the store: %w", err)
	}
	db, err := badgerdb.Open(badgerdb.DefaultOptions(dir).WithLogger(nil).
		WithSyncWrites(false).
		WithNumVersionsToKeep(1).
		WithValueLogFileSize(1 << 20).
		WithCompression(0).
		WithBlockCacheSize(0))
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	err = errors.Join(put(ctx, batch, tokens), batch.Flush())
	if err == nil {
		// Starts read tables then, not logs.
		err = db.Flatten(2)
	}
	return errors.Join(err, db.Close())
}

// put writes the keys that package store/badger would write.
func put(ctx context.Context, batch *badgerdb.WriteBatch, tokens iter.Seq2[store.Token, error]) error {
	live := make(map[string][]byte) // ids, by the owner's key
	var last uint64
	for t, err := range tokens {
		if err != nil {
			return err
		}
		if t.Number != last+1 || t.State == store.Revoked {
			return fmt.Errorf("token %q has number %d after %d and state %v", t.ID, t.Number, last, t.State)
		}
		record, err := store.EncodeToken(t)
		if err != nil {
			return err
		}
		owner := "o/" + store.FoldOwner(t.Owner.Name)
		if live[owner] == nil {
			live[owner] = []byte{2}
		}
		live[owner] = append(live[owner], t.ID...)
		last = t.Number
		err = errors.Join(
			batch.Set([]byte("t/"+t.ID), record),
			batch.Set(binary.BigEndian.AppendUint64([]byte("n/"), t.Number), []byte(t.ID)),
			batch.Set(binary.BigEndian.AppendUint64([]byte(owner+"\x00"), t.Number), []byte(t.ID)),
			ctx.Err(),
		)
		if err != nil {
			return err
		}
	}
	for owner, ids := range live {
		if err := batch.Set([]byte(owner), ids); err != nil {
			return err
		}
	}
	return batch.Set([]byte("m/number"), binary.BigEndian.AppendUint64(nil, last))
}
