package badger

import (
	"context"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// UpdateUpstream changes a user's upstream credentials: see store.Store.
func (s *Store) UpdateUpstream(ctx context.Context, user string, change store.UpstreamFunc) (after []store.UpstreamCredential, err error) {
	err = s.write(ctx, func(tx *tx) error {
		data, err := get(tx.Txn, upstreamKey(user))
		if err != nil {
			return err
		}
		before := []store.UpstreamCredential(nil)
		if data != nil {
			before, _ = store.DecodeUpstream(user, data) // one that cannot be read counts as none
		}
		if after, tx.audits, err = change(before); err != nil {
			return err
		}
		tx.urgent = !slices.ContainsFunc(after, func(c store.UpstreamCredential) bool { return c.State == store.UpstreamActive })
		if len(after) == 0 {
			return tx.deleteKey(upstreamKey(user))
		}
		if data, err = store.EncodeUpstream(user, after); err != nil {
			return err
		}
		if after, err = store.DecodeUpstream(user, data); err != nil {
			return err
		}
		return tx.set(upstreamKey(user), data)
	})
	if err != nil {
		return nil, err
	}
	return after, nil
}

// upstreamOf returns a user's upstream credentials.
func upstreamOf(txn *badger.Txn, user string) ([]store.UpstreamCredential, error) {
	data, err := get(txn, upstreamKey(user))
	if err != nil || data == nil {
		return nil, err
	}
	return store.DecodeUpstream(user, data)
}

// Upstream returns a user's upstream credentials: see store.Store.
func (s *Store) Upstream(ctx context.Context, user string) (all []store.UpstreamCredential, err error) {
	err = s.view(ctx, func(txn *badger.Txn) error {
		all, err = upstreamOf(txn, user)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read upstream credentials: %w", err)
	}
	return all, nil
}

// AllUpstream calls visit for every user: see store.Store.
func (s *Store) AllUpstream(ctx context.Context, visit func(user string, all []store.UpstreamCredential, err error) error) error {
	return s.view(ctx, func(txn *badger.Txn) error {
		return eachValue(ctx, txn, upstreamPrefix, upstreamPrefix, func(key, value []byte) (bool, error) {
			user := string(key[len(upstreamPrefix):])
			all, err := store.DecodeUpstream(user, value)
			return true, visit(user, all, err)
		})
	})
}
