package cached_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/storetest"
)

var errDisk = errors.New("the disk says no")

// faulty is a real store with hooks. An error of a hook before a call ends the call; one of a
// hook after it replaces the call's result, although the write is done.
type faulty struct {
	store.Store
	beforeWrite, afterWrite func() error
	afterPrune              func(ids []string) ([]string, error)
	beforeGet               func() error
	gets                    int
	feed                    func(store.Feed) store.Feed
	watch                   func(store.Feed) error // an error ends a Watch at its start
	fail                    chan struct{}          // a value ends a Watch
	watches                 atomic.Int32
}

// errLost ends a Watch.
var errLost = errors.New("changes were lost")

func (f *faulty) Watch(ctx context.Context, to store.Feed) error {
	f.watches.Add(1)
	if f.feed != nil {
		to = f.feed(to)
	}
	if f.watch != nil {
		if err := f.watch(to); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.Store.Watch(ctx, to) }()
	select {
	case <-f.fail:
		cancel()
		<-done
		return errLost
	case err := <-done:
		return err
	}
}

// lateFeed delivers changes only when the test says so.
type lateFeed struct {
	store.Feed

	mu   sync.Mutex
	held []func()
}

func (f *lateFeed) of(to store.Feed) store.Feed {
	f.Feed = to
	return f
}

func (f *lateFeed) hold(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = append(f.held, do)
}

func (f *lateFeed) Changed(t store.Token) { f.hold(func() { f.Feed.Changed(t) }) }

func (f *lateFeed) Removed(id string, revision uint64) {
	f.hold(func() { f.Feed.Removed(id, revision) })
}

// deliver delivers the changes until now, in order.
func (f *lateFeed) deliver() {
	f.mu.Lock()
	held := f.held
	f.held = nil
	f.mu.Unlock()
	for _, do := range held {
		do()
	}
}

func hook(h func() error) error {
	if h == nil {
		return nil
	}
	return h()
}

func (f *faulty) Create(ctx context.Context, t store.Token, admit store.AdmitFunc) (store.Token, error) {
	return f.write(func() (store.Token, error) { return f.Store.Create(ctx, t, admit) })
}

func (f *faulty) Update(ctx context.Context, id string, change store.ChangeFunc) (store.Token, error) {
	return f.write(func() (store.Token, error) { return f.Store.Update(ctx, id, change) })
}

func (f *faulty) write(run func() (store.Token, error)) (store.Token, error) {
	if err := hook(f.beforeWrite); err != nil {
		return store.Token{}, err
	}
	t, err := run()
	if hookErr := hook(f.afterWrite); hookErr != nil {
		return store.Token{}, hookErr
	}
	return t, err
}

func (f *faulty) Prune(ctx context.Context, before time.Time, record store.RecordFunc) ([]string, error) {
	ids, err := f.Store.Prune(ctx, before, record)
	if f.afterPrune != nil {
		return f.afterPrune(ids)
	}
	return ids, err
}

func (f *faulty) Get(ctx context.Context, id string) (store.Token, error) {
	f.gets++
	if err := hook(f.beforeGet); err != nil {
		return store.Token{}, err
	}
	return f.Store.Get(ctx, id)
}

func (f *faulty) AddUsage(ctx context.Context, usage map[string]store.Usage) error {
	if err := hook(f.beforeWrite); err != nil {
		return err
	}
	return errors.Join(f.Store.AddUsage(ctx, usage), hook(f.afterWrite))
}

func openFaulty(t *testing.T) *faulty {
	t.Helper()
	s, err := badger.Open(t.Context(), badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &faulty{Store: s, fail: make(chan struct{})}
}

func create(t testing.TB, s store.Store, token store.Token) store.Token {
	t.Helper()
	token, err := s.Create(t.Context(), token, func([]store.Token) (store.Audit, error) { return store.Audit{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Changes for Update.
func rename(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
	t.Name, t.ReadOnly = "new name", true
	return store.Audit{}, nil
}

func revoke(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
	t.State, t.Revoked = store.Revoked, storetest.Epoch
	return store.Audit{}, nil
}

func noAudit(store.Token) store.Audit { return store.Audit{} }
