package etcd

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
)

// TestClock is a clock for OpenAt.
type TestClock struct {
	Now     func() time.Time
	Elapsed func() time.Duration
	Ticks   chan time.Time
}

// OpenAt opens a store with a clock.
func OpenAt(ctx context.Context, c *Config, clk TestClock) (*Store, error) {
	s, _, err := c.open(ctx, store.OpenOptions{}, clock{
		now: clk.Now, elapsed: clk.Elapsed, tick: func() (<-chan time.Time, func()) { return clk.Ticks, func() {} },
	})
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
