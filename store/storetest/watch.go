package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

// event is a change that a recorder received.
type event struct {
	token   store.Token // only ID and Revision, if it was removed
	removed bool
}

// recorder is a Feed that keeps what it receives.
type recorder struct {
	t    *testing.T
	gate chan struct{} // if not nil, changes wait until it is closed
	meet func()        // if not nil, called during the snapshot

	mu       sync.Mutex
	more     chan struct{} // holds a value if something was received
	snapshot map[string]store.Token
	complete bool
	revision uint64
	events   []event
	fresh    time.Time
	ended    bool
	err      error // of Watch; valid if ended
}

func (r *recorder) record(what string, do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		r.t.Errorf("%s was called after Watch had returned", what)
	}
	do()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// Snapshot implements store.Feed.
func (r *recorder) Snapshot(t store.Token) {
	if r.meet != nil {
		r.meet()
	}
	r.record("Snapshot", func() {
		if _, twice := r.snapshot[t.ID]; twice || r.complete {
			r.t.Errorf("the snapshot has %s twice or late", t.ID)
		}
		r.snapshot[t.ID] = t
	})
}

// Complete implements store.Feed.
func (r *recorder) Complete(revision uint64) {
	r.record("Complete", func() {
		if r.complete {
			r.t.Error("the snapshot was completed twice")
		}
		r.complete, r.revision = true, revision
	})
}

// Changed implements store.Feed.
func (r *recorder) Changed(t store.Token) { r.add(event{token: t}) }

// Removed implements store.Feed.
func (r *recorder) Removed(id string, revision uint64) {
	r.add(event{store.Token{ID: id, Revision: revision}, true})
}

func (r *recorder) add(e event) {
	if r.gate != nil {
		<-r.gate
	}
	r.record("a change", func() {
		if latest := r.latest(); !r.complete || e.token.Revision < latest {
			r.t.Errorf("the change %+v came before the end of the snapshot, or after revision %d", e, latest)
		}
		r.events = append(r.events, e)
	})
}

// Fresh implements store.Feed.
func (r *recorder) Fresh(at time.Time) {
	r.record("Fresh", func() {
		if !r.complete {
			r.t.Error("the feed is fresh before the end of the snapshot")
		}
		r.fresh = at
	})
}

func (r *recorder) latest() uint64 {
	if len(r.events) == 0 {
		return r.revision
	}
	return r.events[len(r.events)-1].token.Revision
}

// wait waits until is returns true.
func (r *recorder) wait(what string, is func() bool) {
	r.t.Helper()
	late := time.After(time.Minute)
	for {
		r.mu.Lock()
		done := is()
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-r.more:
		case <-late:
			r.t.Fatalf("the feed has not received %s", what)
		}
	}
}

// state returns the tokens as the feed knows them, and checks that a removal is final and that each
// token's revision rises.
func (r *recorder) state() map[string]store.Token {
	r.mu.Lock()
	defer r.mu.Unlock()
	state, removed := maps.Clone(r.snapshot), make(map[string]bool)
	for _, e := range r.events {
		before, known := state[e.token.ID]
		switch {
		case removed[e.token.ID]:
			r.t.Errorf("a change of a removed token: %+v", e)
		case e.removed:
			removed[e.token.ID] = true
			delete(state, e.token.ID)
		case known && e.token.Revision <= before.Revision:
			r.t.Errorf("revision %d of %s came after %d", e.token.Revision, e.token.ID, before.Revision)
		default:
			state[e.token.ID] = e.token
		}
	}
	return state
}

// watch starts a Watch, and waits until its snapshot is complete.
func (f *fixture) watch(r *recorder) *recorder {
	f.t.Helper()
	r.t, r.more, r.snapshot = f.t, make(chan struct{}, 1), make(map[string]store.Token)
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	watched := f.Store
	go func() {
		defer close(done)
		err := watched.Watch(ctx, r)
		r.record("the end", func() { r.ended, r.err = true, err })
	}()
	f.t.Cleanup(func() { cancel(); <-done })
	r.wait("a whole snapshot", func() bool { return r.complete || r.ended })
	return r
}

