//go:build !linux

package freshness

import "time"

var started = time.Now()

// sinceBoot returns the time since the start of the process. While the machine is suspended, it may stand still.
func sinceBoot() time.Duration { return time.Since(started) }
