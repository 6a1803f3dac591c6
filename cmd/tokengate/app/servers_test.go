package app

import (
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy/envoytest"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// servers are servers of one etcd and one Jira.
type servers struct {
	t          *testing.T
	etcd       *etcdtest.Cluster
	jira       *jiratest.Server
	jiraURL    string
	credential string // file
}

func newServers(t *testing.T) *servers {
	const pat = "c2VydmljZXNlcnZpY2VzZXJ2aWNlc2VydmljZQ=="
	v := &servers{t: t, etcd: etcdtest.Start(t, etcdtest.Options{}), credential: filepath.Join(t.TempDir(), "credential")}
	v.jira = jiratest.New(jiratest.Options{Users: []jiratest.User{
		{Name: "service", Active: true, Groups: []string{jiratest.Administrators}, PATs: []string{pat}},
		{Name: "fred", Key: "JIRAUSER1", Active: true, Groups: []string{"staff"}},
		{Name: "wilma", Key: "JIRAUSER2", Active: true},
	}})
	upstream := httptest.NewServer(v.jira)
	t.Cleanup(upstream.Close)
	v.jiraURL = upstream.URL
	if err := os.WriteFile(v.credential, []byte(pat), 0o600); err != nil {
		t.Fatal(err)
	}
	return v
}

// startedServer is a running server with its log.
type startedServer struct {
	*Server
	t   *testing.T
	log bytes.Buffer
}

// start starts a server, whose directory is only refreshed by the test after the start.
func (v *servers) start() *startedServer {
	v.t.Helper()
	dir := envoytest.Dir(v.t)
	file := filepath.Join(dir, "tokengate.yaml")
	err := os.WriteFile(file, fmt.Appendf(nil, `publicURL: https://jira.example.com
listen: {grpc: "unix://%[1]s/g", http: "unix://%[1]s/h", admin: "unix://%[1]s/a", metrics: "unix://%[1]s/m"}
upstream: {url: %[2]s}
store: {etcd: {endpoints: ["%[3]s"]}}
directory: {upstream: {credential: %[4]s, refresh: 1h, staleAfter: 3h}}
access: {use: ["*"], admin: [staff]}
`, dir, v.jiraURL, v.etcd.Nodes[0].Endpoint, v.credential), 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	s := &startedServer{t: v.t}
	if s.Server, err = New(v.t.Context(), file, Options{Log: &s.log}); err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(s.stop)
	if err := s.Start(); err != nil {
		v.t.Fatal(err)
	}
	return s
}

func (s *startedServer) stop() {
	if err := s.Stop(); err != nil {
		s.t.Errorf("stop: %v", err)
	}
	if strings.Contains(s.log.String(), `"level":"error"`) && !s.t.Failed() {
		s.t.Logf("the log: %s", &s.log)
	}
}

// until waits until ok.
func (s *startedServer) until(what string, ok func() bool) {
	s.t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(20 * time.Second); !ok(); {
		select {
		case <-again.C:
		case <-deadline:
			s.t.Fatalf("it did not come: %s", what)
		}
	}
}

// begun waits for the first refresh.
func (s *startedServer) begun() *startedServer {
	s.t.Helper()
	s.until("the first refresh", func() bool { return s.users.directory.Stats().Refreshed > 0 })
	return s
}

// refreshes refreshes, and checks who has the role and whether Jira was asked.
func (s *startedServer) refreshes(what string, asks bool) {
	s.t.Helper()
	before := s.users.directory.Stats().Requests
	if err := s.users.directory.Refresh(s.t.Context()); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	if asked := s.users.directory.Stats().Requests > before; asked != asks {
		s.t.Errorf("%s: Jira was asked: %v, want %v", what, asked, asks)
	}
	s.hasRole(what, directory.Role, asks)
}

// hasRole checks the metric of a role.
func (s *startedServer) hasRole(what, role string, has bool) {
	s.t.Helper()
	want := fmt.Sprintf("\ntokengate_role{role=%q} 0\n", role)
	if has {
		want = strings.Replace(want, "} 0", "} 1", 1)
	}
	w := httptest.NewRecorder()
	s.probes().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), want) {
		s.t.Errorf("%s: the metrics lack %q", what, want)
	}
}

func (s *startedServer) creates(user, name string) manage.Issued {
	s.t.Helper()
	issued, err := s.manager.Create(s.t.Context(), manage.Operator("uid:0"), manage.NewToken{Owner: user, Name: name})
	if err != nil {
		s.t.Fatal(err)
	}
	return issued
}

func (s *startedServer) decides(v token.Value) authz.Reason {
	return authz.Decide(&authz.Request{
		Method: "GET", Path: "/rest/api/2/myself", Client: netip.MustParseAddr("10.1.2.3"), Authorization: "Bearer " + v.Reveal(),
	}, s.view()).Reason
}

