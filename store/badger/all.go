package badger

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// idCharacters begin the parts in which All reads the tokens. Ids are random,
// so the parts are about equal.
const idCharacters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// All calls visit with every token, from one goroutine per processor, because a
// start waits for it: see store.Store.
func (s *Store) All(ctx context.Context, visit func(store.Token) error) error {
	return s.view(ctx, func(txn *badger.Txn) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var next atomic.Int64
		var readers sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			readers.Go(func() {
				for part := next.Add(1) - 1; part < int64(len(idCharacters)); part = next.Add(1) - 1 {
					if err := visitPart(ctx, txn, int(part), visit); err != nil {
						cancel(err)
						return
					}
				}
			})
		}
		readers.Wait()
		if err := context.Cause(ctx); err != nil {
			return err
		}
		s.release()
		s.allowCounting()
		return nil
	})
}

// release gives up the memory that reading everything took.
func (s *Store) release() {
	if err := s.releaseTables(); err != nil {
		s.log.line(slog.LevelInfo, "the tables stay in memory: %v", []any{err})
	}
}

// visitPart calls visit with the tokens of one part. The first part begins with
// the first of all keys, and the last one ends with the last, so that a key that
// is no token's is met, too.
func visitPart(ctx context.Context, txn *badger.Txn, part int, visit func(store.Token) error) error {
	from, to := tokenPrefix, []byte(nil)
	if part > 0 {
		from = tokenKey(idCharacters[part : part+1])
	}
	if part+1 < len(idCharacters) {
		to = tokenKey(idCharacters[part+1 : part+2])
	}
	return eachValue(ctx, txn, tokenPrefix, from, func(key, value []byte) (bool, error) {
		if to != nil && bytes.Compare(key, to) >= 0 {
			return false, nil
		}
		t, err := store.DecodeToken(string(key[len(tokenPrefix):]), value)
		if err != nil {
			return false, err
		}
		return true, visit(t)
	})
}

// AllUsage calls visit with the usage of every token, one after another, because
// requests are being answered meanwhile: see store.Store.
func (s *Store) AllUsage(ctx context.Context, visit func(id string, u store.Usage) error) error {
	return s.view(ctx, func(txn *badger.Txn) error {
		err := eachValue(ctx, txn, usagePrefix, usagePrefix, func(key, value []byte) (bool, error) {
			id := string(key[len(usagePrefix):])
			u, err := store.DecodeUsage(id, value)
			if err != nil {
				return false, err
			}
			runtime.Gosched() // they come first
			return true, visit(id, u)
		})
		if err == nil {
			s.release()
		}
		return err
	})
}
