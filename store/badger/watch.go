package badger

import (
	"context"
	"slices"

	"github.com/tokengate/tokengate/store"
)

// watch is a running call of Watch. Store.commitMu guards it.
type watch struct {
	feed    store.Feed
	missed  []change // since the start of the snapshot
	current bool     // the snapshot is complete, and changes are delivered at once
}

// change is a committed change of a token.
type change struct {
	token   store.Token // only ID and Revision, if it was removed
	removed bool
}

func (c change) deliver(to store.Feed) {
	if c.removed {
		to.Removed(c.token.ID, c.token.Revision)
		return
	}
	to.Changed(c.token)
}

// Watch delivers all tokens and their changes: see store.Store. A write waits for the feed.
func (s *Store) Watch(ctx context.Context, to store.Feed) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	w := &watch{feed: to}
	s.commitMu.Lock()
	s.watches = append(s.watches, w)
	s.commitMu.Unlock()
	defer func() {
		s.commitMu.Lock()
		defer s.commitMu.Unlock()
		s.watches = slices.DeleteFunc(s.watches, func(other *watch) bool { return other == w })
	}()
	revision, err := s.all(ctx, func(t store.Token) error { to.Snapshot(t); return nil })
	if err != nil {
		return err
	}
	s.catchUp(w, revision)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing.Done():
		return store.ErrClosed
	}
}

// catchUp completes a snapshot, and delivers the changes made since.
func (s *Store) catchUp(w *watch, revision uint64) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	w.feed.Complete(revision)
	for _, c := range w.missed {
		if c.token.Revision > revision {
			c.deliver(w.feed)
		}
	}
	w.missed, w.current = nil, true
	w.feed.Fresh(store.Forever)
}

// deliver sets the revision of the tokens that a committed transaction changed, and delivers them.
// The caller holds commitMu.
func (s *Store) deliver(t *tx) {
	if t.written == nil && t.removed == nil {
		return
	}
	latest := s.db.NewTransaction(false)
	defer latest.Discard()
	revision := latest.ReadTs() // no other commit can have followed
	var changes []change
	if t.written != nil {
		t.written.Revision = revision
		changes = append(changes, change{token: *t.written})
	}
	for _, id := range t.removed {
		changes = append(changes, change{store.Token{ID: id, Revision: revision}, true})
	}
	for _, w := range s.watches {
		for _, c := range changes {
			if w.current {
				c.deliver(w.feed)
			} else {
				w.missed = append(w.missed, c)
			}
		}
	}
}
