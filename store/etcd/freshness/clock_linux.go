package freshness

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot returns the time since the machine was started. Unlike the clock behind time.Since, it
// goes on while the machine is suspended; unlike the wall clock, nobody sets it.
func sinceBoot() time.Duration {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &at); err != nil {
		panic("read CLOCK_BOOTTIME: " + err.Error()) // impossible since Linux 2.6.39
	}
	return time.Duration(at.Nano())
}
