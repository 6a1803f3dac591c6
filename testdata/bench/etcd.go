package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd"
)

// etcdProgram is the binary that make tools builds.
const etcdProgram = ".tools/etcd"

// etcdNode is a running etcd with one node. It does not wait for the disk.
type etcdNode struct {
	*process
	endpoint string
	dir      string
	client   *clientv3.Client
}

// startEtcd starts an etcd and waits until it answers.
func startEtcd(ctx context.Context) (_ *etcdNode, err error) {
	n := &etcdNode{}
	if n.dir, err = os.MkdirTemp("", "tgb"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	peer, err := freeURL()
	if err != nil {
		return nil, err
	}
	if n.endpoint, err = freeURL(); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(n.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(etcdProgram, "--data-dir", filepath.Join(n.dir, "data"), "--name", "n", "--initial-cluster", "n="+peer,
		"--listen-client-urls", n.endpoint, "--advertise-client-urls", n.endpoint,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--logger", "zap", "--log-level", "warn", "--unsafe-no-fsync", "--quota-backend-bytes", strconv.Itoa(8<<30))
	cmd.Stdout, cmd.Stderr = log, log
	if n.process, err = startProcess("etcd", cmd); err != nil {
		return nil, fmt.Errorf("%w; run `make tools`", err)
	}
	if n.client, err = clientv3.New(clientv3.Config{Endpoints: []string{n.endpoint}, Logger: zap.NewNop()}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if _, err := n.client.Get(ctx, "ready", clientv3.WithSerializable()); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	return n, nil
}

// freeURL returns a URL on whose port nothing listens now.
func freeURL() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return "http://" + l.Addr().String(), l.Close()
}

// close stops etcd and removes its data.
func (n *etcdNode) close() (err error) {
	if n.client != nil {
		err = n.client.Close()
	}
	if n.process != nil {
		err = errors.Join(err, n.stop())
	}
	return errors.Join(err, os.RemoveAll(n.dir))
}

// config returns the configuration of a store with the first size tokens.
func (n *etcdNode) config(size int) *etcd.Config {
	c := etcd.DefaultConfig()
	c.Endpoints, c.Prefix = []string{n.endpoint}, fmt.Sprintf("/bench-%d/", size)
	return c
}

// fill puts the first size tokens of the dataset into an empty store: the keys from which a server loads them, and
// the next number. See keys.go of package etcd.
func (n *etcdNode) fill(ctx context.Context, size int) error {
	progress("filling etcd with %d tokens", size)
	prefix := n.config(size).Prefix
	const perWrite = 120
	writes, failed := make(chan []clientv3.Op), make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for ops := range writes {
				if _, err := n.client.Txn(ctx).Then(ops...).Commit(); err != nil {
					fail(err)
					cancel()
				}
			}
		})
	}
	ops := []clientv3.Op{clientv3.OpPut(prefix+"m/schema", "1"), clientv3.OpPut(prefix+"m/number", strconv.Itoa(size))}
	send := func() bool {
		select {
		case writes <- slices.Clone(ops):
		case <-ctx.Done():
		}
		ops = ops[:0]
		return ctx.Err() == nil
	}
	records(size, func(t store.Token, err error) bool {
		var record []byte
		if err == nil {
			record, err = store.EncodeToken(t)
		}
		if err != nil {
			fail(err)
			return false
		}
		ops = append(ops, clientv3.OpPut(prefix+"t/"+t.ID, string(record)))
		return len(ops) < perWrite || send()
	})
	send()
	close(writes)
	writers.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("fill etcd: %w", err)
	default:
		return ctx.Err()
	}
}
