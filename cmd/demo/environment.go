package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// program is the tokengate binary: that of make build or, in tests, of the test.
var program = ".build/tokengate"

// healthPath is where load balancers ask whether requests would be served.
const healthPath = "/plugins/servlet/api-tokens/healthz"

// startTime limits how long a process may take to start.
const startTime = 30 * time.Second

// environment is the servers on which the scenario runs: a simulated Jira,
// tokengate and a real Envoy, on loopback.
type environment struct {
	out         io.Writer
	dir         string       // the demo's files, removed at the end
	socket      string       // tokengate's admin socket
	config      string       // tokengate's configuration file
	listen      string       // host and port of Envoy
	url         string       // the address for users: Envoy's, or the proxy's
	how         jiratest.How // how Jira learns who sent a request with a token
	jira        *jiratest.Server
	jiraServer  *http.Server // nil if another environment has started it
	jiraAddress string
	tokengate   *exec.Cmd
	envoy       *envoytest.Process
	log         *logLines
}

const settings = `publicURL: %[3]s
listen:
  grpc: unix://%[1]s/authz.sock
  http: unix://%[1]s/http.sock
  admin: unix://%[1]s/admin.sock
  metrics: unix://%[1]s/metrics.sock
store:
%[4]s
upstream:
  url: http://%[2]s
  identity: {pat: {sealKeys: [%[1]s/seal-key]}}
directory: {upstream: {credential: %[1]s/credential}}
access:
  use: [developers, contractors]
  create:
    - {groups: [developers], maxLifetime: 90d}
    - {groups: [contractors], maxLifetime: 30d, readOnly: true, approval: true}
  admin: [token-administrators]
`

// The passwords of the users in the demo's Jira, the personal access token of the
// user robot, whom a program uses; and the user and the personal access token with which tokengate reads users and groups.
const (
	fred, wilma, betty = "yabba-dabba", "pebbles", "bamm-bamm"
	robotsPAT          = "MTIzNDU2Nzg5MDEyOmZyZWQncyBmaXJzdCBQQVQuLi4="
	serviceUser        = "tokengate"
	service            = "ZGVtbyBzZXJ2aWNlIGNyZWRlbnRpYWwgZm9yIGppcmE="
)

// setUp starts the environment. proxy is the host and port of an HTTPS proxy in
// front of Envoy, which the caller starts; empty without one.
func setUp(ctx context.Context, out io.Writer, proxy string) (_ *environment, err error) {
	e, err := newEnvironment(out)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.tearDown()
		}
	}()
	if err := e.startJira(); err != nil {
		return nil, err
	}
	hops := ""
	if proxy != "" {
		e.url, hops = "https://"+proxy, "clientAddress: {trustedHops: 1}\n"
	}
	if err := e.configure(e.url, "  badger: {dir: "+e.dir+"/data}", newSealKey(), hops); err != nil {
		return nil, err
	}
	if err := e.startServers(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// newEnvironment returns an environment in which nothing runs.
func newEnvironment(out io.Writer) (*environment, error) {
	e := &environment{out: out, how: jiratest.ByBearer, log: newLogLines()}
	var err error
	if e.listen, err = freeAddress(); err != nil {
		return nil, fmt.Errorf("find a port for Envoy: %w", err)
	}
	e.url = "http://" + e.listen
	if e.dir, err = os.MkdirTemp("", "tokengate-demo"); err != nil {
		return nil, err
	}
	e.socket, e.config = filepath.Join(e.dir, "admin.sock"), filepath.Join(e.dir, "tokengate.yaml")
	return e, nil
}

func newSealKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
}

// configure writes the configuration and the files that it names. store has the lines of the
// section with this name.
func (e *environment) configure(publicURL, store string, sealKey []byte, more string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(e.dir, "credential"), []byte(service), 0o600),
		os.WriteFile(filepath.Join(e.dir, "seal-key"), sealKey, 0o400),
		os.WriteFile(e.config, fmt.Appendf(nil, settings+more, e.dir, e.jiraAddress, publicURL, store), 0o600))
}

// startServers starts tokengate and Envoy.
func (e *environment) startServers(ctx context.Context) error {
	if err := e.startTokengate(ctx); err != nil {
		return fmt.Errorf("start tokengate: %w", err)
	}
	return e.startEnvoy(ctx)
}

// freeAddress returns a free host and port on loopback, below the ports that the kernel gives to others. Envoy's must be known
// before it starts, because the page accepts forms at publicURL only.
func freeAddress() (address string, err error) {
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20_000+mathrand.IntN(12_000))); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", err
}

// startJira starts a Jira as it is installed: it trusts no header.
func (e *environment) startJira() error {
	e.jira = jiratest.New(jiratest.Options{Users: []jiratest.User{
		{Name: "fred", Password: fred, DisplayName: "Fred F.", Active: true, Groups: []string{"developers"}},
		{Name: "robot", Active: true, Groups: []string{"developers"}, PATs: []string{robotsPAT}},
		{Name: "wilma", Password: wilma, Active: true, Groups: []string{"contractors"}},
		{Name: "betty", Password: betty, Active: true, Groups: []string{"token-administrators"}},
		{Name: serviceUser, Active: true, Groups: []string{jiratest.Administrators}, PATs: []string{service}},
	}})
	e.jira.IgnoreHeader(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the simulated Jira: %w", err)
	}
	e.jiraServer, e.jiraAddress = &http.Server{Handler: e.jira, ReadHeaderTimeout: time.Minute}, l.Addr().String()
	go e.jiraServer.Serve(l)
	return nil
}

