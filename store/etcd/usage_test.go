package etcd_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
	"github.com/tokengate/tokengate/store/storetest"
)

// putTokens writes tokens faster than Create does, and returns their ids.
func putTokens(t *testing.T, c *clientv3.Client, prefix string, count int) (ids []string) {
	t.Helper()
	var ops []clientv3.Op
	for n := range count {
		token := storetest.NewToken(n, fmt.Sprint("user ", n/10))
		token.Number = uint64(n) + 1
		random := sha256.Sum256([]byte(token.ID)) // real ids are random
		token.ID = hex.EncodeToString(random[:6])
		if n%2 == 0 {
			token.ID = strings.ToUpper(token.ID)
		}
		record, err := store.EncodeToken(token)
		if err != nil {
			t.Fatal(err)
		}
		ids, ops = append(ids, token.ID), append(ops, clientv3.OpPut(prefix+"t/"+token.ID, string(record)))
		if len(ops) == 120 || n == count-1 {
			if _, err := c.Txn(t.Context()).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
	return ids
}

// TestUsageOfVeryMany adds the usage of very many tokens as package cached does, and checks that this takes few operations
// in transactions of a bounded size.
func TestUsageOfVeryMany(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	s := openConfig(t, configOf(c, "/usage/"))
	defer s.Close()
	raw := c.Client()
	ids := putTokens(t, raw, "/usage/", usedTokens)
	flush := func() map[string]store.Usage {
		all := make(map[string]store.Usage)
		for batch := range slices.Chunk(store.InUsageOrder(slices.Values(ids)), store.MaxUsageBatch) {
			more := make(map[string]store.Usage)
			for _, id := range batch {
				more[id] = store.Usage{Count: 3, Writes: 1, LastUsed: storetest.Epoch}
			}
			if err := s.AddUsage(t.Context(), more); err != nil {
				t.Fatal(err)
			}
			maps.Copy(all, more)
		}
		return all
	}
	flush()
	before, err := raw.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	flush()
	after, err := raw.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	operations, transactions := 0, after.Header.Revision-before.Header.Revision
	watch := raw.Watch(t.Context(), "/usage/u/", clientv3.WithPrefix(), clientv3.WithRev(before.Header.Revision+1))
	for last := int64(0); last < after.Header.Revision; {
		resp := <-watch
		if resp.Err() != nil {
			t.Fatal(resp.Err())
		}
		bytes := make(map[int64]int)
		for _, e := range resp.Events {
			operations++
			last = e.Kv.ModRevision
			if bytes[last] += len(e.Kv.Value); bytes[last] > 1<<20 {
				t.Errorf("a transaction has %d bytes", bytes[last])
			}
		}
	}
	t.Logf("the usage of %d tokens took %d operations in %d transactions", len(ids), operations, transactions)
	if operations > 500 {
		t.Errorf("the usage of %d tokens took %d operations", len(ids), operations)
	}
	count := 0
	err = s.AllUsage(t.Context(), func(id string, u store.Usage) error {
		if count++; u.Count != 6 {
			t.Errorf("%s was used %d times", id, u.Count)
		}
		return nil
	})
	if err != nil || count != len(ids) {
		t.Errorf("usage of %d tokens, error %v", count, err)
	}
}

// TestManyTokens reads more tokens than one request does.
func TestManyTokens(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	s := openConfig(t, configOf(c, "/many/"))
	defer s.Close()
	ids := putTokens(t, c.Client(), "/many/", usedTokens)
	began := time.Now()
	r := follow(t, s)
	t.Logf("a snapshot of %d tokens took %v", len(ids), time.Since(began))
	if n := len(r.state()); n != len(ids) {
		t.Errorf("the snapshot has %d tokens, want %d", n, len(ids))
	}
}

// TestSequenceAfterImport checks that new audit records follow those that came from a store with higher sequences, in
// which revisions have a longer history.
func TestSequenceAfterImport(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	s := openConfig(t, configOf(c, "/from/"))
	if err := s.AppendAudit(t.Context(), audit("old")); err != nil {
		t.Fatal(err)
	}
	log, err := s.AuditLog(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	old := log[0]
	old.Sequence += 1 << 40
	s.Close()
	if _, err := c.Client().Put(t.Context(), fmt.Sprintf("/from/a/%014x", 1<<53-1-old.Sequence), string(store.EncodeAudit(old, 0))); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		s := openConfig(t, configOf(c, "/from/"))
		if err := s.AppendAudit(t.Context(), audit(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		log, err := s.AuditLog(t.Context(), 0, 10)
		if err != nil || log[0].TokenID != fmt.Sprint(n) || len(log) != n+3 {
			t.Errorf("audit log %+v, error %v", log, err)
		}
		s.Close()
	}
}

// TestSecretsWiped checks that no key contains the salt and hash of a revoked token.
func TestSecretsWiped(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	s := openConfig(t, configOf(c, "/wiped/"))
	defer s.Close()
	token := create(t, s, storetest.NewToken(1, "fred"))
	revoke(t, s, token.ID)
	all, err := c.Client().Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range all.Kvs {
		if bytes.Contains(kv.Value, token.Secret.Hash[:]) || bytes.Contains(kv.Value, token.Secret.Salt[:]) {
			t.Errorf("%q has the secret of a revoked token", kv.Key)
		}
	}
}
