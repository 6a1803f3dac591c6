package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// Create adds a token: see store.Store.
func (s *Store) Create(ctx context.Context, t store.Token, admit store.AdmitFunc) (store.Token, error) {
	t = store.Normalize(t)
	if err := store.Validate(t); err != nil {
		return store.Token{}, err
	}
	err := s.write(ctx, func(tx *tx) error {
		there, err := get(tx.Txn, tokenKey(t.ID))
		if err != nil {
			return err
		}
		if there != nil {
			return fmt.Errorf("%w: %q", store.ErrExists, t.ID)
		}
		owned, err := liveTokens(ctx, tx.Txn, t.Owner.Name)
		if err != nil {
			return err
		}
		owned = slices.DeleteFunc(owned, func(o store.Token) bool { return o.Expired(t.Created) })
		list := listOf(owned).with(t.ID)
		audit, err := admit(owned)
		if err != nil {
			return err
		}
		tx.written, tx.isNew, tx.audits = &t, true, []store.Audit{audit}
		return tx.set(ownerKey(t.Owner.Name), list.encode())
	})
	if err != nil {
		return store.Token{}, err
	}
	return t, nil
}

// Get returns one token: see store.Store.
func (s *Store) Get(ctx context.Context, id string) (t store.Token, err error) {
	err = s.view(ctx, func(txn *badger.Txn) error {
		t, err = getToken(txn, id)
		return err
	})
	return t, err
}

// Update changes one token: see store.Store.
func (s *Store) Update(ctx context.Context, id string, change store.ChangeFunc) (store.Token, error) {
	var after store.Token
	err := s.write(ctx, func(tx *tx) error {
		before, err := getToken(tx.Txn, id)
		if err != nil {
			return err
		}
		if before.State == store.Revoked {
			return fmt.Errorf("%w: %q", store.ErrRevoked, id)
		}
		after = before
		live := func() ([]store.Token, error) { return liveTokens(ctx, tx.Txn, before.Owner.Name) }
		audit, err := change(&after, live)
		if err != nil {
			return err
		}
		if after.ID != before.ID || after.Number != before.Number || after.Kind != before.Kind ||
			!after.Created.Equal(before.Created) ||
			after.CreatedBy != before.CreatedBy || after.CreatedByKey != before.CreatedByKey {
			return fmt.Errorf("%w: id, number, kind, created and created by cannot change", store.ErrInvalid)
		}
		if !before.Owner.MayBecome(after.Owner) {
			return fmt.Errorf("%w: a token cannot move to another owner", store.ErrInvalid)
		}
		after = store.Normalize(after)
		if err := tx.updateLive(before, after); err != nil {
			return err
		}
		tx.written, tx.audits = &after, []store.Audit{audit}
		tx.urgent = after.State == store.Revoked || after.State == store.Disabled
		return tx.putToken(after)
	})
	if err != nil {
		return store.Token{}, err
	}
	return after, nil
}

