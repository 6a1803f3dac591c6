package etcd_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
	"github.com/tokengate/tokengate/store/storetest"
)

var errNo = errors.New("refused by the test")

func audit(id string) store.Audit {
	return store.Audit{Time: storetest.Epoch, Action: "test", TokenID: id}
}

func create(t testing.TB, s store.Store, token store.Token) store.Token {
	t.Helper()
	created, err := s.Create(t.Context(), token, func([]store.Token) (store.Audit, error) { return audit(token.ID), nil })
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func revoke(t testing.TB, s store.Store, id string) store.Token {
	t.Helper()
	revoked, err := s.Update(t.Context(), id, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
		token.State, token.Revoked = store.Revoked, storetest.Epoch
		return audit(id), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return revoked
}

// two opens two stores with one prefix, as two replicas do.
func two(t testing.TB, c *etcdtest.Cluster, prefix string) (a, b store.Store) {
	a, b = openConfig(t, configOf(c, prefix)), openConfig(t, configOf(c, prefix))
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestReplicas checks what two processes with one prefix do to each other.
func TestReplicas(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	for name, run := range map[string]func(*testing.T, *etcdtest.Cluster, store.Store, store.Store){
		"limit":            testLimit,
		"unique names":     testUniqueNames,
		"watch":            testWatchOther,
		"audit order":      testAuditOrder,
		"usage and totals": testCounters,
		"lost lease":       testLostLease,
		"prune":            testPruneTogether,
		"usage of pruned":  testUsageMeetsPrune,
		"passwords":        testPasswordsTogether,
		"shared records":   testSharedTogether,
		"roles":            testRolesTogether,
		"upstream":         testUpstreamTogether,
		"revisions":        testRevisions,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := two(t, c, prefixOf(name))
			run(t, c, a, b)
		})
	}
}

func prefixOf(name string) string { return "/" + strings.ReplaceAll(name, " ", "-") + "/" }

func testLimit(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	const limit = 5
	var all sync.WaitGroup
	for n := range 30 {
		s := []store.Store{a, b}[n%2]
		all.Go(func() {
			token := storetest.NewToken(n, "fred")
			_, err := s.Create(t.Context(), token, func(owned []store.Token) (store.Audit, error) {
				if len(owned) >= limit {
					return store.Audit{}, errNo
				}
				return audit(token.ID), nil
			})
			if err != nil && err != errNo {
				t.Errorf("create: %v", err)
			}
		})
	}
	all.Wait()
	page, err := a.List(t.Context(), "", 0, 100)
	if err != nil || len(page.Tokens) != limit {
		t.Fatalf("%d tokens, error %v", len(page.Tokens), err)
	}
	for i, token := range page.Tokens[1:] {
		if before := page.Tokens[i]; token.Number <= before.Number || before.Number == 0 {
			t.Errorf("the numbers of two tokens in order are %d and %d", before.Number, token.Number)
		}
	}
}

func testUniqueNames(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	rename := func(s store.Store, id string) error {
		_, err := s.Update(t.Context(), id, func(token *store.Token, live store.LiveFunc) (store.Audit, error) {
			owned, err := live()
			if err != nil {
				return store.Audit{}, err
			}
			if slices.ContainsFunc(owned, func(o store.Token) bool { return o.Name == "wanted" }) {
				return store.Audit{}, errNo
			}
			token.Name = "wanted"
			return audit(id), nil
		})
		return err
	}
	for n := range 20 {
		owner := fmt.Sprint("user ", n)
		first, second := create(t, a, storetest.NewToken(2*n, owner)).ID, create(t, a, storetest.NewToken(2*n+1, owner)).ID
		var errs [2]error
		var both sync.WaitGroup
		both.Go(func() { errs[0] = rename(a, first) })
		both.Go(func() { errs[1] = rename(b, second) })
		both.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[:]...), errNo) {
			t.Fatalf("the renames returned %v", errs)
		}
	}
}

