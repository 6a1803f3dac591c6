package etcd

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/tokengate/tokengate/store"
)

// UpdateUpstream changes a user's upstream credentials: see store.Store.
func (s *Store) UpdateUpstream(ctx context.Context, user string, change store.UpstreamFunc) (after []store.UpstreamCredential, err error) {
	_, err = s.write(ctx, func(tx *tx) error {
		found, err := tx.read(upstreamKey(user))
		if err != nil {
			return err
		}
		before := []store.UpstreamCredential(nil)
		if found[0] != nil {
			before, _ = store.DecodeUpstream(user, found[0].Value) // one that cannot be read counts as none
		}
		if after, tx.audits, err = change(before); err != nil {
			return err
		}
		if len(after) == 0 {
			tx.del(upstreamKey(user))
			return nil
		}
		record, err := store.EncodeUpstream(user, after)
		if err != nil {
			return err
		}
		if after, err = store.DecodeUpstream(user, record); err != nil {
			return err
		}
		tx.put(upstreamKey(user), record)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return after, nil
}

// Upstream returns a user's upstream credentials: see store.Store.
func (s *Store) Upstream(ctx context.Context, user string) ([]store.UpstreamCredential, error) {
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	record, err := op.value(upstreamKey(user))
	if err != nil {
		return nil, fmt.Errorf("read upstream credentials: %w", err)
	}
	if record == nil {
		return nil, nil
	}
	return store.DecodeUpstream(user, record)
}

// upstreamPage is the number of users that one request reads, each with some hundred bytes.
const upstreamPage = 500

// AllUpstream calls visit for every user: see store.Store.
func (s *Store) AllUpstream(ctx context.Context, visit func(user string, all []store.UpstreamCredential, err error) error) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	_, err = op.eachIn(upstreamPrefix, 0, upstreamPage, func(kv *mvccpb.KeyValue) (bool, error) {
		user := op.name(kv)[len(upstreamPrefix):]
		all, err := store.DecodeUpstream(user, kv.Value)
		return true, visit(user, all, err)
	})
	return err
}
