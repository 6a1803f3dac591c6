package badger

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock takes the lock of dir, as Badger would: flock(2) on the directory. The
// store takes it before it looks at the files, and holds it until it is closed.
func lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s: stop that process, or give this one a directory of its own", ErrInUse, dir)
	} else {
		err = fmt.Errorf("lock %s: %w", dir, err)
	}
	return nil, errors.Join(err, f.Close())
}
