package seal

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// PreventDumps keeps opened secrets out of core dumps and away from debuggers of other
// processes of this user (PR_SET_DUMPABLE of prctl(2)).
func PreventDumps() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("switch off core dumps: %w", err)
	}
	return nil
}
