package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// waitTime bounds every wait for something that happens in another process.
const waitTime = 20 * time.Second

// rig is the whole product as k8s/sidecar deploys it, but without envoy.bypass, with real
// processes: a Jira-shaped server, tokengate and Envoy. Envoy trusts one load balancer in
// front, which the tests play by X-Forwarded-For.
type rig struct {
	t       *testing.T
	dir     string
	config  string // tokengate's configuration file
	jira    *jiratest.Server
	jiraAt  string // host:port
	context string
	gate    *process
	envoy   *envoytest.Envoy

	inspect     func(answer)  // is given every answer to a client; may be nil
	inAccessLog []token.Value // what a test wrote where Envoy's access log repeats it
}

// options change the rig.
type options struct {
	settings func(yaml string) string // changes tokengate's configuration
	envoy    func(yaml string) string // changes Envoy's configuration
	context  string                   // Jira's context path
	noGate   bool                     // tokengate is not started
	users    func(*jiratest.Server)   // adds users to Jira
	before   func(dir string)         // fills the store before tokengate opens it
	leak     func(where string)       // is told of tokens that Jira receives; nil fails the test
}

// withoutProxy are the options of a rig whose clients connect to Envoy themselves.
func withoutProxy(t *testing.T) options {
	return options{settings: func(yaml string) string { return withoutKey(t, yaml, "clientAddress") }}
}

func newRig(t *testing.T, o options) *rig {
	t.Helper()
	r := newJira(t, o)
	settings := withoutKey(t, r.relocate(read(t, "../../k8s/sidecar/tokengate.yaml")), "envoy")
	if o.settings != nil {
		settings = o.settings(settings)
	}
	r.config = filepath.Join(r.dir, "tokengate.yaml")
	r.write(settings)
	file := r.dir + "/envoy.yaml"
	r.run("envoy", "bootstrap", "--config", r.config, "--listen", "127.0.0.1:0", "--envoy-admin", r.dir+"/e", "--secrets", r.dir, "--output", file)
	bootstrap := read(t, file)
	if o.envoy != nil {
		bootstrap = o.envoy(bootstrap)
	}
	if o.before != nil {
		o.before(r.dir + "/data")
	}
	if !o.noGate {
		r.startGate()
	}
	r.startEnvoy(bootstrap)
	return r
}

// newJira returns a rig in which only Jira runs.
func newJira(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{t: t, dir: envoytest.Dir(t), context: o.context}
	leak := o.leak
	if leak == nil {
		leak = func(where string) { t.Errorf("Jira received a token: %s", where) }
	}
	r.jira = jiratest.New(jiratest.Options{ContextPath: o.context, Leak: leak, Users: []jiratest.User{
		{Name: "Fred", Password: "yabba", Active: true, PATs: []string{"MDEyMzQ1Njc4OTo"}},
		{Name: "admin", Password: "secret", Active: true},
	}})
	if o.users != nil {
		o.users(r.jira)
	}
	upstream := httptest.NewServer(r.jira)
	t.Cleanup(upstream.Close)
	r.jiraAt = strings.TrimPrefix(upstream.URL, "http://")
	return r
}

// startEnvoy starts Envoy. The end of the test searches its output for secrets.
func (r *rig) startEnvoy(bootstrap string) {
	r.t.Helper()
	r.t.Cleanup(r.searchEnvoy) // after Envoy has stopped
	r.envoy = envoytest.Start(r.t, []byte(bootstrap))
}

