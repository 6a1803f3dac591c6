package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// probeName is a file beside the database's own, which tells whether the disk
// takes writes.
const probeName = "tokengate.probe"

// openProbe opens the file of a directory that is there. It has its block from
// now on, so that a probe writes that and no more.
func openProbe(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, probeName), os.O_RDWR|os.O_CREATE|syncData, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", probeName, err)
	}
	if err := errors.Join(probe(f), f.Sync()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// probeDisk returns once the disk has taken a small write, by plain system
// calls. Badger writes to memory maps, where a disk that hangs stops a thread
// of the Go runtime in a page fault, and with it, at the next garbage
// collection, the whole process: no request would be answered any more. A
// system call stops its own goroutine only, so the hang is met here first.
func (s *Store) probeDisk() error { return probe(s.probe) }

func probe(f *os.File) error {
	now, err := time.Now().MarshalBinary()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(now, 0); err != nil {
		return fmt.Errorf("write %s: %w", probeName, err)
	}
	return nil
}
