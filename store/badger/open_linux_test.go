package badger_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

func TestOpenNotWritable(t *testing.T) {
	dir := t.TempDir()
	// Other users may enter the parent directory.
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o500)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	asNobody(t, func() {
		if s, err := badger.Open(t.Context(), badger.Options{Dir: dir}); err == nil {
			s.Close()
			t.Error("the store opened")
		} else if !strings.Contains(err.Error(), dir+" is not writable") || !errors.Is(err, os.ErrPermission) {
			t.Errorf("error %q", err)
		}
	}, dir)
}

// TestOpenNotReadable checks that an unreadable file is not treated as damaged, and that
// --accept-loss does not move it.
func TestOpenNotReadable(t *testing.T) {
	for _, name := range []string{"MANIFEST", "tokengate.sequence", "000002.sst", "*.mem", "*.vlog", "KEYREGISTRY"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, true)
			if err := errors.Join(os.Chmod(filepath.Dir(s.above), 0o755), os.Chmod(s.above, 0o755)); err != nil {
				t.Fatal(err)
			}
			closed := s.files(name)[0]
			if err := os.Chmod(closed, 0); err != nil {
				t.Fatal(err)
			}
			before := s.files("*")
			asNobody(t, func() {
				for _, acceptLoss := range []bool{false, true} {
					db, err := badger.Open(t.Context(), badger.Options{Dir: s.dir, AcceptLoss: acceptLoss})
					if err == nil {
						db.Close()
						t.Error("the store opened")
					} else if !errors.Is(err, os.ErrPermission) || errors.Is(err, badger.ErrDamaged) || !strings.Contains(err.Error(), closed) {
						t.Errorf("accept loss %v: error %q", acceptLoss, err)
					}
				}
			}, append(before, s.dir)...)
			if after := s.files("*"); !slices.Equal(before, after) {
				t.Errorf("the files were %v and are %v", before, after)
			}
		})
	}
}

// asNobody runs fn as an unprivileged user who owns these files.
func asNobody(t *testing.T, fn func(), owns ...string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Root ignores file modes, so this thread changes its file system user. It stays locked
		// and ends with the goroutine.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			for _, path := range owns {
				if err := os.Chown(path, 65534, -1); err != nil {
					t.Error(err)
				}
			}
			if err := syscall.Setfsuid(65534); err != nil {
				t.Error(err)
			}
		}
		fn()
	}()
	<-done
}

// TestProbeWaitsForTheDisk checks that each write waits for a synchronous write of the probe.
func TestProbeWaitsForTheDisk(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	flags, err := unix.FcntlInt(s.ProbeFile().Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_DSYNC == 0 {
		t.Errorf("flags %#x, error %v", flags, err)
	}
	s.ProbeFile().Close()
	if err := s.AppendAudit(t.Context(), store.Audit{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a write whose probe cannot write: error %v", err)
	}
}

// TestOpenAgainAfterRefusal checks that a refused open leaves no lock, even if a process that is
// just being started shares its descriptors.
func TestOpenAgainAfterRefusal(t *testing.T) {
	dir := t.TempDir()
	edit(t, dir, map[string]string{"m/schema": "1"})
	var shared []int
	share := func() (string, uint64) { // of each descriptor of dir
		descriptors, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range descriptors {
			number, err := strconv.Atoi(d.Name())
			if target, _ := os.Readlink("/proc/self/fd/" + d.Name()); err != nil || target != dir {
				continue
			}
			if number, err = syscall.Dup(number); err != nil {
				t.Fatal(err)
			}
			shared = append(shared, number)
		}
		return "", 1 << 40
	}
	wantOpenError(t, badger.Options{Dir: dir}.WithFilesystem(share), badger.ErrSchema, dir)
	if len(shared) == 0 {
		t.Error("the test shared no descriptor")
	}
	wantOpenError(t, badger.Options{Dir: dir}, badger.ErrSchema, dir)
	for _, number := range shared {
		syscall.Close(number)
	}
}
