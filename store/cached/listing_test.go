package cached_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/listing"
	"github.com/tokengate/tokengate/store/storetest"
)

// wantFound checks that a query finds these tokens of storetest.NewToken, in order.
func wantFound(t *testing.T, what string, x *cached.Store, q listing.Query, numbers ...int) {
	t.Helper()
	var want []string
	for _, n := range numbers {
		want = append(want, storetest.NewToken(n, "").ID)
	}
	q.Limit = 100
	f, err := x.Find(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.IDs, want) || f.Total != len(want) || f.Next != "" {
		t.Errorf("%s: found %+v, want %v", what, f, want)
	}
}

var mostUsed = listing.Query{Sort: listing.ByUses, Descending: true}

func TestCachedListing(t *testing.T) {
	s := openFaulty(t)
	for n := range 3 {
		create(t, s, storetest.NewToken(n, "fred"))
	}
	stored := map[string]store.Usage{"test00000001": {Count: 5, LastUsed: second(5)}}
	if err := s.AddUsage(t.Context(), stored); err != nil {
		t.Fatal(err)
	}

	x := newIndexed(t, s)
	wantFound(t, "loading", x, listing.Query{}, 0, 1, 2)
	wantFound(t, "loading", x, mostUsed, 1, 2, 0)

	create(t, x, storetest.NewToken(3, "wilma"))
	wantFound(t, "create", x, listing.Query{Owner: "Wilma"}, 3)

	r := cached.NewUsageRecorder(x)
	for range 6 {
		r.Record("test00000003", false, second(6), home)
	}
	wantFound(t, "a use that is not flushed", x, mostUsed, 1, 3, 2, 0)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFound(t, "a flush", x, mostUsed, 3, 1, 2, 0)
	wantFound(t, "a flush", x, listing.Query{UsedFrom: second(6)}, 3)

	update := func(id string, change func(*store.Token, store.LiveFunc) (store.Audit, error)) error {
		_, err := x.Update(t.Context(), id, change)
		return err
	}
	if err := update("test00000003", rename); err != nil {
		t.Fatal(err)
	}
	wantFound(t, "rename", x, listing.Query{Name: "new"}, 3)
	wantFound(t, "rename", x, mostUsed, 3, 1, 2, 0)
	if err := update("test00000002", revoke); err != nil {
		t.Fatal(err)
	}
	wantFound(t, "revoke", x, listing.Query{States: []store.State{store.Revoked}}, 2)

	// Writes that failed, or whose outcome is unknown.
	s.beforeWrite = func() error { return errDisk }
	if err := update("test00000000", rename); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	r.Record("test00000000", false, second(9), home)
	if err := r.Flush(t.Context()); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	wantFound(t, "writes that failed", x, listing.Query{Name: "new"}, 3)
	wantFound(t, "writes that failed", x, mostUsed, 3, 1, 2, 0)
	s.beforeWrite, s.afterWrite = nil, func() error { return errDisk }
	if err := update("test00000000", rename); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	wantFound(t, "a write that succeeded after all", x, listing.Query{Name: "new"}, 0, 3)
	s.beforeGet = func() error { return errDisk }
	if err := update("test00000001", rename); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if _, ok := x.Index().Lookup("test00000001"); ok {
		t.Error("a token of unknown state is in the index")
	}
	wantFound(t, "a write with an unknown outcome", x, listing.Query{}, 0, 1, 2, 3)
	s.beforeGet, s.afterWrite = nil, nil

	if _, err := x.Prune(t.Context(), storetest.Epoch.Add(time.Hour), noAudit); err != nil {
		t.Fatal(err)
	}
	wantFound(t, "prune", x, listing.Query{}, 0, 1, 3)
	owners, err := x.Owners(t.Context())
	if err != nil || len(owners) != 2 {
		t.Errorf("owners %v, error %v", owners, err)
	}

	// A new process finds the same.
	wantFound(t, "loading again", newIndexed(t, s), mostUsed, 3, 1, 0)
}

