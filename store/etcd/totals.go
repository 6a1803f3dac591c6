package etcd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
)

// AddTotals adds to a day's counts, in a record of this process: see store.Store.
func (s *Store) AddTotals(ctx context.Context, day store.Day, counts map[string]uint64) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	err = op.addOwn(func(t *tx, process string) error {
		key := daysFrom(day) + process
		found, err := t.read(key)
		if err != nil {
			return err
		}
		sum := store.DayTotals{Day: day, Counts: maps.Clone(counts)}
		if found[0] != nil {
			if err := addTotals(&sum, found[0].Value); err != nil {
				return err
			}
		} else if keep, err := t.dropDays(day); err != nil || !keep {
			return err
		}
		t.put(key, store.EncodeTotals(sum))
		return nil
	})
	if err != nil {
		return fmt.Errorf("add totals: %w", err)
	}
	return nil
}

// dropDays removes the totals of the earliest days, so that there is room for another one. It reports
// whether that one stays.
func (t *tx) dropDays(another store.Day) (keep bool, err error) {
	days := []store.Day{another}
	_, err = t.op.eachIn(dayPrefix, t.revision, pageKeys, func(kv *mvccpb.KeyValue) (bool, error) {
		day, err := dayOf(t.op.name(kv))
		days = append(days, day)
		return true, err
	}, clientv3.WithKeysOnly())
	if err != nil {
		return false, err
	}
	slices.Sort(days)
	days = slices.Compact(days)
	drop := days[:max(len(days)-store.KeepDays, 0)]
	for _, day := range drop {
		if day == another {
			return false, nil
		}
		t.puts = append(t.puts, t.op.delAll(daysFrom(day)))
	}
	return true, nil
}

// addTotals adds the counts in a record of the same day.
func addTotals(sum *store.DayTotals, data []byte) error {
	more, err := store.DecodeTotals(sum.Day, data)
	if err != nil {
		return err
	}
	if sum.Counts == nil {
		sum.Counts = make(map[string]uint64)
	}
	for word, n := range more.Counts {
		sum.Counts[word] += n
	}
	return nil
}

// Totals returns the totals of days: see store.Store.
func (s *Store) Totals(ctx context.Context, from store.Day) (all []store.DayTotals, err error) {
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	if all, err = op.totals(from, 0); err != nil {
		return nil, fmt.Errorf("read totals: %w", err)
	}
	return all, nil
}

// totals is Totals as of a revision, 0 for the current one.
func (op *operation) totals(from store.Day, revision int64) (all []store.DayTotals, err error) {
	_, err = op.each(op.prefix+daysFrom(from), clientv3.GetPrefixRangeEnd(op.prefix+dayPrefix), revision, pageKeys, func(kv *mvccpb.KeyValue) (bool, error) {
		day, err := dayOf(op.name(kv))
		if err != nil {
			return false, err
		}
		if len(all) == 0 || all[len(all)-1].Day != day {
			all = append(all, store.DayTotals{Day: day})
		}
		return true, addTotals(&all[len(all)-1], kv.Value)
	})
	return all, err
}

// AddPasswordUses adds uses: see store.Store. All processes write the same records, because their limits apply to the
// sum, and a process begins again if another was first. Batches of store.MaxPasswordBatch users, in order, are
// atomic.
func (s *Store) AddPasswordUses(ctx context.Context, uses []store.PasswordUse) (left uint64, err error) {
	op, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer op.done()
	byUser := make(map[string][]store.PasswordUse)
	for _, u := range uses {
		byUser[u.User] = store.AddPasswordUse(byUser[u.User], u)
	}
	for users := range slices.Chunk(slices.Sorted(maps.Keys(byUser)), store.MaxPasswordBatch) {
		var leftNow uint64
		_, err := op.write(func(t *tx) (err error) {
			leftNow, err = t.addPasswordUses(users, byUser)
			return err
		})
		if err != nil {
			return left, fmt.Errorf("add password uses: %w", err)
		}
		left += leftNow
	}
	return left, nil
}

