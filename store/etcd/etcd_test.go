package etcd_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cespare/xxhash/v2"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
	"github.com/tokengate/tokengate/store/storetest"
)

// configOf returns the configuration of a store in a cluster.
func configOf(c *etcdtest.Cluster, prefix string) *etcd.Config {
	config := etcd.DefaultConfig()
	config.Endpoints, config.Prefix = c.Endpoints(), prefix
	return config
}

func openConfig(t testing.TB, c *etcd.Config) store.Store {
	t.Helper()
	c.Check(func(key, format string, args ...any) { t.Errorf("%s: %s", key, fmt.Sprintf(format, args...)) })
	s, err := c.Open(t.Context(), store.OpenOptions{Log: func(level slog.Level, message string) {
		t.Logf("%v: %s", level, message)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	config := func(dir string) *etcd.Config { return configOf(c, fmt.Sprintf("/test-%x/", xxhash.Sum64String(dir))) }
	storetest.Run(t, storetest.Suite{
		Nested: true,
		Open:   func(t *testing.T, dir string) store.Store { return openConfig(t, config(dir)).(store.Opened).Store },
		OpenErr: func(t *testing.T, dir string, o store.OpenOptions) (store.Store, error) {
			opened, err := config(dir).Open(t.Context(), o)
			return opened.Store, err
		},
	})
}

// TestEqualAuditRecords updates a token while other servers write audit records that are equal to the update's, at each
// sequence that it may take. The update must not take one of them for its own and be lost.
func TestEqualAuditRecords(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	s := openConfig(t, configOf(c, "/equal/"))
	defer s.Close()
	token := create(t, s, storetest.NewToken(1, "fred"))
	record := audit(token.ID)
	calls := 0
	updated, err := s.Update(t.Context(), token.ID, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
		if calls++; calls == 1 {
			fillSequences(t, c.Client(), "/equal/", token.Revision, record)
		}
		token.Name = "renamed"
		return record, nil
	})
	if err != nil || updated.Name != "renamed" {
		t.Fatalf("updated %+v, error %v", updated, err)
	}
	if got, err := s.Get(t.Context(), token.ID); err != nil || got.Name != "renamed" {
		t.Errorf("the name is %q after the update, error %v", got.Name, err)
	}
}

// fillSequences writes the same audit record at each sequence of the revisions from one to the current one.
func fillSequences(t *testing.T, client *clientv3.Client, prefix string, from uint64, record store.Audit) {
	t.Helper()
	const slots = 1024 // sequences for one revision
	now, err := client.Get(context.Background(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	var ops []clientv3.Op
	for sequence := from * slots; sequence < uint64(now.Header.Revision+1)*slots; sequence++ {
		record.Sequence = sequence
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("%sa/%014x", prefix, 1<<53-1-sequence), string(store.EncodeAudit(record, 0))))
		if len(ops) == 128 {
			if _, err := client.Txn(context.Background()).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
}
