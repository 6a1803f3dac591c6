package badger_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokengate/tokengate/store/badger"
)

func TestOpenNotWritable(t *testing.T) {
	dir := t.TempDir()
	// Others may pass the directory above, which is the test's own, too.
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o500)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Root may write anywhere, so this thread becomes nobody for files. It
		// is never unlocked and ends with the goroutine.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if err := os.Chown(dir, 65534, -1); err != nil {
				t.Error(err)
			}
			if err := syscall.Setfsuid(65534); err != nil {
				t.Error(err)
			}
		}
		if s, err := badger.Open(t.Context(), badger.Options{Dir: dir}); err == nil {
			s.Close()
			t.Error("the store opened")
		} else if !strings.Contains(err.Error(), dir+" is not writable") || !errors.Is(err, os.ErrPermission) {
			t.Errorf("error %q", err)
		}
	}()
	<-done
}

// The write by which a hanging disk is met waits for the disk.
func TestProbeWaitsForTheDisk(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	flags, err := unix.FcntlInt(s.ProbeFile().Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_DSYNC == 0 {
		t.Errorf("flags %#x, error %v", flags, err)
	}
}
