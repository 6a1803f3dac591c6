package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// ErrNetworkFS says that the data directory is on a file system that another
// machine or program serves.
var ErrNetworkFS = errors.New("not on a local file system")

// ErrNoSpace says that the disk is too full to write to it safely.
var ErrNoSpace = errors.New("disk is almost full")

// reserve is the space, in bytes, below which nothing is written: what is free,
// and what roomName holds back. Badger
// writes through memory maps of files without blocks: when a block cannot be
// had the kernel kills the process (SIGBUS), and with it would go the requests
// that need no write at all. The reserve holds the rest of the log (8 MiB),
// the tables of the memtables that wait (3 times 4 MiB) and a compaction that
// writes its levels anew (about 30 MiB) with some space between. The rest is
// for ending tokens when other programs have filled the disk.
const reserve = reserveToOpen + maxReserved

// reserveToOpen is the space that opening, ending a token and closing take: two logs
// of 8 MiB, a value log of 2 MiB, and the tables of a log that is read again.
// With less than reserve the store opens, so that a restart on a full disk keeps
// the tokens at work, and writes nothing but the end of a token.
const reserveToOpen = 32 << 20

// filesystem is what the store wants to know of the one it is on.
type filesystem struct {
	kind string // such as "NFS"; empty for one that is good to use
	free uint64 // bytes that this process may still write
}

// ensureSpace makes reserveToOpen free, out of what is held back if need be, and
// holds back what is free above that.
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
			ErrNoSpace, dir, available>>20, least>>20)
	}
	return nil
}

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
