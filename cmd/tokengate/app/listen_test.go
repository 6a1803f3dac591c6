package app

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// listen replaces an old socket at the path. The path never exists without a server
// that answers.
func TestListenReplacesAStaleSocket(t *testing.T) {
	path := envoytest.Dir(t) + "/s"
	address := config.Address{Network: "unix", Address: path}
	for range 2 {
		l, err := listen(address, OwnerSocket)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		l.Close() // leaves the path, as a kill does
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// A file that is not a socket is not removed.
func TestListenReplacesNothingElse(t *testing.T) {
	dir := envoytest.Dir(t)
	file := dir + "/file"
	for path, make := range map[string]func(path string) error{
		file:           func(path string) error { return os.WriteFile(path, []byte("kept"), 0o640) },
		dir + "/dir":   func(path string) error { return os.Mkdir(path, 0o750) },
		dir + "/link":  func(path string) error { return os.Symlink(file, path) },
		dir + "/alone": func(path string) error { return os.Symlink(dir+"/none", path) },
	} {
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		l, err := listen(config.Address{Network: "unix", Address: path}, GroupSocket)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("listen on %s: %v", path, err)
		}
		after, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(before, after) || before.Mode() != after.Mode() {
			t.Errorf("%s was %v and is %v", path, before.Mode(), after.Mode())
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "kept" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// The error of listen names a missing folder.
func TestListenNamesAMissingFolder(t *testing.T) {
	dir := envoytest.Dir(t) + "/none"
	l, err := listen(config.Address{Network: "unix", Address: dir + "/s"}, OwnerSocket)
	if err == nil {
		l.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "the directory "+dir+" does not exist; create it") {
		t.Errorf("error %v", err)
	}
}
