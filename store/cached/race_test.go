package cached_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/storetest"
)

// TestCachedLateUpdate holds an update between the store and the index, while the token is revoked,
// both with a feed that is as late and with one that is not.
func TestCachedLateUpdate(t *testing.T) {
	for _, silent := range []bool{false, true} {
		s := openFaulty(t)
		id := create(t, s, storetest.NewToken(1, "fred")).ID
		late := &lateFeed{}
		if silent {
			s.feed = late.of
		}
		x := newIndexed(t, s)
		written, goOn := make(chan struct{}), make(chan struct{})
		var writes atomic.Int32
		s.afterWrite = func() error {
			if writes.Add(1) == 1 {
				close(written)
				<-goOn
			}
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := x.Update(t.Context(), id, rename); err != nil {
				t.Error(err)
			}
		})
		<-written
		if _, err := x.Update(t.Context(), id, revoke); err != nil {
			t.Error(err)
		}
		wantIndex(t, "revoke", x, s, id)
		close(goOn)
		wg.Wait()
		wantIndex(t, "late update", x, s, id)
		late.deliver()
		wantIndex(t, "late feed", x, s, id)
		wantCounts(t, x, map[store.State]int{store.Revoked: 1})
	}
}

// TestCachedLateUpdateAndPrune does the same with a prune.
func TestCachedLateUpdateAndPrune(t *testing.T) {
	s := openFaulty(t)
	token := storetest.NewToken(1, "fred")
	token.Expires = storetest.Epoch
	id := create(t, s, token).ID
	x := newIndexed(t, s)
	written, pruned := make(chan struct{}), make(chan struct{})
	s.afterWrite = func() error { close(written); <-pruned; return nil }
	s.afterPrune = func(ids []string) ([]string, error) { close(pruned); return ids, nil }
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := x.Update(t.Context(), id, rename); err != nil {
			t.Error(err)
		}
	})
	<-written
	ids, err := x.Prune(t.Context(), storetest.Epoch.Add(time.Hour), noAudit)
	if err != nil || len(ids) != 1 {
		t.Errorf("pruned %v, error %v", ids, err)
	}
	wg.Wait()
	wantIndex(t, "update and prune", x, s, id)
	wantCounts(t, x, nil)
}

// TestCachedRaces runs all operations concurrently with lookups, and compares index and store at
// the end.
func TestCachedRaces(t *testing.T) {
	s := openFaulty(t)
	x := newIndexed(t, s.Store)
	const tokens = 60
	id := func(n int) string { return storetest.NewToken(n, "").ID }
	for n := range tokens {
		token := storetest.NewToken(n, fmt.Sprintf("user %d", n))
		token.Expires = storetest.Epoch.Add(time.Duration(n%2) * time.Hour)
		create(t, x, token)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		for {
			for n := range tokens {
				if e, ok := x.Index().Lookup(id(n)); ok && e.State == store.Revoked {
					t.Error("a revoked token was looked up")
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	update := func(n int, change func(*store.Token, store.LiveFunc) (store.Audit, error)) {
		_, err := x.Update(t.Context(), id(n), change)
		if err != nil && !errors.Is(err, store.ErrRevoked) && !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
	}
	wg.Go(func() {
		for n := range tokens {
			update(n, rename)
		}
	})
	wg.Go(func() {
		for n := range tokens {
			update(n, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
				t.Expires = storetest.Epoch.AddDate(1, 0, 0)
				return store.Audit{}, nil
			})
		}
	})
	wg.Go(func() {
		for n := range tokens {
			if n%3 == 0 {
				update(n, revoke)
			}
		}
	})
	wg.Go(func() {
		for range 5 {
			if _, err := x.Prune(t.Context(), storetest.Epoch.Add(time.Minute), noAudit); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	close(stop)
	<-reading
	for n := range tokens {
		wantIndex(t, "races", x, s, id(n))
	}
}
