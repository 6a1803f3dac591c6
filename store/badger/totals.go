package badger

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// AddTotals adds to a day's counts: see store.Store.
func (s *Store) AddTotals(ctx context.Context, day store.Day, counts map[string]uint64) error {
	err := s.write(ctx, func(tx *tx) error {
		data, err := get(tx.Txn, dayKey(day))
		if err != nil {
			return err
		}
		t := store.DayTotals{Day: day, Counts: make(map[string]uint64)}
		if data != nil {
			if t, err = store.DecodeTotals(day, data); err != nil {
				return err
			}
		}
		for word, n := range counts {
			t.Counts[word] += n
		}
		if err := tx.set(dayKey(day), store.EncodeTotals(t)); err != nil || data != nil {
			return err
		}
		return dropDays(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("add totals: %w", err)
	}
	return nil
}

// dropDays removes the totals of the earliest days.
func dropDays(ctx context.Context, tx *tx) error {
	var days [][]byte
	err := eachValue(ctx, tx.Txn, dayPrefix, dayPrefix, func(key, _ []byte) (bool, error) {
		days = append(days, slices.Clone(key))
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, key := range days[:max(len(days)-store.KeepDays, 0)] {
		if err := tx.deleteKey(key); err != nil {
			return err
		}
	}
	return nil
}

// Totals returns the totals of days: see store.Store.
func (s *Store) Totals(ctx context.Context, from store.Day) ([]store.DayTotals, error) {
	var all []store.DayTotals
	err := s.view(ctx, func(txn *badger.Txn) error {
		return eachValue(ctx, txn, dayPrefix, dayKey(from), func(key, value []byte) (bool, error) {
			day, err := trailingNumber(key)
			if err != nil {
				return false, err
			}
			t, err := store.DecodeTotals(store.Day(day), value)
			all = append(all, t)
			return true, err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read totals: %w", err)
	}
	return all, nil
}

// AddPasswordUses adds uses: see store.Store. Batches of store.MaxPasswordBatch users, in order,
// are atomic.
func (s *Store) AddPasswordUses(ctx context.Context, uses []store.PasswordUse) (left uint64, err error) {
	byUser := make(map[string][]store.PasswordUse)
	for _, u := range uses {
		byUser[u.User] = store.AddPasswordUse(byUser[u.User], u)
	}
	for users := range slices.Chunk(slices.Sorted(maps.Keys(byUser)), store.MaxPasswordBatch) {
		var leftNow uint64
		err := s.write(ctx, func(tx *tx) (err error) {
			leftNow, err = addPasswordUses(tx, users, byUser)
			return err
		})
		if err != nil {
			return left, fmt.Errorf("add password uses: %w", err)
		}
		left += leftNow
	}
	return left, nil
}

func addPasswordUses(tx *tx, users []string, more map[string][]store.PasswordUse) (left uint64, err error) {
	known, err := passwordUsers(tx.Txn)
	if err != nil {
		return 0, err
	}
	before := known
	for _, user := range users {
		data, err := get(tx.Txn, passwordKey(user))
		if err != nil {
			return 0, err
		}
		var uses []store.PasswordUse
		switch {
		case data != nil:
			if uses, err = store.DecodePasswordUses(user, data); err != nil {
				return 0, err
			}
		case known == store.MaxPasswordUsers:
			for _, u := range more[user] {
				left += u.Requests()
			}
			continue
		default:
			known++
		}
		for _, u := range more[user] {
			uses = store.AddPasswordUse(uses, u)
		}
		if err := tx.set(passwordKey(user), store.EncodePasswordUses(user, uses)); err != nil {
			return 0, err
		}
		runtime.Gosched() // requests come first
	}
	if known == before {
		return left, nil
	}
	return left, tx.Set(passwordUsersKey, appendNumber(nil, known))
}

// passwordUsers returns the number of users with password uses.
func passwordUsers(txn *badger.Txn) (uint64, error) {
	data, err := get(txn, passwordUsersKey)
	if err != nil || data == nil {
		return 0, err
	}
	return trailingNumber(data)
}

// PasswordUses returns all uses: see store.Store.
func (s *Store) PasswordUses(ctx context.Context) ([]store.PasswordUse, error) {
	var all []store.PasswordUse
	err := s.eachPasswordUser(ctx, func(_ string, uses []store.PasswordUse) { all = append(all, uses...) })
	if err != nil {
		return nil, fmt.Errorf("read password uses: %w", err)
	}
	return all, nil
}

func (s *Store) eachPasswordUser(ctx context.Context, visit func(user string, uses []store.PasswordUse)) error {
	return s.view(ctx, func(txn *badger.Txn) error {
		return eachValue(ctx, txn, passwordPrefix, passwordPrefix, func(key, value []byte) (bool, error) {
			user := string(key[len(passwordPrefix):])
			uses, err := store.DecodePasswordUses(user, value)
			if err == nil {
				visit(user, uses)
			}
			return true, err
		})
	})
}

// PrunePasswordUses removes old uses: see store.Store.
func (s *Store) PrunePasswordUses(ctx context.Context, before time.Time) error {
	old := func(u store.PasswordUse) bool { return u.Last.Before(before) }
	var users []string
	err := s.eachPasswordUser(ctx, func(user string, uses []store.PasswordUse) {
		if slices.ContainsFunc(uses, old) {
			users = append(users, user)
		}
	})
	for batch := range slices.Chunk(users, store.MaxPasswordBatch) {
		if err != nil {
			break
		}
		err = s.write(ctx, func(tx *tx) error { return prunePasswordUses(tx, batch, old) })
	}
	if err != nil {
		return fmt.Errorf("prune password uses: %w", err)
	}
	return nil
}

// prunePasswordUses reads each record again, so that uses added concurrently are a conflict.
func prunePasswordUses(tx *tx, users []string, old func(store.PasswordUse) bool) error {
	known, err := passwordUsers(tx.Txn)
	if err != nil {
		return err
	}
	before := known
	for _, user := range users {
		data, err := get(tx.Txn, passwordKey(user))
		if err != nil {
			return err
		}
		if data == nil {
			continue
		}
		uses, err := store.DecodePasswordUses(user, data)
		if err != nil {
			return err
		}
		if uses = slices.DeleteFunc(uses, old); len(uses) > 0 {
			err = tx.set(passwordKey(user), store.EncodePasswordUses(user, uses))
		} else {
			known--
			err = tx.deleteKey(passwordKey(user))
		}
		if err != nil {
			return err
		}
	}
	if known == before {
		return nil
	}
	return tx.Set(passwordUsersKey, appendNumber(nil, known))
}
