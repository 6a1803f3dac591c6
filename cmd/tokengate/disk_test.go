package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokengate/tokengate/authz/token"
)

// smallDiskVariable names a directory on which a tokengate process of the tests
// mounts a small disk before it begins.
const smallDiskVariable = "TOKENGATE_TEST_SMALL_DISK"

// exitNoMount is its exit code where it may not.
const exitNoMount = 77

// mountSmallDisk mounts 192 MiB of memory on dir, which ends with the process's
// mount namespace.
func mountSmallDisk(dir string) {
	if err := unix.Mount("tokengate-test", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=192m,mode=0700"); err != nil {
		fmt.Fprintf(os.Stderr, "mount a tmpfs: %v\n", err)
		os.Exit(exitNoMount)
	}
}

// startGateOnSmallDisk starts tokengate with its data on a small disk, in a new user
// and mount namespace, in which any user may mount. It returns
// the data directory as this process sees it.
func (r *rig) startGateOnSmallDisk(t *testing.T) (data string) {
	t.Helper()
	data = filepath.Join(r.dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	r.gate = newProcess(t, "serve", "--config", r.config)
	r.gate.cmd.Env = append(r.gate.cmd.Env, smallDiskVariable+"="+data)
	r.gate.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	r.gate.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	r.gate.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	if err := r.gate.begin(); err != nil {
		t.Skipf("no namespaces can be made here to mount a small disk in: %v", err)
	}
	if _, err := r.gate.log.wait(`"tokengate is ready"`, r.gate.done); err != nil {
		if r.gate.cmd.ProcessState.ExitCode() == exitNoMount {
			t.Skipf("no small disk can be mounted here: %s", r.gate.log)
		}
		t.Fatalf("%v: %s", err, r.gate.log)
	}
	return fmt.Sprintf("/proc/%d/root%s", r.gate.cmd.Process.Pid, data)
}

// A store that cannot write stops changes and nothing else: decisions about tokens and
// browsers' requests stay the same, and the probes report the fault.
func TestStoreCannotWrite(t *testing.T) {
	t.Parallel()
	t.Run("no space", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, options{noGate: true})
		data := r.startGateOnSmallDisk(t)
		checkBrokenStore(t, r, "disk is almost full", func() {
			file, err := os.OpenFile(data+"/filler", os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := unix.Fallocate(int(file.Fd()), 0, 0, 110<<20); err != nil {
				t.Fatal(err)
			}
		}, func() {
			if err := os.Remove(data + "/filler"); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("not a byte", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, options{noGate: true})
		data := r.startGateOnSmallDisk(t)
		checkFullDisk(t, r, data)
	})
	t.Run("directory gone", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, options{})
		data := r.dir + "/data"
		rename := func(from, to string) {
			t.Helper()
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		checkBrokenStore(t, r, "no such file or directory", func() { rename(data, data+"2") }, func() { rename(data+"2", data) })
	})
}

// checkBrokenStore breaks the store, looks at everything, and repairs it.
func checkBrokenStore(t *testing.T, r *rig, why string, breakIt, repair func()) {
	t.Helper()
	value := r.mint("before")
	expect := func(q request, status int) {
		t.Helper()
		if got := r.send(q); got.status != status {
			t.Errorf("status %d, want %d: %s", got.status, status, got.body)
		}
	}
	probe := func(path string, status int, says string) {
		t.Helper()
		if got, body := r.probe(path); got != status || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s, want %d and %q", path, got, body, status, says)
		}
	}
	expect(request{auth: bearer(value)}, 200)
	probe("/readyz", 200, "ok")

	breakIt()
	r.until("the probe to see that the store is broken", func() bool {
		status, body := r.probe("/readyz?for=tokens")
		return status == 503 && strings.Contains(body, why)
	})
	probe("/readyz", 200, "ok")
	probe("/healthz", 200, "ok")
	if !r.hasMetric("tokengate_store_up 0") {
		t.Error("the metric says that the store is up")
	}
	expect(request{auth: bearer(value)}, 200)
	expect(request{auth: "Bearer tgate_x"}, 401)
	expect(request{path: "/secure/Dashboard.jspa"}, 200)
	stdout, stderr, code := command(t, r.dir+"/a", "", "token", "create", "--user", "Fred", "--name", "during")
	if code != 1 || stdout != "" || !strings.Contains(stderr, why) {
		t.Errorf("token create: exit %d: %s", code, stderr)
	}
	r.gate.waitFor(why)
	if out, _ := r.run("token", "list"); !strings.Contains(out, "before") || strings.Contains(out, "during") {
		t.Errorf("token list prints %s", out)
	}

	repair()
	later := r.mint("after")
	expect(request{auth: bearer(later)}, 200)
	r.until("the probe to see that the store works again", func() bool {
		status, _ := r.probe("/readyz?for=tokens")
		return status == 200
	})
}

// fill writes a file until the disk takes no byte more.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, size := range []int{1 << 20, 1 << 12, 1} {
		for err == nil {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
}

// checkFullDisk fills the disk to the last byte: tokens work and can be revoked, an
// administrator's requests fail with the reason, and the server stops and starts.
func checkFullDisk(t *testing.T, r *rig, data string) {
	t.Helper()
	values := []token.Value{r.mint("one"), r.mint("two"), r.mint("three")}
	kept := r.mint("kept")
	for n, value := range values {
		fill(t, fmt.Sprintf("%s/filler%d", data, n))
		if stdout, stderr, code := command(t, r.dir+"/a", "", "token", "create", "--user", "Fred", "--name", "during"); code != 1 || stdout != "" || !strings.Contains(stderr, "disk is almost full") {
			t.Errorf("token create: exit %d: %s", code, stderr)
		}
		if got := r.send(request{auth: bearer(value)}); got.status != 200 {
			t.Errorf("before the revocation: status %d", got.status)
		}
		if n == 2 { // what was held back is given out, and other programs have taken it
			if _, stderr, code := command(t, r.dir+"/a", "", "token", "revoke", value.ID().String()); code != 1 || !strings.Contains(stderr, "disk is almost full") {
				t.Errorf("token revoke: exit %d: %s", code, stderr)
			}
			break
		}
		r.run("token", "revoke", value.ID().String())
		if got := r.send(request{auth: bearer(value)}); got.status != 401 {
			t.Errorf("after the revocation: status %d", got.status)
		}
	}
	if got := r.send(request{auth: bearer(kept)}); got.status != 200 {
		t.Errorf("status %d", got.status)
	}
	if err := r.gate.stop(); err != nil {
		t.Errorf("the server does not stop as it should: %v: %s", err, r.gate.log)
	}
	if !strings.Contains(r.gate.log.String(), "tokengate has stopped") {
		t.Errorf("the log does not end: %s", r.gate.log)
	}
}
