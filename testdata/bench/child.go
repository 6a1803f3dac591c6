package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopTime bounds how long a process may take to end.
const stopTime = 20 * time.Second

// child is a process that the bench started. It dies with the bench.
type child struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	how    error // how it ended, once exited is closed
	paused bool
}

// startChild starts a process in a thread of its own: the kernel's "die with
// the parent" means the thread that started it.
func startChild(name string, cmd *exec.Cmd) (*child, error) {
	// Ctrl-C is for the bench, which then ends its processes in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c := &child{name: name, cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.how = cmd.Wait()
			close(c.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// roleVariable makes a copy of this program play a part: see playRole.
const roleVariable = "TOKENGATE_BENCH_ROLE"

// startRole starts this program again in one of its roles, with a listener to
// serve and more of its environment, such as GOGC=400.
func startRole(role string, l interface{ File() (*os.File, error) }, environment ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	socket, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	defer socket.Close()
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), environment...)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = os.Stderr
	return startChild(role, cmd)
}

// playRole plays the role that the environment asks for, and reports whether
// there was one.
func playRole() (played bool) {
	role := os.Getenv(roleVariable)
	if role == "" {
		return false
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err == nil {
		switch role {
		case roleAllowAll:
			err = serveAllowAll(l, plainAllow())
		case roleSameAnswer:
			err = serveAllowAll(l, sameAnswer())
		case roleUpstream:
			err = serveUpstream(l)
		default:
			err = errors.New("no such role")
		}
	}
	fmt.Fprintf(os.Stderr, "bench: %s: %v\n", role, err)
	os.Exit(1)
	return true
}

// pause halts the process until resume: while its rival is measured, nothing
// that it has put off runs, and all of its work falls into its own slices.
func (c *child) pause() error { return c.halt(true, syscall.SIGSTOP) }

func (c *child) resume() error { return c.halt(false, syscall.SIGCONT) }

func (c *child) halt(paused bool, signal syscall.Signal) error {
	select {
	case <-c.exited:
		return fmt.Errorf("%s ended by itself: %v", c.name, c.how)
	default:
	}
	if err := c.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	c.paused = paused
	return nil
}

// cpu returns the CPU time, user and system, that the process has used so far.
// It is what utime and stime of /proc/PID/stat add up to, in nanoseconds
// instead of ticks of 10 ms.
func (c *child) cpu() (time.Duration, error) {
	// The kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED).
	clock := int32(^c.cmd.Process.Pid<<3 | 2)
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("read the CPU time of %s: %w", c.name, err)
	}
	return time.Duration(t.Nano()), nil
}

// resident returns the process's memory in bytes: what is resident now, and
// the most that ever was (VmRSS and VmHWM of /proc/PID/status).
func (c *child) resident() (now, peak float64, err error) {
	file := fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid)
	for name, place := range map[string]*float64{"VmRSS": &now, "VmHWM": &peak} {
		kib, err := strconv.ParseFloat(strings.TrimSuffix(field(file, name), " kB"), 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read the memory of %s: no %s in %s", c.name, name, file)
		}
		*place = kib * 1024
	}
	return now, peak, nil
}

// stop ends the process and waits until it is gone.
func (c *child) stop() error {
	select {
	case <-c.exited:
		return fmt.Errorf("%s ended by itself: %v", c.name, c.how)
	default:
	}
	signals := []error{c.cmd.Process.Signal(syscall.SIGTERM)}
	if c.paused {
		signals = append(signals, c.cmd.Process.Signal(syscall.SIGCONT))
	}
	select {
	case <-c.exited:
		return nil
	case <-time.After(stopTime):
		signals = append(signals, c.cmd.Process.Kill())
		<-c.exited
		return errors.Join(append(signals, fmt.Errorf("%s did not end within %v", c.name, stopTime))...)
	}
}
