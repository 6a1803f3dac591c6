package upstream_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// testFollow changes fred's connection on one server, and looks at what the other one shows.
func testFollow(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	a.running()
	b.running()
	if err := a.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	b.await("connected by the other", a.answer(0))
	for _, pat := range a.jira.PATs(fredKey) {
		a.jira.RevokePAT(pat.ID)
	}
	if _, err := b.Check(t.Context(), fredKey, by); err != nil {
		t.Fatal(err)
	}
	a.await("refused to the other", "broken")
	if err := b.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	a.await("connected again by the other", b.answer(0))
	if err := b.Disconnect(t.Context(), fredKey, nil, by); err != nil {
		t.Fatal(err)
	}
	a.await("disconnected by the other", "none")
	if _, err := a.set("", a.mint("fred", "yabba").Value); err != nil {
		t.Fatal(err)
	}
	b.await("set by the other", a.answer(0))
	if _, err := b.Purge(t.Context(), by); err != nil {
		t.Fatal(err)
	}
	a.await("purged by the other", "none")
}

// testDoubtOfOne lets Envoy report a refusal to one server only: its tokens are denied at once, and the other's after the check.
func testDoubtOfOne(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	a.running()
	b.running()
	if err := a.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	b.await("connected by the other", a.answer(0))
	for _, pat := range a.jira.PATs(fredKey) {
		a.jira.RevokePAT(pat.ID)
	}
	a.Refused(fredKey)
	a.want("in doubt", "broken", "none")
	b.await("after the check", "broken")
	b.awaitState(store.UpstreamBroken)
}

// silent is a store that does not answer about fred, and whose watch can miss changes.
type silent struct {
	upstream.Store
	mute, deaf atomic.Bool
}

func (s *silent) Upstream(ctx context.Context, user string) ([]store.UpstreamCredential, error) {
	if s.mute.Load() {
		return nil, errDisk
	}
	return s.Store.Upstream(ctx, user)
}

func (s *silent) AllUpstream(ctx context.Context, visit func(string, []store.UpstreamCredential, error) error) error {
	if s.mute.Load() {
		return errDisk
	}
	return s.Store.AllUpstream(ctx, visit)
}

func (s *silent) WatchUpstream(ctx context.Context, changed func(string)) error {
	return s.Store.WatchUpstream(ctx, func(user string) {
		if user == "" || !s.deaf.Load() {
			changed(user)
		}
	})
}

// testUnreadable changes fred's connection while the other server cannot read it: it denies fred until it can.
func testUnreadable(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	s := &silent{Store: b.Store}
	b.Store = s
	b.running()
	if _, err := a.set("", a.mint("fred", "yabba").Value); err != nil {
		t.Fatal(err)
	}
	b.await("connected", a.answer(0))
	s.mute.Store(true)
	if _, err := a.set("", a.mint("fred", "yabba").Value); err != nil {
		t.Fatal(err)
	}
	b.await("another one, which cannot be read", "broken")
	s.mute.Store(false)
	b.await("read", a.answer(0))
	if n := b.logs.FilterMessageSnippet("cannot be read").Len(); n != 1 {
		t.Errorf("%d log lines, want 1", n)
	}
}

// testNotHeard changes connections without the watch's word: the next survey finds out.
func testNotHeard(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	s := &silent{Store: b.Store}
	b.Store = s
	if err := a.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	b.running()
	b.await("at the start", a.answer(0))
	s.deaf.Store(true)
	if _, err := a.set("", a.mint("wilma", "dabba").Value); err != nil {
		t.Fatal(err)
	}
	if err := a.Disconnect(t.Context(), fredKey, nil, by); err != nil {
		t.Fatal(err)
	}
	if err := b.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.until("surveyed", func() bool { return b.answer(0) == "none" && b.answer(1) == a.answer(1) })
}

// testOtherKey gives a server another sealing key: it denies those whom the other has connected, changes nothing about them, and does not start again.
func testOtherKey(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	b.start(1)
	b.running()
	if err := a.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	b.await("sealed with another key", "broken")
	if state, err := b.Check(t.Context(), fredKey, by); state != store.UpstreamBroken || err != nil {
		t.Errorf("checked: %v, error %v", state, err)
	}
	if _, err := b.Reseal(t.Context()); err == nil {
		t.Error("sealed again without the key")
	}
	a.wantPATs("afterwards", first, "active")
	b.start(1)
	if err := b.Load(t.Context(), false); err == nil || !strings.Contains(err.Error(), "sealKeys") {
		t.Errorf("the next start: error %v", err)
	}
}

// testCheckedMeanwhile lets Jira accept a credential, then refuse it, and the servers store that in the other order.
func testCheckedMeanwhile(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	if err := a.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	if err := b.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	a.now = a.now.Add(7 * time.Hour)
	late := &lateWrite{Store: a.Store, asked: make(chan struct{}), answer: make(chan struct{})}
	a.Store = late
	checked := make(chan error)
	go func() {
		_, err := a.Check(t.Context(), fredKey, by)
		checked <- err
	}()
	<-late.asked
	for _, pat := range a.jira.PATs(fredKey) {
		a.jira.RevokePAT(pat.ID)
	}
	if state, err := b.Check(t.Context(), fredKey, by); state != store.UpstreamBroken || err != nil {
		t.Fatalf("%v, error %v", state, err)
	}
	close(late.answer)
	if err := <-checked; err != nil {
		t.Error(err)
	}
	a.wantPATs("checked by both", "", "broken")
	a.want("checked by both", "broken", "none")
}

// lateWrite is a store whose first change waits.
type lateWrite struct {
	upstream.Store
	once          sync.Once
	asked, answer chan struct{}
}

func (l *lateWrite) UpdateUpstream(ctx context.Context, user string, change store.UpstreamFunc) ([]store.UpstreamCredential, error) {
	l.once.Do(func() {
		close(l.asked)
		<-l.answer
	})
	return l.Store.UpdateUpstream(ctx, user, change)
}

// TestCutOff cuts a server off while the other one disconnects one user and connects another: when etcd answers again, the
// server knows both.
func TestCutOff(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	a, b := newServers(t, c)
	proxy := etcdtest.NewProxy(t, c.Nodes[0])
	b.open(proxy.Endpoint)
	b.start(0)
	b.running()
	if err := a.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	works := a.answer(0)
	b.await("connected", works)
	proxy.Cut()
	if err := a.Disconnect(t.Context(), fredKey, nil, by); err != nil {
		t.Fatal(err)
	}
	if _, err := a.set("", a.mint("wilma", "dabba").Value); err != nil {
		t.Fatal(err)
	}
	b.want("cut off", works, "none")
	proxy.Forward()
	b.until("reached again", func() bool { return b.answer(0) == "none" && b.answer(1) == a.answer(1) })
}

// TestUnknownForLong lets the store say that changes may have been missed, and then not answer: after half a minute, all users are denied.
func TestUnknownForLong(t *testing.T) {
	r := newRig(t)
	if err := r.connect(r.session(), false); err != nil {
		t.Fatal(err)
	}
	s := &silent{Store: r.Store}
	s.mute.Store(true)
	r.Store = s
	var passed atomic.Int64
	start := r.now
	r.Now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
	works := r.answer(0)
	r.running()
	r.until("tried", func() bool { return r.logs.FilterMessageSnippet("what other servers have changed").Len() == 1 })
	r.want("soon", works, "none")
	passed.Store(int64(31 * time.Second))
	r.await("after half a minute", "broken")
	s.mute.Store(false)
	r.await("read", works)
}
