package app

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/tokengate/tokengate/authz/config"
)

// Modes of unix sockets. Envoy may run as another user of the same group.
const (
	GroupSocket fs.FileMode = 0o660
	OwnerSocket fs.FileMode = 0o600 // of listen.admin
)

// listen opens a listener that is ready when its path appears. A unix socket is
// bound under a temporary name and renamed over its path. A previous listener keeps its
// open connections, and it does not unlink the path when it closes, so it cannot remove
// its successor's socket.
func listen(a config.Address, mode fs.FileMode) (net.Listener, error) {
	if a.Network != "unix" {
		l, err := net.Listen(a.Network, a.Address)
		if err != nil {
			return nil, fmt.Errorf("listen on %v: %w", a, err)
		}
		return l, nil
	}
	if there, err := os.Lstat(a.Address); err == nil && there.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("listen on %v: there is a file at this path that is not a socket; move it or choose another path", a)
	}
	if dir := filepath.Dir(a.Address); !exists(dir) {
		return nil, fmt.Errorf("listen on %v: the directory %s does not exist; create it with mode 0700 for the user that tokengate runs as", a, dir)
	}
	temporary := fmt.Sprintf("%s.%05d", a.Address, os.Getpid()%100000)
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen on %v: %w", a, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", a, err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temporary, mode), os.Rename(temporary, a.Address)); err != nil {
		l.Close()
		os.Remove(temporary)
		return nil, fmt.Errorf("listen on %v: %w", a, err)
	}
	return l, nil
}

// addressOf returns the address of a listener that listen has opened for a. A unix
// listener itself still has the temporary name.
func addressOf(l net.Listener, a config.Address) net.Addr {
	if a.Network == "unix" {
		return &net.UnixAddr{Name: a.Address, Net: "unix"}
	}
	return l.Addr()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
