package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// reserveName is a file that holds blocks of the disk back from other programs.
// They are given to the database when nothing else is left.
const reserveName = "tokengate.reserve"

// maxReserved is the size of that file in bytes, where the disk has as much.
const maxReserved = 64 << 20

// reservedFile is the space that is held back.
type reservedFile struct {
	path string

	mu     sync.Mutex
	held   uint64
	cannot bool // the file system does not hold space back
}

func newReservedFile(dir string) *reservedFile {
	r := &reservedFile{path: filepath.Join(dir, reserveName)}
	var st syscall.Stat_t
	if syscall.Stat(r.path, &st) == nil && st.Blocks > 0 {
		r.held = min(uint64(st.Blocks)*512, uint64(st.Size))
	}
	return r
}

// available returns the bytes that the database may use: what is free, and what is
// held back.
func (r *reservedFile) available(fs filesystem) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fs.free + r.held
}

// resize holds back what is free above the bytes to be left, up to maxRoom. On a full
// disk it gives back as much as makes these bytes free.
func (r *reservedFile) resize(fs filesystem, left uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	want := uint64(0)
	if total := fs.free + r.held; total > left {
		want = min(total-left, maxReserved)
	}
	want &^= 1<<20 - 1 // whole MiB, so that a few bytes are no reason to write
	if want == r.held || want > r.held && r.cannot {
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("hold back space: %w", err)
	}
	if want < r.held {
		err = f.Truncate(int64(want))
	} else if err = allocate(f, int64(want)); err != nil && !errors.Is(err, syscall.ENOSPC) {
		r.cannot = true
	}
	if err == nil {
		r.held = want
	}
	if want > r.held {
		err = nil // nothing depends on it now
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("hold back space: %w", err)
	}
	return nil
}
