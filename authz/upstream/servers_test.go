package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// newServers returns two servers with one store in etcd and one Jira.
func newServers(t *testing.T, c *etcdtest.Cluster) (a, b *rig) {
	t.Helper()
	a = newJira(t)
	second := *a
	b = &second
	for _, r := range []*rig{a, b} {
		r.open(c.Endpoints()...)
		r.start(0)
	}
	return a, b
}

// open opens the store of this test in etcd.
func (r *rig) open(endpoints ...string) {
	r.t.Helper()
	config := etcd.DefaultConfig()
	config.Endpoints, config.Prefix = endpoints, r.prefix()
	opened, err := config.Open(r.t.Context(), store.OpenOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.db = opened
	r.t.Cleanup(func() { opened.Close() })
}

// prefix returns the prefix of this test's keys in etcd.
func (r *rig) prefix() string {
	return "/" + strings.NewReplacer("/", "-", "#", "-", " ", "-").Replace(r.t.Name()) + "/"
}

// until waits until done reports true.
func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			r.t.Fatalf("not reached: %s; Jira has %q, stored are %q", what, r.pats(), r.stored())
		}
		runtime.Gosched()
	}
}

// actions returns how often each action is in the audit log.
func (r *rig) actions() map[string]int {
	r.t.Helper()
	log, err := r.db.AuditLog(r.t.Context(), 0, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, record := range log {
		counts[record.Action]++
	}
	return counts
}

// endRoles ends the roles of the server that changes fred's credentials, as etcd does some time after it was killed.
func (r *rig) endRoles(c *etcdtest.Cluster) {
	r.t.Helper()
	found, err := c.Client().Get(r.t.Context(), r.prefix()+"r/"+upstream.RoleOf(fredKey))
	if err != nil || len(found.Kvs) != 1 {
		r.t.Fatalf("the role is held %v, error %v", found, err)
	}
	if _, err := c.Client().Revoke(r.t.Context(), clientv3.LeaseID(found.Kvs[0].Lease)); err != nil {
		r.t.Fatal(err)
	}
}

const (
	mintRoute   = "POST /rest/pat/1/tokens"
	deleteRoute = "DELETE /rest/pat/1/tokens/{id}"
)

// TestServers checks what two servers of one store do to each other.
func TestServers(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	for name, run := range map[string]func(*testing.T, *etcdtest.Cluster, *rig, *rig){
		"follow":                testFollow,
		"doubt":                 testDoubtOfOne,
		"at once":               testConnectAtOnce,
		"renew once":            testRenewOnce,
		"delete once":           testDeleteOnce,
		"killed while minting":  testKilledWhileMinting,
		"disconnected by other": testDisconnectedByOther,
		"about to use it":       testAboutToUse,
		"rounds":                testRounds,
		"role is given up":      testRoleGivenUp,
		"unreadable":            testUnreadable,
		"not heard":             testNotHeard,
		"other key":             testOtherKey,
		"checked meanwhile":     testCheckedMeanwhile,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newServers(t, c)
			run(t, c, a, b)
		})
	}
}

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