// relocate replaces the addresses and paths of a pod by the test's.
func (r *rig) relocate(text string) string {
	return strings.NewReplacer(
		"tcp://0.0.0.0:9464", "unix://"+r.dir+"/m",
		"/run/tokengate-admin/admin.sock", r.dir+"/a",
		"/run/tokengate/authz.sock", r.dir+"/g",
		"/run/tokengate/http.sock", r.dir+"/h",
		"/var/lib/tokengate", r.dir+"/data",
		"http://127.0.0.1:8080", "http://"+r.jiraAt,
		"http://jira.jira.svc:80", "http://"+r.jiraAt,
	).Replace(text)
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (r *rig) write(settings string) {
	r.t.Helper()
	if err := os.WriteFile(r.config, []byte(settings), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// startGate starts tokengate and waits until it says that it is ready.
func (r *rig) startGate() {
	r.t.Helper()
	r.gate = start(r.t, "serve", "--config", r.config)
	r.gate.waitFor(`"tokengate is ready"`)
}

// restartGate restarts tokengate with other settings.
func (r *rig) restartGate(settings string) {
	r.t.Helper()
	if err := r.gate.stop(); err != nil {
		r.t.Error(err)
	}
	r.write(settings)
	r.startGate()
}

// awaitHealthChecks returns when Envoy has checked the health of tokengate.
func (r *rig) awaitHealthChecks() {
	r.t.Helper()
	healthy := func() uint64 { return r.envoy.Stats()["cluster.tokengate.health_check.success"] }
	before := healthy()
	r.until("two health checks", func() bool { return healthy() >= before+2 })
}

// run runs a tokengate command against the rig and returns its standard output
// and error. The command must succeed.
func (r *rig) run(args ...string) (stdout, stderr string) {
	r.t.Helper()
	stdout, stderr, code := command(r.t, r.dir+"/a", "", args...)
	if code != 0 {
		r.t.Fatalf("tokengate %s: exit %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout, stderr
}

// command runs a tokengate command in this process.
func command(t *testing.T, adminSocket, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	if adminSocket != "" && slices.Contains([]string{"token", "explain", "audit", "passwords", "totals", "settings", "whoami"}, args[0]) {
		args = append(args, "--admin-socket", adminSocket)
	}
	code = run(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	checkOutput(t, args, out.String(), errs.String())
	return out.String(), errs.String(), code
}

// mint creates a token for Fred.
func (r *rig) mint(name string, flags ...string) token.Value {
	r.t.Helper()
	stdout, _ := r.run(append([]string{"token", "create", "--user", "Fred", "--name", name}, flags...)...)
	value, err := token.Parse(strings.TrimSuffix(stdout, "\n"))
	if err != nil {
		r.t.Fatalf("token create printed no token: %v", err)
	}
	return value
}

// request is what a test sends through Envoy.
type request struct {
	method string // "" is GET
	path   string // "" is /rest/api/2/myself
	from   string // the client's address; "" is 10.1.2.3
	auth   string // the Authorization header
	header http.Header
	body   io.Reader
}

func bearer(v token.Value) string { return "Bearer " + v.Reveal() }

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// noRedirects is a client that does not follow redirects.
var noRedirects = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (r *rig) send(q request) answer {
	r.t.Helper()
	a, err := r.try(context.Background(), noRedirects, q)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) try(ctx context.Context, client *http.Client, q request) (answer, error) {
	if q.method == "" {
		q.method = http.MethodGet
	}
	if q.path == "" {
		q.path = "/rest/api/2/myself"
	}
	if q.from == "" {
		q.from = "10.1.2.3"
	}
	hr, err := http.NewRequestWithContext(ctx, q.method, r.envoy.URL, q.body)
	if err != nil {
		return answer{}, err
	}
	path, query, hasQuery := strings.Cut(q.path, "?")
	hr.URL.Opaque = path // goes out byte for byte
	hr.URL.RawQuery, hr.URL.ForceQuery = query, hasQuery
	for name, values := range q.header {
		hr.Header[name] = values
	}
	hr.Header.Set("X-Forwarded-For", q.from)
	if q.auth != "" {
		hr.Header.Set("Authorization", q.auth)
	}
	response, err := client.Do(hr)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	a := answer{response.StatusCode, response.Header, string(body)}
	if r.inspect != nil {
		r.inspect(a)
	}
	return a, err
}

// until waits until ok, by asking again and again.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(waitTime)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-deadline:
			r.t.Fatalf("it did not come in %v: %s", waitTime, what)
		}
	}
}

// seen returns what Jira received last, and fails if it heard nothing.
func (r *rig) seen() jiratest.Seen {
	r.t.Helper()
	last, heard := r.jira.Last()
	if !heard {
		r.t.Fatal("Jira heard nothing")
	}
	return last
}
