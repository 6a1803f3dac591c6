package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// ErrNetworkFS says that the data directory is on a file system that another
// machine or program serves.
var ErrNetworkFS = errors.New("not on a local file system")

// ErrNoSpace says that the disk is too full to write to it safely.
var ErrNoSpace = errors.New("disk is almost full")

// ErrDamaged says that the files in the data directory are not whole.
var ErrDamaged = errors.New("data directory is damaged")

// reserve is the free space, in bytes, below which nothing is written. Badger
// writes through memory maps of files without blocks: when a block cannot be
// had the kernel kills the process (SIGBUS), and with it would go the requests
// that need no write at all. The reserve holds the rest of the log (8 MiB),
// the tables of the memtables that wait (3 times 4 MiB) and a compaction that
// writes its levels anew (about 30 MiB) with some space between.
const reserve = 64 << 20

// reserveToOpen is the free space that opening takes: two logs of 8 MiB, a value
// log of 2 MiB, and the tables of a log that is read again. With less than
// reserve the store opens, so that a restart on a full disk keeps the tokens at
// work, and writes nothing but the end of a token.
const reserveToOpen = 32 << 20

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
	if err := enough(dir, fs, reserveToOpen); err != nil {
		return err
	}
	if err := whole(dir); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, "tokengate-probe-")
	if err != nil {
		return fmt.Errorf("%s is not writable for this user: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func enough(dir string, fs filesystem, least uint64) error {
	if fs.free < least {
		return fmt.Errorf("%w: %s has %d MiB left, and %d MiB must stay free",
			ErrNoSpace, dir, fs.free>>20, least>>20)
	}
	return nil
}

// whole refuses a directory that has tables but not the file that lists them,
// as half a backup has: Badger would take it for a new database, and delete
// them.
func whole(dir string) error {
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, badger.ManifestFilename)); err != nil {
		return fmt.Errorf("%w: %s has tables but no %s; restore it whole", ErrDamaged, dir, badger.ManifestFilename)
	}
	return nil
}