func testWatchOther(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	at := create(t, a, storetest.NewToken(1, "fred"))
	r := follow(t, b)
	if got := r.state()["test00000001"]; got.Revision != at.Revision {
		t.Errorf("the snapshot has revision %d, and the store %d", got.Revision, at.Revision)
	}
	revoke(t, a, "test00000001")
	r.waitState("test00000001", store.Revoked)
	create(t, a, storetest.NewToken(2, "fred"))
	r.waitState("test00000002", store.Active)
	r.waitFresh(time.Now())
	if _, err := a.Prune(t.Context(), time.Now(), func(removed store.Token) store.Audit { return audit(removed.ID) }); err != nil {
		t.Fatal(err)
	}
	r.wait("a removal", func() bool { return r.tokens["test00000001"].ID == "" })
}

// testAuditOrder checks that records of several replicas are in the order in which they were acknowledged.
func testAuditOrder(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	var want []string
	for n := range 40 {
		s, id := []store.Store{a, b}[n%2], fmt.Sprint(n)
		if err := s.AppendAudit(t.Context(), audit(id)); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	log, err := b.AuditLog(t.Context(), 0, 100)
	var got []string
	for _, r := range slices.Backward(log) {
		got = append(got, r.TokenID)
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("audit log (-want +got), error %v:\n%s", err, diff)
	}
}

// testCounters checks that counts of all processes are added up, also after they have ended and another one has
// merged what they left.
func testCounters(t *testing.T, c *etcdtest.Cluster, a, b store.Store) {
	add := func(s store.Store) {
		t.Helper()
		if err := s.AddUsage(t.Context(), map[string]store.Usage{"test00000001": {Count: 2, LastUsed: storetest.Epoch}}); err != nil {
			t.Fatal(err)
		}
		if err := s.AddTotals(t.Context(), 20000, map[string]uint64{"allowed": 2}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(s store.Store, want uint64) {
		t.Helper()
		if usage, err := s.Usage(t.Context(), []string{"test00000001"}); err != nil || usage["test00000001"].Count != want {
			t.Errorf("usage %v (error %v), want %d", usage, err, want)
		}
		if totals, err := s.Totals(t.Context(), 0); err != nil || len(totals) != 1 || totals[0].Counts["allowed"] != want {
			t.Errorf("totals %v (error %v), want %d", totals, err, want)
		}
	}
	keys := func() (keys []string) {
		t.Helper()
		for _, kind := range []string{"u/", "d/"} {
			found, err := c.Client().Get(t.Context(), prefixOf("usage and totals")+kind, clientv3.WithPrefix(), clientv3.WithKeysOnly())
			if err != nil {
				t.Fatal(err)
			}
			for _, kv := range found.Kvs {
				keys = append(keys, string(kv.Key))
			}
		}
		return keys
	}
	create(t, a, storetest.NewToken(1, "fred"))
	for range 3 {
		add(a)
		add(b)
	}
	check(a, 12)
	if got := keys(); len(got) != 4 {
		t.Errorf("the keys are %q, want one per process and kind", got)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	third := openConfig(t, configOf(c, prefixOf("usage and totals")))
	defer third.Close()
	check(third, 12)
	var both sync.WaitGroup
	for _, s := range []store.Store{b, third} {
		both.Go(func() {
			if _, err := s.Prune(t.Context(), time.Time{}, nil); err != nil {
				t.Errorf("prune: %v", err)
			}
		})
	}
	both.Wait()
	check(b, 12)
	add(b)
	check(third, 14)
	got := keys()
	if common := slices.DeleteFunc(slices.Clone(got), func(key string) bool { return !strings.HasSuffix(key, "/all") }); len(got) != 4 || len(common) != 2 {
		t.Errorf("the keys after the merge are %q, want a common one and one of the running process of each kind", got)
	}
	if _, err := b.PruneAudit(t.Context(), time.Time{}, 0); err != nil {
		t.Fatal(err)
	}
	sizes, ok := b.Sizes()
	for kind, records := range map[string]int64{"tokens": 1, "audit": 1, "usage": 2, "totals": 2, "passwords": 0, "upstream": 0} {
		if size, known := sizes[kind]; !ok || !known || size.Records != records || (size.Bytes > 0) != (records > 0) {
			t.Errorf("there are %+v %s, want %d (known: %v)", size, kind, records, ok)
		}
	}
}

// testLostLease checks that a process that has lost its lease, and whose records were merged, goes on to count.
func testLostLease(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	create(t, a, storetest.NewToken(1, "fred"))
	one := map[string]store.Usage{"test00000001": {Count: 1}}
	for range 3 {
		if err := a.AddUsage(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		lease := a.(store.Opened).Store.(*etcd.Store).Lease()
		if _, err := b.(store.Opened).Store.(*etcd.Store).Client().Revoke(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Prune(t.Context(), time.Time{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.AddUsage(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if usage, err := b.Usage(t.Context(), []string{"test00000001"}); err != nil || usage["test00000001"].Count != 4 {
		t.Errorf("usage %v, error %v", usage, err)
	}
}

// testPruneTogether checks that of two replicas that prune at once only one removes each token.
func testPruneTogether(t *testing.T, c *etcdtest.Cluster, a, b store.Store) {
	const many = 100
	usage := make(map[string]store.Usage)
	for n := range many {
		token := storetest.NewToken(n, fmt.Sprint("user ", n%3))
		token.Expires = storetest.Epoch
		usage[create(t, a, token).ID] = store.Usage{Count: 1}
	}
	removed := make([][]string, 2)
	var both sync.WaitGroup
	for i, s := range []store.Store{a, b} {
		both.Go(func() {
			var err error
			if err = s.AddUsage(t.Context(), usage); err == nil {
				removed[i], err = s.Prune(t.Context(), time.Now(), func(token store.Token) store.Audit { return audit(token.ID) })
			}
			if err != nil {
				t.Errorf("prune: %v", err)
			}
		})
	}
	both.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(removed...)))
	if want := slices.Sorted(maps.Keys(usage)); !slices.Equal(all, want) {
		t.Errorf("%d tokens were removed, want each of %d once", len(all), many)
	}
	if log, err := a.AuditLog(t.Context(), 0, 1000); err != nil || len(log) != 2*many {
		t.Errorf("%d audit records, error %v", len(log), err)
	}
	if left, err := b.Usage(t.Context(), all); err != nil || len(left) != 0 {
		t.Errorf("the usage %v is left, error %v", left, err)
	}
}

// testUsageMeetsPrune lets another replica prune a token after this one has found that it exists and before its usage is written.
func testUsageMeetsPrune(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	token := storetest.NewToken(1, "fred")
	token.Expires = storetest.Epoch
	create(t, a, token)
	calls := 0
	err := a.(store.Opened).Store.(*etcd.Store).AddUsageAnd(t.Context(), token.ID, store.Usage{Count: 1}, func() {
		if calls++; calls == 1 {
			if _, err := b.Prune(t.Context(), time.Now(), func(token store.Token) store.Audit { return audit(token.ID) }); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || calls != 2 {
		t.Errorf("%d calls, error %v", calls, err)
	}
	err = a.AllUsage(t.Context(), func(id string, u store.Usage) error {
		t.Errorf("the pruned token %s has usage %v", id, u)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func testPasswordsTogether(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	const each = 20
	var both sync.WaitGroup
	for _, s := range []store.Store{a, b} {
		both.Go(func() {
			for range each {
				if _, err := s.AddPasswordUses(t.Context(), []store.PasswordUse{{User: "fred", Passed: 1, First: storetest.Epoch, Last: storetest.Epoch}}); err != nil {
					t.Errorf("add password uses: %v", err)
				}
			}
		})
	}
	both.Wait()
	if uses, err := a.PasswordUses(t.Context()); err != nil || len(uses) != 1 || uses[0].Passed != 2*each {
		t.Errorf("uses %+v, error %v", uses, err)
	}
}

// testSharedTogether checks that each of two servers sees what the other has written, and that no change is lost.
func testSharedTogether(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	var group sync.WaitGroup
	for _, s := range []store.Store{a, b} {
		group.Go(func() {
			for range 20 {
				err := s.UpdateShared(t.Context(), "list", func(before []byte) ([]byte, error) { return append(before, 'x'), nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for _, s := range []store.Store{a, b} {
		if record, err := s.Shared(t.Context(), "list"); len(record) != 40 || err != nil {
			t.Errorf("%d changes are stored, want 40; error %v", len(record), err)
		}
	}
}

// testRolesTogether checks that one of two servers has a role, until it gives it up, is closed or its lease has ended.
func testRolesTogether(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	want := func(what string, s store.Store, want bool) {
		t.Helper()
		if held, err := s.Hold(t.Context(), "directory"); held != want || err != nil {
			t.Errorf("%s: the server has the role: %v, want %v; error %v", what, held, want, err)
		}
	}
	want("first", a, true)
	want("while the first has it", b, false)
	if err := b.Release(t.Context(), "directory"); err != nil {
		t.Error(err)
	}
	want("after the other's release", a, true)
	if err := a.Release(t.Context(), "directory"); err != nil {
		t.Error(err)
	}
	want("after the release", b, true)
	want("while the second has it", a, false)
	if _, err := a.(store.Opened).Store.(*etcd.Store).Client().Revoke(t.Context(), b.(store.Opened).Store.(*etcd.Store).Lease()); err != nil {
		t.Fatal(err)
	}
	want("after the lease has ended", a, true)
	want("while the first has it again", b, false)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want("after the first was closed", b, true)
}

// testUpstreamTogether checks that one server hears of the upstream credentials that another one has changed.
func testUpstreamTogether(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	changed := make(chan string, 10)
	go b.WatchUpstream(t.Context(), func(user string) { changed <- user })
	if user := <-changed; user != "" {
		t.Fatalf("the watch starts with %q", user)
	}
	for _, all := range [][]store.UpstreamCredential{{{
		ID: "cred00000001", Owner: "fred", Created: storetest.Epoch, State: store.UpstreamActive, Sealed: []byte("sealed"),
	}}, nil} {
		_, err := a.UpdateUpstream(t.Context(), "JIRAUSER1", func([]store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
			return all, nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if user := <-changed; user != "JIRAUSER1" {
			t.Errorf("the changed user is %q", user)
		}
	}
}

// testRevisions checks the revisions of tokens that another server has created, changed and removed.
func testRevisions(t *testing.T, _ *etcdtest.Cluster, a, b store.Store) {
	want := make(map[string]uint64)
	var last uint64
	for n := range 5 {
		token := storetest.NewToken(n, "fred")
		if n == 3 {
			token.Expires = storetest.Epoch
		}
		created := create(t, a, token)
		want[token.ID], last = created.Revision, created.Revision
	}
	want["test00000001"] = revoke(t, a, "test00000001").Revision
	gone, err := a.Prune(t.Context(), storetest.Epoch.Add(time.Second), func(token store.Token) store.Audit { return audit(token.ID) })
	if err != nil || len(gone) != 2 {
		t.Fatalf("pruned %v, error %v", gone, err)
	}
	for _, id := range gone {
		delete(want, id)
	}
	got := make(map[string]uint64)
	at, err := b.(store.Opened).Store.(store.Versioned).Revisions(t.Context(), func(id string, revision uint64) { got[id] = revision })
	if diff := cmp.Diff(want, got); diff != "" || err != nil || at <= last {
		t.Errorf("snapshot of revision %d, error %v (-want +got):\n%s", at, err, diff)
	}
}