// readPasswords reads the number of users with password uses, and the records of some.
func (t *tx) readPasswords(users []string) (known uint64, records []*mvccpb.KeyValue, err error) {
	keys := make([]string, len(users))
	for i, user := range users {
		keys[i] = passwordKey(user)
	}
	if records, err = t.read(keys...); err != nil {
		return 0, nil, err
	}
	number, err := t.peek(passwordUsersKey)
	if err != nil || number[0] == nil {
		return 0, records, err
	}
	known, err = parseDecimal(passwordUsersKey, number[0].Value)
	return known, records, err
}

// setPasswordUsers changes the number of users with password uses.
func (t *tx) setPasswordUsers(before, after uint64) error {
	if before == after {
		return nil
	}
	if _, err := t.read(passwordUsersKey); err != nil {
		return err
	}
	t.put(passwordUsersKey, []byte(decimal(after)))
	return nil
}

func (t *tx) addPasswordUses(users []string, more map[string][]store.PasswordUse) (left uint64, err error) {
	known, records, err := t.readPasswords(users)
	if err != nil {
		return 0, err
	}
	before := known
	for i, user := range users {
		var uses []store.PasswordUse
		switch {
		case records[i] != nil:
			if uses, err = store.DecodePasswordUses(user, records[i].Value); err != nil {
				return 0, err
			}
		case known >= store.MaxPasswordUsers:
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
		t.put(passwordKey(user), store.EncodePasswordUses(user, uses))
	}
	return left, t.setPasswordUsers(before, known)
}

// passwordPage is the number of users whose password uses one request reads.
const passwordPage = 200

// PasswordUses returns all uses: see store.Store.
func (s *Store) PasswordUses(ctx context.Context) (all []store.PasswordUse, err error) {
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	err = op.eachPasswordUser(func(_ string, uses []store.PasswordUse) { all = append(all, uses...) })
	if err != nil {
		return nil, fmt.Errorf("read password uses: %w", err)
	}
	return all, nil
}

func (op *operation) eachPasswordUser(visit func(user string, uses []store.PasswordUse)) error {
	_, err := op.eachIn(passwordPrefix, 0, passwordPage, func(kv *mvccpb.KeyValue) (bool, error) {
		user := op.name(kv)[len(passwordPrefix):]
		uses, err := store.DecodePasswordUses(user, kv.Value)
		if err == nil {
			visit(user, uses)
		}
		return true, err
	})
	return err
}

// PrunePasswordUses removes old uses: see store.Store.
func (s *Store) PrunePasswordUses(ctx context.Context, before time.Time) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	old := func(u store.PasswordUse) bool { return u.Last.Before(before) }
	var users []string
	err = op.eachPasswordUser(func(user string, uses []store.PasswordUse) {
		if slices.ContainsFunc(uses, old) {
			users = append(users, user)
		}
	})
	for batch := range slices.Chunk(users, store.MaxPasswordBatch) {
		if err == nil {
			_, err = op.write(func(t *tx) error { return t.prunePasswordUses(batch, old) })
		}
	}
	if err != nil {
		return fmt.Errorf("prune password uses: %w", err)
	}
	return nil
}

// prunePasswordUses reads each record again, so that uses added concurrently are a conflict.
func (t *tx) prunePasswordUses(users []string, old func(store.PasswordUse) bool) error {
	known, records, err := t.readPasswords(users)
	if err != nil {
		return err
	}
	before := known
	for i, user := range users {
		if records[i] == nil {
			continue
		}
		uses, err := store.DecodePasswordUses(user, records[i].Value)
		if err != nil {
			return err
		}
		if uses = slices.DeleteFunc(uses, old); len(uses) > 0 {
			t.put(passwordKey(user), store.EncodePasswordUses(user, uses))
			continue
		}
		t.del(passwordKey(user))
		known--
	}
	return t.setPasswordUsers(before, known)
}
