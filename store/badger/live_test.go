package badger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	upstream "github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/storetest"
)

var later = storetest.Epoch.Add(time.Hour)

// createLater creates a token after those of expiring have expired, and returns the number of
// other valid ones.
func createLater(t testing.TB, s store.Store, n int, owner string) (others int) {
	t.Helper()
	token := storetest.NewToken(n, owner)
	token.Created = later
	_, err := s.Create(t.Context(), token, func(owned []store.Token) (store.Audit, error) {
		others = len(owned)
		return store.Audit{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return others
}

func expiring(n int, owner string) store.Token {
	token := storetest.NewToken(n, owner)
	token.Expires = storetest.Epoch.Add(time.Minute)
	return token
}

func idsOf(tokens []store.Token) (ids []string) {
	for _, t := range tokens {
		ids = append(ids, t.ID)
	}
	return ids
}

// createEnded creates and revokes tokens of an owner.
func createEnded(t testing.TB, s store.Store, owner string, count int) {
	t.Helper()
	for n := range count {
		if err := revoke(t.Context(), s, create(t, s, storetest.NewToken(n, owner)).ID); err != nil {
			t.Fatal(err)
		}
	}
}

// spoil makes all records but those of some tokens unreadable.
func spoil(t *testing.T, dir string, but ...int) {
	t.Helper()
	spoiled := make(map[string]string)
	raw(t, dir, func(txn *upstream.Txn) error {
		it := txn.NewIterator(upstream.IteratorOptions{Prefix: []byte("t/")})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			spoiled[string(it.Item().Key())] = "spoiled"
		}
		return nil
	})
	for _, n := range but {
		delete(spoiled, "t/"+storetest.NewToken(n, "").ID)
	}
	edit(t, dir, spoiled)
}

func wantLive(t *testing.T, s store.Store, owner string, numbers ...int) {
	t.Helper()
	var want []string
	for _, n := range numbers {
		want = append(want, storetest.NewToken(n, "").ID)
	}
	live, err := s.Live(t.Context(), owner)
	live = slices.DeleteFunc(live, func(t store.Token) bool { return t.Expired(later) })
	if got := slices.Sorted(slices.Values(idsOf(live))); err != nil || !slices.Equal(got, want) {
		t.Errorf("%s's live tokens are %v, want %v, error %v", owner, got, want, err)
	}
}

// TestEndedAreNotRead makes the records of an owner's ended tokens unreadable, which must only
// affect List.
func TestEndedAreNotRead(t *testing.T) {
	t.Parallel()
	const revoked, expired = 90, 10
	dir := t.TempDir()
	s := open(t, dir)
	createEnded(t, s, "fred", revoked)
	for n := range expired {
		create(t, s, expiring(revoked+n, "fred"))
	}
	if n := createLater(t, s, 2000, "fred"); n != 0 {
		t.Errorf("a create sees %d valid tokens, want 0", n)
	}
	s.Close()
	spoil(t, dir, 2000)
	s = open(t, dir)
	defer s.Close()
	if n := createLater(t, s, 2001, "fred"); n != 1 {
		t.Errorf("a create sees %d tokens, want 1", n)
	}
	wantLive(t, s, "fred", 2000, 2001)
	if _, err := s.List(t.Context(), "fred", 0, 10); err == nil {
		t.Error("no error for a list of unreadable records: the test is wrong")
	}
}

// TestLiveUnknown checks that a store of an earlier version, without lists of live tokens,
// creates them.
func TestLiveUnknown(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 6 {
		token := expiring(n, "fred")
		token.Owner.Key = "JIRAUSER1"
		create(t, s, token)
	}
	create(t, s, storetest.NewToken(6, "fred"))
	s.Close()
	edit(t, dir, map[string]string{"o/fred": "\x01"})

	s = open(t, dir)
	update := func(n int, change func(*store.Token)) {
		t.Helper()
		_, err := s.Update(t.Context(), storetest.NewToken(n, "").ID, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
			change(t)
			return store.Audit{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	extend := func(t *store.Token) { t.Expires = later.Add(time.Minute) }
	update(0, extend)
	update(1, func(t *store.Token) { t.State, t.Revoked = store.Revoked, later })
	update(2, func(t *store.Token) { t.Owner.Name = "freddy" })
	update(3, func(t *store.Token) { t.Owner.Name, t.Expires = "freddy", time.Time{} })
	wantLive(t, s, "fred", 0, 6)
	wantLive(t, s, "freddy", 3)

	token := storetest.NewToken(7, "fred")
	token.Created = later
	var seen []int
	_, err := s.Create(t.Context(), token, func(owned []store.Token) (store.Audit, error) {
		if seen = append(seen, len(owned)); len(seen) == 1 {
			update(4, extend)
		}
		return store.Audit{}, nil
	})
	if err != nil || !slices.Equal(seen, []int{2, 3}) {
		t.Errorf("a create during an extension sees %v tokens, error %v", seen, err)
	}
	wantLive(t, s, "fred", 0, 4, 6, 7)
	s.Close()

	spoil(t, dir, 0, 4, 6, 7)
	s = open(t, dir)
	defer s.Close()
	if n := createLater(t, s, 8, "fred"); n != 4 {
		t.Errorf("the next create sees %d valid tokens, want 4", n)
	}
	wantLive(t, s, "fred", 0, 4, 6, 7, 8)
}

// TestLiveTooMany checks owners with more live tokens than a list holds.
func TestLiveTooMany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	create(t, s, expiring(1, "fred"))
	create(t, s, storetest.NewToken(2, "fred"))
	s.Close()
	full := "\x02"
	for n := range badger.MaxLive {
		full += fmt.Sprintf("gone%08d", n)
	}
	edit(t, dir, map[string]string{"o/fred": full})

	s = open(t, dir)
	defer s.Close()
	wantLive(t, s, "fred")
	_, err := s.Update(t.Context(), storetest.NewToken(1, "").ID, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
		t.Expires = time.Time{}
		return store.Audit{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLive(t, s, "fred", 1, 2)
	if n := createLater(t, s, 3, "fred"); n != 2 {
		t.Errorf("the next create sees %d valid tokens, want 2", n)
	}
}

func TestLiveDamaged(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"", "\x00", "\x02test0000000", "\x03", "\x01test00000001"} {
		dir := t.TempDir()
		edit(t, dir, map[string]string{"m/schema": "2", "o/fred": list})
		s := open(t, dir)
		if _, err := s.Live(t.Context(), "fred"); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("a list of %q: error %v", list, err)
		}
		s.Close()
	}
}

// BenchmarkCreateAmongEnded creates tokens for an owner with ended ones.
func BenchmarkCreateAmongEnded(b *testing.B) {
	for _, ended := range []int{0, 1_000, 10_000} {
		b.Run(fmt.Sprint(ended), func(b *testing.B) {
			s := open(b, b.TempDir())
			defer s.Close()
			createEnded(b, s, "fred", ended)
			for n := ended; b.Loop(); n++ {
				token := create(b, s, storetest.NewToken(n, "fred"))
				if err := revoke(b.Context(), s, token.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
