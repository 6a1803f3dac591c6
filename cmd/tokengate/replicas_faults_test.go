package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// TestReplicasWithoutNodes runs two servers on three nodes of etcd under load, while nodes fail and space runs out.
func TestReplicasWithoutNodes(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Nodes: 3, Args: []string{"--quota-backend-bytes=33554432"}})
	a, b := startReplica(t, "A", 2*time.Second, c.Endpoints()...), startReplica(t, "B", 2*time.Second, c.Endpoints()...)
	l := startReplicaLoad(t, a, b)
	l.settle()
	for range faultRounds {
		t.Log("the leader is killed")
		leader := c.Leader()
		leader.Kill()
		l.settle()
		leader.Start()
		leader.Wait()
		l.settle()

		t.Log("one node ends, and then another")
		c.Nodes[0].Kill()
		l.settle()
		var kept *loadToken
		eventually(t, "create with two of three nodes", func() (err error) {
			kept, err = l.create(a, quietUser)
			return err
		})
		c.Nodes[1].Kill()
		eventually(t, "create without a majority of nodes", func() error {
			if _, err := l.create(a, quietUser); err == nil || isLimit(err) {
				return fmt.Errorf("error %v", err)
			}
			return nil
		})
		if reason := l.check(b, kept); reason != "allowed" && l.isKept(kept) {
			t.Errorf("shortly after etcd has lost two nodes, a token gets %s", reason)
		}
		t.Log("both come back")
		c.Nodes[0].Start()
		c.Nodes[1].Start()
		l.settle()
		t.Log("etcd's space is used up")
		fillEtcd(t, c, l)
	}
	l.verify()
}

// fillEtcd fills etcd up to its space quota, and makes space again.
func fillEtcd(t *testing.T, c *etcdtest.Cluster, l *replicaLoad) {
	t.Helper()
	raw := c.Client()
	for err := error(nil); !errors.Is(err, rpctypes.ErrNoSpace); {
		if _, err = raw.Put(t.Context(), "filler", strings.Repeat("x", 1<<20)); err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Fatal(err)
		}
	}
	for _, r := range l.replicas {
		eventually(t, "create at "+r.name+" without space", func() error {
			if _, err := l.create(r, quietUser); err == nil || !strings.Contains(err.Error(), "etcd's space quota is used up") {
				return fmt.Errorf("error %v", err)
			}
			return nil
		})
	}
	now, err := raw.Delete(t.Context(), "filler")
	if err == nil {
		_, err = raw.Compact(t.Context(), now.Header.Revision, clientv3.WithCompactPhysical())
	}
	for _, n := range c.Nodes {
		if err == nil {
			_, err = raw.Defragment(t.Context(), n.Endpoint)
		}
	}
	if err == nil {
		_, err = raw.AlarmDisarm(t.Context(), &clientv3.AlarmMember{})
	}
	if err != nil {
		t.Fatal(err)
	}
	l.settle()
}

// TestReplicasBehind runs four servers on three nodes of etcd under load. For longer than the limit, three of them do not learn what
// has changed: one because it is paused, until etcd has compacted what it misses, one because its watch is
// silent, and one because its node is cut off from the others. Later
// etcd is slow for one.
func TestReplicasBehind(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Nodes: 3, Partitions: true})
	alone, behind := c.Nodes[0], c.Nodes[1]
	proxy := etcdtest.NewCallProxy(t, behind)
	const timeout = 5 * time.Second
	a := startReplica(t, "A", timeout, c.Endpoints()...)
	paused := startReplica(t, "paused", timeout, c.Endpoints()...)
	silent := startReplica(t, "silent", timeout, proxy.Endpoint)
	cutOff := startReplica(t, "cut off", timeout, alone.Endpoint)
	l := startReplicaLoad(t, a, paused, silent, cutOff)
	l.settle()
	for range faultRounds {
		t.Log("three servers fall behind")
		var revoked *loadToken
		eventually(t, "create at A", func() (err error) {
			revoked, err = l.create(a, quietUser)
			return err
		})
		l.accepts(paused, revoked)
		paused.freeze()
		proxy.Silence()
		c.Isolate(alone)
		until := time.After(pauseTime)
		eventually(t, "revoke at A", func() error { return l.revoke(a, revoked) })
		for _, r := range []*replica{silent, cutOff} {
			l.becomesStale(r)
			t.Log(r.name + " is stale")
		}
		<-until
		compact(t, c.Nodes[1:]...)
		t.Log("compacted")

		t.Log("they go on")
		first := make(chan string)
		go func() { first <- l.check(paused, revoked) }()
		paused.signal(syscall.SIGCONT)
		if reason := <-first; reason == "allowed" {
			t.Error("a server that was paused accepts what was revoked meanwhile")
		}
		proxy.Speak()
		c.Rejoin(alone)
		l.settle()

		t.Log("etcd is slow")
		proxy.Slow(500 * time.Millisecond)
		l.turn(a, silent) // others always take the next number before the slow one can: it creates none under this load
		proxy.Slow(0)
		l.settle()
	}
	l.verify()
}

// compact removes the history of etcd up to now.
func compact(t *testing.T, nodes ...*etcdtest.Node) {
	t.Helper()
	var endpoints []string
	for _, n := range nodes {
		endpoints = append(endpoints, n.Endpoint)
	}
	raw, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	eventually(t, "compact", func() error {
		now, err := raw.Get(t.Context(), "now")
		if err == nil {
			_, err = raw.Compact(t.Context(), now.Header.Revision)
		}
		return err
	})
}

// becomesStale waits until a replica accepts no token.
func (l *replicaLoad) becomesStale(r *replica) {
	l.t.Helper()
	eventually(l.t, "a token at "+r.name, func() error {
		token := l.pick(func(token *loadToken) bool { return token.revoking.IsZero() })
		if token == nil {
			return errors.New("no token is known")
		}
		return wantReason("index_stale", l.check(r, token))
	})
}
