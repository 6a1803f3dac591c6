// Package envoytest runs a real Envoy for a test or a demonstration. Start at
// Start, for tests, or Run.
//
// The configuration is used unchanged. It must have its administration on a unix
// socket (admin.address.pipe), through which Envoy reports its readiness and the
// port of a listener on port 0.
package envoytest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"
)

const (
	readyTimeout = 30 * time.Second // allows for a slow machine
	stopTimeout  = 10 * time.Second
)

// Process is a running Envoy. Its methods may be called concurrently.
type Process struct {
	Addr string // host:port of its listener "http", or of its first one
	URL  string // http:// and Addr

	dir            string
	cmd            *exec.Cmd
	stdout, stderr *output
	admin          *http.Client
	exited         chan struct{} // closed when the process is gone
	exitErr        error         // valid once exited is closed

	stopOnce sync.Once
	stopErr  error
}

// Run starts Envoy with this bootstrap and waits until it is ready. The caller
// must Stop it. On Linux it is killed when the calling process ends.
func Run(binary string, bootstrap []byte) (*Process, error) {
	socket, err := adminSocket(bootstrap)
	if err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	p := &Process{
		stdout: newOutput(),
		stderr: newOutput(),
		admin: &http.Client{Timeout: readyTimeout, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", socket)
			},
		}},
		exited: make(chan struct{}),
	}
	var file string
	if p.dir, file, err = writeConfig(bootstrap); err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	// Hot restart would share memory between processes; by default the access log is
	// written every ten seconds.
	p.cmd = exec.Command(binary, "-c", file, "--concurrency", "2",
		"--disable-hot-restart", "--file-flush-interval-msec", "20")
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.start(); err != nil {
		_ = os.RemoveAll(p.dir)
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	if err := p.waitReady(); err != nil {
		_ = p.Stop()
		return nil, fmt.Errorf("start envoy: %w\n%s", err, p.Log())
	}
	return p, nil
}

// start runs the command in its own thread: the parent-death signal is sent when
// the thread that started the process ends.
func (p *Process) start() error {
	dieWithParent(p.cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.exitErr = p.cmd.Wait()
		close(p.exited)
	}()
	return <-started
}

func (p *Process) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := p.Admin("/ready")
		if err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("it exited: %w", p.exitErr)
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: %w", readyTimeout, err)
		}
	}
	addr, err := p.listener()
	if err != nil {
		return err
	}
	p.Addr, p.URL = addr, "http://"+addr
	return nil
}

// listener returns the address of Envoy's first listener.
func (p *Process) listener() (string, error) {
	b, err := p.Admin("/listeners?format=json")
	if err != nil {
		return "", err
	}
	var reply struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(b, &reply); err != nil {
		return "", fmt.Errorf("read envoy's listeners: %w", err)
	}
	if len(reply.Statuses) == 0 {
		return "", errors.New("envoy has no listener")
	}
	s := reply.Statuses[0].Local.Socket
	for _, l := range reply.Statuses { // in any order
		if l.Name == "http" {
			s = l.Local.Socket
		}
	}
	return net.JoinHostPort(s.Address, strconv.Itoa(s.Port)), nil
}

// Admin fetches a path of the administration interface, such as
// /stats?usedonly. An answer other than 200 is an error.
func (p *Process) Admin(path string) ([]byte, error) {
	resp, err := p.admin.Get("http://envoy" + path)
	if err != nil {
		return nil, fmt.Errorf("ask envoy for %s: %w", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("ask envoy for %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask envoy for %s: status %d: %s", path, resp.StatusCode, bytes.TrimSpace(body))
	}
	return body, nil
}

// Stats returns Envoy's counters and gauges by name, except those that were never
// updated.
func (p *Process) Stats() (map[string]uint64, error) {
	b, err := p.Admin("/stats?usedonly")
	if err != nil {
		return nil, err
	}
	stats := make(map[string]uint64)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			stats[name] = n // others are histograms and strings
		}
	}
	return stats, nil
}

// Log returns Envoy's own log so far.
func (p *Process) Log() string { return p.stderr.String() }

// Output returns Envoy's standard output so far, which may have the access log.
func (p *Process) Output() string { return p.stdout.String() }

// Exited returns a channel that is closed when Envoy has exited.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop stops Envoy and waits until it has exited. It returns an error if Envoy had
// already exited or failed to stop. Later calls return the same.
func (p *Process) Stop() error {
	p.stopOnce.Do(func() {
		p.stopErr = p.stop()
		_ = os.RemoveAll(p.dir)
	})
	return p.stopErr
}

func (p *Process) stop() error {
	select {
	case <-p.exited:
		return fmt.Errorf("envoy ended by itself: %v", p.exitErr)
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // a process that has exited is handled below
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("envoy did not stop within %v", stopTimeout)
	}
	if p.exitErr != nil {
		return fmt.Errorf("stop envoy: %w", p.exitErr)
	}
	return nil
}

// writeConfig writes a bootstrap into a new directory.
func writeConfig(bootstrap []byte) (dir, file string, err error) {
	if dir, err = os.MkdirTemp("", "tg"); err != nil {
		return "", "", err
	}
	file = filepath.Join(dir, "envoy.yaml")
	if err = os.WriteFile(file, bootstrap, 0o600); err != nil {
		_ = os.RemoveAll(dir)
		return "", "", err
	}
	return dir, file, nil
}

// adminSocket returns the path of the bootstrap's administration socket.
func adminSocket(bootstrap []byte) (string, error) {
	var b struct {
		Admin struct {
			Address struct {
				Pipe struct {
					Path string `yaml:"path"`
				} `yaml:"pipe"`
			} `yaml:"address"`
		} `yaml:"admin"`
	}
	if err := yaml.Unmarshal(bootstrap, &b); err != nil {
		return "", fmt.Errorf("read the bootstrap: %w", err)
	}
	if b.Admin.Address.Pipe.Path == "" {
		return "", errors.New("the bootstrap has no admin.address.pipe.path")
	}
	return b.Admin.Address.Pipe.Path, nil
}

// output collects the output of a process.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed at the next write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.buf.Write(p)
}

// String returns the output so far.
func (o *output) String() string {
	s, _ := o.read()
	return s
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.more
}

// wait returns when ok accepts the output so far, or with an error when ctx ends.
func (o *output) wait(ctx context.Context, ok func(string) bool) error {
	for {
		s, more := o.read()
		if ok(s) {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
