package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// program is what make build makes, and in a test what the test built.
var program = ".build/tokengate"

// startTime bounds how long a part may take to come up.
const startTime = 30 * time.Second

// environment is what the story is played on: a Jira-shaped server, tokengate and
// Envoy, each a real one, on loopback.
type environment struct {
	out    io.Writer
	dir    string // everything of the demo's own, removed at the end
	socket string // tokengate's admin socket
	listen string // host and port of Envoy
	url    string // where people reach it: Envoy's, or the proxy's
	jira   *jiratest.Server
	web    *http.Server
	gate   *exec.Cmd
	envoy  *envoytest.Process
	log    *logLines
}

const settings = `publicURL: %[3]s
listen:
  grpc: unix://%[1]s/authz.sock
  http: unix://%[1]s/http.sock
  admin: unix://%[1]s/admin.sock
  metrics: unix://%[1]s/metrics.sock
store:
  badger: {dir: %[1]s/data}
upstream:
  url: http://%[2]s
directory: {jira: {credential: %[1]s/credential}}
access:
  use: [developers, contractors]
  create:
    - {groups: [developers], maxLifetime: 90d}
    - {groups: [contractors], maxLifetime: 30d, readOnly: true, approval: true}
  admin: [token-administrators]
`

// The passwords of the people in the demo's Jira, and the native token by which
// tokengate asks it who is in which group.
const (
	fred, wilma, betty = "yabba-dabba", "pebbles", "bamm-bamm"
	service            = "ZGVtbyBzZXJ2aWNlIGNyZWRlbnRpYWwgZm9yIGppcmE="
)

// setUp starts everything. proxy is the host and port of an HTTPS proxy in front
// of Envoy, which the caller starts; empty without one.
func setUp(ctx context.Context, out io.Writer, proxy string) (_ *environment, err error) {
	s := &environment{out: out, log: newLogLines()}
	defer func() {
		if err != nil {
			s.tearDown()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "tokengate-demo"); err != nil {
		return nil, err
	}
	s.socket = filepath.Join(s.dir, "admin.sock")
	jira, err := s.startJira()
	if err != nil {
		return nil, fmt.Errorf("start the Jira-shaped server: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "credential"), []byte(service), 0o600); err != nil {
		return nil, err
	}
	if s.listen, err = freeAddress(); err != nil {
		return nil, fmt.Errorf("find a port for Envoy: %w", err)
	}
	s.url = "http://" + s.listen
	config, hops := filepath.Join(s.dir, "tokengate.yaml"), ""
	if proxy != "" {
		s.url, hops = "https://"+proxy, "clientAddress: {trustedHops: 1}\n"
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, settings+hops, s.dir, jira, s.url), 0o600); err != nil {
		return nil, err
	}
	if err := s.startGate(ctx, config); err != nil {
		return nil, fmt.Errorf("start tokengate: %w", err)
	}
	if err := s.startEnvoy(ctx, config); err != nil {
		return nil, err
	}
	return s, nil
}

// freeAddress returns a host and port on loopback that nobody listens on. The page
// takes forms at publicURL only, so Envoy's has to be known before it starts.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s *environment) startJira() (address string, err error) {
	s.jira = jiratest.New(jiratest.Options{Users: []jiratest.User{
		{Name: "fred", Password: fred, DisplayName: "Fred F.", Active: true, Groups: []string{"developers"}},
		{Name: "wilma", Password: wilma, Active: true, Groups: []string{"contractors"}},
		{Name: "betty", Password: betty, Active: true, Groups: []string{"token-administrators"}},
		{Name: "tokengate", Active: true, Groups: []string{jiratest.Administrators}, PATs: []string{service}},
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.web = &http.Server{Handler: s.jira, ReadHeaderTimeout: time.Minute}
	go s.web.Serve(l)
	return l.Addr().String(), nil
}

func (s *environment) startGate(ctx context.Context, config string) error {
	s.gate = exec.Command(program, "serve", "--config", config)
	s.gate.Stderr = s.log
	// Ctrl-C is for the demo, which then stops its parts in order.
	s.gate.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.gate.Start(); err != nil {
		return fmt.Errorf("%w; make build makes it", err)
	}
	if _, err := s.log.wait(ctx, func(line string) bool { return strings.Contains(line, "tokengate is ready") }); err != nil {
		return err
	}
	return s.untilTokens(ctx)
}

// untilTokens waits until tokens are good, too: until Jira has said who is in
// which group.
func (s *environment) untilTokens(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "metrics.sock"))
	}}}
	defer socket.CloseIdleConnections()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tokengate/readyz?for=tokens", nil)
		if err != nil {
			return err
		}
		response, err := socket.Do(r)
		if err != nil {
			return fmt.Errorf("ask tokengate whether it is ready for tokens: %w", err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("the directory does not answer")
		}
	}
}

func (s *environment) startEnvoy(ctx context.Context, config string) error {
	binary, err := envoytest.Binary()
	if err != nil {
		return err
	}
	bootstrap, err := s.command(ctx, "envoy", "bootstrap", "--config", config, "--listen", s.listen,
		"--envoy-admin", filepath.Join(s.dir, "envoy.sock"))
	if err != nil {
		return err
	}
	s.envoy, err = envoytest.Run(binary, []byte(bootstrap))
	return err
}

// command runs a tokengate command and returns its standard output.
func (s *environment) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "TOKENGATE_ADMIN_SOCKET="+s.socket)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("tokengate %s: %w: %s", strings.Join(args[:2], " "), err, &stderr)
	}
	return stdout.String(), nil
}

// tearDown stops what setUp started, in the order of a request's way.
func (s *environment) tearDown() {
	if s.envoy != nil {
		if err := s.envoy.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "demo: stop Envoy:", err)
		}
	}
	if s.gate != nil && s.gate.Process != nil {
		if err := errors.Join(s.gate.Process.Signal(syscall.SIGTERM), s.gate.Wait()); err != nil {
			fmt.Fprintln(os.Stderr, "demo: stop tokengate:", err)
		}
	}
	if s.web != nil {
		s.web.Close()
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// logLines collects what tokengate logs.
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

// wait returns the first line that match accepts and that no wait before has
// passed, or an error that shows the last lines.
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
			return "", fmt.Errorf("tokengate did not log what was expected; it logged:\n%s", all)
		}
	}
}
