package badger

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

// remoteFilesystems are the file systems that are refused, by the f_type of statfs(2), from
// <linux/magic.h> and, in hexadecimal, from the file systems' sources.
//
// FUSE is included although some FUSE file systems are local: sshfs, GlusterFS, S3 and the host
// directories of virtual machines use FUSE as well, the kernel does not say which it is, and the
// meaning of a sync depends on it.
var remoteFilesystems = map[uint32]string{
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.SMB_SUPER_MAGIC:  "SMB",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.CIFS_SUPER_MAGIC: "SMB",
	unix.V9FS_MAGIC:       "9p",
	unix.CEPH_SUPER_MAGIC: "Ceph",
	unix.AFS_SUPER_MAGIC:  "AFS",
	unix.AFS_FS_MAGIC:     "AFS",
	unix.CODA_SUPER_MAGIC: "Coda",
	unix.FUSE_SUPER_MAGIC: "FUSE",
	0x0bd00bd0:            "Lustre",
	0x47504653:            "GPFS",
	0x19830326:            "BeeGFS",
	0x20030528:            "OrangeFS",
}

// syncData makes a write return after the disk has its data (open(2)).
const syncData = unix.O_DSYNC

func statfs(dir string) (filesystem, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return filesystem{}, fmt.Errorf("statfs %s: %w", dir, err)
		}
		return filesystem{
			kind: remoteFilesystems[uint32(st.Type)],
			free: st.Bavail * uint64(st.Bsize),
		}, nil
	}
}

// allocate reserves size bytes of disk space for a file.
func allocate(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }

// releaseTables drops the tables' pages from this process's memory. All reads all tokens, which
// leaves most of the database mapped although records are rarely read again. The kernel may keep
// the pages in its cache: a container's total does not change, only the process's share of it.
//
// Badger does not expose the mappings' addresses, but /proc/self/maps does (proc_pid_maps(5)). No
// table may be unmapped meanwhile, because another mapping could take its place: an iterator
// holds each table that existed both before and after the iterator was created.
func (s *Store) releaseTables() error {
	before, err := s.tables()
	if err != nil {
		return err
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	after, err := s.tables()
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// address range, permissions, offset, device, inode, path
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 {
			continue
		}
		path := lines.Text()[strings.Index(lines.Text(), fields[5]):]
		if !before[path] || !after[path] {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		begin, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			return fmt.Errorf("read /proc/self/maps: %w", err)
		}
		end, err := strconv.ParseUint(to, 16, 64)
		if err != nil {
			return fmt.Errorf("read /proc/self/maps: %w", err)
		}
		// The mapping is shared with the file, so no written data is lost.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(begin), uintptr(end-begin), unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise %s: %w", path, errno)
		}
	}
	return lines.Err()
}

// tables returns the paths of the tables, as the kernel names them.
func (s *Store) tables() (map[string]bool, error) {
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	tables := make(map[string]bool)
	for _, t := range s.db.Tables() {
		tables[filepath.Join(dir, table.IDToFilename(t.ID))] = true
	}
	return tables, nil
}
