package badger_test

import (
	"fmt"
	"testing"
	"time"

	upstream "github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/storetest"
)

// TestSizes compares the reported sizes with the database, and the number of used tokens, after writes, removals and a restart.
func TestSizes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	check := func(what string, used int64) {
		t.Helper()
		told := measured(t, s)
		s.Close()
		want := map[string]store.Size{"usage": {Records: used, Bytes: 56 * used}}
		raw(t, dir, func(txn *upstream.Txn) error {
			it := txn.NewIterator(upstream.DefaultIteratorOptions)
			defer it.Close()
			for name, prefix := range map[string]string{"tokens": "t/", "audit": "a/", "totals": "d/", "passwords": "p/", "upstream": "c/"} {
				size := store.Size{}
				for it.Seek([]byte(prefix)); it.ValidForPrefix([]byte(prefix)); it.Next() {
					size.Records++
					size.Bytes += int64(len(it.Item().Key())) + it.Item().ValueSize()
				}
				want[name] = size
			}
			return nil
		})
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("%s (-database +told):\n%s", what, diff)
		}
		s = open(t, dir)
		if diff := cmp.Diff(want, measured(t, s)); diff != "" {
			t.Errorf("%s, after a restart (-database +told):\n%s", what, diff)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("nothing", 0)
	used := make(map[string]store.Usage)
	for n := range 5 {
		token := storetest.NewToken(n, "fred")
		token.Expires = storetest.Epoch.AddDate(0, 0, n)
		used[create(t, s, token).ID] = store.Usage{Count: 1, LastUsed: storetest.Epoch}
	}
	must(s.AddUsage(t.Context(), used))
	must(s.AppendAudit(t.Context(), store.Audit{Action: "x"}))
	for n := range store.KeepDays + 2 {
		must(s.AddTotals(t.Context(), store.Day(n), map[string]uint64{"allowed": 1}))
	}
	uses := []store.PasswordUse{
		{User: "fred", Client: "curl", First: storetest.Epoch, Last: storetest.Epoch, Passed: 1},
		{User: "wilma", Client: "curl", First: storetest.Epoch.AddDate(1, 0, 0), Last: storetest.Epoch.AddDate(1, 0, 0), Passed: 1},
	}
	_, err := s.AddPasswordUses(t.Context(), uses)
	must(err)
	check("writes", 5)
	used["none"] = store.Usage{Count: 1}
	must(s.AddUsage(t.Context(), used))
	must(s.AddTotals(t.Context(), store.KeepDays, map[string]uint64{"refused": 1 << 40}))
	_, err = s.AddPasswordUses(t.Context(), uses)
	must(err)
	must(revoke(t.Context(), s, "test00000001"))
	if _, err := s.Update(t.Context(), "test00000002", func(*store.Token, store.LiveFunc) (store.Audit, error) { return store.Audit{}, fmt.Errorf("no") }); err == nil {
		t.Error("no error for a refused update")
	}
	check("changes", 5)
	_, err = s.Prune(t.Context(), storetest.Epoch.Add(time.Hour), func(t store.Token) store.Audit { return store.Audit{TokenID: t.ID} })
	must(err)
	must(s.PrunePasswordUses(t.Context(), storetest.Epoch.Add(time.Hour)))
	_, err = s.PruneAudit(t.Context(), time.Time{}, 100)
	must(err)
	check("removals", 3)
	s.Close()
}

// measured waits for the sizes.
func measured(t *testing.T, s *badger.Store) map[string]store.Size {
	t.Helper()
	if _, err := s.PruneAudit(t.Context(), time.Time{}, 0); err != nil { // which waits for them
		t.Fatal(err)
	}
	sizes, ok := s.Sizes()
	if !ok {
		t.Error("the sizes are not available")
	}
	return sizes
}