func (e *environment) startTokengate(ctx context.Context) error {
	e.tokengate = exec.Command(program, "serve", "--config", e.config)
	e.tokengate.Stderr = e.log
	// In its own process group, so that on Ctrl-C the demo stops the processes in order.
	e.tokengate.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := e.tokengate.Start(); err != nil {
		return fmt.Errorf("%w; run make build", err)
	}
	if _, err := e.log.wait(ctx, func(line string) bool { return strings.Contains(line, "tokengate is ready") }); err != nil {
		return err
	}
	return e.waitForTokens(ctx)
}

func (e *environment) stopTokengate() error {
	err := errors.Join(e.tokengate.Process.Signal(syscall.SIGTERM), e.tokengate.Wait())
	e.tokengate = nil
	return err
}

func (e *environment) killTokengate() error {
	err := e.tokengate.Process.Kill()
	_ = e.tokengate.Wait() // says that it was killed
	e.tokengate = nil
	return err
}

// waitForTokens waits until tokens can be used: until tokengate has read the users
// and groups.
func (e *environment) waitForTokens(ctx context.Context) error {
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(e.dir, "metrics.sock"))
	}}}
	defer socket.CloseIdleConnections()
	if err := waitFor(ctx, socket, "http://tokengate/readyz?for=tokens"); err != nil {
		return fmt.Errorf("wait for tokengate to read the directory: %w", err)
	}
	return nil
}

// waitFor repeats a request until it succeeds.
func waitFor(ctx context.Context, client *http.Client, url string) error {
	return waitForStatus(ctx, client, url, http.StatusOK)
}

// waitForStatus repeats a request until the answer has a status.
func waitForStatus(ctx context.Context, client *http.Client, url string, want int) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode == want {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the status is still %d", response.StatusCode)
		}
	}
}

func (e *environment) startEnvoy(ctx context.Context) error {
	binary, err := envoytest.Binary()
	if err != nil {
		return err
	}
	bootstrap, err := e.command(ctx, "envoy", "bootstrap", "--config", e.config, "--listen", e.listen,
		"--envoy-admin", filepath.Join(e.dir, "envoy.sock"))
	if err != nil {
		return err
	}
	e.envoy, err = envoytest.Run(binary, []byte(bootstrap))
	return err
}

// command runs a tokengate command and returns its standard output.
func (e *environment) command(ctx context.Context, args ...string) (string, error) {
	return e.commandWith(ctx, "", args...)
}

// commandWith is command with text on standard input.
func (e *environment) commandWith(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "TOKENGATE_ADMIN_SOCKET="+e.socket)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("tokengate %s: %w: %s", strings.Join(args[:2], " "), err, &stderr)
	}
	return stdout.String(), nil
}

// restart replaces a part of tokengate's configuration, restarts tokengate and Envoy, and
// waits until users' requests reach them again.
func (e *environment) restart(ctx context.Context, old, replacement string) error {
	config, err := os.ReadFile(e.config)
	if err == nil {
		err = os.WriteFile(e.config, bytes.Replace(config, []byte(old), []byte(replacement), 1), 0o600)
	}
	if err := errors.Join(err, e.stopTokengate()); err != nil {
		return err
	}
	if err := e.startTokengate(ctx); err != nil {
		return err
	}
	if err := e.envoy.Stop(); err != nil {
		return err
	}
	if err := e.startEnvoy(ctx); err != nil {
		return err
	}
	if err := waitFor(ctx, http.DefaultClient, e.url+healthPath); err != nil {
		return fmt.Errorf("wait for Envoy, and for a proxy in front of it: %w", err)
	}
	return nil
}

// tearDown stops the processes in the order in which a request passes them.
func (e *environment) tearDown() {
	if e.envoy != nil {
		if err := e.envoy.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "demo: stop Envoy:", err)
		}
	}
	if e.tokengate != nil && e.tokengate.Process != nil {
		if err := e.stopTokengate(); err != nil {
			fmt.Fprintln(os.Stderr, "demo: stop tokengate:", err)
		}
	}
	if e.jiraServer != nil {
		e.jiraServer.Close()
	}
	if e.dir != "" {
		os.RemoveAll(e.dir)
	}
}

// logLines collects tokengate's log.
type logLines struct {
	mu      sync.Mutex
	partial []byte
	lines   []string
	more    chan struct{} // closed and replaced when a line arrives
}

func newLogLines() *logLines { return &logLines{more: make(chan struct{})} }

// Write implements io.Writer.
func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		line, rest, found := bytes.Cut(l.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.lines = append(l.lines, string(line))
		l.partial = rest
		close(l.more)
		l.more = make(chan struct{})
	}
}

// wait returns the first line that match accepts after the line that the previous
// wait returned. The error of a timeout shows the lines.
func (l *logLines) wait(ctx context.Context, match func(line string) bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		l.mu.Lock()
		for i, line := range l.lines {
			if match(line) {
				l.lines = l.lines[i+1:]
				l.mu.Unlock()
				return line, nil
			}
		}
		more, all := l.more, strings.Join(l.lines, "\n")
		l.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return "", fmt.Errorf("tokengate did not log the expected line; it logged:\n%s", all)
		}
	}
}
