package main

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/envoy/envoytest"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

const failoverConfig = `  replicas: {grpc: "tcp://%[1]s:%[2]s", http: "tcp://%[1]s:%[3]s", host: localhost, tls: {certificate: DIR/tls.crt, key: DIR/tls.key, ca: DIR/ca.crt}}
`

// With listen.replicas no request fails while a server is killed again and again, hangs or is
// restarted: its Envoy asks the other server.
func TestFailover(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, etcdtest.Options{}).Endpoints()[0]
	grpc, http := freePort(t), freePort(t)
	// The other server has the address of localhost. Both have the same ports.
	at := func(dir, host string) string {
		return strings.ReplaceAll(fmt.Sprintf(failoverConfig, host, grpc, http), "DIR", dir)
	}
	settings := func(yaml string) string {
		yaml = strings.Replace(yaml, "listen:\n", "listen:\n"+at("REPLICAS", "127.0.0.2"), 1)
		before, _, found := strings.Cut(yaml, "badger: {")
		_, after, _ := strings.Cut(yaml, "badger: {")
		_, after, _ = strings.Cut(after, "}")
		if !found {
			t.Fatalf("no store in %s", yaml)
		}
		return before + "etcd: {endpoints: ['" + etcd + "']}" + after
	}
	r := newRig(t, options{
		settings: func(yaml string) string {
			dir := envoytest.Dir(t)
			envoytest.NewAuthority(t).Write(dir, "localhost")
			return strings.ReplaceAll(settings(yaml), "REPLICAS", dir)
		},
	})
	other := r.startOther(read(t, r.config), "127.0.0.2", "127.0.0.1")
	value := r.mint("failover")
	r.until("the other server has the token", func() bool {
		_, _, code := command(t, other, "", "token", "show", value.ID().String())
		return code == 0
	})
	r.until("a healthy other server", func() bool {
		stats := r.envoy.Stats()
		return stats["cluster.tokengate-replicas.membership_healthy"] == 1 && stats["cluster.tokengate-http-replicas.membership_healthy"] == 1
	})

	style := regexp.MustCompile(`/plugins/servlet/api-tokens/[^"]+\.css`)
	html := r.send(request{path: "/plugins/servlet/api-tokens", auth: basic("Fred", "yabba")})
	styles := request{path: style.FindString(html.body)}
	loads := map[string]*load{
		"tokens":        startLoad(r, request{auth: bearer(value)}),
		"browsers":      startLoad(r, request{path: "/secure/Dashboard.jspa"}),
		"health checks": startLoad(r, request{path: "/plugins/servlet/api-tokens/healthz"}),
		"the page":      startLoad(r, styles),
	}
	next := func(what string) {
		t.Helper()
		t.Log(what)
		for _, l := range loads {
			l.next()
		}
	}
	next("both run")
	// A slow Jira must not get a wrong password again from the other server: it would lock
	// the user name.
	slow := r.jira.Fail("/rest/api/2/myself", jiratest.Slow(5*time.Second))
	if got := r.send(request{path: "/rest/api-tokens/latest", auth: basic("somebody", "wrong")}); got.status != 401 {
		t.Errorf("a wrong password while Jira is slow: %d", got.status)
	}
	slow.Stop()
	if got := r.send(request{path: "/rest/api-tokens/latest", auth: basic("somebody", "wrong too")}); got.status != 401 {
		t.Errorf("a second wrong password: %d; after two, a name is refused", got.status)
	}
	for range failovers {
		r.gate.signal(syscall.SIGKILL)
		<-r.gate.done
		next("one is killed")
		r.startGate()
		next("it runs again")
	}
	r.gate.freeze()
	page := loads["the page"]
	delete(loads, "the page") // what was sent to the server before it is unhealthy waits for it
	next("it hangs")
	r.until("an unhealthy server", func() bool { return r.envoy.Stats()["cluster.tokengate-http-own.membership_healthy"] == 0 })
	loads["the page while it hangs"] = startLoad(r, styles)
	r.gate.signal(syscall.SIGCONT)
	loads["the page"] = page
	next("it goes on")
	if err := r.gate.stop(); err != nil {
		t.Error(err)
	}
	next("it has stopped")
	if got := r.send(request{path: "/rest/api-tokens/latest", auth: basic("Fred", "yabba")}); got.status != 200 || !strings.Contains(got.body, `"failover"`) {
		t.Errorf("the API of the other server: %d %s", got.status, got.body)
	}
	if got := r.send(request{auth: "Bearer " + value.Reveal() + "x"}); got.status != 401 {
		t.Errorf("a wrong token at the other server: %d", got.status)
	}
	for what, l := range loads {
		answers := l.stop()
		if all := answers.total(); len(all) != 1 || all[200] == 0 {
			t.Errorf("%s: answers by status and phase %v, want 200 alone", what, answers)
		}
	}
}

// startOther starts a second server with the rig's settings but another address, and
// returns its admin socket.
func (r *rig) startOther(settings, address, by string) (adminSocket string) {
	r.t.Helper()
	dir := envoytest.Dir(r.t)
	settings = strings.NewReplacer(address, by, r.dir, dir).Replace(settings)
	if err := os.WriteFile(dir+"/tokengate.yaml", []byte(settings), 0o600); err != nil {
		r.t.Fatal(err)
	}
	start(r.t, "serve", "--config", dir+"/tokengate.yaml").waitFor(`"tokengate is ready"`)
	return dir + "/a"
}

// freePort returns a port of TCP that nobody uses.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