// List returns one page of tokens: see store.Store.
func (s *Store) List(ctx context.Context, owner string, after uint64, limit int) (store.Page, error) {
	if limit < 1 {
		return store.Page{}, fmt.Errorf("list tokens: invalid page size %d", limit)
	}
	prefix := numberPrefix
	if owner != "" {
		if store.ValidOwnerName(owner) != nil {
			return store.Page{}, nil // its key could be a prefix of another owner's
		}
		prefix = ownedPrefix(owner)
	}
	var page store.Page
	err := s.view(ctx, func(txn *badger.Txn) error {
		if after == math.MaxUint64 {
			return nil
		}
		return eachValue(ctx, txn, prefix, appendNumber(prefix, after+1), func(_, id []byte) (bool, error) {
			t, err := getToken(txn, string(id))
			if err != nil {
				return false, fmt.Errorf("list tokens: %w", err)
			}
			if len(page.Tokens) == limit {
				page.Next = page.Tokens[limit-1].Number
				return false, nil
			}
			page.Tokens = append(page.Tokens, t)
			return true, nil
		})
	})
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

// pruneBatch is the maximum number of tokens that one transaction removes.
const pruneBatch = 100

// Prune removes old tokens: see store.Store.
func (s *Store) Prune(ctx context.Context, before time.Time, record store.RecordFunc) ([]string, error) {
	var mu sync.Mutex
	var old []string
	is := func(t store.Token) bool { return endedBefore(t, before) }
	err := s.All(ctx, func(t store.Token) error {
		if is(t) {
			mu.Lock()
			defer mu.Unlock()
			old = append(old, t.ID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	return s.pruneAll(ctx, old, is, record)
}

// PruneEnded limits the number of ended tokens of each owner: see store.Store.
func (s *Store) PruneEnded(ctx context.Context, at time.Time, most int, record store.RecordFunc) ([]string, error) {
	ended := store.NewEndedTokens(at)
	if err := s.All(ctx, func(t store.Token) error { ended.Add(t); return nil }); err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	return s.pruneAll(ctx, ended.Beyond(most), ended.Match, record)
}

// pruneAll removes the tokens with these ids that still match.
func (s *Store) pruneAll(
	ctx context.Context, old []string, is func(store.Token) bool, record store.RecordFunc,
) (removed []string, err error) {
	for size := pruneBatch; len(old) > 0; {
		batch := old[:min(size, len(old))]
		gone, err := s.prune(ctx, batch, is, record)
		removed = append(removed, gone...)
		if errors.Is(err, badger.ErrTxnTooBig) && len(batch) > 1 {
			size = len(batch) / 2
			continue
		}
		if err != nil {
			return removed, fmt.Errorf("prune: %w", err)
		}
		old = old[len(batch):]
	}
	return removed, nil
}

// prune is pruneAll in one transaction. It reads each record again, so that a concurrent update
// is a conflict. It returns the removed ids, even with an error.
func (s *Store) prune(
	ctx context.Context, ids []string, is func(store.Token) bool, record store.RecordFunc,
) (removed []string, err error) {
	err = s.write(ctx, func(tx *tx) error {
		removed, tx.audits = nil, nil
		for _, id := range ids {
			t, err := getToken(tx.Txn, id)
			if errors.Is(err, store.ErrNotFound) || err == nil && !is(t) {
				continue
			}
			if err != nil {
				return err
			}
			if err := tx.removeToken(t); err != nil {
				return err
			}
			tx.audits = append(tx.audits, record(t))
			removed = append(removed, id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return removed, s.dropUsage(ctx, removed)
}

// endedBefore reports whether the token was revoked or expired before the instant.
func endedBefore(t store.Token, before time.Time) bool {
	return t.State == store.Revoked && t.Revoked.Before(before) ||
		!t.Expires.IsZero() && t.Expires.Before(before)
}

// idCharacters partition the tokens for All, by the first character of the id. Ids are random, so
// the parts are about equal.
const idCharacters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// All calls visit with every token, from one goroutine per CPU to shorten a start: see
// store.Store.
func (s *Store) All(ctx context.Context, visit func(store.Token) error) error {
	_, err := s.all(ctx, visit)
	return err
}

// all is All, and returns the revision of the snapshot.
func (s *Store) all(ctx context.Context, visit func(store.Token) error) (revision uint64, err error) {
	err = s.view(ctx, func(txn *badger.Txn) error {
		revision = txn.ReadTs()
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
	return revision, err
}

// release frees the memory that a full read took.
func (s *Store) release() {
	if err := s.releaseTables(); err != nil {
		s.log.line(slog.LevelInfo, "cannot release the tables' memory: %v", []any{err})
	}
}

// visitPart calls visit with the tokens of one part. The first and the last part are open-ended,
// so that invalid keys are found, too.
func visitPart(ctx context.Context, txn *badger.Txn, part int, visit func(store.Token) error) error {
	from, to := tokenPrefix, []byte(nil)
	if part > 0 {
		from = tokenKey(idCharacters[part : part+1])
	}
	if part+1 < len(idCharacters) {
		to = tokenKey(idCharacters[part+1 : part+2])
	}
	return eachItem(ctx, txn, tokenPrefix, from, func(item *badger.Item) (bool, error) {
		if to != nil && bytes.Compare(item.Key(), to) >= 0 {
			return false, nil
		}
		t, err := decodeToken(item)
		if err != nil {
			return false, err
		}
		return true, visit(t)
	})
}
