package etcd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
)

// leaseSeconds is how long the key of a process stays after the process has ended or lost etcd.
const leaseSeconds = 60

// common is the process to whose keys those of ended processes are added.
const common = "all"

// addOwn runs fn in a transaction that holds only while this process's key exists, one call at a time. fn
// writes keys of this process, which no other one writes.
func (op *operation) addOwn(fn func(t *tx, process string) error) error {
	select {
	case op.ownBusy <- struct{}{}:
		defer func() { <-op.ownBusy }()
	case <-op.reads.Done():
		return op.err()
	}
	_, err := op.write(func(t *tx) error {
		if op.process != "" {
			found, err := t.read(processKey(op.process))
			if err != nil {
				return err
			}
			if found[0] == nil {
				op.process = "" // its lease has ended, and another process may have taken its keys
			}
		}
		if op.process == "" {
			if err := op.beginProcess(); err != nil {
				return err
			}
			return errConflict // begin again with its key
		}
		return fn(t, op.process)
	})
	return err
}

// beginProcess writes the key of this process. The caller holds ownBusy.
func (op *operation) beginProcess() error {
	ctx, cancel := context.WithTimeout(op.reads, op.timeout)
	defer cancel()
	lease, err := op.client.Grant(ctx, leaseSeconds)
	if err != nil {
		return op.failed(err)
	}
	name := processName(int64(lease.ID))
	keeping, end := context.WithCancel(op.closing)
	alive, err := op.client.KeepAlive(keeping, lease.ID)
	if err != nil {
		end()
		return op.failed(err)
	}
	go func() {
		for range alive { // until the lease or the store has ended
		}
	}()
	t := &tx{op: op, puts: []clientv3.Op{op.put(processKey(name), nil, clientv3.WithLease(lease.ID))}}
	if err := op.commit(t); err != nil {
		end() // the lease ends by itself
		return err
	}
	if op.endLease != nil {
		op.endLease()
	}
	op.Store.process, op.lease, op.endLease = name, lease.ID, end
	return nil
}

// endProcess removes the key of this process, so that others need not wait for its lease.
func (s *Store) endProcess() {
	if s.process == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(s.timeout, time.Second))
	defer cancel()
	if _, err := s.client.Revoke(ctx, s.lease); err != nil {
		s.line(slog.LevelInfo, "etcd keeps the lease of this process for %d s: %v", leaseSeconds, err)
	}
}

// merged are the kinds of records that ended processes leave, by key prefix, with the function that adds them up.
var merged = map[string]func(group string, values [][]byte) ([]byte, error){
	usagePrefix: func(_ string, values [][]byte) ([]byte, error) {
		sum := make(usageBlock)
		for _, value := range values {
			if err := sum.addEncoded(value); err != nil {
				return nil, err
			}
		}
		return sum.encode(), nil
	},
	dayPrefix: func(group string, values [][]byte) ([]byte, error) {
		day, err := dayOf(group)
		if err != nil {
			return nil, err
		}
		sum := store.DayTotals{Day: day, Counts: make(map[string]uint64)}
		for _, value := range values {
			if err := addTotals(&sum, value); err != nil {
				return nil, err
			}
		}
		return store.EncodeTotals(sum), nil
	},
}

// mergeEnded adds the records of processes that have ended to the common ones.
func (op *operation) mergeEnded() error {
	running := map[string]bool{common: true}
	revision, err := op.eachIn(processPrefix, 0, pageKeys, func(kv *mvccpb.KeyValue) (bool, error) {
		running[op.name(kv)[len(processPrefix):]] = true
		return true, nil
	}, clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	for prefix, merge := range merged {
		ended := make(map[string][]string) // processes by group
		_, err := op.eachIn(prefix, revision, pageKeys, func(kv *mvccpb.KeyValue) (bool, error) {
			group, process := splitProcess(op.name(kv))
			if !running[process] {
				ended[group] = append(ended[group], process)
			}
			return true, nil
		}, clientv3.WithKeysOnly())
		if err != nil {
			return err
		}
		for group, processes := range ended {
			for part := range slices.Chunk(processes, maxMerged) {
				if err := op.mergeGroup(group, part, merge); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// maxMerged is the number of processes whose records one transaction merges.
const maxMerged = 8

// mergeGroup adds the records of ended processes to the common one, and removes them.
func (op *operation) mergeGroup(group string, processes []string, merge func(string, [][]byte) ([]byte, error)) error {
	_, err := op.write(func(t *tx) error {
		keys := []string{group + common}
		for _, p := range processes {
			keys = append(keys, group+p, processKey(p))
		}
		found, err := t.read(keys...)
		if err != nil {
			return err
		}
		var values [][]byte
		for i, kv := range found {
			switch {
			case kv == nil:
			case i > 0 && i%2 == 0: // the key of a process
				return errors.New("a process with an ended lease has come back")
			default:
				values = append(values, kv.Value)
				if i > 0 {
					t.del(keys[i])
				}
			}
		}
		if len(t.puts) == 0 {
			return nil // another process has done it
		}
		sum, err := merge(group, values)
		if err != nil {
			return err
		}
		t.put(keys[0], sum)
		return nil
	})
	return err
}
