package badger

import (
	"context"

	"github.com/tokengate/tokengate/store"
)

// UpdateShared changes a shared record, which is in memory, because one process uses the store: see store.SharedRecords.
func (s *Store) UpdateShared(ctx context.Context, name string, change store.SharedFunc) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	return s.shared.UpdateShared(ctx, name, change)
}

// Shared returns a shared record: see store.SharedRecords.
func (s *Store) Shared(ctx context.Context, name string) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.running.Done()
	return s.shared.Shared(ctx, name)
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
