package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger/usagefile"
)

// usageName is the file of usage, beside the database's files. See the package documentation.
const usageName = "tokengate.usage"

// openUsage opens the file of usage, and moves the records of earlier versions to it.
func (s *Store) openUsage(ctx context.Context) error {
	warn := func(message string) { s.log.line(slog.LevelWarn, "%s", []any{message}) }
	f, made, err := usagefile.Open(filepath.Join(s.dir, usageName), usagefile.Options{Room: s.checkRoom, Warn: warn})
	if err != nil {
		return err
	}
	s.usage, s.usageBusy = f, make(chan struct{}, 1)
	moved, lost, err := s.moveUsage(ctx)
	switch {
	case errors.Is(err, store.ErrNoSpace):
		warn(fmt.Sprintf("the usage of tokens in the database stays there until a start with more disk space: %v", err))
	case err != nil:
		return errors.Join(fmt.Errorf("move usage to %s: %w", usageName, err), f.Close())
	case moved+lost > 0:
		s.log.line(slog.LevelInfo, "moved the usage of %d tokens from the database to %s; %d records were unreadable",
			[]any{moved, usageName, lost})
	case made && !s.isNew:
		warn(usageName + " is missing: the usage of all tokens until now is lost")
	}
	return nil
}

// moveBatch is the number of usage records that are moved at once.
const moveBatch = 5000

// moveUsage moves usage records of earlier versions from the database to the file, and returns the
// number of readable and of unreadable ones. After a crash, the next start begins again: the larger
// count is kept.
func (s *Store) moveUsage(ctx context.Context) (moved, lost int, err error) {
	err = s.eachUsageBatch(ctx, func(batch map[string]store.Usage) error {
		for _, u := range batch {
			if u == (store.Usage{}) {
				lost++
			}
		}
		moved += len(batch)
		return s.usage.Update(ctx, store.InUsageOrder(maps.Keys(batch)), func(id string, u store.Usage) (store.Usage, error) {
			if batch[id].Count > u.Count {
				u = batch[id]
			}
			return u, nil
		})
	})
	if err != nil || moved == 0 {
		return 0, 0, err
	}
	if err := s.usage.Sync(); err != nil {
		return 0, 0, err
	}
	return moved - lost, lost, s.eachUsageBatch(ctx, func(batch map[string]store.Usage) error {
		return s.db.Update(func(txn *badger.Txn) error {
			for id := range batch {
				if err := txn.Delete(usageKey(id)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// eachUsageBatch calls visit with the usage records of earlier versions. Unreadable ones are zero.
func (s *Store) eachUsageBatch(ctx context.Context, visit func(map[string]store.Usage) error) error {
	for from := usagePrefix; ; {
		batch := make(map[string]store.Usage)
		err := s.db.View(func(txn *badger.Txn) error {
			return eachValue(ctx, txn, usagePrefix, from, func(key, value []byte) (bool, error) {
				id := string(key[len(usagePrefix):])
				from = append(slices.Clone(key), 0)
				batch[id], _ = store.DecodeUsage(id, value)
				return len(batch) < moveBatch, nil
			})
		})
		if err != nil || len(batch) == 0 {
			return err
		}
		if err := s.checkSpace(false); err != nil {
			return err
		}
		if err := visit(batch); err != nil {
			return err
		}
	}
}

// withUsage runs a call with the file of usage, as an operation.
func (s *Store) withUsage(ctx context.Context, run func() error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	return s.runWithUsage(ctx, run)
}

// runWithUsage runs one call with the file of usage at a time. If the disk hangs, its caller and those
// that wait return when their contexts end.
func (s *Store) runWithUsage(ctx context.Context, run func() error) error {
	if err := s.lockUsage(ctx); err != nil {
		return err
	}
	return await(ctx, s.runAsync(func() error {
		defer s.unlockUsage()
		return run()
	}))
}

func (s *Store) lockUsage(ctx context.Context) error {
	select {
	case s.usageBusy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("an earlier use of %s still runs: %w", usageName, ctx.Err())
	}
}

func (s *Store) unlockUsage() { <-s.usageBusy }

// AddUsage adds counts: see store.Store. Nothing of a batch of store.MaxUsageBatch ids, in
// store.UsageOrder, is added if the disk has too little space or cannot be read.
func (s *Store) AddUsage(ctx context.Context, usage map[string]store.Usage) error {
	usage = maps.Clone(usage) // on a hanging disk, it is read after the return
	for batch := range slices.Chunk(store.InUsageOrder(maps.Keys(usage)), store.MaxUsageBatch) {
		if err := s.withUsage(ctx, func() error { return s.addUsage(ctx, batch, usage) }); err != nil {
			return fmt.Errorf("add usage: %w", err)
		}
	}
	return nil
}

// addUsage is AddUsage for a batch. A token that is not in the file may be unknown. If it is just being
// removed, dropUsage follows.
func (s *Store) addUsage(ctx context.Context, ids []string, more map[string]store.Usage) error {
	if err := s.checkSpace(false); err != nil {
		return err
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return s.usage.Update(ctx, ids, func(id string, u store.Usage) (store.Usage, error) {
		if u == (store.Usage{}) {
			if _, err := txn.Get(tokenKey(id)); errors.Is(err, badger.ErrKeyNotFound) {
				return u, nil
			} else if err != nil {
				return u, fmt.Errorf("read token %q: %w", id, err)
			}
		}
		return u.Add(more[id]), nil
	})
}

// dropUsage removes the usage of tokens that were removed. If the process is killed before, the usage
// stays in the file and nothing reads it, because ids are not used again.
func (s *Store) dropUsage(ctx context.Context, ids []string) error {
	ids = store.InUsageOrder(slices.Values(ids))
	err := s.withUsage(ctx, func() error {
		return s.usage.Update(ctx, ids, func(string, store.Usage) (store.Usage, error) { return store.Usage{}, nil })
	})
	if err != nil {
		return fmt.Errorf("remove usage: %w", err)
	}
	return nil
}

// Usage returns the usage of tokens: see store.Store.
func (s *Store) Usage(ctx context.Context, ids []string) (map[string]store.Usage, error) {
	ids = store.InUsageOrder(slices.Values(ids))
	found := make(map[string]store.Usage, len(ids))
	err := s.withUsage(ctx, func() error {
		return s.usage.Update(ctx, ids, func(id string, u store.Usage) (store.Usage, error) {
			if u != (store.Usage{}) {
				found[id] = u
			}
			return u, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	return found, nil
}

// AllUsage calls visit with the usage of every token, in one goroutine, because requests are
// being answered meanwhile: see store.Store.
func (s *Store) AllUsage(ctx context.Context, visit func(id string, u store.Usage) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	return s.eachUsage(ctx, visit)
}

func (s *Store) eachUsage(ctx context.Context, visit func(id string, u store.Usage) error) error {
	if err := s.lockUsage(ctx); err != nil {
		return err
	}
	r := s.usage.NewReader()
	s.unlockUsage()
	defer r.Close()
	for {
		var more bool
		err := s.runWithUsage(ctx, func() (err error) { more, err = r.Next(); return err })
		if err != nil || !more {
			return err
		}
		err = r.Visit(func(id string, u store.Usage) error {
			runtime.Gosched() // requests come first
			if err := ctx.Err(); err != nil {
				return err
			}
			return visit(id, u)
		})
		if err != nil {
			return err
		}
	}
}
