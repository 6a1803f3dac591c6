package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd/freshness"
)

// OpenAt opens a store with a clock.
func OpenAt(ctx context.Context, c *Config, clock freshness.Clock) (*Store, error) {
	s, _, err := c.open(ctx, store.OpenOptions{}, clock)
	return s, err
}

// Client returns the store's client.
func (s *Store) Client() *clientv3.Client { return s.client }

// Lease returns the lease of this process.
func (s *Store) Lease() clientv3.LeaseID { return s.lease }

// AddUsageAnd adds the usage of one token, and calls meet each time before the commit.
func (s *Store) AddUsageAnd(ctx context.Context, id string, u store.Usage, meet func()) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	return op.addOwn(func(t *tx, process string) error {
		block := blockOf(id)
		err := t.addUsage(process, []uint32{block}, map[uint32][]string{block: {id}}, map[string]store.Usage{id: u})
		meet()
		return err
	})
}