func testWatch(t *testing.T, s Suite) {
	f := open(t, s)
	for n := range 3 {
		f.create(fullToken(n, "fred"))
	}
	f.revoke("test00000002")
	before := f.all()
	r := f.watch(&recorder{})
	same(t, "snapshot", r.snapshot, before)

	var want []store.Token
	want = append(want, f.create(fullToken(3, "wilma")))
	want = append(want, f.update("test00000001", func(t *store.Token) { t.Name = "changed" }))
	want = append(want, f.revoke("test00000003"))
	same(t, "revision in the store", f.get("test00000003").Revision, want[2].Revision)
	f.Update(t.Context(), "test00000001", func(*store.Token, store.LiveFunc) (store.Audit, error) { return store.Audit{}, errNo })
	f.addUsage(map[string]store.Usage{"test00000001": {Count: 1}})
	if err := f.AppendAudit(t.Context(), audit("token.get", "")); err != nil {
		t.Fatal(err)
	}
	pruned := f.prune(Epoch.Add(time.Hour))
	written := time.Now()
	r.wait("all changes", func() bool { return len(r.events) >= len(want)+len(pruned) && r.fresh.After(written) })

	var removed []string
	for n, e := range r.events {
		if n < len(want) {
			same(t, fmt.Sprintf("change %d", n), e.token, want[n])
		} else if removed = append(removed, e.token.ID); !e.removed {
			t.Errorf("%+v is no removal", e)
		}
	}
	slices.Sort(removed)
	slices.Sort(pruned)
	same(t, "removed tokens", removed, pruned)
	same(t, "state", r.state(), f.all())

	f.reopen()
	again := f.watch(&recorder{})
	same(t, "snapshot after a reopen", again.snapshot, r.state())
	if changed := f.revoke("test00000001"); changed.Revision <= r.latest() {
		t.Errorf("after a reopen a change has revision %d, and one before it %d", changed.Revision, r.latest())
	}
}

// testWatchWrites starts feeds during concurrent writes.
func testWatchWrites(t *testing.T, s Suite) {
	f := open(t, s)
	const writers, each = 4, 25
	var write []func()
	for w := range writers {
		write = append(write, func() {
			for n := range each {
				token := NewToken(w*each+n, fmt.Sprintf("user %d", w))
				id := f.create(token).ID
				f.update(id, func(t *store.Token) { t.Name = "changed" })
				if n%2 == 0 {
					f.revoke(id)
				}
				if n%5 == 0 {
					f.prune(Epoch.Add(time.Hour))
				}
			}
		})
	}
	var feeds []*recorder
	write = append(write, func() {
		for range 5 {
			feeds = append(feeds, f.watch(&recorder{}))
		}
	})
	together(write...)
	last := f.revoke("test00000001")
	for _, r := range feeds {
		r.wait("the last change", func() bool { return r.latest() >= last.Revision })
		same(t, "state", r.state(), f.all())
	}
}

// testWatchSlow stops a feed for longer than many writes take. It loses none of them, or has to
// start again.
func testWatchSlow(t *testing.T, s Suite) {
	f := open(t, s)
	gate := make(chan struct{})
	slow := f.watch(&recorder{gate: gate})
	const writers, each = 10, 10
	var begun sync.WaitGroup
	begun.Add(writers)
	var write sync.WaitGroup
	for w := range writers {
		write.Go(func() {
			begun.Done()
			for n := range each {
				f.create(NewToken(w*each+n, "fred"))
			}
		})
	}
	begun.Wait()
	close(gate)
	write.Wait()
	slow.wait("every token or the end", func() bool { return len(slow.events) == writers*each || slow.ended })
	if slow.ended {
		slow = f.watch(&recorder{})
	}
	same(t, "state", slow.state(), f.all())
}

// testWatchMeets changes tokens while the snapshot is delivered.
func testWatchMeets(t *testing.T, s Suite) {
	f := open(t, s)
	f.create(NewToken(1, "fred"))
	f.create(expiring(2, "fred"))
	last := uint64(0)
	r := f.watch(&recorder{meet: sync.OnceFunc(func() {
		f.create(NewToken(3, "fred"))
		f.prune(Epoch.Add(time.Hour))
		last = f.revoke("test00000001").Revision
	})})
	r.wait("the last change", func() bool { return r.latest() >= last })
	same(t, "state", r.state(), f.all())
}

func testWatchEnds(t *testing.T, s Suite) {
	f := open(t, s)
	wantError(t, "watch with an ended context", f.Watch(ended(t), &recorder{t: t}), context.Canceled)

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	stopped := &recorder{t: t, more: make(chan struct{}, 1)}
	go func() { done <- f.Watch(ctx, stopped) }()
	stopped.wait("a whole snapshot", func() bool { return stopped.complete })
	cancel()
	wantError(t, "watch", <-done, context.Canceled)
	stopped.record("the end", func() { stopped.ended = true })

	r := f.watch(&recorder{})
	f.create(NewToken(1, "fred"))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r.wait("the end", func() bool { return r.ended })
	wantError(t, "watch of a closed store", r.err, store.ErrClosed)
	if err := f.Watch(t.Context(), &recorder{t: t}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("another watch of a closed store: error %v", err)
	}
}