// slowUse is a store of four tokens whose AllUsage pauses after the first one until the test
// continues it, with an error or without.
type slowUse struct {
	nothing
	goOn chan error
}

func (s slowUse) Watch(ctx context.Context, to store.Feed) error {
	for n := range 4 {
		to.Snapshot(storetest.NewToken(n, "fred"))
	}
	return s.nothing.Watch(ctx, to)
}

func (s slowUse) AllUsage(_ context.Context, visit func(string, store.Usage) error) error {
	for n := range 4 {
		if n == 1 {
			if err := <-s.goOn; err != nil {
				return err
			}
		}
		u := store.Usage{Count: uint64(n) + 1, LastUsed: second(n)}
		if err := visit(storetest.NewToken(n, "").ID, u); err != nil {
			return err
		}
	}
	return nil
}

func (slowUse) AddUsage(context.Context, map[string]store.Usage) error { return nil }

// TestCachedUseWhileRead flushes usage while the stored usage is being loaded.
func TestCachedUseWhileRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slowUse{goOn: make(chan error)}
		x := newIndexed(t, s)
		wantFound(t, "no question of use", x, listing.Query{Sort: listing.ByName}, 0, 1, 2, 3)
		if _, err := x.Owners(t.Context()); err != nil {
			t.Error(err)
		}
		var answers atomic.Int32
		questions := []listing.Query{
			mostUsed, {Sort: listing.ByLastUsed}, {NeverUsed: true},
			{UsedFrom: second(1)}, {UsedUntil: second(1)}, {UnusedSince: second(1)},
		}
		for _, q := range questions {
			go func() {
				if _, err := x.Find(t.Context(), q); err != nil {
					t.Error(err)
				}
				answers.Add(1)
			}()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := x.Find(ctx, mostUsed); !errors.Is(err, context.Canceled) {
			t.Errorf("the context has ended: error %v", err)
		}
		synctest.Wait()
		if n := answers.Load(); n > 0 {
			t.Errorf("%d usage queries were answered before the usage was loaded", n)
		}

		more := map[string]store.Usage{}
		for n := range 4 {
			more[storetest.NewToken(n, "").ID] = store.Usage{Count: uint64(10 * (4 - n)), LastUsed: second(10 - n)}
		}
		if err := x.AddUsage(t.Context(), more); err != nil {
			t.Fatal(err)
		}
		close(s.goOn)
		wantFound(t, "the sums", x, mostUsed, 0, 1, 2, 3) // 41, 32, 23 and 14
		wantFound(t, "the latest", x, listing.Query{Sort: listing.ByLastUsed}, 3, 2, 1, 0)
		synctest.Wait()
		if n := answers.Load(); int(n) != len(questions) {
			t.Errorf("%d usage queries were answered, want %d", n, len(questions))
		}
		if err := x.AddUsage(t.Context(), map[string]store.Usage{"test00000003": {Count: 10}}); err != nil {
			t.Fatal(err)
		}
		wantFound(t, "24 beside 23", x, mostUsed, 0, 1, 3, 2)
	})
}

// TestCachedUseUnreadable checks that only usage queries fail if the usage cannot be loaded.
func TestCachedUseUnreadable(t *testing.T) {
	s := slowUse{goOn: make(chan error, 1)}
	s.goOn <- errDisk
	x := newIndexed(t, s)
	for range 2 {
		if f, err := x.Find(t.Context(), mostUsed); !errors.Is(err, errDisk) {
			t.Errorf("found %+v, error %v", f, err)
		}
	}
	wantFound(t, "no question of use", x, listing.Query{}, 0, 1, 2, 3)
	if owners, err := x.Owners(t.Context()); err != nil || len(owners) != 1 {
		t.Errorf("owners %v, error %v", owners, err)
	}
}
