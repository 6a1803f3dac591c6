package web_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokengate/tokengate/store"
)

// faulty is a store that fails when it is told to.
type faulty struct {
	store.Store
	before atomic.Pointer[func(ctx context.Context, method string) error]
}

// fail calls before at each of the methods below, until it is called with nil.
func (s *faulty) fail(before func(ctx context.Context, method string) error) {
	if before == nil {
		s.before.Store(nil)
		return
	}
	s.before.Store(&before)
}

func (s *faulty) ask(ctx context.Context, method string) error {
	if before := s.before.Load(); before != nil {
		return (*before)(ctx, method)
	}
	return nil
}

func (s *faulty) Create(ctx context.Context, t store.Token, admit func([]store.Token) (store.Audit, error)) (store.Token, error) {
	if err := s.ask(ctx, "Create"); err != nil {
		return store.Token{}, err
	}
	return s.Store.Create(ctx, t, admit)
}

func (s *faulty) Get(ctx context.Context, id string) (store.Token, error) {
	if err := s.ask(ctx, "Get"); err != nil {
		return store.Token{}, err
	}
	return s.Store.Get(ctx, id)
}

func (s *faulty) Usage(ctx context.Context, ids []string) (map[string]store.Usage, error) {
	if err := s.ask(ctx, "Usage"); err != nil {
		return nil, err
	}
	return s.Store.Usage(ctx, ids)
}

func (s *faulty) AuditLog(ctx context.Context, before uint64, limit int) ([]store.Audit, error) {
	if err := s.ask(ctx, "AuditLog"); err != nil {
		return nil, err
	}
	return s.Store.AuditLog(ctx, before, limit)
}

// fill makes tokens with long names by way of the store, many at once: so they
// share its writes. owner says whose the n-th is.
func fill(t *testing.T, f *fixture, many int, owner func(n int) string) {
	t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for n := int(next.Add(1)); n <= many; n = int(next.Add(1)) {
				id, user := fmt.Sprintf("%012d", n), owner(n)
				_, err := f.tokens.Create(t.Context(), store.Token{
					ID: id, Owner: store.Owner{Name: user}, Name: fmt.Sprintf("token %090d", n), Created: start, CreatedBy: "test",
					State: store.Active, Secret: store.Secret{Salt: [16]byte{1}, Hash: [32]byte{byte(n), byte(n >> 8), 1}},
				}, func([]store.Token) (store.Audit, error) {
					return store.Audit{Time: start, Actor: "test", Action: "token.create", TokenID: id, Owner: user, Outcome: "done"}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
