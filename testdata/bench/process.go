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

// process is a process that the bench started. It dies with the bench.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // set before exited is closed
}

func startProcess(name string, cmd *exec.Cmd) (*process, error) {
	// On Ctrl-C the bench ends its processes in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{name: name, cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig follows the thread that started the process
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// roleVariable makes a copy of this program serve as a baseline: see runRole.
const roleVariable = "TOKENGATE_BENCH_ROLE"

// startRole starts this program again in a role, with a listener.
func startRole(role string, l interface{ File() (*os.File, error) }) (*process, error) {
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
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = os.Stderr
	return startProcess(role, cmd)
}

// runRole serves in the role that the environment names. It returns false if there
// is none, and otherwise does not return.
func runRole() bool {
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
		case headerForm, patForm:
			err = serveForm(l, role)
		case roleUpstream:
			err = serveUpstream(l)
		default:
			err = errors.New("unknown role")
		}
	}
	fmt.Fprintf(os.Stderr, "bench: %s: %v\n", role, err)
	os.Exit(1)
	return true
}

// signal sends a signal, unless the process has ended.
func (p *process) signal(s syscall.Signal) error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended unexpectedly: %v", p.name, p.err)
	default:
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// pause stops the process until resume, so that work which it postponed falls
// into its own slices and not into those of the other variants.
func (p *process) pause() error { return p.signal(syscall.SIGSTOP) }

func (p *process) resume() error { return p.signal(syscall.SIGCONT) }

// during resumes a paused process while work runs, and returns the CPU time that
// the process used.
func (p *process) during(work func() error) (time.Duration, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	if err := p.resume(); err != nil {
		return 0, err
	}
	if err := errors.Join(work(), p.pause()); err != nil {
		return 0, err
	}
	after, err := p.cpu()
	return after - before, err
}

// cpu returns the CPU time, user and system, that the process has used: utime plus
// stime of /proc/PID/stat, but in nanoseconds.
func (p *process) cpu() (time.Duration, error) {
	clock := int32(^p.cmd.Process.Pid<<3 | 2) // MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("read the CPU time of %s: %w", p.name, err)
	}
	return time.Duration(t.Nano()), nil
}

// resident returns the process's resident memory in bytes: VmRSS and VmHWM of
// /proc/PID/status.
func (p *process) resident() (now, peak float64, err error) {
	file := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	for name, place := range map[string]*float64{"VmRSS": &now, "VmHWM": &peak} {
		kib, err := strconv.ParseFloat(strings.TrimSuffix(field(file, name), " kB"), 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read the memory of %s: no %s in %s", p.name, name, file)
		}
		*place = kib * 1024
	}
	return now, peak, nil
}

// stop ends the process, paused or not, and waits for it.
func (p *process) stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = p.resume() // fails if it has ended already
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTime):
		err := p.cmd.Process.Kill()
		<-p.exited
		return errors.Join(err, fmt.Errorf("%s did not end within %v", p.name, stopTime))
	}
}

// usedCPU returns the CPU time that this process has used.
func usedCPU() time.Duration {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
