package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// process is a separate tokengate process. It runs this test's binary, with its race
// detector.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *output
	done chan struct{}
	err  error // how it ended; after done
}

// start starts a tokengate process. The end of the test ends it and searches its
// output for races and secrets.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := newProcess(t, args...)
	if err := p.begin(); err != nil {
		t.Fatal(err)
	}
	return p
}

func newProcess(t *testing.T, args ...string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(program, args...), log: newOutput(), done: make(chan struct{})}
	p.cmd.Env = programEnv()
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// A process group of its own: if a frozen process were in that of the tests when the shell ends
	// that started them, the kernel would send SIGHUP and SIGCONT to the whole group (setpgid(2)).
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return p
}

// programEnv is the environment in which this test's binary is tokengate. The
// race detector would hold each process a second longer at its end, in case
// something else raced in it.
func programEnv(more ...string) []string {
	env := append(os.Environ(), "TOKENGATE_TEST_MAIN=1", "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	return append(env, more...)
}

func (p *process) begin() error {
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	p.t.Cleanup(func() {
		p.signal(syscall.SIGCONT)
		p.stop()
		text := p.log.String()
		if strings.Contains(text, "DATA RACE") {
			p.t.Errorf("a race in tokengate:\n%s", text)
		}
		if found := findSecret(p.t, text); found != "" {
			p.t.Errorf("tokengate's log holds %s", found)
		}
	})
	return nil
}

func (p *process) signal(s os.Signal) { p.cmd.Process.Signal(s) }

// freeze stops the process until SIGCONT, and returns when all its threads stand
// still.
func (p *process) freeze() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED, nil)
		if err == nil {
			return
		}
		if err != unix.EINTR {
			p.t.Fatalf("wait for tokengate to stop: %v", err)
		}
	}
}

// stop shuts the process down and returns its error.
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

// exitCode waits until the process ends by itself and returns its exit code.
func (p *process) exitCode() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(waitTime):
		p.t.Fatalf("tokengate goes on; it logged:\n%s", p.log)
	}
	return p.cmd.ProcessState.ExitCode()
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
