package badger

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrNetworkFS says that the data directory is on a file system that another
// machine or program serves.
var ErrNetworkFS = errors.New("not on a local file system")

// ErrNoSpace says that the disk is too full to write to it safely.
var ErrNoSpace = errors.New("disk is almost full")

// ErrDamaged says that the files in the data directory are not whole.
var ErrDamaged = errors.New("data directory is damaged")

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

// prepareDir makes the directory if it is not there, and refuses one that
// cannot hold the database.
func prepareDir(opts Options) error {
	dir := opts.Dir
	switch info, err := os.Stat(dir); {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case errors.Is(err, os.ErrNotExist) && !opts.AcceptLoss:
		if _, err := os.Stat(markerFile(dir)); err == nil {
			return fmt.Errorf("%w: %s is not there, and %s says that it held a store: is the disk mounted? %s",
				ErrLost, dir, markerFile(dir), advice)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	fs, err := opts.statfs(dir)
	if err != nil {
		return err
	}
	if fs.kind != "" {
		return fmt.Errorf("%s is on %s: %w; there a lock or a sync may not hold what it promises, "+
			"so give the store a directory on a local disk", dir, fs.kind, ErrNetworkFS)
	}
	return nil
}

// probePrefix begins the name of a file that writable makes and removes.
const probePrefix = "tokengate-probe-"

func checkWritable(dir string) error {
	probe, err := os.CreateTemp(dir, probePrefix)
	if errors.Is(err, syscall.ENOSPC) {
		return nil // makeRoom says what to do
	}
	if err != nil {
		return fmt.Errorf("%s is not writable for this user: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
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
