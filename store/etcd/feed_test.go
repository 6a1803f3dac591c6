package etcd_test

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

// recorder is a Feed that keeps the tokens and how fresh they are.
type recorder struct {
	t *testing.T

	mu       sync.Mutex
	more     chan struct{} // holds a value if something was received
	tokens   map[string]store.Token
	complete bool
	fresh    time.Time
	err      error // of Watch
	ended    bool
}

// follow starts a Watch that ends with the test, and waits for its snapshot.
func follow(t *testing.T, s store.Store) *recorder {
	t.Helper()
	r := &recorder{t: t, more: make(chan struct{}, 1), tokens: make(map[string]store.Token)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := s.Watch(ctx, r)
		r.record(func() { r.err, r.ended = err, true })
	}()
	t.Cleanup(func() { cancel(); <-done })
	r.wait("a whole snapshot", func() bool { return r.complete })
	return r
}

func (r *recorder) record(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *recorder) Snapshot(t store.Token)      { r.record(func() { r.tokens[t.ID] = t }) }
func (r *recorder) Complete(uint64)             { r.record(func() { r.complete = true }) }
func (r *recorder) Changed(t store.Token)       { r.record(func() { r.tokens[t.ID] = t }) }
func (r *recorder) Removed(id string, _ uint64) { r.record(func() { delete(r.tokens, id) }) }
func (r *recorder) Fresh(at time.Time)          { r.record(func() { r.fresh = at }) }
func (r *recorder) state() map[string]store.Token {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.tokens)
}
func (r *recorder) freshAt() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.fresh }

// wait waits until is returns true.
func (r *recorder) wait(what string, is func() bool) {
	r.t.Helper()
	late := time.After(time.Minute)
	for {
		r.mu.Lock()
		done, ended, err := is(), r.ended, r.err
		r.mu.Unlock()
		if done {
			return
		}
		if ended {
			r.t.Fatalf("Watch has ended before %s: %v", what, err)
		}
		select {
		case <-r.more:
		case <-late:
			r.t.Fatalf("the feed has not received %s", what)
		}
	}
}

func (r *recorder) waitState(id string, state store.State) {
	r.t.Helper()
	r.wait(id+" "+state.String(), func() bool { return r.tokens[id].State == state })
}

// waitFresh waits until the feed is as fresh as an instant.
func (r *recorder) waitFresh(at time.Time) {
	r.t.Helper()
	r.wait("that it is fresh", func() bool { return !r.fresh.Before(at) })
}