// TestServersShareUsers checks that one of two servers asks Jira for users, that the other one has the same, and that it
// takes over.
func TestServersShareUsers(t *testing.T) {
	v := newServers(t)
	a := v.start().begun()
	b := v.start().begun()
	a.refreshes("the first", true)
	b.refreshes("the second", false)
	if n := b.users.directory.Stats().Requests; n != 0 {
		t.Errorf("the second server has sent %d requests", n)
	}

	if !a.mayReconcile(a.users.directory.Snapshot()) || b.mayReconcile(b.users.directory.Snapshot()) {
		t.Error("the server that has not asked changes tokens, or the other one does not")
	}

	// Tokens of an owner whom both know, and of one whom the creating server has just looked up.
	fred := b.creates("fred", "ci")
	var first authz.Reason
	a.until("the token", func() bool { first = a.decides(fred.Value); return first != authz.UnknownToken })
	if first != authz.TokenAllowed {
		t.Errorf("the first answer about a token of another server: %v", first)
	}
	refreshed := a.users.directory.Stats().Refreshed
	wilma := b.creates("wilma", "ci")
	for _, s := range []*startedServer{b, a} {
		s.until("wilma's token", func() bool { return s.decides(wilma.Value) == authz.TokenAllowed })
	}
	if n := a.users.directory.Stats().Refreshed - refreshed; n != 0 {
		t.Errorf("it needed %d refreshes", n)
	}

	if err := errors.Join(v.jira.Deactivate("fred"), v.jira.Deactivate("wilma")); err != nil {
		t.Fatal(err)
	}
	a.refreshes("deactivated", true)
	b.refreshes("deactivated", false)
	for _, s := range []*startedServer{a, b} {
		for _, k := range []manage.Issued{fred, wilma} {
			if got := s.decides(k.Value); got != authz.OwnerInactive {
				t.Errorf("deactivated: %v", got)
			}
		}
	}
	if err := errors.Join(v.jira.Activate("fred"), v.jira.Activate("wilma")); err != nil {
		t.Fatal(err)
	}
	a.refreshes("active again", true)
	b.until("the news", func() bool { return b.decides(wilma.Value) == authz.TokenAllowed })

	a.stop()
	b.refreshes("after the other's stop", true)
	c := v.start().begun()
	c.refreshes("a third", false)
	v.endLease(directory.Role)
	c.refreshes("after the end of the lease", true)
	b.refreshes("after the end of the lease", false)

	// Of the users in the store, a server needs no answer by Jira.
	b.stop()
	c.stop()
	v.jira.Fail("/", jiratest.Status(503))
	d := v.start()
	if d.mayReconcile(d.users.directory.Snapshot()) {
		t.Error("restored users change tokens")
	}
	for _, k := range []manage.Issued{fred, wilma} {
		if got := d.decides(k.Value); got != authz.TokenAllowed {
			t.Errorf("restored: %v", got)
		}
	}
}

// endLease ends the lease of the server that has a role.
func (v *servers) endLease(role string) {
	v.t.Helper()
	found, err := v.etcd.Client().Get(v.t.Context(), "/tokengate/r/"+role)
	if err == nil && len(found.Kvs) == 1 {
		_, err = v.etcd.Client().Revoke(v.t.Context(), clientv3.LeaseID(found.Kvs[0].Lease))
	}
	if err != nil || len(found.Kvs) != 1 {
		v.t.Fatalf("%d servers have the role %s, error %v", len(found.Kvs), role, err)
	}
}

// TestOneServerPrunes checks that of two servers one removes old tokens, and that the other one takes over.
func TestOneServerPrunes(t *testing.T) {
	v := newServers(t)
	a, b := v.start().begun(), v.start().begun()
	old := func(id string) {
		t.Helper()
		at := time.Now().AddDate(-9, 0, 0)
		_, err := a.tokens.Create(t.Context(), store.Token{
			ID: id, Owner: store.Owner{Name: "fred"}, Name: id, Created: at, CreatedBy: "fred", Expires: at.Add(time.Hour),
			State: store.Active, Secret: store.Secret{Salt: [16]byte{1}, Hash: [32]byte{1}},
		}, func([]store.Token) (store.Audit, error) { return store.Audit{Time: at, Action: "test"}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	prunes := func(s *startedServer, id string, want bool) {
		t.Helper()
		s.prune(t.Context())
		if _, err := s.tokens.Get(t.Context(), id); errors.Is(err, store.ErrNotFound) != want {
			t.Errorf("%s was removed: want %v, error %v", id, want, err)
		}
		s.hasRole("pruned", maintenanceRole, want)
	}
	old("test00000001")
	prunes(a, "test00000001", true)
	old("test00000002")
	prunes(b, "test00000002", false)
	v.endLease(maintenanceRole)
	prunes(b, "test00000002", true)
	old("test00000003")
	prunes(a, "test00000003", false)
}