// testConnectAtOnce lets many creations of a first token connect fred on both servers at once: Jira is asked for one.
func testConnectAtOnce(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	login := a.session()
	for n := range rounds {
		a.jira.Reset()
		var all sync.WaitGroup
		for range 5 {
			for _, r := range []*rig{a, b} {
				all.Go(func() {
					if err := r.connect(login, false); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		a.wantPATs("connected", first, "active")
		if asked := a.jira.Count(mintRoute); asked != 1 {
			t.Errorf("round %d: Jira was asked for %d", n, asked)
		}
		if err := b.Disconnect(t.Context(), fredKey, login, by); err != nil {
			t.Fatal(err)
		}
		a.wantPATs("disconnected", "", "")
	}
}

// testRenewOnce lets fred come to both servers when the renewal is due, and its rounds be due, too.
func testRenewOnce(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	login := a.session()
	if err := a.connect(login, false); err != nil {
		t.Fatal(err)
	}
	a.jira.Reset()
	a.now = a.now.Add(365 * 24 * time.Hour / 100 * 67)
	b.now = a.now
	login = a.session()
	ctx, cancel := context.WithCancel(t.Context())
	var both sync.WaitGroup
	for _, r := range []*rig{a, b} {
		r.Visit(fred, login)
		both.Go(func() { r.Run(ctx, time.Millisecond) })
	}
	a.until("renewed", func() bool { return a.pats() == second && a.stored() == "active" && a.checked().Equal(a.now) })
	b.until("shown by both", func() bool { return a.answer(0) == b.answer(0) && strings.HasPrefix(a.answer(0), "answer for ") })
	cancel()
	both.Wait()
	if asked, renewed := a.jira.Count(mintRoute), a.actions()[upstream.RenewAction]; asked != 1 || renewed != 1 {
		t.Errorf("Jira was asked for %d, and %d are recorded", asked, renewed)
	}
}

// testDeleteOnce purges the connections when two servers could delete them in Jira.
func testDeleteOnce(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	wilma, login := directory.User{Name: "wilma", Key: wilmaKey, Active: true}, (&http.Request{Header: http.Header{}})
	login.SetBasicAuth("wilma", "dabba")
	done, err := b.Connect(t.Context(), wilma, login.Header, false, connecting)
	if err != nil {
		t.Fatal(err)
	}
	done()
	if err := a.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	a.jira.Reset()
	a.running()
	b.running()
	if n, err := b.Purge(t.Context(), by); n != 2 || err != nil {
		t.Fatalf("%d users, error %v", n, err)
	}
	a.until("deleted", func() bool { return a.actions()[upstream.DeleteAction] == 2 })
	for _, r := range []*rig{a, b} {
		if err := r.Tidy(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := a.jira.Count(deleteRoute); n != 2 || len(a.jira.PATs(fredKey))+len(a.jira.PATs(wilmaKey)) != 0 || a.stored() != "" {
		t.Errorf("Jira was asked %d times; it has %q, stored are %q", n, a.pats(), a.stored())
	}
}

// testKilledWhileMinting kills a server after Jira has made what it was asked for. While the server lives, the other one leaves
// that alone; afterwards it deletes it, and connects fred.
func testKilledWhileMinting(t *testing.T, c *etcdtest.Cluster, a, b *rig) {
	login := a.session()
	made, wake := make(chan struct{}), make(chan struct{})
	a.minting(func(jira product.CredentialClient) error {
		if _, err := jira.Mint(t.Context(), login, first, 24*time.Hour); err != nil {
			t.Error(err)
		}
		close(made)
		<-wake
		return directory.ErrUnavailable
	})
	connected := make(chan error)
	go func() { connected <- a.connect(login, false) }()
	<-made
	if err := b.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantPATs("while it is made", first, "minting")
	a.endRoles(c)
	if err := b.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantPATs("killed", "", "")
	if err := b.connect(login, false); err != nil {
		t.Fatal(err)
	}
	b.wantPATs("connected by the other", first, "active")
	close(wake)
	if err := <-connected; err == nil {
		t.Error("the first attempt succeeds, too")
	}
	b.wantPATs("after it was only slow", first, "active")
}

// testDisconnectedByOther disconnects fred on one server while the other connects him again.
func testDisconnectedByOther(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	for name, path := range map[string]string{"before it is recorded": "/rest/pat/", "before it is in use": "/rest/api/2/myself"} {
		login := a.session()
		if err := a.connect(login, false); err != nil {
			t.Fatal(err)
		}
		slow := a.jira.Fail(path, jiratest.Slow(time.Minute))
		connected := make(chan error)
		go func() { connected <- a.connect(login, true) }()
		<-slow.Hit()
		if err := b.Disconnect(t.Context(), fredKey, nil, by); err != nil {
			t.Fatal(err)
		}
		slow.Stop()
		if err := <-connected; !errors.Is(err, upstream.ErrDisconnected) {
			t.Errorf("%s: error %v", name, err)
		}
		a.want(name, "none", "none")
		a.now = a.now.Add(2 * time.Minute)
		b.now = a.now
		if err := b.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.wantPATs(name, "", "")
	}
}

// testAboutToUse creates a first token on one server while the other one looks for users without tokens.
func testAboutToUse(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	if err := a.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	a.now = a.now.Add(7 * time.Hour)
	b.now, b.unused = a.now, true
	done, err := a.Connect(t.Context(), fred, a.session(), false, connecting)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx, time.Millisecond) })
	b.until("checked", func() bool { return b.checked().Equal(b.now) })
	a.jira.Reset()
	b.until("checked again", func() bool { return a.jira.Count("GET /rest/api/2/myself") > 2 })
	a.wantPATs("before the token is created", first, "active")
	done()
	a.until("without a token", func() bool { return a.pats() == "" && a.stored() == "" })
	cancel()
	running.Wait()
}

// testRounds checks that one server does the rounds, and the other one after its end.
func testRounds(t *testing.T, c *etcdtest.Cluster, a, b *rig) {
	if err := a.connect(a.session(), false); err != nil {
		t.Fatal(err)
	}
	if !a.HasRounds(t.Context()) || b.HasRounds(t.Context()) {
		t.Fatal("both servers have the rounds, or none")
	}
	a.now = a.now.Add(7 * time.Hour)
	b.now = a.now
	if err := a.Disconnect(t.Context(), fredKey, http.Header{}, by); err != nil {
		t.Fatal(err)
	}
	b.running()
	b.until("counted", func() bool { return b.Figures().States[store.UpstreamDeleting] == 1 })
	a.wantPATs("while the server with the rounds does nothing", first, "deleting")
	if err := a.db.Close(); err != nil {
		t.Fatal(err)
	}
	b.until("taken over", func() bool { return b.pats() == "" && b.stored() == "" })
}

// unreleased is a store that does not answer to the first release of a role.
type unreleased struct {
	upstream.Store
	failed atomic.Bool
}

func (u *unreleased) Release(ctx context.Context, role string) error {
	if !u.failed.Swap(true) {
		return context.DeadlineExceeded
	}
	return u.Store.Release(ctx, role)
}

// testRoleGivenUp lets etcd not answer when a server gives up fred's role.
func testRoleGivenUp(t *testing.T, _ *etcdtest.Cluster, a, b *rig) {
	a.Store = &unreleased{Store: a.Store}
	login := a.session()
	if err := a.connect(login, false); err != nil {
		t.Fatal(err)
	}
	if err := b.connect(login, true); err != nil {
		t.Fatal(err)
	}
	b.wantPATs("connected by the other", second, "active")
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

// TestRoles checks that the names of roles fit, whatever a user's key contains.
func TestRoles(t *testing.T) {
	var roles []string
	for _, key := range []string{fredKey, strings.ToLower(fredKey), "ümlaut key", strings.Repeat("k", 255)} {
		role := upstream.RoleOf(key)
		if err := store.CheckShared(role, nil); err != nil {
			t.Error(err)
		}
		roles = append(roles, role)
	}
	if slices.Sort(roles); len(slices.Compact(roles)) != 4 {
		t.Error(fmt.Sprint("two users have one role: ", roles))
	}
}
