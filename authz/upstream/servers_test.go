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

// rounds is how often two servers connect a user at once.
var rounds = 3

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
