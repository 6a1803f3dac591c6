//go:build !linux

package badger

import (
	"errors"
	"math"
	"os"
)

// syncData makes a write return after the disk has its data.
const syncData = os.O_SYNC

// statfs is only implemented for Linux; other systems are for development.
func statfs(string) (filesystem, error) {
	return filesystem{free: math.MaxUint64}, nil
}

// allocate reserves no space.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// releaseTables does nothing without /proc/self/maps.
func (s *Store) releaseTables() error { return nil }
