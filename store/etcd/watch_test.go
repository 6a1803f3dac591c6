package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/etcd"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
	"github.com/tokengate/tokengate/store/etcd/freshness"
	"github.com/tokengate/tokengate/store/storetest"
)

// testClock is a clock that tests set. Its ticks come when a test sends them.
type testClock struct {
	wall, elapsed atomic.Int64 // nanoseconds since storetest.Epoch and since the start
	ticks         chan time.Time
}

func (c *testClock) now() time.Time { return storetest.Epoch.Add(time.Duration(c.wall.Load())) }

// pass lets time pass on both clocks.
func (c *testClock) pass(d time.Duration) {
	c.wall.Add(int64(d))
	c.elapsed.Add(int64(d))
}

func openAt(t *testing.T, config *etcd.Config) (*etcd.Store, *testClock) {
	t.Helper()
	c := &testClock{ticks: make(chan time.Time)}
	s, err := etcd.OpenAt(t.Context(), config, freshness.Clock{
		Now: c.now, Elapsed: func() time.Duration { return time.Duration(c.elapsed.Load()) },
		Tick: func() (<-chan time.Time, func()) { return c.ticks, func() {} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, c
}

// tick sends ticks until the feed is as fresh as an instant.
func (c *testClock) tickUntilFresh(t *testing.T, r *recorder, at time.Time) {
	t.Helper()
	late := time.After(time.Minute)
	for r.freshAt() != at {
		select {
		case c.ticks <- c.now():
		case <-late:
			t.Fatalf("the feed is as fresh as %v, want %v", r.freshAt(), at)
		}
	}
}

// tickAndStay sends many ticks, and checks that the feed becomes no fresher than an instant.
func (c *testClock) tickAndStay(t *testing.T, r *recorder, at time.Time) {
	t.Helper()
	for range 10 {
		c.ticks <- c.now()
	}
	if got := r.freshAt(); got.After(at) {
		t.Errorf("the feed is as fresh as %v, want %v", got, at)
	}
}

// TestFreshness checks how fresh a Watch says it is: as of the start of a linearizable read, by the wall clock
// of now, with the time that the machine was suspended.
func TestFreshness(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	proxy := etcdtest.NewProxy(t, c.Nodes[0])
	config := configOf(c, "/freshness/")
	config.Endpoints, config.Timeout = []string{proxy.Endpoint}, time.Second
	s, clock := openAt(t, config)
	other := openConfig(t, configOf(c, "/freshness/"))
	defer other.Close()
	r := follow(t, s)
	clock.tickUntilFresh(t, r, storetest.Epoch)

	clock.pass(5 * time.Second)
	create(t, other, storetest.NewToken(1, "fred"))
	clock.pass(5 * time.Second) // a read that runs already may have begun before the create
	clock.tickUntilFresh(t, r, storetest.Epoch.Add(10*time.Second))
	if len(r.state()) != 1 {
		t.Error("the feed is fresh without the token that was created before")
	}
	// Without changes of tokens, by reported progress. Others change other keys.
	if err := other.AppendAudit(t.Context(), audit("")); err != nil {
		t.Fatal(err)
	}
	clock.pass(10 * time.Second)
	clock.tickUntilFresh(t, r, storetest.Epoch.Add(20*time.Second))

	// etcd does not answer: the feed stays as fresh as it was.
	proxy.Hold()
	clock.pass(20 * time.Second)
	clock.tickAndStay(t, r, storetest.Epoch.Add(20*time.Second))

	// Somebody sets the wall clock: the feed is as old as before by the new time.
	clock.wall.Add(int64(-time.Minute))
	clock.tickUntilFresh(t, r, storetest.Epoch.Add(-40*time.Second))
	clock.wall.Add(int64(time.Minute))
	clock.tickUntilFresh(t, r, storetest.Epoch.Add(20*time.Second))

	// It answers again.
	revoke(t, other, "test00000001")
	clock.pass(time.Second)
	proxy.Forward()
	clock.tickUntilFresh(t, r, storetest.Epoch.Add(41*time.Second))
	if r.state()["test00000001"].State != store.Revoked {
		t.Error("the feed is fresh without the revocation before")
	}
}

// TestCompaction cuts a replica off while tokens are revoked and removed and etcd forgets these changes. Its Watch ends,
// and the next snapshot has what was missed.
func TestCompaction(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	proxy := etcdtest.NewProxy(t, c.Nodes[0])
	config := configOf(c, "/compaction/")
	config.Endpoints = []string{proxy.Endpoint}
	s, writer := openConfig(t, config), openConfig(t, configOf(c, "/compaction/"))
	defer s.Close()
	defer writer.Close()
	for n := range 3 {
		token := storetest.NewToken(n, "fred")
		if n == 1 {
			token.Expires = storetest.Epoch
		}
		create(t, writer, token)
	}
	r := follow(t, s)
	index, err := cached.New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	last := revoke(t, writer, "test00000000")
	if _, err := writer.Prune(t.Context(), time.Now().AddDate(-1, 0, 0), func(t store.Token) store.Audit { return audit(t.ID) }); err != nil {
		t.Fatal(err)
	}
	last = create(t, writer, storetest.NewToken(7, "fred"))
	if _, err := c.Client().Compact(t.Context(), int64(last.Revision)); err != nil {
		t.Fatal(err)
	}
	proxy.Forward()
	for !r.hasEnded() {
		<-r.more
	}
	if !errors.Is(r.err, rpctypes.ErrCompacted) {
		t.Errorf("Watch has ended with %v", r.err)
	}
	want := follow(t, writer).state()
	waitFor(t, "the index has what was missed", func() bool {
		for id, token := range want {
			if revision, found := index.Index().Revision(id); !found || revision != token.Revision {
				return false
			}
		}
		_, gone := index.Index().Revision("test00000001")
		return !gone || want["test00000001"].ID != ""
	})
}

func (r *recorder) hasEnded() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.ended }

// waitFor waits until is returns true.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestMemberCutOff follows the changes from a member that is then cut off from the others, which go on. It reports its
// old revision as progress, but no linearizable read confirms it, so the feed never says that it is
// fresh without the changes that it misses.
func TestMemberCutOff(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{Nodes: 3, Partitions: true})
	alone := c.Nodes[0]
	config := configOf(c, "/cut-off/")
	config.Endpoints, config.Timeout = []string{alone.Endpoint}, time.Second
	s, clock := openAt(t, config)
	config = configOf(c, "/cut-off/")
	config.Endpoints = config.Endpoints[1:]
	other := openConfig(t, config)
	defer other.Close()
	create(t, s, storetest.NewToken(1, "fred"))
	r := follow(t, s)
	clock.pass(time.Second)
	if err := s.AppendAudit(t.Context(), audit("")); err != nil { // a change after which etcd reports progress
		t.Fatal(err)
	}
	clock.tickUntilFresh(t, r, storetest.Epoch.Add(time.Second))

	c.Isolate(alone)
	clock.pass(time.Second)
	revoked := make(chan struct{})
	go func() {
		defer close(revoked)
		waitFor(t, "the others go on", func() bool {
			_, err := other.Update(t.Context(), "test00000001", func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
				token.State, token.Revoked = store.Revoked, storetest.Epoch
				return audit(token.ID), nil
			})
			return err == nil || errors.Is(err, store.ErrRevoked)
		})
	}()
	late := time.Now().Add(3 * time.Second) // longer than a read
	for done := false; !done || time.Now().Before(late); {
		clock.tickAndStay(t, r, storetest.Epoch.Add(time.Second))
		if _, err := s.Get(t.Context(), "test00000001"); err == nil {
			t.Fatal("a member that is alone has answered a linearizable read")
		}
		select {
		case <-revoked:
			done = true
		default:
		}
	}
	if state := r.state()["test00000001"].State; state != store.Active {
		t.Errorf("the member that is alone has delivered %v", state)
	}
	clock.pass(time.Second)
	c.Rejoin(alone)
	alone.Wait()
	clock.tickUntilFresh(t, r, storetest.Epoch.Add(3*time.Second))
	if state := r.state()["test00000001"].State; state != store.Revoked {
		t.Errorf("the feed is fresh, and the token is %v", state)
	}
}

