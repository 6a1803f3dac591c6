package badger

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// remoteFilesystems are the file systems that are refused, by the f_type of statfs(2),
// from <linux/magic.h> and, in hexadecimal, the file systems' own sources.
//
// FUSE is among them though some of what runs under it is local: sshfs,
// GlusterFS, S3 and the host directories of virtual machines come as FUSE
// too, the kernel does not say which it is, and what a sync is worth is up to
// each of them.
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

// syncData makes a write return when the disk has its data (open(2)).
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

// allocate gives a file size bytes, with blocks of the disk behind them.
func allocate(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }
