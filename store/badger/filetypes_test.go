package badger_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store/badger"
)

// TestNotARegularFile replaces each file that is opened. Opening a named pipe would block until
// another process writes to it.
func TestNotARegularFile(t *testing.T) {
	t.Parallel()
	crashed := newSite(t, true)
	kinds := map[string]struct {
		put  func(path string) error
		says string
	}{
		"pipe":                {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "it is a named pipe, not a file"},
		"directory":           {func(path string) error { return os.Mkdir(path, 0o700) }, "it is a directory, not a file"},
		"socket":              {listen, "it is a socket, not a file"},
		"device":              {func(path string) error { return os.Symlink(os.DevNull, path) }, "it is a device, not a file"},
		"dangling link":       {func(path string) error { return os.Symlink("nowhere", path) }, "it is a dangling link"},
		"link to a directory": {func(path string) error { return os.Symlink("/", path) }, "it is a directory, not a file"},
	}
	names := []string{
		"MANIFEST", "MANIFEST-REWRITE", "KEYREGISTRY", "REWRITE-KEYREGISTRY", "DISCARD", "tokengate.sequence", "tokengate.reserve",
		"000002.sst", "000099.sst", "00003.mem", "000001.vlog",
	}
	for _, name := range names {
		for kind, k := range kinds {
			if kind != "pipe" && name != "MANIFEST" && name != "000002.sst" {
				continue
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				s := crashed.clone(t)
				path := filepath.Join(s.dir, name)
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				if err := k.put(path); err != nil {
					t.Fatal(err)
				}
				before := s.content()
				within(t, path, func() {
					wantOpenError(t, badger.Options{Dir: s.dir}, badger.ErrDamaged, name+": "+k.says, "--accept-loss")
				})
				if diff := cmp.Diff(before, s.content()); diff != "" {
					t.Errorf("the refused start changed files (-before +after):\n%s", diff)
				}
				within(t, path, func() { s.acceptLoss(name + ": " + k.says) })
				kept, err := filepath.Glob(filepath.Join(s.dir, "tokengate.lost-*", name))
				if info, look := os.Lstat(strings.Join(kept, " ")); err != nil || look != nil || info.Mode().IsRegular() {
					t.Errorf("kept: %v (errors %v, %v)", kept, err, look)
				}
			})
		}
	}
}

// listen leaves the socket of a closed server in the directory.
func listen(path string) error {
	// A socket's path is limited to about 100 bytes, so use a short link.
	short, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(short)
	if err := os.Symlink(filepath.Dir(path), filepath.Join(short, "d")); err != nil {
		return err
	}
	l, err := net.Listen("unix", filepath.Join(short, "d", filepath.Base(path)))
	if err != nil {
		return err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l.Close()
}

// within runs a function that must not hang. If it does, opening the pipe releases it.
func within(t *testing.T, pipe string, run func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); run() }()
	select {
	case <-done:
		return
	case <-time.After(30 * time.Second):
		t.Error("the start hangs")
	}
	for {
		select {
		case <-done:
			t.FailNow()
		default:
			if f, err := os.OpenFile(pipe, os.O_RDWR|syscall.O_NONBLOCK, 0); err == nil {
				f.Close()
			}
		}
	}
}

// TestLinkedFiles checks that links to regular files are accepted.
func TestLinkedFiles(t *testing.T) {
	s := newSite(t, true)
	elsewhere := t.TempDir()
	for _, path := range slices.Concat(s.files("*.sst"), s.files("*.vlog"), s.files("KEYREGISTRY")) {
		name := filepath.Base(path)
		moved := filepath.Join(elsewhere, name)
		write(t, moved, read(t, filepath.Join(s.dir, name)))
		s.remove(name)
		if err := os.Symlink(moved, filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.wantAll(badger.Options{Dir: s.dir})
}