// TestSilentWatch loses what etcd says on the stream of the watch, while it answers all else. The feed is not fresh
// without the changes that it misses, and another stream brings them.
func TestSilentWatch(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	proxy := etcdtest.NewCallProxy(t, c.Nodes[0])
	config := configOf(c, "/silent/")
	config.Endpoints = []string{proxy.Endpoint}
	s, clock := openAt(t, config)
	r := follow(t, s)
	clock.pass(time.Second)
	id := create(t, s, storetest.NewToken(1, "fred")).ID
	clock.tickUntilFresh(t, r, storetest.Epoch.Add(time.Second))

	proxy.Silence()
	clock.pass(time.Second)
	revoke(t, s, id)
	clock.pass(time.Second)
	clock.tickAndStay(t, r, storetest.Epoch.Add(time.Second))
	proxy.Speak() // the stream that has lost something stays silent
	clock.tickAndStay(t, r, storetest.Epoch.Add(time.Second))
	clock.pass(time.Minute)
	clock.tickUntilFresh(t, r, storetest.Epoch.Add(63*time.Second))
	if state := r.state()[id].State; state != store.Revoked {
		t.Errorf("the feed is fresh, and the token is %v", state)
	}
}

// TestLeaderKilled kills the leader, again and again, while tokens are created. None that was acknowledged is lost,
// and the Watch goes on.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Nodes: 3})
	config := configOf(c, "/killed/")
	config.Timeout = 2 * time.Second
	s := openConfig(t, config)
	defer s.Close()
	r := follow(t, s)
	n, acknowledged := 0, make(map[string]bool)
	create := func(ctx context.Context) error {
		n++
		token := storetest.NewToken(n, fmt.Sprint("user ", n%3))
		_, err := s.Create(ctx, token, func([]store.Token) (store.Audit, error) { return audit(token.ID), nil })
		if err == nil {
			acknowledged[token.ID] = true
		}
		return err
	}
	for range kills {
		leader := c.Leader()
		before := len(acknowledged)
		for range 10 {
			if err := create(t.Context()); err != nil {
				t.Logf("create: %v", err)
			}
		}
		leader.Kill()
		killed := time.Now()
		waitFor(t, "creates succeed again", func() bool {
			_ = create(t.Context())
			return len(acknowledged) >= before+30
		})
		r.waitFresh(killed)
		leader.Start()
		leader.Wait()
	}
	for id := range acknowledged {
		token, err := s.Get(t.Context(), id)
		if err != nil {
			t.Errorf("an acknowledged token is lost: %v", err)
		}
		r.waitState(token.ID, token.State)
	}
	if page, err := s.List(t.Context(), "", 0, n); err != nil || len(page.Tokens) < len(acknowledged) {
		t.Errorf("%d tokens are listed, %d were acknowledged, error %v", len(page.Tokens), len(acknowledged), err)
	}
}

// TestSlow checks that everything works if each request takes half a second.
func TestSlow(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	proxy := etcdtest.NewProxy(t, c.Nodes[0])
	config := configOf(c, "/slow/")
	config.Endpoints = []string{proxy.Endpoint}
	s := openConfig(t, config)
	defer s.Close()
	proxy.Slow(500 * time.Millisecond)
	r := follow(t, s)
	create(t, s, storetest.NewToken(1, "fred"))
	r.waitState("test00000001", store.Active)
	r.waitFresh(time.Now())
}
