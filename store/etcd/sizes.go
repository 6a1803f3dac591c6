package etcd

import (
	"maps"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/tokengate/tokengate/store"
)

// sizes are the sizes of the records of each kind, as of their last full read.
type sizes struct {
	mu  sync.Mutex
	all map[string]store.Size
}

// sizeCounter measures the records of one kind. Its method add is safe for concurrent use.
type sizeCounter struct{ records, bytes atomic.Int64 }

func (c *sizeCounter) add(bytes int) {
	c.records.Add(1)
	c.bytes.Add(int64(bytes))
}

func (c *sizeCounter) size() store.Size {
	return store.Size{Records: c.records.Load(), Bytes: c.bytes.Load()}
}

func (s *sizes) set(kind string, size store.Size) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[string]store.Size)
	}
	s.all[kind] = size
}

// measured are the kinds of records whose size Prune measures, by key prefix. The tokens are measured with each full
// read of them, and audit records by PruneAudit.
var measured = map[string]string{
	"usage": usagePrefix, "totals": dayPrefix, "passwords": passwordPrefix, "upstream": upstreamPrefix,
}

// measure reads the records of the measured kinds.
func (op *operation) measure() error {
	for kind, prefix := range measured {
		var size store.Size
		_, err := op.eachIn(prefix, 0, pageKeys, func(kv *mvccpb.KeyValue) (bool, error) {
			size.Records++
			size.Bytes += int64(len(op.name(kv)) + len(kv.Value))
			return true, nil
		})
		if err != nil {
			return err
		}
		op.sizes.set(kind, size)
	}
	return nil
}

// Sizes returns the sizes as of the last time they were measured: see store.Store. They are known after the first Prune
// and PruneAudit.
func (s *Store) Sizes() (all map[string]store.Size, ok bool) {
	s.sizes.mu.Lock()
	defer s.sizes.mu.Unlock()
	return maps.Clone(s.sizes.all), len(s.sizes.all) == len(measured)+2
}
