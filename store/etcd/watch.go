package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd/freshness"
)

const (
	// watchAgainAfter is the time from the end of one watch to the start of the next.
	watchAgainAfter = 500 * time.Millisecond
	// silentAfter is the time without an answer after which a watch is replaced by another.
	silentAfter = 10 * time.Second
)

// watcher is a running call of Watch. One goroutine calls the feed.
type watcher struct {
	*operation
	feed  store.Feed
	fresh freshness.Tracker
	asked chan answer // of the reads for fresh
}

// answer is the result of a read for the freshness.
type answer struct {
	freshness.Read
	err error
}

// Watch delivers all tokens and their changes: see store.Store. The snapshot has the state at one revision, and
// one watch of etcd follows from the next revision on.
func (s *Store) Watch(ctx context.Context, to store.Feed) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	w := &watcher{operation: op, feed: to, asked: make(chan answer, 1)}
	at := s.clock.Elapsed()
	revision, err := op.all(func(t store.Token) error { to.Snapshot(t); return nil })
	if errors.Is(err, rpctypes.ErrCompacted) { // it took too long
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err != nil {
		if op.err() == nil {
			s.line(slog.LevelWarn, "cannot read all tokens: %v", err)
		}
		return fmt.Errorf("read all tokens: %w", err)
	}
	to.Complete(uint64(revision))
	w.fresh = freshness.Tracker{Applied: revision, At: at}
	w.report()
	err = w.follow()
	if ended := op.err(); ended != nil {
		return ended
	}
	return fmt.Errorf("follow changes of tokens: %w", err)
}

// report tells the feed how fresh it is. The feed compares with the wall clock, which may be set: so this is repeated while
// etcd does not answer.
func (w *watcher) report() { w.feed.Fresh(w.clock.Wall(w.fresh.At)) }

// follow delivers changes until that is impossible. A watch that etcd ends, such as for want of a leader,
// is followed by the next one, which has no gap.
func (w *watcher) follow() error {
	ticks, stop := w.clock.Tick()
	defer stop()
	ctx, cancel := context.WithCancel(w.reads)
	defer cancel()
	busy := make(chan struct{}, 1) // holds one value while a read runs
	ask := func() {
		select {
		case busy <- struct{}{}:
			go func() {
				defer func() { <-busy }()
				w.ask(ctx)
			}()
		default:
		}
	}
	ask()
	logged := w.clock.Elapsed() - time.Hour
	for {
		err := w.watch(ticks, ask)
		if w.err() != nil || errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, errRestored) || errors.Is(err, errRecord) {
			return err
		}
		if now := w.clock.Elapsed(); now-logged >= time.Minute {
			logged = now
			w.line(slog.LevelWarn, "etcd has ended the watch of tokens after revision %d, and the next one begins: %v", w.fresh.Applied, err)
		}
		timer := time.NewTimer(watchAgainAfter)
		for waiting := true; waiting; {
			select {
			case <-timer.C:
				waiting = false
			case <-ticks:
				ask()
				w.report()
			case a := <-w.asked:
				if a.err != nil {
					return a.err
				}
				w.fresh.Read(a.Read)
			case <-w.reads.Done():
				timer.Stop()
				return w.err()
			}
		}
	}
}

// ask reads etcd's revision, in a linearizable read.
func (w *watcher) ask(ctx context.Context) {
	at := w.clock.Elapsed()
	_, revision, err := w.read(w.get(schemaKey, clientv3.WithCountOnly()))
	if err != nil && !errors.Is(err, errRestored) {
		return // the age of the last answer says enough
	}
	select {
	case w.asked <- answer{freshness.Read{Revision: revision, At: at}, err}:
	case <-ctx.Done():
	}
}

// watch delivers the changes after the applied revision from one watch, until it ends. Its stream holds no
// other watch, because etcd reports progress for a stream as a whole. Progress that is reported without the linearizable read
// would prove nothing: a member that is cut off reports it at its old revision.
func (w *watcher) watch(ticks <-chan time.Time, ask func()) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(w.reads))
	defer cancel()
	stream := clientv3.NewWatcher(w.client)
	defer stream.Close()
	prefix := w.prefix + tokenPrefix
	opening := time.AfterFunc(silentAfter, cancel) // Watch waits for the first answer
	responses := stream.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(w.fresh.Applied+1), clientv3.WithCreatedNotify())
	opening.Stop()
	heard := w.clock.Elapsed()
	for {
		select {
		case resp, open := <-responses:
			heard = w.clock.Elapsed()
			if !open {
				return errors.New("the stream has ended")
			}
			if err := resp.Err(); err != nil {
				return err
			}
			if err := w.deliver(resp); err != nil {
				return err
			}
		case a := <-w.asked:
			if a.err != nil {
				return a.err
			}
			if w.fresh.Read(a.Read) {
				if err := stream.RequestProgress(ctx); err != nil {
					return err
				}
			}
			w.report()
		case <-ticks:
			if w.fresh.Behind() && w.clock.Elapsed()-heard > silentAfter {
				return fmt.Errorf("no answer on its stream for %v, and there are changes", silentAfter)
			}
			ask()
			w.report()
		case <-w.reads.Done():
			return w.err()
		}
	}
}

// errRecord means that a token cannot be read.
var errRecord = errors.New("a change cannot be read")

// deliver delivers the changes of one response.
func (w *watcher) deliver(resp clientv3.WatchResponse) error {
	for _, e := range resp.Events {
		id := w.name(e.Kv)[len(tokenPrefix):]
		if e.Type == mvccpb.Event_DELETE {
			w.feed.Removed(id, uint64(e.Kv.ModRevision))
			continue
		}
		t, err := decodeToken(id, e.Kv)
		if err != nil {
			return fmt.Errorf("%w: %w", errRecord, err)
		}
		w.feed.Changed(t)
	}
	switch {
	case len(resp.Events) > 0:
		w.sawRevision(resp.Events[len(resp.Events)-1].Kv.ModRevision)
		w.fresh.Apply(resp.Events[len(resp.Events)-1].Kv.ModRevision)
	case resp.IsProgressNotify():
		w.fresh.Apply(resp.Header.Revision)
	default:
		return nil
	}
	w.report()
	return nil
}
