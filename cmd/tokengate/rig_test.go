package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// waitTime bounds every wait for something that happens in another process.
const waitTime = 20 * time.Second

// rig is the whole product as k8s/base deploys it, with real processes: a
// Jira-shaped server, tokengate and Envoy. Envoy trusts one load balancer in
// front, which the tests play by X-Forwarded-For.
type rig struct {
	t      *testing.T
	dir    string
	config string // tokengate's configuration file
	jira   *jiratest.Server
	jiraAt string // host:port
	gate   *process
	envoy  *envoytest.Envoy
}

// options change the rig from what k8s/base says.
type options struct {
	settings  func(yaml string) string // changes tokengate's configuration
	bootstrap []string                 // if set, Envoy runs what envoy bootstrap prints with these flags
	context   string                   // Jira's context path
	noGate    bool                     // tokengate is not started
}

func newRig(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{t: t, dir: envoytest.Dir(t)}
	r.jira = jiratest.New(jiratest.Options{ContextPath: o.context, Users: []jiratest.User{
		{Name: "Fred", Password: "yabba", Active: true, PATs: []string{"MDEyMzQ1Njc4OTo"}},
		{Name: "admin", Password: "secret", Active: true},
	}})
	upstream := httptest.NewServer(r.jira)
	t.Cleanup(upstream.Close)
	r.jiraAt = strings.TrimPrefix(upstream.URL, "http://")

	settings := r.relocate(read(t, "../../k8s/base/tokengate.yaml"))
	if o.settings != nil {
		settings = o.settings(settings)
	}
	r.config = filepath.Join(r.dir, "tokengate.yaml")
	r.write(settings)
	bootstrap := r.relocate(read(t, "../../k8s/base/envoy.yaml"))
	if o.bootstrap != nil {
		args := append([]string{"envoy", "bootstrap", "--config", r.config, "--listen", "127.0.0.1:0", "--envoy-admin", r.dir + "/e"}, o.bootstrap...)
		bootstrap, _ = r.run(args...)
	}
	if !o.noGate {
		r.startGate()
	}
	r.envoy = envoytest.Start(t, []byte(bootstrap))
	t.Cleanup(r.findSecrets)
	return r
}

// relocate replaces the addresses, ports and paths of k8s/base by the test's.
func (r *rig) relocate(text string) string {
	host, port, err := net.SplitHostPort(r.jiraAt)
	if err != nil {
		r.t.Fatal(err)
	}
	text = strings.NewReplacer(
		"tcp://0.0.0.0:9464", "unix://"+r.dir+"/m",
		"/run/tokengate-admin/admin.sock", r.dir+"/a",
		"/run/tokengate/authz.sock", r.dir+"/g",
		"/run/tokengate/http.sock", r.dir+"/h",
		"/run/envoy/admin.sock", r.dir+"/e",
		"/var/lib/tokengate", r.dir+"/data",
		"http://127.0.0.1:8080", "http://"+r.jiraAt,
	).Replace(text)
	upstream := regexp.MustCompile(`(address: "?)127\.0\.0\.1("?,? *\n? *port_value: )8080`)
	text = upstream.ReplaceAllString(text, "${1}"+host+"${2}"+port)
	listener := regexp.MustCompile(`(address: "?)0\.0\.0\.0("?,? *\n? *port_value: )8000`)
	return listener.ReplaceAllString(text, "${1}127.0.0.1${2}0")
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
	if adminSocket != "" && (args[0] == "token" || args[0] == "explain") {
		args = append(args, "--admin-socket", adminSocket)
	}
	code = run(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	mints := len(args) > 1 && args[0] == "token" && (args[1] == "create" || args[1] == "rotate")
	if token.Contains(errs.String()) || !mints && token.Contains(out.String()) {
		t.Errorf("tokengate %s printed a token", strings.Join(args[:min(2, len(args))], " "))
	}
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

// findSecrets fails the test if anything that any process wrote holds a token's
// secret.
func (r *rig) findSecrets() {
	outputs := map[string]string{"Envoy's log": r.envoy.Log(), "Envoy's access log": r.envoy.Output()}
	if r.gate != nil {
		outputs["tokengate's log"] = r.gate.log.String()
	}
	for name, text := range outputs {
		if token.Contains(text) || token.Redact(text) != text {
			r.t.Errorf("%s holds a token's secret", name)
		}
	}
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

// noRedirects is a client that shows every answer as it came.
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
	return answer{response.StatusCode, response.Header, string(body)}, err
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

// process is a tokengate process of its own: this test's binary, race detector
// included.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *output
	done chan struct{}
	err  error // how it ended; after done
}

// start starts a tokengate process, which ends with the test at the latest.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(program, args...), log: newOutput(), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "TOKENGATE_TEST_MAIN=1")
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGCONT)
		p.stop()
		if strings.Contains(p.log.String(), "DATA RACE") {
			t.Errorf("a race in tokengate:\n%s", p.log)
		}
	})
	return p
}

func (p *process) signal(s os.Signal) { p.cmd.Process.Signal(s) }

// stop ends the process in order and returns how it ended.
func (p *process) stop() error {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(waitTime):
		p.cmd.Process.Kill()
		<-p.done
		p.t.Errorf("tokengate did not stop in time; it logged:\n%s", p.log)
	}
	return p.err
}

// waitFor waits until the process has logged text that was not waited for
// before, and returns that line.
func (p *process) waitFor(text string) string {
	p.t.Helper()
	line, err := p.log.wait(text, p.done)
	if err != nil {
		p.t.Fatalf("waiting for %s: %v; tokengate logged:\n%s", text, err, p.log)
	}
	return line
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text []byte
	from int           // how far wait has read
	more chan struct{} // closed and replaced at every write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	close(o.more)
	o.more = make(chan struct{})
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func (o *output) wait(text string, done <-chan struct{}) (string, error) {
	deadline := time.After(waitTime)
	for ended := false; ; {
		o.mu.Lock()
		for {
			end := bytes.IndexByte(o.text[o.from:], '\n')
			if end < 0 {
				break
			}
			line := string(o.text[o.from : o.from+end])
			o.from += end + 1
			if strings.Contains(line, text) {
				o.mu.Unlock()
				return line, nil
			}
		}
		more := o.more
		o.mu.Unlock()
		if ended {
			return "", fmt.Errorf("the process has ended")
		}
		select {
		case <-more:
		case <-done:
			ended = true // after one more look
		case <-deadline:
			return "", fmt.Errorf("it did not come in %v", waitTime)
		}
	}
}
