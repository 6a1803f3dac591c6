package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/tokengate/tokengate/store"
)

// ErrNetworkFS means that the data directory is on a network or FUSE file system.
var ErrNetworkFS = errors.New("not on a local file system")

// reserve is the space in bytes, free or reserved, below which only the end of a token is
// written. Badger writes through memory maps of sparse files: if the disk is full, the kernel
// kills the process (SIGBUS), which would also stop requests that need no write. The reserve
// covers the rest of the log (8 MiB), the tables of the waiting memtables (3 times 4 MiB) and a
// compaction that rewrites its levels (about 30 MiB). The rest is for ending tokens after other
// programs have filled the disk.
const reserve = reserveToOpen + maxReserved

// reserveToOpen is the space in bytes that is needed to open, to end a token and to close: two
// logs of 8 MiB, a value log of 2 MiB, and the tables of a log that is read again. Below reserve
// the store still opens, so that a restart on a full disk keeps tokens working.
const reserveToOpen = 32 << 20

// filesystem is what the store needs to know about its file system.
type filesystem struct {
	kind string // such as "NFS"; empty if it is suitable
	free uint64 // bytes available to this process
}

// ensureSpace makes reserveToOpen bytes available, from the reserved space if necessary, and
// reserves free space above that.
func (s *Store) ensureSpace() error {
	fs, err := s.statfs(s.dir)
	if err != nil {
		return err
	}
	if err := checkFree(s.dir, s.reserved.available(fs), reserveToOpen); err != nil {
		return err
	}
	return s.reserved.resize(fs, reserveToOpen)
}

func checkFree(dir string, available, least uint64) error {
	if available < least {
		return fmt.Errorf("%w: %s has %d MiB left, and %d MiB must stay free",
			store.ErrNoSpace, dir, available>>20, least>>20)
	}
	return nil
}

// reserveName is a file that reserves disk blocks. They are freed for the database when the disk
// is full.
const reserveName = "tokengate.reserve"

// maxReserved is the maximum size of that file in bytes.
const maxReserved = 64 << 20

// reservedFile is the reserved space.
type reservedFile struct {
	path string

	mu     sync.Mutex
	held   uint64
	cannot bool // the file system cannot reserve space
}

func newReservedFile(dir string) *reservedFile {
	r := &reservedFile{path: filepath.Join(dir, reserveName)}
	var st syscall.Stat_t
	if syscall.Stat(r.path, &st) == nil && st.Blocks > 0 {
		r.held = min(uint64(st.Blocks)*512, uint64(st.Size))
	}
	return r
}

// available returns the bytes that the database may use, free or reserved.
func (r *reservedFile) available(fs filesystem) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fs.free + r.held
}

// resize reserves the free space above left bytes, up to maxReserved. On a full disk it shrinks
// the file to make left bytes free.
func (r *reservedFile) resize(fs filesystem, left uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	want := uint64(0)
	if total := fs.free + r.held; total > left {
		want = min(total-left, maxReserved)
	}
	want &^= 1<<20 - 1 // whole MiB, to avoid frequent small changes
	if want == r.held || want > r.held && r.cannot {
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("reserve disk space: %w", err)
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
		err = nil // not needed now
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reserve disk space: %w", err)
	}
	return nil
}
