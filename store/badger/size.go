package badger

import (
	"io/fs"
	"path/filepath"
)

// Size returns the length in bytes of the files, but for the space held back. The log is made
// at its full length, 8 MiB, of which the disk holds what is written. It is 0
// when the directory cannot be read.
//
// Badger's own figure is there only with its metrics, and a minute old.
func (s *Store) Size() int64 {
	var size int64
	err := filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == reserveName {
			return err
		}
		// A compaction may have removed the file meanwhile.
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return size
}
