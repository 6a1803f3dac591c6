package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
)

// UpdateShared changes a shared record: see store.SharedRecords.
func (s *Store) UpdateShared(ctx context.Context, name string, change store.SharedFunc) error {
	if err := store.CheckShared(name, nil); err != nil {
		return err
	}
	key := sharedPrefix + name
	_, err := s.write(ctx, func(tx *tx) error {
		found, err := tx.read(key)
		if err != nil {
			return err
		}
		var before []byte
		if found[0] != nil {
			before = notNil(found[0].Value)
		}
		after, err := change(bytes.Clone(before))
		switch {
		case err != nil:
			return err
		case (before == nil) == (after == nil) && bytes.Equal(before, after):
			return nil
		case after == nil:
			tx.del(key)
			return nil
		}
		tx.put(key, after)
		return store.CheckShared(name, after)
	})
	return err
}

// Shared returns a shared record: see store.SharedRecords.
func (s *Store) Shared(ctx context.Context, name string) ([]byte, error) {
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	if err := store.CheckShared(name, nil); err != nil {
		return nil, err
	}
	return op.value(sharedPrefix + name)
}

// Hold takes a role if it is free: see store.Coordinator. The key of a role has the lease of the process.
func (s *Store) Hold(ctx context.Context, role string) (held bool, err error) {
	op, err := s.begin(ctx)
	if err != nil {
		return false, err
	}
	defer op.done()
	if err := store.CheckShared(role, nil); err != nil {
		return false, err
	}
	key := rolePrefix + role
	err = op.addOwn(func(t *tx, process string) error {
		found, err := t.read(key)
		if err != nil {
			return err
		}
		if held = found[0] == nil || string(found[0].Value) == process; found[0] != nil {
			return nil
		}
		t.puts = append(t.puts, op.put(key, []byte(process), clientv3.WithLease(op.lease)))
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("take the role %s: %w", role, err)
	}
	return held, nil
}

// Release gives up a role: see store.Coordinator.
func (s *Store) Release(ctx context.Context, role string) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	if err := store.CheckShared(role, nil); err != nil {
		return err
	}
	key := rolePrefix + role
	err = op.addOwn(func(t *tx, process string) error {
		found, err := t.read(key)
		if err == nil && found[0] != nil && string(found[0].Value) == process {
			t.del(key)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("give up the role %s: %w", role, err)
	}
	return nil
}

// WatchUpstream tells of changed upstream credentials: see store.Coordinator.
func (s *Store) WatchUpstream(ctx context.Context, changed func(user string)) error {
	op, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer op.done()
	logged := s.clock.Elapsed() - time.Hour
	for {
		err := op.watchUpstream(changed)
		if ended := op.err(); ended != nil {
			return ended
		}
		if now := s.clock.Elapsed(); now-logged >= time.Minute {
			logged = now
			s.line(slog.LevelWarn, "etcd has ended the watch of upstream credentials, and the next one begins: %v", err)
		}
		timer := time.NewTimer(watchAgainAfter)
		select {
		case <-timer.C:
		case <-op.reads.Done():
			timer.Stop()
			return op.err()
		}
	}
}

// watchUpstream is WatchUpstream until the watch ends. Each one begins with the current state, so no revision can be compacted.
func (op *operation) watchUpstream(changed func(user string)) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(op.reads))
	defer cancel()
	stream := clientv3.NewWatcher(op.client)
	defer stream.Close()
	opening := time.AfterFunc(silentAfter, cancel) // Watch waits for the first answer
	responses := stream.Watch(ctx, op.prefix+upstreamPrefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	opening.Stop()
	asks := time.NewTicker(silentAfter)
	defer asks.Stop()
	for heard := true; ; {
		select {
		case resp, open := <-responses:
			if !open {
				return errors.New("the stream has ended")
			}
			if err := resp.Err(); err != nil {
				return err
			}
			heard = true
			if resp.Created {
				changed("")
			}
			for _, e := range resp.Events {
				changed(op.name(e.Kv)[len(upstreamPrefix):])
			}
		case <-asks.C:
			if !heard {
				return fmt.Errorf("no answer on its stream for %v", silentAfter)
			}
			heard = false
			if err := stream.RequestProgress(ctx); err != nil {
				return err
			}
		}
	}
}
