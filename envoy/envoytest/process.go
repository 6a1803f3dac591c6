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
	readyTimeout = 30 * time.Second // a cold start on a busy machine
	stopTimeout  = 10 * time.Second
)

// Process is a running Envoy. Its methods may be called concurrently.
type Process struct {
	Addr string // host:port of its first listener
	URL  string // http:// and Addr

	dir            string
	cmd            *exec.Cmd
	stdout, stderr *output
	admin          *http.Client
	exited         chan struct{} // closed when the process is gone
	exitErr        error         // then: how it went

	stopOnce sync.Once
	stopErr  error
}

// Run starts Envoy with this bootstrap and waits until it serves. The caller
// must Stop it. On Linux it dies with the process that started it.
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
	// Hot restart needs shared memory with an id of its own per process; the
	// access log is otherwise written every ten seconds.
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

// start runs the command in a thread of its own: the kernel's "die with the
// parent" means the thread that started the process.
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

// listener asks Envoy for the address of its first listener.
func (p *Process) listener() (string, error) {
	b, err := p.Admin("/listeners?format=json")
	if err != nil {
		return "", err
	}
	var reply struct {
		Statuses []struct {
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

// Stats returns Envoy's counters and gauges by name, those still at their
// initial value excepted.
func (p *Process) Stats() (map[string]uint64, error) {
	b, err := p.Admin("/stats?usedonly")
	if err != nil {
		return nil, err
	}
	stats := make(map[string]uint64)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			stats[name] = n // the others are histograms and texts
		}
	}
	return stats, nil
}

// Log is what Envoy has logged about itself so far.
func (p *Process) Log() string { return p.stderr.String() }

// Output is what Envoy has written to its standard output so far: the access
// log, if it goes there.
func (p *Process) Output() string { return p.stdout.String() }

// Exited is closed when Envoy is gone, by Stop or by itself.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop ends Envoy and waits until it is gone. It returns an error if Envoy had
// ended by itself, or did not end well. Later calls return the same.
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
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // gone by now is seen below
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

// writeConfig puts a bootstrap into a directory of its own.
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

// adminSocket is where this bootstrap has its administration.
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
