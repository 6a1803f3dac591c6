package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd/freshness"
)

// Store is a store.Store in etcd.
type Store struct {
	client       *clientv3.Client
	prefix       string
	timeout      time.Duration // of one request
	log          func(level slog.Level, message string)
	clock        freshness.Clock
	compareEvery time.Duration // see store.Versioned
	sequence     uint64        // see m/sequence
	seen         atomic.Int64  // the highest revision that etcd has told

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // operations that Close waits for; Add with mu held
	closing context.Context
	cancel  func()

	ownBusy  chan struct{} // holds one value while a call adds to the keys of this process
	process  string        // whose keys this process adds to; empty: none yet; used while holding ownBusy
	lease    clientv3.LeaseID
	endLease func() // ends keeping the lease; nil: there is none
	probe    string // the key of Health, of this process only, so that few remain if they cannot be removed

	sizes sizes
}

var (
	_ store.Store     = (*Store)(nil)
	_ store.Versioned = (*Store)(nil)
)

// operation is a running call of a method.
type operation struct {
	*Store
	context.Context                 // the caller's
	reads           context.Context // ends when the caller's ends or Close is called
	done            func()
}

// begin registers an operation, unless the store is closed or the context has ended. The caller
// calls done at its end.
func (s *Store) begin(ctx context.Context) (*operation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	s.running.Add(1)
	reads, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.closing, func() { cancel(store.ErrClosed) })
	return &operation{Store: s, Context: ctx, reads: reads, done: func() {
		stop()
		cancel(nil)
		s.running.Done()
	}}, nil
}

// err returns why the operation must end: the caller's context has ended, or the store is being closed.
func (op *operation) err() error {
	switch {
	case op.reads.Err() == nil:
		return nil
	case op.Context.Err() != nil:
		return op.Context.Err()
	}
	return context.Cause(op.reads)
}

// Close waits for running writes, and ends all other operations.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()

	s.cancel()
	s.running.Wait()
	s.endProcess()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Health writes, reads and removes a record of its own: see store.Store.
func (s *Store) Health(ctx context.Context) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	want := rand.Text()
	resp, err := op.commitOnce(nil, []clientv3.Op{op.put(s.probe, []byte(want)), op.get(s.probe)}, nil)
	if err == nil {
		if found := resp.Responses[1].GetResponseRange().Kvs; len(found) == 0 || string(found[0].Value) != want {
			err = errors.New("the record read differs from the record written")
		}
	}
	if err == nil {
		_, err = op.commitOnce(nil, []clientv3.Op{op.del(s.probe)}, nil)
	}
	if err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	return nil
}

// Size returns 0: etcd's files are on other machines, and other programs may use them, too.
func (s *Store) Size() int64 { return 0 }

// line logs a message.
func (s *Store) line(level slog.Level, format string, args ...any) {
	if s.log != nil {
		s.log(level, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
	}
}
