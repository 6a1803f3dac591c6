package badger

import (
	"errors"
	"fmt"
	"os"
)

// ErrNetworkFS says that the data directory is on a file system that another
// machine or program serves.
var ErrNetworkFS = errors.New("not on a local file system")

// ErrNoSpace says that the disk is too full to write to it safely.
var ErrNoSpace = errors.New("disk is almost full")

// reserve is the free space, in bytes, below which nothing is written. Badger
// writes through memory maps of files without blocks: when a block cannot be
// had the kernel kills the process (SIGBUS), and with it would go the requests
// that need no write at all. The reserve holds the rest of the log (8 MiB),
// the tables of the memtables that wait (3 times 4 MiB) and a compaction that
// writes its levels anew (about 30 MiB) with some space between.
const reserve = 64 << 20

// filesystem is what the store wants to know of the one it is on.
type filesystem struct {
	kind string // such as "NFS"; empty for one that is good to use
	free uint64 // bytes that this process may still write
}

// prepareDir makes dir if it is not there, and refuses one that cannot hold
// the database.
func prepareDir(dir string, statfs func(string) (filesystem, error)) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	fs, err := statfs(dir)
	if err != nil {
		return err
	}
	if fs.kind != "" {
		return fmt.Errorf("%s is on %s: %w; there a lock or a sync may not hold what it promises, "+
			"so give the store a directory on a local disk", dir, fs.kind, ErrNetworkFS)
	}
	if err := enough(dir, fs); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, "tokengate-probe-")
	if err != nil {
		return fmt.Errorf("%s is not writable for this user: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func enough(dir string, fs filesystem) error {
	if fs.free < reserve {
		return fmt.Errorf("%w: %s has %d MiB left, and %d MiB must stay free",
			ErrNoSpace, dir, fs.free>>20, reserve>>20)
	}
	return nil
}
