package badger

import (
	"bytes"
	"context"
	"sync"

	"github.com/tokengate/tokengate/store"
)

// shared are the shared records. They are in memory, because one process uses the store.
type shared struct {
	mu      sync.Mutex
	records map[string][]byte
}

// UpdateShared changes a shared record: see store.Coordinator.
func (s *Store) UpdateShared(ctx context.Context, name string, change store.SharedFunc) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	if err := store.CheckShared(name, nil); err != nil {
		return err
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	after, err := change(bytes.Clone(s.shared.records[name]))
	if err == nil {
		err = store.CheckShared(name, after)
	}
	if err != nil {
		return err
	}
	if after == nil {
		delete(s.shared.records, name)
		return nil
	}
	if s.shared.records == nil {
		s.shared.records = make(map[string][]byte)
	}
	s.shared.records[name] = append(make([]byte, 0, len(after)), after...)
	return nil
}

// Shared returns a shared record: see store.Coordinator.
func (s *Store) Shared(ctx context.Context, name string) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.running.Done()
	if err := store.CheckShared(name, nil); err != nil {
		return nil, err
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	return bytes.Clone(s.shared.records[name]), nil
}

// Hold reports true: see store.Coordinator.
func (s *Store) Hold(ctx context.Context, role string) (bool, error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	defer s.running.Done()
	err := store.CheckShared(role, nil)
	return err == nil, err
}

// Release does nothing: see store.Coordinator.
func (s *Store) Release(ctx context.Context, role string) error {
	_, err := s.Hold(ctx, role)
	return err
}

// WatchUpstream calls changed once and waits, because no other server changes the store: see store.Coordinator.
func (s *Store) WatchUpstream(ctx context.Context, changed func(user string)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	changed("")
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing.Done():
		return store.ErrClosed
	}
}
