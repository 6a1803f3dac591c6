package cached_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/listing"
	"github.com/tokengate/tokengate/store/storetest"
)

// TestCachedFollowsOthers changes the store behind the cache's back, as another process does.
func TestCachedFollowsOthers(t *testing.T) {
	s := openFaulty(t)
	x := newIndexed(t, s)
	token := storetest.NewToken(1, "fred")
	token.Expires = storetest.Epoch.Add(time.Hour)
	id := create(t, s.Store, token).ID
	wantIndex(t, "another's create", x, s, id)
	if _, err := s.Store.Update(t.Context(), id, rename); err != nil {
		t.Fatal(err)
	}
	wantIndex(t, "another's update", x, s, id)
	wantFound(t, "another's update", x, listing.Query{Name: "new name"}, 1)
	if _, err := s.Store.Update(t.Context(), id, revoke); err != nil {
		t.Fatal(err)
	}
	wantIndex(t, "another's revoke", x, s, id)
	if _, err := s.Store.Prune(t.Context(), storetest.Epoch.AddDate(1, 0, 0), noAudit); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, x, nil)
}

// TestCachedFaultyFeed delivers the changes of a store late, twice and in any order. No version of a
// token follows a newer one or a removal, and a new snapshot makes up for what was missed.
func TestCachedFaultyFeed(t *testing.T) {
	s := openFaulty(t)
	late := &lateFeed{}
	s.feed = late.of
	x := newIndexed(t, s)
	const tokens = 12
	var ids []string
	for n := range tokens {
		token := storetest.NewToken(n, fmt.Sprint("user ", n%3))
		token.Expires = storetest.Epoch.Add(time.Hour)
		ids = append(ids, create(t, s.Store, token).ID)
	}
	for n, id := range ids {
		changes := []func(*store.Token, store.LiveFunc) (store.Audit, error){rename, extend, revoke}
		for _, change := range changes[:n%4] {
			if _, err := s.Store.Update(t.Context(), id, change); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Store.Prune(t.Context(), storetest.Epoch.Add(2*time.Hour), noAudit); err != nil {
		t.Fatal(err)
	}
	events := slices.Concat(late.held, late.held)
	late.held = nil

	newest, removed := make(map[string]uint64), make(map[string]bool)
	watching := &checkedFeed{Feed: late.Feed, changed: func(t store.Token) { newest[t.ID] = max(newest[t.ID], t.Revision) },
		removed: func(id string) { removed[id] = true }}
	late.Feed = watching
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for _, deliver := range events {
		deliver()
		for _, id := range ids {
			if at, ok := x.Index().Revision(id); ok && (at < newest[id] || removed[id]) {
				t.Fatalf("%s is at revision %d after a feed of %d, or was removed: %v", id, at, newest[id], removed[id])
			}
		}
	}
	whole := make(chan struct{})
	s.feed = func(to store.Feed) store.Feed {
		return &checkedFeed{Feed: to, complete: sync.OnceFunc(func() { close(whole) })}
	}
	s.fail <- struct{}{}
	<-whole
	for _, id := range ids {
		wantIndex(t, "a new snapshot", x, s, id)
	}
}

// extend makes a token that expires valid for long.
func extend(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
	t.Expires = storetest.Epoch.AddDate(1, 0, 0)
	return store.Audit{}, nil
}

// checkedFeed calls a function for each call that it forwards.
type checkedFeed struct {
	store.Feed
	changed  func(store.Token)
	removed  func(id string)
	complete func()
}

func (f *checkedFeed) Changed(t store.Token) {
	if f.changed != nil {
		f.changed(t)
	}
	f.Feed.Changed(t)
}

func (f *checkedFeed) Removed(id string, revision uint64) {
	if f.removed != nil {
		f.removed(id)
	}
	f.Feed.Removed(id, revision)
}

func (f *checkedFeed) Complete(revision uint64) {
	f.Feed.Complete(revision)
	if f.complete != nil {
		f.complete()
	}
}

// TestCachedResets ends the feed again and again during writes by this process and another.
func TestCachedResets(t *testing.T) {
	s := openFaulty(t)
	whole := make(chan struct{}, 1000)
	s.feed = func(to store.Feed) store.Feed {
		return &checkedFeed{Feed: to, complete: func() { whole <- struct{}{} }}
	}
	x := newIndexed(t, s)
	<-whole
	const tokens = 30
	ids := make([][]string, 2)
	var writers sync.WaitGroup
	for w, through := range []store.Store{x, s.Store} {
		writers.Go(func() {
			for n := range tokens {
				token := storetest.NewToken(w*tokens+n, "fred")
				token.Expires = storetest.Epoch
				ids[w] = append(ids[w], create(t, through, token).ID)
				for _, change := range []func(*store.Token, store.LiveFunc) (store.Audit, error){extend, rename, revoke}[:n%4] {
					if _, err := through.Update(t.Context(), token.ID, change); err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Error(err)
					}
				}
				if n%10 == 9 {
					if _, err := through.Prune(t.Context(), storetest.Epoch.Add(time.Hour), noAudit); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		s.fail <- struct{}{}
		<-whole
	}
	for _, id := range slices.Concat(ids...) {
		wantIndex(t, "resets", x, s, id)
	}
	if n := s.watches.Load(); n < 3 {
		t.Errorf("%d watches", n)
	}
}

// manual is a store without tokens whose feed the test operates.
type manual struct {
	nothing
	feeds chan store.Feed
	fail  chan error
}

func (m manual) Watch(ctx context.Context, to store.Feed) error {
	m.feeds <- to
	select {
	case err := <-m.fail:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestCachedSnapshots checks that a token whose snapshot lacks it is removed, unless it is newer,
// and that a watch that fails during its snapshot removes nothing and is repeated after a while.
func TestCachedSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := manual{feeds: make(chan store.Feed, 1), fail: make(chan error)}
		at := func(n int, revision uint64) store.Token {
			token := storetest.NewToken(n, "fred")
			token.Revision = revision
			return token
		}
		feed := make(chan store.Feed, 1)
		go func() {
			f := <-m.feeds
			f.Snapshot(at(1, 1))
			f.Snapshot(at(2, 2))
			f.Complete(5)
			feed <- f
		}()
		x, err := cached.New(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		want := func(what string, numbers ...int) {
			t.Helper()
			wantFound(t, what, x, listing.Query{Sort: listing.ByName}, numbers...)
			for n := range 5 {
				if _, ok := x.Index().Lookup(at(n, 0).ID); ok != slices.Contains(numbers, n) {
					t.Errorf("%s: token %d is in the index: %v", what, n, ok)
				}
			}
		}
		want("first snapshot", 1, 2)
		f := <-feed
		f.Changed(at(3, 20))
		f.Changed(at(4, 7)) // late, so perhaps removed since
		want("changes", 1, 2, 3)

		began := time.Now()
		m.fail <- errLost
		f = <-m.feeds
		f.Snapshot(at(2, 2))
		m.fail <- errLost
		f = <-m.feeds
		if waited := time.Since(began); waited != 2*time.Second {
			t.Errorf("two watches were lost at once, and the next one began after %v", waited)
		}
		want("no whole snapshot", 1, 2, 3)
		f.Snapshot(at(2, 2))
		f.Snapshot(at(4, 9))
		f.Complete(10)
		want("next snapshot", 2, 3, 4)

		time.Sleep(time.Second)
		m.fail <- errLost
		if <-m.feeds; time.Since(began) != 3*time.Second {
			t.Errorf("a long watch was lost, and the next one began after %v", time.Since(began))
		}
		m.fail <- store.ErrClosed
		synctest.Wait()
		if len(m.feeds) > 0 {
			t.Error("it watches a closed store")
		}
	})
}

// TestCachedFreshness checks for how long decisions may use the index.
func TestCachedFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := manual{feeds: make(chan store.Feed, 1), fail: make(chan error)}
		var f store.Feed
		go func() { f = <-m.feeds; f.Complete(1) }()
		x, err := cached.New(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		now := storetest.Epoch
		want := func(what string, now time.Time, fresh bool) {
			t.Helper()
			if got := x.Index().TokensFresh(now); got != fresh {
				t.Errorf("%s: fresh is %v", what, got)
			}
		}
		want("nothing reported", now, false)
		f.Fresh(now)
		want("just fresh", now, true)
		want("30 s later", now.Add(30*time.Second), false)
		want("a little before", now.Add(30*time.Second-1), true)
		f.Fresh(store.Forever)
		want("forever", now.AddDate(100, 0, 0), true)
	})
}

// TestCachedRevokedStaysOut checks that a revoked token whose revocation could neither be
// acknowledged nor read is not brought back by an older write that ends later.
func TestCachedRevokedStaysOut(t *testing.T) {
	s := openFaulty(t)
	x := newIndexed(t, s)
	token := create(t, x, storetest.NewToken(1, "fred"))
	var writes atomic.Int32
	committed, release, renamed := make(chan struct{}), make(chan struct{}), make(chan error)
	s.afterWrite = func() error {
		if writes.Add(1) == 1 {
			close(committed)
			<-release
			return nil
		}
		return errDisk
	}
	go func() {
		_, err := x.Update(t.Context(), token.ID, rename)
		renamed <- err
	}()
	<-committed
	s.beforeGet = func() error { return errDisk }
	if _, err := x.Update(t.Context(), token.ID, revoke); !errors.Is(err, errDisk) {
		t.Fatalf("revoke: %v", err)
	}
	close(release)
	if err := <-renamed; err != nil {
		t.Fatal(err)
	}
	if _, ok := x.Index().Lookup(token.ID); ok {
		t.Error("the revoked token is in the index")
	}
}

// TestNewTriesAgain checks that a start survives a store that stops answering in the middle of the snapshot, and that nothing
// of that snapshot remains.
func TestNewTriesAgain(t *testing.T) {
	s := openFaulty(t)
	create(t, s, storetest.NewToken(1, "fred"))
	first := true
	s.watch = func(to store.Feed) error {
		if !first {
			return nil
		}
		first = false
		to.Snapshot(storetest.NewToken(2, "fred"))
		return fmt.Errorf("read all tokens: %w", store.ErrUnavailable)
	}
	x := newIndexed(t, s)
	wantIndex(t, "the second attempt", x, s, "test00000001")
	wantIndex(t, "the second attempt", x, s, "test00000002")

	ctx, cancel := context.WithCancel(t.Context())
	s.watch = func(store.Feed) error { cancel(); return store.ErrUnavailable }
	if _, err := cached.New(ctx, s); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("error %v after the context ended", err)
	}
}
