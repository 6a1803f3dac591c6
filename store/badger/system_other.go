//go:build !linux

package badger

import (
	"errors"
	"math"
	"os"
)

// syncData makes a write return when the disk has it.
const syncData = os.O_SYNC

// statfs knows nothing where there is no Linux: tokengate runs there for
// development only.
func statfs(string) (filesystem, error) {
	return filesystem{free: math.MaxUint64}, nil
}

// allocate holds no space back.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// releaseTables does nothing where there is no /proc/self/maps.
func (s *Store) releaseTables() error { return nil }
