package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Role is the role of the server that asks the source: see store.Coordinator.
const Role = "directory"

// ErrNotSaved means that no server has saved a snapshot in the store.
var ErrNotSaved = errors.New("no server has saved the users yet")

// followEvery is how often Follow looks for a new snapshot. Tests lower it.
var followEvery = 5 * time.Second

// maxAhead is how far the clocks of two servers may differ: a time that is ahead by no more
// than that counts as now.
const maxAhead = 2 * time.Minute

// saveTimeout limits how long a refresh waits until the other servers have its snapshot.
const saveTimeout = 10 * time.Second

// Shared is a source whose snapshots all servers of one store share. The server with the
// role Role asks the application, and saves the snapshot in the store; the others take it
// from there. A server that gets no answer gives the role up, so that another one can try.
// If whoever has the role saves nothing for too long, because it hangs or the store
// accepts no records, each server asks.
//
// Users who are looked up one by one are not shared.
type Shared struct {
	Source  // asks the application; has an Origin
	records sharedRecords
	now     func() time.Time
	failed  func(error)

	mu       sync.Mutex // guards the fields below
	begun    time.Time  // the first refresh
	newest   time.Time  // when the snapshot in use was taken, by the clock of the server that took it
	asked    time.Time  // when the last snapshot of this server was taken
	lookedUp []User     // by this server, and perhaps in no snapshot yet
}

// NewShared returns a source that asks the given one. failed is told why a snapshot could
// not be saved for the other servers.
func NewShared(source Source, records store.Coordinator, now func() time.Time, failed func(error)) *Shared {
	return &Shared{
		Source: source, now: now, failed: failed,
		records: sharedRecords{store: records, origin: source.Origin()},
	}
}

// Refresh implements Source.
func (s *Shared) Refresh(ctx context.Context, q RefreshRequest) (*Snapshot, error) {
	held, err := s.records.store.Hold(ctx, Role)
	if held {
		return s.ask(ctx, q)
	}
	next := q.Last
	if err == nil {
		next, err = s.take(ctx, q)
	}
	if q.Now.After(s.patience(q, next)) {
		return s.ask(ctx, q)
	}
	return next, err
}

// patience returns until when a server without the role waits for a newer snapshot than next,
// which may be nil.
func (s *Shared) patience(q RefreshRequest, next *Snapshot) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun.IsZero() {
		s.begun = q.Now
	}
	since := s.begun
	switch {
	case next != nil:
		since = next.taken
	case q.Last != nil:
		since = q.Last.taken
	}
	return since.Add(q.Interval + (q.StaleAfter-q.Interval)/2)
}

// ask asks the application, and saves the snapshot for the others.
func (s *Shared) ask(ctx context.Context, q RefreshRequest) (*Snapshot, error) {
	next, err := s.Source.Refresh(ctx, q)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // this server goes on
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
			defer cancel()
			err = errors.Join(err, s.records.store.Release(ctx, Role))
		}
		return nil, err
	}
	s.mu.Lock()
	s.newest, s.asked = next.taken, next.taken
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if err := s.records.save(ctx, next, s.now()); err != nil {
		s.failed(fmt.Errorf("save the users for the other servers: %w", err))
	}
	return next, nil
}

// take returns the saved snapshot if it is newer than the one in use, and else the latter.
func (s *Shared) take(ctx context.Context, q RefreshRequest) (*Snapshot, error) {
	saved, err := s.records.head(ctx)
	if err != nil {
		return nil, err
	}
	if q.Last != nil && !s.isNewer(saved) {
		return q.Last, nil
	}
	saved, content, err := s.records.read(ctx)
	if err != nil {
		return nil, err
	}
	next, err := saved.snapshot(content, s.now(), q.StaleAfter)
	if err != nil {
		return nil, fmt.Errorf("the users that another server has saved: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = saved.Taken
	s.lookedUp = slices.DeleteFunc(s.lookedUp, func(u User) bool { return !u.Asked.After(saved.Taken.Add(-maxAhead)) })
	for _, u := range s.lookedUp {
		next.merge(u)
	}
	return next, nil
}

// isNewer reports whether a saved snapshot is newer than the one in use. None is older than
// one that this server took while its clock was far ahead.
func (s *Shared) isNewer(saved savedHead) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return saved.Taken.After(s.newest) || s.newest.After(s.now().Add(maxAhead))
}

// Lookup implements Source.
func (s *Shared) Lookup(ctx context.Context, name string) (User, error) {
	asked := s.now()
	u, err := s.Source.Lookup(ctx, name)
	if err != nil {
		return u, err
	}
	u.Asked = asked
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookedUp = slices.DeleteFunc(s.lookedUp, func(other User) bool { return store.FoldOwner(other.Name) == store.FoldOwner(u.Name) })
	if len(s.lookedUp) < maxLookedUp {
		s.lookedUp = append(s.lookedUp, u)
	}
	return u, nil
}

// Asked reports whether this server took the snapshot itself, and not another one.
func (s *Shared) Asked(of *Snapshot) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return of != nil && of.taken.Equal(s.asked)
}

// Follow calls changed soon after another server has saved a newer snapshot, until ctx
// ends. Then a refresh takes it.
func (s *Shared) Follow(ctx context.Context, changed func()) {
	ticks := time.NewTicker(followEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		// A refresh reports an error, too.
		if saved, err := s.records.head(ctx); err == nil && s.isNewer(saved) {
			changed()
		}
	}
}

// RestoreShared makes the snapshot that a server has saved in the store the current one, with
// its original age, and publishes it. It returns an error and restores nothing if there is
// none (ErrNotSaved), or if it is damaged, about another application, too old or from the
// future, or if a refresh has already succeeded.
func (d *Directory) RestoreShared(ctx context.Context, from *Shared) error {
	return d.restore(func() (*Snapshot, error) {
		return from.take(ctx, RefreshRequest{StaleAfter: d.options.StaleAfter})
	})
}
