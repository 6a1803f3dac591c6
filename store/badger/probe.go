package badger

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// probeName is a file beside the database's own, which tells whether the disk
// takes writes.
const probeName = "tokengate.probe"

// openProbe opens the file of a directory that is there.
func openProbe(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, probeName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", probeName, err)
	}
	return f, nil
}

// probeDisk returns once the disk has taken a small write, by plain system
// calls. Badger writes to memory maps, where a disk that hangs stops a thread
// of the Go runtime in a page fault, and with it, at the next garbage
// collection, the whole process: no request would be answered any more. A
// system call stops its own goroutine only, so the hang is met here first.
func (s *Store) probeDisk() error {
	now, err := time.Now().MarshalBinary()
	if err != nil {
		return err
	}
	if _, err := s.probe.WriteAt(now, 0); err != nil {
		return fmt.Errorf("write %s: %w", probeName, err)
	}
	if err := s.probe.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", probeName, err)
	}
	return nil
}
